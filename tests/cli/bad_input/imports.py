"""What cannot be imported."""

from __future__ import annotations

from tests.cli.bad_input.case import (
    Case,
    both,
    file,
    pickled,
    pickled_by_torch,
    weights,
)

IMPORTS = [
    Case(name="counts without labels", typed="import cifar10h c.npy", prepare=file("c.npy"), says=("--labels FILE",)),
    Case(
        name="counts that are no array",
        typed="import cifar10h c.npy --labels l.npy",
        prepare=file("c.npy"),
        says=("c.npy can't be read as a .npy file",),
    ),
    Case(
        name="predictions of no model",
        typed="import predictions p",
        prepare=file("p/readme.txt"),
        says=("p is no folder with MODEL.npy",),
    ),
    Case(
        name="a pickle that would run something",
        typed="import imagenet-multilabel data",
        prepare=file("data/annotations_classify_task.pkl", b"cos\nsystem\n(S'echo run'\ntR."),
        says=("annotations_classify_task.pkl", "os.system", "nothing of it was run"),
    ),
    Case(
        name="a folder without answers",
        typed="import imagenet-multilabel data",
        prepare=file("data/readme.txt"),
        says=("annotations_classify_task.pkl", "SOURCE"),
    ),
    Case(name="real without labels", typed="import real real.json", prepare=file("real.json"), says=("--labels FILE",)),
    Case(name="import nothing", typed="import", says=("nothing is named. Known", "cifar10", "weights")),
    Case(name="import of no kind", typed="import cifar x", says=("'cifar'", "did you mean 'cifar10'")),
    Case(name="import from nowhere", typed="import weights", says=("from where", "FILE.pt")),
    Case(name="import of a missing file", typed="import weights w.pt", says=("no w.pt",)),
    Case(name="import of missing data", typed="import cifar10 x.tar.gz --data-root root", says=("no x.tar.gz",)),
    Case(
        name="import to nowhere",
        typed="import cifar10 x.tar.gz",
        prepare=file("x.tar.gz"),
        says=("--data-root", "ROBUSTRAY_DATA"),
    ),
    Case(
        name="import of another archive",
        typed="import cifar10 x.tar.gz --data-root root",
        prepare=file("x.tar.gz"),
        says=("x.tar.gz", "not a whole cifar-10-python.tar.gz"),
    ),
    Case(
        name="import of an empty folder",
        typed="import cifar10 download --data-root root",
        prepare=file("download/readme.txt"),
        says=("download holds neither",),
    ),
    Case(
        name="import to a file",
        typed="import cifar10 x.tar.gz --data-root x.tar.gz",
        prepare=file("x.tar.gz"),
        says=("cannot write", "x.tar.gz"),
    ),
    Case(
        name="import over what is there",
        typed="import cifar10 x.tar.gz --data-root root",
        prepare=both(file("x.tar.gz"), file("root/cifar10/mine.txt")),
        says=("root/cifar10 exists already",),
    ),
    Case(name="import of pickled code", typed="import weights w.pt", prepare=pickled, says=("w.pt", "nothing was run")),
    Case(
        name="import of pickled code in an archive",
        typed="import weights w.pt",
        prepare=pickled_by_torch,
        says=("w.pt", "nothing was run"),
    ),
    Case(
        name="import of a damaged archive",
        typed="import weights w.pt",
        prepare=file("w.pt", b"PK\x03\x04 and so on"),
        says=("w.pt", "cannot be read"),
    ),
    Case(
        name="import of weights that don't fit",
        typed="import weights w.safetensors --output out.safetensors --arch digits:mlp",
        prepare=weights("digits:cnn"),
        says=("w.safetensors does not fit digits:mlp",),
    ),
    Case(
        name="import for no architecture",
        typed="import weights w.safetensors --output out.safetensors --arch digits:mpl",
        prepare=weights(),
        says=("did you mean 'digits:mlp'",),
    ),
    Case(
        name="import to another format",
        typed="import weights w.safetensors --output out.pt",
        prepare=weights(),
        says=("out.pt must end in .safetensors",),
    ),
    Case(
        name="import onto itself",
        typed="import weights w.safetensors",
        prepare=weights(),
        says=("w.safetensors would be overwritten", "--output"),
    ),
    Case(
        name="import below a file",
        typed="import weights w.safetensors --output w.safetensors/out.safetensors",
        prepare=weights(),
        says=("cannot write", "out.safetensors"),
    ),
    Case(name="import of a folder", typed="import weights {folder}", says=("no file",)),
]
