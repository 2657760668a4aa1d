"""What the study of backgrounds cannot use."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from robustray.tasks.data.export import write_shards
from robustray.tasks.data.images import boxes_of
from tests.cli.bad_input.case import Case, Prepare, both, file, folders, module

RUN = "run backgrounds --workers 0 "


def boxed(boxes: Sequence[Sequence[int]], labels: Sequence[int] = (0, 0, 1, 1), *, mask: bool = False) -> Prepare:
    """`boxed.parquet`: four grey images of 12x12 pixels with these boxes; with masks, those hold one pixel each."""

    def prepare(folder: Path) -> None:
        masks = np.zeros((4, 12, 12), bool)
        for row, (x0, y0, _, _) in enumerate(boxes):
            masks[row, y0, x0] = True
        images = np.full((4, 1, 12, 12), 100, np.uint8)
        names = [str(row) for row in range(4)]
        held = masks if mask else None
        assert not mask or boxes_of(masks).any()
        write_shards(
            folder, "x", images, np.array(labels), names, ["a", "b"], masks=held, boxes=np.array(boxes, np.int64)
        )
        (folder / "x-00000-of-00001.parquet").rename(folder / "boxed.parquet")

    return prepare


FINE = [[2, 2, 6, 6]] * 4
PHOTOS = RUN + "--data images --build out --boxes "


def photographs(boxes: str, content: str, *, classes: Sequence[str] = ("cat", "dog")) -> Prepare:
    """`images/CLASS/0.png`, grey pictures of 8x8 pixels, and a file `boxes` with this content."""
    return both(folders(*classes), file(boxes, content.encode()))


CSV = "file,x0,y0,x1,y1\n"
ENTITIES = '<!DOCTYPE a [<!ENTITY b "b">]><annotation>&b;</annotation>'

BACKGROUNDS = [
    Case(name="backgrounds: a correlation above 1", typed=RUN + "--rhos 0 1.5", says=("rhos", "[0, 1]", "1.5")),
    Case(name="backgrounds: correlations that fall", typed=RUN + "--rhos 0.9 0", says=("rhos", "ascend", "0.9, 0")),
    Case(name="backgrounds: no correlation", typed=RUN + "--rhos", says=("rhos", "at least one")),
    Case(
        name="backgrounds: no such version",
        typed=RUN + "--versions mixed_sme only_bg_t mixed_rand",
        says=("'mixed_sme'", "mixed_same"),
    ),
    Case(
        name="backgrounds: no BG-gap without its versions",
        typed=RUN + "--versions only_bg_t mixed_rand",
        says=("versions", "mixed_same is missing"),
    ),
    Case(name="backgrounds: no margin", typed=RUN + "--margin 0", says=("margin", "(0, 1)")),
    Case(name="backgrounds: scenes of a few pixels", typed=RUN + "--side 8", says=("side", "at least 12")),
    Case(name="backgrounds: no seeds", typed=RUN + "--num-seeds 0", says=("num_seeds", "at least 1")),
    Case(name="backgrounds: no such network", typed=RUN + "--arch scenes:cn", says=("did you mean 'scenes:cnn'",)),
    Case(
        name="backgrounds: a batch of more than there is",
        typed=RUN + "--batch-size 4000",
        says=("batch_size 4000", "2250 training images"),
    ),
    Case(name="backgrounds: models without data", typed=RUN + "--models scenes:cnn", says=("give --data",)),
    Case(
        name="backgrounds: data and nothing to do",
        typed=RUN + "--data boxed.parquet",
        prepare=boxed(FINE),
        says=("--models to judge", "--build FOLDER"),
    ),
    Case(
        name="backgrounds: images without boxes",
        typed=RUN + "--data images --build out",
        prepare=folders("cat", "dog"),
        says=("neither boxes nor masks",),
    ),
    Case(
        name="backgrounds: a box that leaves its image",
        typed=RUN + "--data boxed.parquet --build out",
        prepare=boxed([[2, 2, 6, 13], *FINE[1:]]),
        says=("image 0 has the box [2, 2, 6, 13]", "y1 <= 12"),
    ),
    Case(
        name="backgrounds: boxes without background",
        typed=RUN + "--data boxed.parquet --build out",
        prepare=boxed([[0, 0, 12, 12]] * 4),
        says=("no image can be cut out", "the box is the whole image"),
    ),
    Case(
        name="backgrounds: objects of a pixel",
        typed=RUN + "--data boxed.parquet --build out",
        prepare=boxed(FINE, mask=True),
        says=("no image can be cut out", "less than 10% of its box"),
    ),
    Case(
        name="backgrounds: one image of a class",
        typed=RUN + "--data boxed.parquet --build out",
        prepare=boxed(FINE, (0, 0, 0, 1)),
        says=("image 3 is the only one of its class", "mixed_same"),
    ),
    Case(
        name="backgrounds: a model of other images",
        typed=RUN + "--data boxed.parquet --models digits:mlp",
        prepare=boxed(FINE),
        says=("--models digits:mlp", "--data boxed.parquet"),
    ),
    Case(
        name="backgrounds: more foregrounds than scenes",
        typed=RUN + "--num-swept 5000",
        says=("num_swept 5000", "num_fixed = 1200"),
    ),
    Case(
        name="backgrounds: a share of no scenes",
        typed=RUN + "--curve-shares 0.001",
        says=("curve_shares 0.001", "fewer than 18"),
    ),
    Case(name="backgrounds: a share of all scenes", typed=RUN + "--curve-shares 1", says=("curve_shares", "(0, 1)")),
    Case(
        name="backgrounds: perturbations that fall", typed=RUN + "--eps-train 0.5 0.2", says=("eps_train", "0.5, 0.2")
    ),
    Case(
        name="backgrounds: no such network on the curve",
        typed=RUN + "--curve-archs scenes:cn",
        says=("did you mean 'scenes:cnn'",),
    ),
    Case(
        name="backgrounds: boxes without photographs", typed=RUN + "--boxes central:0.6", says=("boxes", "give --data")
    ),
    Case(
        name="backgrounds: a word about photographs without boxes",
        typed=RUN + "--data boxed.parquet --build out --photo-side 64",
        prepare=boxed(FINE),
        says=("--photo-side does nothing here", "--boxes"),
    ),
    Case(
        name="backgrounds: no such boxes",
        typed=PHOTOS + "boxes.csv",
        prepare=folders("cat", "dog"),
        says=("--boxes boxes.csv", "no such file"),
    ),
    Case(
        name="backgrounds: no boxes of their own",
        typed=PHOTOS + "own",
        prepare=folders("cat", "dog"),
        says=("--boxes own", "images/boxes.csv", "central:0.6"),
    ),
    Case(
        name="backgrounds: more than the whole image in the centre",
        typed=PHOTOS + "central:1.5",
        prepare=folders("cat", "dog"),
        says=("central:1.5", "between 0 and 1"),
    ),
    Case(
        name="backgrounds: boxes in a form that nobody reads",
        typed=PHOTOS + "boxes.txt",
        prepare=photographs("boxes.txt", ""),
        says=("boxes.txt", "COCO", ".csv"),
    ),
    Case(
        name="backgrounds: JSON that is no annotation",
        typed=PHOTOS + "boxes.json",
        prepare=photographs("boxes.json", '{"images": [{"id": 1, "file_name": "0.png"}]}'),
        says=("boxes.json is no COCO annotation", "lacks 'annotations'"),
    ),
    Case(
        name="backgrounds: a table without a side",
        typed=PHOTOS + "boxes.csv",
        prepare=photographs("boxes.csv", "file,x0,y0,x1\ncat/0.png,1,1,3\n"),
        says=("boxes.csv has no column 'y1'",),
    ),
    Case(
        name="backgrounds: a box of words",
        typed=PHOTOS + "boxes.csv",
        prepare=photographs("boxes.csv", CSV + "cat/0.png,1,1,3,4\ndog/0.png,1,one,3,4\n"),
        says=("row 1 (dog/0.png)", "1,one,3,4 is no box"),
    ),
    Case(
        name="backgrounds: XML that declares entities",
        typed=PHOTOS + "notes",
        prepare=photographs("notes/0.xml", ENTITIES),
        says=("notes/0.xml declares", "entities"),
    ),
    Case(
        name="backgrounds: XML that is cut off",
        typed=PHOTOS + "notes",
        prepare=photographs("notes/0.xml", "<annotation><object>"),
        says=("notes/0.xml is no annotation",),
    ),
    Case(
        name="backgrounds: boxes of other photographs",
        typed=PHOTOS + "boxes.csv",
        prepare=photographs("boxes.csv", CSV + "bird/7.png,1,1,3,4\n"),
        says=("says nothing about any photograph of images", "bird/7.png", "cat/0.png"),
    ),
    Case(
        name="backgrounds: photographs that can't be cut out, each for its reason",
        typed=PHOTOS + "boxes.csv",
        prepare=photographs("boxes.csv", CSV + "cat/0.png,1,1,30,4\ndog/0.png,0,0,8,8\n"),
        says=("no photograph can be cut out", "cat/0.png", "leaves the image of 8 x 8 pixels"),
    ),
    Case(
        name="backgrounds: photographs of one class",
        typed=PHOTOS + "boxes.csv",
        prepare=photographs("boxes.csv", CSV + "cat/0.png,1,1,4,4\n", classes=("cat",)),
        says=("fewer than two classes",),
    ),
    Case(
        name="backgrounds: the nine groups of other classes than ImageNet's",
        typed=PHOTOS + "central:0.6 --groups in9",
        prepare=folders("cat", "dog"),
        says=("--groups in9", "2 classes", "1,000"),
    ),
    Case(
        name="backgrounds: a thousand answers on classes that are not the nine",
        typed=RUN + "--data boxed.parquet --models own:build",
        prepare=both(
            boxed(FINE),
            module(
                "def build():\n"
                "    torch.manual_seed(0)\n"
                "    return nn.Sequential(nn.Flatten(), nn.Linear(144, 1000)).eval()\n"
            ),
        ),
        says=("1000 outputs, the data 2 classes", "looked up among the classes of ImageNet-9"),
    ),
    Case(
        name="backgrounds: released versions without one that is needed",
        typed=RUN + "--released images --models digits:mlp",
        prepare=folders("original/val/cat", "only_bg_t/val/cat", "mixed_same/val/cat"),
        says=("--released images", "no folder mixed_rand"),
    ),
    Case(
        name="backgrounds: released versions of other foregrounds",
        typed=RUN + "--released images --models digits:mlp",
        prepare=folders(
            *(f"{each}/val/{name}" for each in ("original", "only_bg_t", "mixed_rand") for name in ("cat", "dog")),
            "mixed_same/val/cat",
        ),
        says=("mixed_same holds 1 images of 1 classes", "original 2 of 2"),
    ),
    Case(
        name="backgrounds: a released mask that is none",
        typed=RUN + "--released images --models digits:mlp",
        prepare=both(
            folders(
                *(
                    f"{each}/val/{name}"
                    for each in ("original", "only_bg_t", "mixed_same", "mixed_rand")
                    for name in ("cat", "dog")
                )
            ),
            file("images/fg_mask/val/cat/0.npy"),
        ),
        says=("images/fg_mask/val/dog/0.npy is missing", "1 of 2 masks"),
    ),
    Case(
        name="backgrounds: data and released at once",
        typed=RUN + "--released images --data images --models digits:mlp",
        says=("data and released exclude each other",),
    ),
]
