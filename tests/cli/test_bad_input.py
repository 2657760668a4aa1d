"""Bad input at the command line: exit code 2, one line that names the cause, and nothing half-written."""

from __future__ import annotations

import dataclasses
import io
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from robustray.tasks.data.imports import write_shards
from robustray.tasks.models.registry import build_model
from robustray.tasks.models.weights import to_safetensors, weights_of

Prepare = Callable[[Path], None]
RUN = "run attack-sweep --workers 0 "
EIGHT = "np.zeros((4, 1, 8, 8), np.float32)"


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is typed, in which folder, and what the line must say."""

    name: str
    typed: str
    says: tuple[str, ...]
    prepare: Prepare = field(default=lambda folder: None)
    environment: Mapping[str, str] = field(default_factory=dict)


# -- files to prepare --------------------------------------------------------------------------------------------------


def module(text: str) -> Prepare:
    """`own.py` in the current folder."""
    return file("own.py", f"import numpy as np\nimport torch\nfrom torch import nn\n{text}".encode())


def model(forward: str) -> Prepare:
    """`own:build`, a network on 1x8x8 images whose forward pass is `forward` of images x and correct logits z."""
    return module(
        "class Net(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.layer = nn.Linear(64, 10)\n"
        "    def forward(self, x):\n"
        "        z = self.layer(x.flatten(1))\n"
        f"        {forward}\n"
        "def build():\n"
        "    return Net()\n"
    )


def data(result: str) -> Prepare:
    """`own:data`, which returns `result`."""
    return module(f"def data():\n    return {result}\n")


def attack(body: str) -> Prepare:
    """`own:attack`, called with norm and eps."""
    header = "from dataclasses import dataclass\nfrom typing import Any\nfrom robustray.tasks.attacks import FGSM\n"
    return module(f"{header}{body}\n")


def shards(spoil: Callable[[bytes], bytes]) -> Prepare:
    """`shards.parquet` with 20 digits-like images, spoilt."""

    def prepare(folder: Path) -> None:
        images = np.random.default_rng(0).integers(0, 256, (20, 1, 8, 8), dtype=np.uint8)
        names = [str(digit) for digit in range(10)]
        write_shards(folder, "x", images, np.arange(20) % 10, names * 2, names)
        written = folder / "x-00000-of-00001.parquet"
        (folder / "shards.parquet").write_bytes(spoil(written.read_bytes()))
        written.unlink()

    return prepare


def flip(data: bytes) -> bytes:
    """One bit in the middle of the first image's pixels."""
    at = data.index(b"IDAT") + 12
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def parquet(**columns: Any) -> Prepare:
    return lambda folder: pq.write_table(pa.table(columns), folder / "shards.parquet")


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png")
    return buffer.getvalue()


def bad_png(folder: Path) -> None:
    """The Parquet file is whole, one image in it is not."""
    good = png(np.zeros((8, 8), np.uint8))
    encoded = [good, good[:40] + b"\xff\xff" + good[42:]]
    image = pa.array([{"bytes": each, "path": "x"} for each in encoded])
    pq.write_table(pa.table({"image": image, "label": pa.array([0, 1])}), folder / "shards.parquet")


def folders(*names: str) -> Prepare:
    """`images/CLASS/0.png`."""

    def prepare(folder: Path) -> None:
        for name in names:
            (folder / "images" / name).mkdir(parents=True)
            (folder / "images" / name / "0.png").write_bytes(png(np.zeros((8, 8), np.uint8)))

    return prepare


def weights(name: str = "digits:mlp", spoil: Callable[[bytes], bytes] = bytes, file: str = "w.safetensors") -> Prepare:
    """A weights file of an untrained network, spoilt."""

    def prepare(folder: Path) -> None:
        torch.manual_seed(0)
        (folder / file).write_bytes(spoil(to_safetensors(weights_of(build_model(name)))))

    return prepare


