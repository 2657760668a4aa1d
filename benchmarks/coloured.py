"""Block functions that make images and look at them: for memory, not for what is in them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from robustray.tasks.data.images import ImageData
from robustray.tasks.lab import Context, block_function
from robustray.tasks.lab.protocol import Tensor

SHAPE = (3, 32, 32)
BYTES = 3 * 32 * 32
"""Bytes of one image."""


@block_function(version=1, columns={"image": Tensor("uint8"), "label": pa.int64()})
def make_block(items: Sequence[int], context: Context) -> Mapping[str, Any]:
    """An image of random bytes per item, of class item % 10; every seed makes others."""
    noise = np.random.default_rng([context.seed, items[0]])
    return {"image": noise.integers(0, 256, (len(items), *SHAPE), np.uint8), "label": np.asarray(items) % 10}


@block_function(version=1, columns={"index": pa.int64(), "mean": pa.float64()})
def look_block(items: Sequence[int], context: Context) -> Mapping[str, Any]:
    """The mean of each image."""
    data: ImageData = context.load("data")
    return {"index": items, "mean": data.images[list(items)].mean((1, 2, 3), dtype=np.float64)}
