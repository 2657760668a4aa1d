"""Makes `.cuda()` do nothing on a machine without CUDA, for libraries that call it on every machine."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from torch import Tensor


@contextlib.contextmanager
def cuda_stays_here() -> Iterator[None]:
    """Inside, `tensor.cuda()` returns the tensor itself."""

    def same(tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return tensor

    original = Tensor.cuda
    Tensor.cuda = same  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        Tensor.cuda = original  # type: ignore[method-assign]