def not_finite(folder: Path) -> None:
    values = weights_of(build_model("digits:mlp"))
    values["head.weight"][0, 0] = np.nan
    (folder / "w.safetensors").write_bytes(to_safetensors(values))


class Evil:
    """A pickle that runs code when it is loaded."""

    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return (exec, ("raise SystemExit('the pickle was run')",))


def pickled(folder: Path) -> None:
    (folder / "w.pt").write_bytes(pickle.dumps(Evil()))


def pickled_by_torch(folder: Path) -> None:
    torch.save({"state_dict": Evil()}, folder / "w.pt")


def file(name: str, content: bytes = b"not what was expected") -> Prepare:
    def prepare(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)

    return prepare


def both(*steps: Prepare) -> Prepare:
    def prepare(folder: Path) -> None:
        for step in steps:
            step(folder)

    return prepare


def some_runs(*names: str) -> Prepare:
    """Runs that were interrupted before they found anything."""

    def prepare(folder: Path) -> None:
        from robustray.tasks.attack_sweep.settings import quick
        from robustray.tasks.lab import keys, runs
        from robustray.tasks.lab.store import Store

        for name in names:
            identity = runs.RunIdentity(
                study="attack-sweep", size="quick", settings=keys.plain(quick()), seed=0, hash8=name, code="c"
            )
            runs.create(Store(str(folder / "runs")), identity, command="x", options={"workers": 0}).save("interrupted")

    return prepare


# -- the table ---------------------------------------------------------------------------------------------------------

WORDS = [
    Case(name="no such command", typed="rnu attack-sweep", says=("'rnu'", "did you mean 'run'")),
    Case(name="no study", typed="run", says=("which study", "attack-sweep")),
    Case(name="flags before the study", typed="run --size quick attack-sweep", says=("Name it first",)),
    Case(name="no such study", typed="run atack-sweep", says=("did you mean 'attack-sweep'",)),
    Case(name="no such study to show", typed="show atack-sweep", says=("did you mean 'attack-sweep'",)),
    Case(name="no such flag", typed=RUN + "--num-image 3", says=("--num-image", "did you mean '--num-images'")),
    Case(name="no such flag of status", typed="status --stor x", says=("did you mean '--store'",)),
    Case(name="no such flag of resume", typed="resume x --faild", says=("did you mean '--failed'",)),
    Case(name="a stray word", typed=RUN + "digits:mlp", says=("digits:mlp", "--help explains")),
    Case(name="a switch with a value", typed=RUN + "--json true", says=("true",)),
    Case(name="no such opposite", typed=RUN + "--no-json", says=("--no-json",)),
    Case(name="a flag without its value", typed=RUN + "--store", says=("--store",)),
    Case(name="no such model", typed=RUN + "--model digits:mpl", says=("did you mean 'digits:mlp'",)),
    Case(name="no such data", typed=RUN + "--data digts:test", says=("did you mean 'digits:test'",)),
    Case(name="no such split", typed=RUN + "--data digits:val", says=("no split of digits", "digits:train")),
    Case(name="no such attack", typed=RUN + "--attack pdg", says=("did you mean 'pgd'",)),
    Case(name="no such norm", typed=RUN + "--norm l3", says=("'l3'", "linf", "l2")),
    Case(name="no such size", typed=RUN + "--size smal", says=("did you mean 'small'",)),
    Case(name="no such step", typed=RUN + "--fresh attak", says=("--fresh attak", "did you mean 'attack'?", "clean")),
    Case(name="one step of two", typed=RUN + "--fresh clean --fresh train2", says=("--fresh train2", "'train'")),
    Case(name="no such exit rule", typed=RUN + "--exit-rule lst", says=("'lst'", "'last'")),
    Case(name="no such device", typed=RUN + "--device gpu", says=("'gpu'", "cuda")),
    Case(name="no such trained model", typed=RUN + "--model run:0123", says=("run:0123", "robustray list --store")),
    Case(name="one model twice", typed=RUN + "--model digits:mlp --model digits:mlp", says=("models", "twice")),
    Case(name="no model", typed=RUN + "--models", says=("models", "at least one")),
]

