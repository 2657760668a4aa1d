"""What users have for arrays: NumPy, torch tensors of any kind, lists of either -> one NumPy array."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustray.tasks.data.files import first_line
from robustray.tasks.errors import InputError


def plain_array(values: Any, what: str) -> NDArray[Any]:
    """`values` as an array of its own kind; floats of any width (bfloat16 among them) become float32.

    Tensors may be on a device, in a graph, or members of a list.

    Raises: InputError, beginning with `what`, for a list whose members differ in shape, and for a sparse, quantised or
    complex tensor.
    """
    if isinstance(values, list | tuple) and len(shapes := _shapes(values)) > 1:
        first, other = shapes[:2]
        raise InputError(
            f"{what} are of several shapes, {first} and {other} among them: bring all to one before they are returned"
        )
    try:
        if isinstance(values, list | tuple) and any(map(_is_tensor, values)):
            return np.stack([_from_tensor(each, what) if _is_tensor(each) else np.asarray(each) for each in values])
        array = _from_tensor(values, what) if _is_tensor(values) else np.asarray(values)
        if array.dtype.kind == "f" or array.dtype.name.startswith(("bfloat16", "float")):  # the second: of ml_dtypes
            array = array.astype(np.float32, copy=False)
    except (ValueError, TypeError, RuntimeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{what} are no array of numbers: {first_line(error)}") from error
    if array.dtype.kind not in "biuf":
        raise InputError(f"{what} are {array.dtype}, expected numbers")
    return array


def _shapes(values: Iterable[Any]) -> list[tuple[int, ...]]:
    """Shapes of the members that have one, each shape once."""
    return list(dict.fromkeys(tuple(each.shape) for each in values if hasattr(each, "shape")))


def _is_tensor(value: Any) -> bool:
    torch = sys.modules.get("torch")  # who has a tensor has imported torch
    return torch is not None and isinstance(value, torch.Tensor)


def _from_tensor(tensor: Any, what: str) -> NDArray[Any]:
    import torch

    kind = str(tensor.dtype).removeprefix("torch.")
    if tensor.is_quantized or tensor.is_complex() or tensor.layout is not torch.strided or tensor.is_nested:
        odd = "quantised" if tensor.is_quantized else "complex" if tensor.is_complex() else "sparse or nested"
        raise InputError(f"{what} are a tensor that is {odd} ({kind}): give a dense one of floats or whole numbers")
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.is_floating_point() else tensor).resolve_neg().numpy()
