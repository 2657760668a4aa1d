"""Where random numbers come from: (seed, what is drawn, index), never a worker, an order or a retry.

Attack noise has its own counter-based generator (`attacks/search/noise.py`), because it must be the same on a GPU.
"""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Iterator

import numpy as np


def stream(seed: int, what: str, *index: int) -> np.random.Generator:
    """An independent NumPy generator for one purpose.

    `stream(0, "shuffle", epoch)` depends on its three arguments only. Independent for different arguments by the
    guarantees of `SeedSequence`, of which `what` (as its CRC-32) and `index` are the spawn key.

    Raises: ValueError for a negative seed, or an index outside 0 .. 2^32 - 1 (NumPy would cut it into two).
    """
    if not all(0 <= i < 2**32 for i in index):
        raise ValueError(f"stream {what!r}: every index must fit into 32 bits, got {index}")
    key = (zlib.crc32(what.encode()), *index)
    return np.random.default_rng(np.random.SeedSequence(entropy=seed, spawn_key=key))


def integer(seed: int, what: str, *index: int) -> int:
    """A 63-bit seed for a generator that wants one integer (`torch.Generator.manual_seed`)."""
    return int(stream(seed, what, *index).integers(2**63 - 1))


def seed_torch(seed: int) -> None:
    """Seed torch's global generators that are in use, as `torch.manual_seed` does: for one seed per training step.

    That one also formats the call stack for every kind of accelerator that is not there, which took 0.4 ms a call 60
    calls deep with torch 2.14.1's default build on a CPU: a sixth of the time of training a small network.
    """
    import torch

    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():  # else there is no tensor on a GPU whose draws could depend on it
        torch.cuda.manual_seed_all(seed)


@contextlib.contextmanager
def torch_left_alone() -> Iterator[None]:
    """On leaving, torch's global generators that are in use, those that `seed_torch` seeds, are where they were.

    `fork_rng` without `devices` would open every GPU of the machine, also for what runs on the CPU.
    """
    import torch

    gpus = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices=gpus):
        yield


@contextlib.contextmanager
def torch_seeded(seed: int) -> Iterator[None]:
    """Inside, torch draws from `seed`; on leaving, its generators are where they were."""
    with torch_left_alone():
        seed_torch(seed)
        yield