NUMBERS = [
    Case(name="negative eps", typed=RUN + "--eps-linf -0.1 0.1", says=("eps_linf", "positive", "-0.1")),
    Case(name="eps of zero", typed=RUN + "--eps-l2 0 1", says=("eps_l2", "positive")),
    Case(name="eps NaN", typed=RUN + "--eps-l2 nan", says=("eps_l2", "nan")),
    Case(name="eps infinite", typed=RUN + "--eps-l2 1e999", says=("eps_l2", "inf")),
    Case(name="eps unsorted", typed=RUN + "--eps-linf 0.2 0.1", says=("eps_linf", "ascend", "0.2, 0.1")),
    Case(name="eps twice", typed=RUN + "--eps-linf 0.1 0.1", says=("eps_linf", "without repeats")),
    Case(name="eps in 0..255", typed=RUN + "--eps-linf 8", says=("eps_linf", "8/255")),
    Case(name="eps no number", typed=RUN + "--eps-linf 0.1 0,2", says=("--eps-linf", "'0,2' is no number")),
    Case(name="eps over zero", typed=RUN + "--eps-linf 8/0", says=("--eps-linf", "'8/0' is no number")),
    Case(name="eps half a fraction", typed=RUN + "--eps-linf 8/", says=("--eps-linf", "'8/' is no number")),
    Case(name="a count that is no number", typed=RUN + "--num-steps many", says=("--num-steps", "no whole number")),
    Case(name="a count that is no whole number", typed=RUN + "--num-seeds 1.5", says=("--num-seeds", "'1.5'")),
    Case(name="no steps", typed=RUN + "--num-steps 0", says=("num_steps", "at least 1")),
    Case(
        name="restarts that would all be the same",
        typed=RUN + "--num-restarts 2 --no-random-start",
        says=("num_restarts=2", "random_start"),
    ),
    Case(name="a negative seed", typed=RUN + "--seed -1", says=("seed", "at least 0")),
    Case(name="more images than there are", typed=RUN + "--num-images 356", says=("356", "digits:test has 355")),
]

PLACES = [
    Case(
        name="a file where the store should be",
        typed=RUN + "--store occupied",
        prepare=file("occupied"),
        says=("--store occupied", "file"),
    ),
    Case(
        name="a store below a file",
        typed=RUN + "--store occupied/below",
        prepare=file("occupied"),
        says=("--store", "occupied/below"),
    ),
    Case(name="an unwritable store", typed=RUN + "--store /proc/robustray", says=("--store /proc/robustray", "write")),
    Case(name="a store of no known kind", typed=RUN + "--store nfs7://host/runs", says=("--store nfs7://host/runs",)),
    Case(name="status of a file", typed="status --store occupied", prepare=file("occupied"), says=("occupied", "file")),
    Case(
        name="a relative store with a cluster",
        typed="run attack-sweep --address 127.0.0.1:6379 --store runs",
        says=("--store runs", "127.0.0.1:6379", "absolute"),
    ),
    Case(
        name="a relative store with a cluster in the environment",
        typed="run attack-sweep --store runs",
        environment={"RAY_ADDRESS": "127.0.0.1:6379"},
        says=("--store runs", "127.0.0.1:6379", "absolute"),
    ),
    Case(
        name="no store with a cluster",
        typed="run attack-sweep --address auto",
        says=("no --store", "absolute"),
    ),
    Case(
        name="no cluster there",
        typed="run attack-sweep --address 127.0.0.1:1 --store {folder}/store",
        says=("--address 127.0.0.1:1", "nothing answers"),
    ),
    Case(
        name="no cluster behind a client's address",
        typed="run attack-sweep --address ray://127.0.0.1:1 --store {folder}/store",
        says=("--address ray://127.0.0.1:1", "nothing answers"),
    ),
    Case(
        name="no port of that number",
        typed="run attack-sweep --address 127.0.0.1:99999 --store {folder}/store",
        says=("--address 127.0.0.1:99999", "nothing answers"),
    ),
    Case(
        name="no workers on a cluster",
        typed=RUN + "--address 127.0.0.1:6379 --store {folder}/store",
        says=("--workers 0", "--address"),
    ),
    Case(name="fewer workers than none", typed="run attack-sweep --workers -1", says=("--workers -1",)),
    Case(name="no workers worth counting", typed="run attack-sweep --workers two", says=("--workers", "'two'")),
]

