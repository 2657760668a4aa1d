"""`robustray import weights`: a checkpoint of PyTorch -> safetensors, without running what it may hold."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from robustray.tasks.data.files import first_line, read_file, write_atomically
from robustray.tasks.errors import InputError
from robustray.tasks.models.registry import build_model, takes_num_classes
from robustray.tasks.models.weights import (
    check_finite,
    check_fit,
    from_safetensors,
    head_key,
    to_safetensors,
)

if TYPE_CHECKING:
    import torch

_WRAPPERS = ("module.", "_orig_mod.", "model.")
_NORMALISERS = ("normalizer.", "normalize.", "normaliser.", "normalise.")


def import_weights(source: Path, target: Path, arch: str | None) -> list[str]:
    """Write the weights in `source` to `target` (.safetensors), whole or not at all.

    source: `.pt`-like file, read by `torch.load(weights_only=True)`: a bare state dict, or a dict with one under
    `state_dict` or `model`; or a `.safetensors` file. Prefixes of wrappers (`module.`, `module.model.`) go, and so do
    the attacker's copy and the normaliser of published robust checkpoints (robust_training.md section 2); the
    normaliser's mean and std are kept as metadata and used when the weights are loaded. Floats become float32.
    arch: name of an architecture that the weights must fit; None to write them unchecked.

    Returns: the keys written. Raises: InputError for a file with pickled code (nothing of it is run), a damaged file,
    weights that do not fit, and an unwritable target.
    """
    if target.suffix != ".safetensors":
        raise InputError(f"{target} must end in .safetensors")
    if target.resolve() == source.resolve():
        raise InputError(f"{source} would be overwritten: give another --output")
    if source.suffix == ".safetensors":
        weights, metadata = from_safetensors(read_file(source), str(source))
    else:
        weights, metadata = _strip(_state_dict(source), source)
        check_finite(weights, str(source))
    if arch is not None:
        _check_architecture(weights, source, arch)
        metadata = {**metadata, "architecture": arch}
    data = to_safetensors(weights, **metadata)
    write_atomically(target, lambda path: _write(path, data))
    return list(weights)


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def _state_dict(source: Path) -> dict[str, torch.Tensor]:
    import torch

    if not source.is_file():
        raise InputError(f"{source} is {'no file' if source.exists() else 'missing'}")
    try:
        with warnings.catch_warnings(action="ignore"):  # on the pickle's protocol; errors say more
            loaded = torch.load(source, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{source} holds pickled code or is no PyTorch file; nothing was run. Load it where you trust it, and save "
            "model.state_dict() alone"
        ) from error
    except Exception as error:  # damaged archives fail in many ways, from RuntimeError to EOFError
        raise InputError(
            f"{source} cannot be read as a PyTorch file: {type(error).__name__}: {first_line(error)}"
        ) from error
    for key in ("state_dict", "model"):
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
            break
    if not isinstance(loaded, Mapping) or not loaded:
        raise InputError(f"{source} holds {type(loaded).__name__}, expected a state dict")
    for key, value in loaded.items():
        if not isinstance(value, torch.Tensor):
            raise InputError(f"{source}: {key!r} is {type(value).__name__}, expected a state dict of tensors")
    return {str(key): value for key, value in loaded.items()}


def _strip(state: dict[str, torch.Tensor], source: Path) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Weights under the architecture's own keys, and the normaliser's mean and std if the file has one."""
    metadata: dict[str, Any] = {}
    while True:
        state = {key: value for key, value in state.items() if not key.startswith("attacker.")}
        for key in [key for key in state if key.startswith(_NORMALISERS)]:
            name = key.rpartition(".")[2].removeprefix("new_")
            if name in ("mean", "std"):
                metadata[name] = [float(number) for number in state[key].flatten()]
            del state[key]
        prefix = next((wrapper for wrapper in _WRAPPERS if state and all(key.startswith(wrapper) for key in state)), "")
        if not prefix:
            break
        state = {key.removeprefix(prefix): value for key, value in state.items()}
    if not state:
        raise InputError(f"{source} holds no weights of a model")
    weights: dict[str, NDArray[Any]] = {}
    for key, value in state.items():
        weights[key] = (value.float() if value.is_floating_point() else value).detach().contiguous().numpy()
    return weights, metadata


def _check_architecture(weights: dict[str, NDArray[Any]], source: Path, arch: str) -> None:
    num_classes = None
    if takes_num_classes(arch):
        head = head_key(build_model(arch, 10))
        if head in weights:
            num_classes = int(weights[head].shape[0])
    check_fit(weights, build_model(arch, num_classes), str(source), arch)
