"""The corruptions of an evaluation: the model's accuracy on the images under each, kept where it is to be kept."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from robustray.tasks.corruptions.accuracy import Corrupted
from robustray.tasks.corruptions.settings import Corruption
from robustray.tasks.cost import Part
from robustray.tasks.evaluation.attacking import BLOCK
from robustray.tasks.kit.estimates import LOOK

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from robustray.tasks.attacks.gradient.verdicts import Model
    from robustray.tasks.data.images import ImageData
    from robustray.tasks.evaluation.kept import Kept
    from robustray.tasks.report.progress import Progress

STEP = "corruptions"
"""What all of them are called where progress is shown."""
PREDICTED = "robustray.tasks.evaluation.corrupting:predicted"
"""What computes the rows that are kept."""


def plan(cells: Sequence[Corruption], count: int) -> tuple[Part, ...]:
    """What they cost on `count` images, for the time that is left."""
    return (Part(step=STEP, items=count * len(cells), cost=LOOK),) if cells else ()


def corrupt_all(
    cells: Mapping[Corruption, Kept | None],
    model: Model,
    data: ImageData,
    n: int,
    seed: int,
    where: torch.device,
    progress: Progress,
) -> Corrupted | None:
    """The first n images under every corruption; finished blocks are read from where they are kept. None of none."""
    from robustray.tasks.evaluation.kept import Rows

    if not cells:
        return None
    blocks = [range(first, min(first + BLOCK, n)) for first in range(0, n, BLOCK)]
    found = {
        (cell, block): rows.columns["prediction"]
        for cell, kept in cells.items()
        for block in blocks
        if kept is not None and (rows := kept.read(block)) is not None
    }
    progress.start(STEP, n * len(cells), sum(len(block) for _, block in found))
    try:
        for (cell, kept), block in itertools.product(cells.items(), blocks):
            if (cell, block) in found:
                continue
            began = time.monotonic()
            found[cell, block] = predicted(cell, model, data, block, seed, where)
            if kept is not None:
                kept.write(block, Rows(columns={"prediction": found[cell, block]}))
            progress.advance(STEP, len(block), time.monotonic() - began)
    finally:
        progress.finish(STEP)
    return Corrupted(
        table=next(iter(cells)).table,
        correct={
            (cell.name, cell.severity): np.concatenate([found[cell, block] for block in blocks]) == data.labels[:n]
            for cell in cells
        },
    )


def predicted(
    cell: Corruption, model: Model, data: ImageData, block: Sequence[int], seed: int, where: torch.device
) -> NDArray[np.int64]:
    """What the model says of the corrupted images `block`."""
    import torch

    from robustray.tasks.attacks.gradient.verdicts import predict_logits
    from robustray.tasks.corruptions.corrupt import corrupt

    images = data.batch(block)[0].to(where)
    indices = torch.tensor(list(block), dtype=torch.int64)
    shown = corrupt(images, cell.name, cell.severity, table=cell.table, seed=seed, indices=indices)
    return predict_logits(model, shown).argmax(1).cpu().numpy()