DATA = [
    Case(
        name="no data root",
        typed=RUN + "--data cifar10:test",
        says=("cifar10:test needs a data root", "--data-root", "robustray import cifar10"),
    ),
    Case(
        name="a data root that is not there",
        typed=RUN + "--data cifar10:test --data-root {folder}/nowhere",
        says=("nowhere/cifar10", "robustray import cifar10"),
    ),
    Case(
        name="a data root at home",
        typed=RUN + "--data cifar10:test --data-root=~/data",
        environment={"HOME": "/nowhere"},
        says=("/nowhere/data/cifar10",),
    ),
    Case(
        name="a data root without the files",
        typed=RUN + "--data cifar10:test",
        environment={"ROBUSTRAY_DATA": "."},
        says=("cifar10/test-*.parquet", "robustray import cifar10"),
    ),
    Case(name="no such folder", typed=RUN + "--data ./images", says=("./images",)),
    Case(name="no such file", typed=RUN + "--data shards.parquet", says=("shards.parquet is missing",)),
    Case(
        name="class folders out of order",
        typed=RUN + "--data images",
        prepare=folders("0", "1", "10", "2"),
        says=("'10' comes before", "zero-pad"),
    ),
    Case(
        name="a file that is no image",
        typed=RUN + "--data images",
        prepare=file("images/cat/0.png"),
        says=("images/cat/0.png", "cannot be decoded"),
    ),
    Case(
        name="other pictures than the model takes",
        typed=RUN + "--data images --model digits:mlp",
        prepare=folders("cat", "dog"),
        says=("--model digits:mlp", "10 outputs", "2 classes"),
    ),
    Case(
        name="a truncated Parquet file",
        typed=RUN + "--data shards.parquet",
        prepare=shards(lambda data: data[:-50]),
        says=("shards.parquet", "truncated"),
    ),
    Case(
        name="a flipped bit in Parquet",
        typed=RUN + "--data shards.parquet",
        prepare=shards(flip),
        says=("shards.parquet", "damaged"),
    ),
    Case(
        name="Parquet without images",
        typed=RUN + "--data shards.parquet",
        prepare=parquet(label=[1, 2]),
        says=("shards.parquet", "image", "found label"),
    ),
    Case(
        name="Parquet without labels",
        typed=RUN + "--data shards.parquet",
        prepare=parquet(image=[{"bytes": b"x", "path": "x"}]),
        says=("shards.parquet", "label", "found image"),
    ),
    Case(
        name="a damaged PNG in whole Parquet",
        typed=RUN + "--data shards.parquet",
        prepare=bad_png,
        says=("shards.parquet row 1", "cannot be decoded"),
    ),
    Case(
        name="NaN pixels",
        typed=RUN + "--data own:data",
        prepare=data(f"{EIGHT} * np.nan, np.arange(4)"),
        says=("own:data", "image 0", "nan"),
    ),
    Case(
        name="pixels in 0..255",
        typed=RUN + "--data own:data",
        prepare=data(f"{EIGHT} + 255, np.arange(4)"),
        says=("own:data", "255", "divide by 255"),
    ),
    Case(
        name="negative pixels",
        typed=RUN + "--data own:data",
        prepare=data(f"{EIGHT} - 0.5, np.arange(4)"),
        says=("own:data", "-0.5", "[0, 1]"),
    ),
    Case(
        name="labels out of range",
        typed=RUN + "--data own:data",
        prepare=data(f"{EIGHT}, np.array([0, 1, 2, 3]), ('a', 'b', 'c')"),
        says=("own:data", "image 3 has label 3", "3 classes"),
    ),
    Case(
        name="negative labels",
        typed=RUN + "--data own:data",
        prepare=data(f"{EIGHT}, np.array([0, 1, -1, 2])"),
        says=("own:data", "label -1"),
    ),
    Case(
        name="fewer labels than images",
        typed=RUN + "--data own:data",
        prepare=data(f"{EIGHT}, np.arange(3)"),
        says=("own:data", "labels", "(4,)"),
    ),
    Case(
        name="channels last",
        typed=RUN + "--data own:data",
        prepare=data("np.zeros((4, 8, 8, 3), np.uint8), np.arange(4)"),
        says=("own:data", "(4, 8, 8, 3)", "channels last"),
    ),
    Case(
        name="no images at all",
        typed=RUN + "--data own:data",
        prepare=data("np.zeros((0, 1, 8, 8), np.uint8), np.arange(0)"),
        says=("own:data", "no images"),
    ),
    Case(
        name="data of no kind",
        typed=RUN + "--data own:data",
        prepare=data("'junk'"),
        says=("own:data returned str", "(images, labels)"),
    ),
    Case(
        name="images of no kind",
        typed=RUN + "--data own:data",
        prepare=data("(['a'], [0])"),
        says=("own:data", "images"),
    ),
]

