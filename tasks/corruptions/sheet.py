"""A contact sheet: one image under every corruption, at every severity."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from robustray.tasks.corruptions.settings import Corrupting
from robustray.tasks.figures.gallery import LARGEST_SIDE
from robustray.tasks.figures.pictures import image_grid

if TYPE_CHECKING:
    from robustray.tasks.data.images import ImageData
    from robustray.tasks.study import Picture

SIDE = 64
"""CSS pixels to which small images are enlarged."""


def contact_sheet(data: ImageData, settings: Corrupting, *, index: int = 0, seed: int = 0) -> Picture:
    """The image `index` as it is, and under the corruptions that the settings name: one in a row.

    What is shown is what `corrupt` gives for this image and seed; over 48 pixels it is made smaller afterwards.
    Raises: InputError for images that cannot be corrupted.
    """
    import torch
    from torch.nn import functional

    from robustray.tasks.corruptions.corrupt import corrupt

    image = data.batch([index])[0]
    _, height, width = data.shape
    cells = settings.cells(height, width)
    place = torch.tensor([index])
    rows = list(dict.fromkeys(cell.name for cell in cells))
    severities = list(dict.fromkeys(cell.severity for cell in cells))
    shown = []
    for name in rows:
        shown.append(image)
        for cell in cells:
            if cell.name == name:
                shown.append(corrupt(image, name, cell.severity, table=cell.table, seed=seed, indices=place))
    stacked = torch.cat(shown)
    if max(height, width) > LARGEST_SIDE:
        small = [max(1, round(side * LARGEST_SIDE / max(height, width))) for side in (height, width)]
        stacked = functional.interpolate(stacked, small, mode="area")
    return image_grid(
        name="corruptions-sheet",
        title="Under common corruptions",
        caption=f"Image {index} ({data.classes[int(data.labels[index])]}) as it is, and at severities; parameters "
        f"of {cells[0].table}, seed {seed}.",
        images=np.asarray(stacked),
        rows=rows,
        columns=["as it is", *map(str, severities)],
        scale=max(1, SIDE // max(stacked.shape[2:])),
    )
