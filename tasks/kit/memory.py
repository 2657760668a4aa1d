"""Memory that a process keeps between one forward pass and the next."""

from __future__ import annotations

import ctypes
import functools

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Of glibc's `mallopt`."""
LARGEST_BLOCK = 32 * 2**20
"""Bytes; glibc allows no more. Larger tensors are still mapped and given back one by one."""
KEPT = 512 * 2**20
"""Freed bytes that a process may hold on to."""


@functools.cache
def keep_freed_memory() -> bool:
    """Let the C library keep what tensors have freed, for the next ones. Returns: whether it does, from now on.

    By default glibc gives large blocks back to the kernel and is given them again, zeroed page by page, in every layer
    of every pass: measured on one core, half of the processor's time of a forward pass of `scenes:cnn` in a process
    that only predicts (training raises glibc's thresholds by itself). Where there is no `mallopt`, nothing happens.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library, or none of that name
        return False
    wanted = ((_MMAP_THRESHOLD, LARGEST_BLOCK), (_TRIM_THRESHOLD, KEPT))
    return all(mallopt(option, value) == 1 for option, value in wanted)