MODELS = [
    Case(
        name="weights for a model that has none",
        typed=RUN + "--model cifar:resnet18 --data digits:test",
        says=("cifar:resnet18 has no weights", "robustray import weights"),
    ),
    Case(
        name="missing weights",
        typed=RUN + "--model digits:mlp@w.safetensors",
        says=("w.safetensors", "missing"),
    ),
    Case(
        name="truncated weights",
        typed=RUN + "--model digits:mlp@w.safetensors",
        prepare=weights(spoil=lambda data: data[:-10]),
        says=("w.safetensors", "truncated"),
    ),
    Case(
        name="a spoilt header of weights",
        typed=RUN + "--model digits:mlp@w.safetensors",
        prepare=weights(spoil=lambda data: data[:9] + b"\xff" + data[10:]),
        says=("w.safetensors", "no whole safetensors file"),
    ),
    Case(
        name="weights with NaN",
        typed=RUN + "--model digits:mlp@w.safetensors",
        prepare=not_finite,
        says=("w.safetensors", "head.weight", "NaN"),
    ),
    Case(
        name="weights of another architecture",
        typed=RUN + "--model digits:mlp@w.safetensors",
        prepare=weights("digits:cnn"),
        says=("w.safetensors does not fit digits:mlp", "hidden1"),
    ),
    Case(
        name="pickled weights",
        typed=RUN + "--model digits:mlp@w.pt",
        prepare=pickled,
        says=("w.pt", "never loaded", "robustray import weights w.pt"),
    ),
    Case(
        name="a weights file in place of a model",
        typed=RUN + "--model ./w.safetensors",
        prepare=weights(),
        says=("w.safetensors", "no architecture", "cifar:resnet20@"),
    ),
    Case(
        name="a model for three channels on grey images",
        typed=RUN + "--model small:s@w.safetensors",
        prepare=weights("small:s"),
        says=("--model small:s@w.safetensors with --data digits:test", "1 channels, the model takes 3"),
    ),
    Case(
        name="a self-training model on other images",
        typed=RUN + "--model digits:mlp --data own:data",
        prepare=data("np.zeros((10, 3, 32, 32), np.uint8), np.arange(10)"),
        says=("--model digits:mlp with --data own:data", "(10, 3, 32, 32)"),
    ),
    Case(
        name="a self-training model on other classes",
        typed=RUN + "--model digits:cnn --data own:data",
        prepare=data(f"{EIGHT}, np.arange(4)"),
        says=("--model digits:cnn", "10 outputs", "4 classes"),
    ),
    Case(
        name="a model that returns probabilities",
        typed=RUN + "--model own:build",
        prepare=model("return z.softmax(1)"),
        says=("own:build", "probabilities", "softmax"),
    ),
    Case(
        name="a model that returns NaN",
        typed=RUN + "--model own:build",
        prepare=model("return z * float('nan')"),
        says=("own:build", "NaN"),
    ),
    Case(
        name="a model that returns another shape",
        typed=RUN + "--model own:build",
        prepare=model("return z[:, None]"),
        says=("own:build", "(32, 1, 10)", "(32, 10)"),
    ),
    Case(
        name="a model with other classes",
        typed=RUN + "--model own:build",
        prepare=model("return z[:, :7]"),
        says=("own:build", "7 outputs", "10 classes"),
    ),
    Case(
        name="a model that returns a tuple",
        typed=RUN + "--model own:build",
        prepare=model("return z, x"),
        says=("own:build", "tuple", "logits"),
    ),
    Case(
        name="a model that raises",
        typed=RUN + "--model own:build",
        prepare=model("raise ValueError('no such\\nluck')"),
        says=("own:build", "ValueError: no such", "own.py:"),
    ),
    Case(
        name="a model that is never the same",
        typed=RUN + "--model own:build",
        prepare=model("return z + torch.rand_like(z)"),
        says=("own:build", "other logits", "dropout"),
    ),
    Case(name="no such module", typed=RUN + "--model nowhere:build", says=("'nowhere'", "no module")),
    Case(
        name="no such function",
        typed=RUN + "--model own:biuld",
        prepare=model("return z"),
        says=("own has no function 'biuld'", "did you mean 'build'"),
    ),
    Case(
        name="a module that raises",
        typed=RUN + "--model own:build",
        prepare=module("1 / 0"),
        says=("own:build", "importing own fails", "ZeroDivisionError", "own.py:4"),
    ),
    Case(
        name="a module that is a script",
        typed=RUN + "--model own:build",
        prepare=module("raise SystemExit(0)"),
        says=("own:build", "importing own fails", "SystemExit"),
    ),
    Case(
        name="a module that is no Python",
        typed=RUN + "--data own:data",
        prepare=module("def data(:\n"),
        says=("own:data", "SyntaxError"),
    ),
    Case(
        name="a function that wants arguments",
        typed=RUN + "--model own:build",
        prepare=module("def build(width):\n    return nn.Linear(width, 10)\n"),
        says=("own:build needs 'width'",),
    ),
    Case(
        name="a function that raises",
        typed=RUN + "--model own:build",
        prepare=module("def build():\n    raise KeyError('width')\n"),
        says=("own:build raised KeyError", "own.py:5"),
    ),
    Case(
        name="a model of no kind",
        typed=RUN + "--model own:build",
        prepare=module("def build():\n    return lambda x: x\n"),
        says=("own:build returned function", "torch.nn.Module"),
    ),
]

