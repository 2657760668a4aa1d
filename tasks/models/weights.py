"""Weights as plain arrays and safetensors bytes, and whether they fit a model."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from robustray.tasks.data.files import first_line
from robustray.tasks.errors import InputError

if TYPE_CHECKING:
    from torch import nn

Weights = Mapping[str, NDArray[Any]]

_META_KEY = "robustray"
_NOT_READ = ("BF16", "F64", "F8_E5M2", "F8_E4M3", "F8_E8M0")
"""Floats that are converted once, by the importer, and not at every read."""


def weights_of(model: nn.Module) -> dict[str, NDArray[Any]]:
    """Copies of all parameters and persistent buffers, on the CPU."""
    return {key: value.detach().cpu().numpy().copy() for key, value in model.state_dict().items()}


def load_weights(model: nn.Module, weights: Weights) -> None:
    """Put weights that `check_fit` accepted into `model`."""
    import torch

    state = {key: torch.tensor(value) for key, value in weights.items()}  # a copy: arrays may be read-only
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected and all(is_counter(key) for key in missing)


def to_safetensors(weights: Weights, **metadata: Any) -> bytes:
    """Serialise weights. The same weights and metadata give the same bytes."""
    from safetensors.numpy import save

    # one metadata entry only: safetensors writes several in an order that changes from process to process
    text = json.dumps(metadata, sort_keys=True)
    return save({key: np.asarray(value, order="C") for key, value in weights.items()}, {_META_KEY: text})


def from_safetensors(data: bytes, where: str) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Weights and robustray's own metadata ({} if there is none).

    Raises: InputError for a damaged file, a kind of number other than float16, float32 or an integer, and NaN or
    infinite weights.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        metadata, kinds = metadata_of(data), _kinds(data)
        wide = next((key for key, kind in kinds.items() if kind in _NOT_READ), None)
        weights = {} if wide else dict(sorted(load(data).items()))  # safetensors gives them in an order of its own
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{where} is no whole safetensors file of common number types (truncated?): {first_line(error)}"
        ) from error
    if wide:
        convert = "`robustray import weights FILE --output NEW` writes float32"
        raise InputError(f"{where}: {wide} is stored as {kinds[wide]}; {convert}")
    check_finite(weights, where)
    return weights, metadata


def metadata_of(data: bytes) -> dict[str, Any]:
    """robustray's own metadata in a safetensors file, {} if there is none. Raises: ValueError for a spoilt header."""
    return json.loads(_header(data).get("__metadata__", {}).get(_META_KEY, "{}"))


def _kinds(data: bytes) -> dict[str, str]:
    """Tensor -> its kind of number, as safetensors calls it ("F32", "BF16")."""
    return {key: value["dtype"] for key, value in _header(data).items() if key != "__metadata__"}


def _header(data: bytes) -> dict[str, Any]:
    return json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])


def check_finite(weights: Weights, where: str) -> None:
    """Raises: InputError naming the first weights that are not float16, float32 or whole numbers, or not finite."""
    if not weights:
        raise InputError(f"{where} holds no weights")
    for key, value in weights.items():
        if value.dtype not in (np.float16, np.float32) and value.dtype.kind not in "iub":
            raise InputError(f"{where}: {key} is {value.dtype}, expected float32: convert the weights first")
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise InputError(f"{where}: {key} holds NaN or infinite weights: the file is damaged or training diverged")


def misfit(weights: Weights, model: nn.Module) -> str:
    """Why `weights` are not those of `model`, the first keys named; empty if they are."""
    expected = model.state_dict()
    missing = [key for key in expected if key not in weights and not is_counter(key)]
    unexpected = [key for key in weights if key not in expected]
    if missing or unexpected:
        parts = [f"lacks {_first(missing)}"] * bool(missing) + [f"has unknown {_first(unexpected)}"] * bool(unexpected)
        return f"it {' and '.join(parts)}"
    for key, value in expected.items():
        if key in weights and weights[key].shape != tuple(value.shape):
            return f"{key} has shape {weights[key].shape}, expected {tuple(value.shape)}"
        # torch would cast in silence: the integers of a quantised layer are no weights
        if key in weights and value.is_floating_point() and weights[key].dtype.kind != "f":
            return f"{key} holds {weights[key].dtype}, expected floats (quantised weights?)"
    return ""


def check_fit(weights: Weights, model: nn.Module, where: str, architecture: str) -> None:
    """Raises: InputError naming the first keys that are missing, left over or of another shape."""
    if why := misfit(weights, model):
        raise InputError(f"{where} does not fit {architecture}: {why}")


def class_key(build: Callable[[int], nn.Module]) -> str | None:
    """Key of the weight whose first dimension is the number of classes; None if there is none.

    build: number of classes -> the network. Of several linear layers it is the one that grows with the classes,
    wherever it is defined: others may belong to further tasks.
    """
    from torch import nn

    model = build(10)
    if sum(isinstance(module, nn.Linear) for module in model.modules()) < 2:
        return head_key(model)
    more = build(11).state_dict()
    grown = [key for key, value in model.state_dict().items() if (*value.shape[:1], *more[key].shape[:1]) == (10, 11)]
    flat = [key for key in grown if more[key].ndim == 2]
    return head_key(model) if head_key(model) in flat else next(iter(flat), None)


def head_key(model: nn.Module) -> str | None:
    """Key of the last linear layer's weight, as layers are defined; None if there is none."""
    from torch import nn

    last = [module for module in model.modules() if isinstance(module, nn.Linear)][-1:]
    # found by identity: keys and module paths differ where a wrapper hides its level
    return next(
        (key for key, value in model.state_dict(keep_vars=True).items() if last and value is last[0].weight), None
    )


def is_counter(key: str) -> bool:
    """BatchNorm's batch counter: many published files lack it, and nothing in evaluation reads it."""
    return key.endswith("num_batches_tracked")


def _first(keys: Sequence[str], limit: int = 3) -> str:
    return ", ".join(keys[:limit]) + (f" and {len(keys) - limit} more" if len(keys) > limit else "")
