"""Predictions on corrupted images, as blocks of a lab."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from robustray.tasks.attacks.blocks import load_images
from robustray.tasks.corruptions.settings import Corrupting, Corruption
from robustray.tasks.kit.images import NEEDS
from robustray.tasks.lab.protocol import Context, block_function

if TYPE_CHECKING:
    import pandas as pd

    from robustray.tasks.data.images import ImageData
    from robustray.tasks.lab.protocol import Handle, Lab, Reference


@block_function(
    version=1,
    columns={"index": pa.int64(), "label": pa.int16(), "prediction": pa.int16(), "correct": pa.bool_()},
)
def corrupted_block(indices: Sequence[int], context: Context) -> Mapping[str, Any]:
    """Predictions of "model" on the images of "data" under the corruption in `context.settings`."""
    import torch

    from robustray.tasks.attacks.gradient.verdicts import predict_logits
    from robustray.tasks.corruptions.corrupt import corrupt

    chosen: Corruption = context.settings
    images, labels = load_images(indices, context)
    places = torch.tensor(list(indices), dtype=torch.int64)
    shown = corrupt(images, chosen.name, chosen.severity, table=chosen.table, seed=context.seed, indices=places)
    prediction = predict_logits(context.load("model"), shown).argmax(1)
    return {"index": indices, "label": labels, "prediction": prediction, "correct": prediction == labels}


def look(
    settings: Corrupting,
    lab: Lab,
    model: Reference,
    data: Reference,
    images: ImageData,
    num_images: int,
    *,
    block: int,
    seed: int,
    step: str = "corrupted",
) -> dict[Corruption, Handle[pd.DataFrame]]:
    """Rows of `corrupted_block` for the first `num_images` images, under each corruption that the settings name.

    images: what `data` holds.
    """
    _, height, width = images.shape
    return {
        each: lab.map(
            step,
            corrupted_block,
            range(num_images),
            block=block,
            seed=seed,
            settings=each,
            refs={"model": model, "data": data},
            needs=NEEDS,
        )
        for each in settings.cells(height, width)
    }
