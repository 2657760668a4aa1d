"""Memory that a process has freed stays with it, so that the next batch does not have to be given it anew."""

from __future__ import annotations

import ctypes
import os

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
"""What glibc's mallopt calls them (malloc.h)."""
KEPT = 256 * 2**20
"""Bytes free at the heap's end beyond which it is given back."""
LARGEST = 32 * 2**20
"""Bytes from which a tensor is a mapping of its own, given back once it is freed: the most that glibc allows."""


def keep_freed_memory() -> bool:
    """Ask glibc not to return what is freed between the steps of a training or an attack. Whether it was asked.

    At its defaults the activations of a small network are unmapped after every step and come back page by page, each
    zeroed by the kernel. Nothing that is computed depends on it. Not asked: another C library, or a user who has set
    the allocator up through the environment (mallopt(3)).
    """
    if "GLIBC_TUNABLES" in os.environ or any(name.startswith("MALLOC_") for name in os.environ):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    # Both: the first one alone would end glibc's own adjustment of the other one.
    return mallopt is not None and all([mallopt(TRIM_THRESHOLD, KEPT), mallopt(MMAP_THRESHOLD, LARGEST)])
