"""Block functions without work of their own: what remains is the engine's cost."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from robustray.tasks.lab import Context, block_function


@block_function(version=1, columns={"index": pa.int64(), "value": pa.float64()})
def noop_block(items: Sequence[int], context: Context) -> Mapping[str, Any]:
    """One row per item."""
    index = np.asarray(items, dtype=np.int64)
    return {"index": index, "value": index * 0.5}


@block_function(version=1, columns={"index": pa.int64()})
def hold_block(items: Sequence[int], context: Context) -> Mapping[str, Any]:
    """Wait for half a second, which occupies one actor until the others have started."""
    time.sleep(0.5)
    return {"index": np.asarray(items, dtype=np.int64)}
