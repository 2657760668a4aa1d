"""Block functions that misbehave on order. Actors import this module by name: its folder must be in their search path.

What they do stands in the settings; whatever they leave for the tests to see goes to `Behaviour.folder`.
"""

from __future__ import annotations

import os
import secrets
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa

from robustray.tasks.lab.protocol import Context, Tensor, block_function


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """What happens to the blocks that hold certain items."""

    folder: str
    kill: tuple[int, ...] = ()
    """The worker dies, whenever it meets them."""
    kill_once: tuple[int, ...] = ()
    """The worker dies, once."""
    out_of_memory: tuple[int, ...] = ()
    out_of_memory_once: tuple[int, ...] = ()
    fail: tuple[int, ...] = ()
    seconds: float = 0.0
    """How long each block takes."""
    until: str = ""
    """Each block waits until there is a file of this name in the folder."""


@block_function(version=1, columns={"item": pa.int64(), "root": pa.float64(), "image": Tensor("float32")})
def work(items: Sequence[int], context: Context) -> Mapping[str, Any]:
    """Rows that depend on items and seed only."""
    does: Behaviour = context.settings
    _leave(does, "ran", f"{os.getpid()} {' '.join(map(str, items))}")
    for item in items:
        if item in does.kill or (item in does.kill_once and _first_time(does, f"killed-{item}")):
            os.kill(os.getpid(), signal.SIGKILL)
        if item in does.out_of_memory or (item in does.out_of_memory_once and _first_time(does, f"memory-{item}")):
            raise MemoryError
        if item in does.fail:
            raise ValueError(f"item {item} is not to my taste")
    time.sleep(does.seconds)
    while does.until and not Path(does.folder, does.until).exists():
        time.sleep(0.02)
    values = np.asarray(items, "float64")
    return {
        "item": items,
        "root": np.sqrt(values) + context.seed,
        "image": np.sin(values[:, None] * np.arange(5)).astype("float32"),
    }


@block_function(
    version=1,
    columns={
        "item": pa.int64(),
        "visible": pa.string(),
        "ids": pa.string(),
        "pid": pa.int64(),
        "begin": pa.float64(),
        "end": pa.float64(),
    },
)
def where(items: Sequence[int], context: Context) -> Mapping[str, Any]:
    """Which GPUs Ray gave to this worker, and when it had them. CUDA is not touched."""
    import ray

    n, begin = len(items), time.monotonic()
    time.sleep(context.settings)
    return {
        "item": items,
        "visible": [os.environ.get("CUDA_VISIBLE_DEVICES", "")] * n,
        "ids": [",".join(map(str, ray.get_gpu_ids()))] * n,
        "pid": [os.getpid()] * n,
        "begin": [begin] * n,
        "end": [time.monotonic()] * n,
    }


def ran(folder: str) -> list[tuple[int, tuple[int, ...]]]:
    """(pid, items) of every block that was begun."""
    lines = [path.read_text().split() for path in Path(folder).glob("ran-*")]
    return [(int(pid), tuple(map(int, items))) for pid, *items in lines]


def _leave(does: Behaviour, what: str, text: str) -> None:
    path = Path(does.folder, f".{secrets.token_hex(8)}")
    path.write_text(text)
    path.rename(path.with_name(f"{what}-{secrets.token_hex(8)}"))


def _first_time(does: Behaviour, what: str) -> bool:
    try:
        Path(does.folder, what).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


@dataclass(frozen=True)
class Bulk:
    """A reference to so many bytes, of which every worker makes a copy of its own."""

    name: str
    size: int
    modules: tuple[str, ...] = ()

    @property
    def content_hash(self) -> str:
        return f"{self.name} {self.size}"

    def fetch(self) -> np.ndarray:
        return np.full(self.size, 7, np.uint8)

    def build(self, payload: np.ndarray, device: str) -> np.ndarray:
        return payload.copy()


@block_function(version=1, columns={"last": pa.int64(), "memory": pa.int64()})
def weigh(items: Sequence[int], context: Context) -> Mapping[str, Any]:
    """The last byte of the data, and the memory that only this process has."""
    last = int(context.load("data")[-1])
    memory = psutil.Process().memory_full_info().uss
    return {"last": [last] * len(items), "memory": [memory] * len(items)}