ATTACKS = [
    Case(name="no such attack module", typed=RUN + "--attack nowhere:attack", says=("'nowhere'", "no module")),
    Case(
        name="an attack of no kind",
        typed=RUN + "--attack own:attack",
        prepare=attack("def attack(norm, eps):\n    return 'junk'"),
        says=("--attack own:attack", "frozen dataclass", "'junk'"),
    ),
    Case(
        name="an attack that takes nothing",
        typed=RUN + "--attack own:attack",
        prepare=attack("def attack():\n    return FGSM(norm='linf', eps=0.1)"),
        says=("--attack own:attack", "norm='linf'", "TypeError"),
    ),
    Case(
        name="an attack of its own size",
        typed=RUN + "--attack own:attack",
        prepare=attack("def attack(norm, eps):\n    return FGSM(norm=norm, eps=0.5)"),
        says=("--attack own:attack", "asked for", "eps=0.05"),
    ),
    Case(
        name="an attack that can change",
        typed=RUN + "--attack own:Attack",
        prepare=attack("@dataclass\nclass Attack:\n    norm: str\n    eps: float\n    def __call__(self): ..."),
        says=("--attack own:Attack", "frozen"),
    ),
    Case(
        name="an attack that holds a tensor",
        typed=RUN + "--attack own:Attack",
        prepare=attack(
            "@dataclass(frozen=True)\nclass Attack:\n    norm: str\n    eps: float\n    noise: Any = torch.zeros(2)\n"
            "    def __call__(self): ..."
        ),
        says=("--attack own:Attack", "Tensor", "fields"),
    ),
]

