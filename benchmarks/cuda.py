"""For libraries that call `.cuda()` whatever the machine has: on a CPU it does nothing here."""

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
