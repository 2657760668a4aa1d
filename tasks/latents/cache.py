"""Latents of a model over a data set: computed once for all studies, under one step name and in blocks of one size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from robustray.tasks.attacks.blocks import load_images
from robustray.tasks.data.files import first_line
from robustray.tasks.errors import InputError
from robustray.tasks.lab.protocol import Context, Needs, Tensor, block_function

if TYPE_CHECKING:
    import pandas as pd

    from robustray.tasks.attacks.precision import Arithmetic
    from robustray.tasks.lab.protocol import Handle, Lab, Reference

STEP, QUICK_STEP = "latents", "latents-bf16"
BLOCK = 512
NEEDS = Needs(threads=1, gpus=0.25)


@block_function(
    version=1,
    columns={
        "index": pa.int64(),
        "label": pa.int16(),
        "prediction": pa.int16(),
        "logits": Tensor("float32"),
        "latent": Tensor("float32"),
    },
)
def latent_block(indices: Sequence[int], context: Context) -> Mapping[str, Any]:
    """Penultimate features (width,) float32 of images, after the last ReLU and the pooling; labels, logits (classes,).

    Items are indices of the data set behind "data"; "model" needs `forward_with_latent`. Needs no settings and no seed.
    Raises: InputError for a model without it.
    """
    images, labels = load_images(indices, context)
    logits, latent = look(context.load("model"), images)
    return {"index": indices, "label": labels, "prediction": logits.argmax(1), "logits": logits, "latent": latent}


def look(model: Any, images: Any, *, batch_size: int = 128) -> tuple[Any, Any]:
    """(logits, latents) of images (b > 0, ...), in evaluation mode and fp32: tensors on their device.

    Raises: InputError for a model without latents, and for anything but finite logits.
    """
    import torch

    from robustray.tasks.attacks.gradient.verdicts import FrozenModel

    with FrozenModel(model, needs_latent=True) as view:
        outputs = [view.evaluate(part) for part in images.split(batch_size)]
    found = [each.latent for each in outputs if each.latent is not None]
    return torch.cat([each.logits for each in outputs]), torch.cat(found)


@block_function(version=1, columns={"index": pa.int64(), "label": pa.int16(), "latent": Tensor("float32")})
def quick_latent_block(indices: Sequence[int], context: Context) -> Mapping[str, Any]:
    """Like `latent_block`, by `quick_look`: latents that are near those of the model, for less time."""
    images, labels = load_images(indices, context)
    return {"index": indices, "label": labels, "latent": quick_look(context.load("model"), images)}


def quick_look(model: Any, images: Any, *, batch_size: int = 128) -> Any:
    """Latents (b, width) float32 of images (b > 0, channels, height, width), by autocast to bf16: within about a
    hundredth of those of `look`.

    Raises: InputError for a model without latents, and for one that does not run in bf16.
    """
    import torch

    from robustray.tasks.attacks.gradient.view import GradientView
    from robustray.tasks.attacks.objective import CrossEntropy

    parts = []
    with GradientView(model, needs_latent=True, precision="bf16") as view:
        for part in images.split(batch_size):
            labels = torch.zeros(len(part), dtype=torch.int64, device=part.device)  # the loss is not looked at
            try:
                found = view.estimate(part, labels, CrossEntropy())[1].latent
            except (RuntimeError, TypeError, NotImplementedError) as error:  # the model may be the user's own
                raise InputError(
                    f"the network does not run in bf16 ({first_line(error)}): take its features in fp32"
                ) from error
            assert found is not None, "asked for latents"
            parts.append(found)
    return torch.cat(parts)


def latents(
    lab: Lab, model: Reference, data: Reference, indices: Sequence[int], *, precision: Arithmetic = "fp32"
) -> Handle[pd.DataFrame]:
    """Rows of `latent_block` for these images, from the store where they are known; of `quick_latent_block` in bf16.

    A longer list of indices re-uses the full blocks that it shares with a shorter one: take them from the first one on.
    """
    step, function = (STEP, latent_block) if precision == "fp32" else (QUICK_STEP, quick_latent_block)
    return lab.map(step, function, indices, block=BLOCK, refs={"model": model, "data": data}, needs=NEEDS)


def matrix(rows: pd.DataFrame, column: str = "latent") -> NDArray[np.float32]:
    """A column of arrays as one array: (rows, ...)."""
    return np.stack(list(rows[column])) if len(rows) else np.zeros((0, 0), np.float32)