RUNS = [
    Case(name="resume nothing", typed="resume", says=("which run", "-m robustray status")),
    Case(name="resume an unknown run", typed="resume nothing", says=("no run 'nothing'", "runs")),
    Case(
        name="resume a misspelt run",
        typed="resume attack-swep",
        prepare=some_runs("0123abcd"),
        says=("no run 'attack-swep'", "attack-sweep-"),
    ),
    Case(
        name="resume one of two",
        typed="resume attack-sweep",
        prepare=some_runs("0123abcd", "0123abce"),
        says=("'attack-sweep'", "2 runs", "0123abcd", "0123abce"),
    ),
    Case(
        name="resume two",
        typed="resume 0123abcd 0123abce",
        prepare=some_runs("0123abcd", "0123abce"),
        says=("which run", "give one"),
    ),
    Case(name="report nothing", typed="report --store here", says=("which run", "-m robustray status --store here")),
    Case(name="report an unknown run", typed="report nothing", says=("no run 'nothing'",)),
    Case(
        name="report one of two",
        typed="report 0123",
        prepare=some_runs("01230000", "01231111"),
        says=("'0123'",),
    ),
    Case(
        name="report what has found nothing",
        typed="report 0123abcd",
        prepare=some_runs("0123abcd"),
        says=("interrupted", "found nothing yet", "-m robustray resume attack-sweep-"),
    ),
    Case(
        name="resume on fewer workers than none",
        typed="resume 0123abcd --workers -1",
        prepare=some_runs("0123abcd"),
        says=("--workers -1",),
    ),
]

IMPORTS = [
    Case(name="import nothing", typed="import", says=("import what", "cifar10", "weights")),
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

CASES = [*WORDS, *NUMBERS, *PLACES, *DATA, *MODELS, *ATTACKS, *RUNS, *IMPORTS]


def tree(folder: Path) -> dict[str, bytes | None]:
    """Every file with its content, every folder."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_bad_input_is_refused_in_one_line(
    case: Case, cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    for name, value in case.environment.items():
        monkeypatch.setenv(name, value)
    case.prepare(tmp_path)
    before = tree(tmp_path)

    outcome = cli(case.typed.replace("{folder}", str(tmp_path)))

    assert outcome.code == 2, outcome
    assert outcome.err.startswith("robustray: error: ") and outcome.err.endswith("\n"), outcome.err
    assert not recwarn.list, "these would be lines on stderr, too"
    assert outcome.err.count("\n") == 1 and outcome.out == "", outcome
    missing = [words for words in case.says if words not in outcome.err]
    assert not missing, f"{missing} not in: {outcome.err}"
    assert "Traceback" not in outcome.err and "│" not in outcome.err and "  " not in outcome.err
    after = tree(tmp_path)
    assert after == before, f"written: {[name for name in after if after[name] != before.get(name, '')]}"


def test_a_gpu_that_is_not_there_is_an_error_when_it_is_demanded(cli: Any, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU: it cannot be missing")
    outcome = cli(RUN + "--device cuda")
    assert outcome.code == 2 and not any(tmp_path.iterdir())
    assert outcome.err.startswith("robustray: error: --device cuda: ") and "--device cpu" in outcome.err


def test_the_names_of_the_cases_differ() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 60
    assert all(dataclasses.asdict(case)["says"] for case in CASES)
