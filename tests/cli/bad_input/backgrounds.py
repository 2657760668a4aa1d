"""What the study of backgrounds cannot use."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from robustray.tasks.data.export import write_shards
from robustray.tasks.data.images import boxes_of
from tests.cli.bad_input.case import Case, Prepare, folders

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
]
