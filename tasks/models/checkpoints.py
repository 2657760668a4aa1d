"""Checkpoints of PyTorch in the layouts in which weights are published, read without running what they may hold."""

from __future__ import annotations

import math
import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from robustray.tasks.data.files import first_line, read_file
from robustray.tasks.errors import InputError
from robustray.tasks.models.weights import metadata_of

if TYPE_CHECKING:
    from robustray.tasks.models.entries import State

_WRAPPERS = ("module.", "_orig_mod.", "model.")
_ATTACKER = "attacker."
_NORMALISERS = ("normalizer.", "normalize.", "normaliser.", "normalise.", "")
_STATS = {"new_mean": "mean", "new_std": "std", "mean": "mean", "std": "std", "mu": "mean", "sigma": "std"}


def read_checkpoint(source: Path) -> tuple[Mapping[Any, Any], dict[str, Any]]:
    """What is in a `.pt`-like or `.safetensors` file, none of its code run, and robustray's own metadata, {} for none.

    Raises: InputError for a missing or damaged file, pickled code, and for something that is no mapping.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load

    if not source.is_file():
        raise InputError(f"{source} is {'no file' if source.exists() else 'missing'}")
    loaded: Any = None
    metadata: dict[str, Any] = {}
    try:
        with warnings.catch_warnings(action="ignore"):  # on the pickle's protocol; errors say more
            if source.suffix == ".safetensors":
                data = read_file(source)
                loaded, metadata = dict(sorted(load(data).items())), metadata_of(data)
            else:
                loaded = torch.load(source, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL (\S+)", str(error))
        what = f" ({found[1]})" if found else ""
        raise InputError(
            f"{source} holds pickled code{what} or is no PyTorch file; nothing was run. Load it where you trust it "
            "and save model.state_dict() alone"
        ) from error
    except SafetensorError as error:
        raise InputError(f"{source} is no whole safetensors file (truncated?): {first_line(error)}") from error
    except Exception as error:  # damaged archives fail in many ways, from RuntimeError to EOFError
        raise InputError(
            f"{source} cannot be read as a PyTorch file: {type(error).__name__}: {first_line(error)}"
        ) from error
    if not isinstance(loaded, Mapping) or not loaded:
        raise InputError(f"{source} holds {type(loaded).__name__}, expected a state dict")
    return loaded, metadata


def unwrap(state: State, source: str) -> tuple[State, dict[str, list[float]]]:
    """Weights under the network's own keys, and the normaliser's {"mean", "std"}, one number per channel; {} for none.

    Prefixes of wrappers go (`module.`, `module.model.`), and so does the copy that the published robust checkpoints
    hold under `attacker.` (the `robustness` library's layout), once it is found to be one.

    Raises: InputError for copies or normalisers that differ, an incomplete or odd normaliser, and no weights at all.
    """
    import torch

    stats: dict[str, list[float]] = {}
    while True:
        copies = {key.removeprefix(_ATTACKER): value for key, value in state.items() if key.startswith(_ATTACKER)}
        state = {key: value for key, value in state.items() if not key.startswith(_ATTACKER)}
        for part in (state, copies):
            _take_normaliser(part, stats, source)
        differ = [key for key, value in copies.items() if key in state and not torch.equal(state[key], value)]
        if differ:
            raise InputError(
                f"{source} holds every weight twice, and its two copies of {differ[0]} differ ({len(differ)} such): "
                "it was edited or damaged"
            )
        prefix = next((wrapper for wrapper in _WRAPPERS if state and all(key.startswith(wrapper) for key in state)), "")
        if not prefix:
            break
        state = {key.removeprefix(prefix): value for key, value in state.items()}
    if not state:
        raise InputError(f"{source} holds no weights of a model")
    if len(stats) == 1:
        raise InputError(f"{source} holds a normaliser's {next(iter(stats))} alone, expected mean and std")
    return state, stats


def as_arrays(state: State, source: str) -> dict[str, NDArray[Any]]:
    """Floats of any width as float32, the rest as it is.

    Raises: InputError for a packed kind of number that torch itself cannot convert.
    """
    arrays = {}
    for key, value in state.items():
        value = value.detach().resolve_neg()
        try:
            arrays[key] = (value.float() if value.is_floating_point() else value).contiguous().numpy()
        except (NotImplementedError, TypeError, RuntimeError) as error:
            kind = str(value.dtype).removeprefix("torch.")
            raise InputError(f"{source}: {key!r} is {kind}, packed or quantised: save the weights as floats") from error
    return arrays


def _take_normaliser(state: State, stats: dict[str, list[float]], source: str) -> None:
    """Move the normaliser's numbers from `state` to `stats`."""
    for key in list(state):
        name = next((key.removeprefix(prefix) for prefix in _NORMALISERS if key.startswith(prefix)), "")
        if name not in _STATS:
            continue
        value = state.pop(key)
        numbers = [float(number) for number in value.flatten()]
        if value.ndim not in (1, 3, 4) or len(numbers) != max(value.shape):
            raise InputError(
                f"{source}: {key} has shape {tuple(value.shape)}, expected a normaliser's (channels, 1, 1)"
            )
        check_stats({_STATS[name]: numbers}, f"{source}: {key}")
        if stats.setdefault(_STATS[name], numbers) != numbers:
            raise InputError(
                f"{source} holds two normalisers: {_STATS[name]} {stats[_STATS[name]]} and, as {key}, {numbers}"
            )


def check_stats(stats: Mapping[str, list[float]], where: str) -> None:
    """Raises: InputError unless means are numbers of at least 0 and standard deviations above 0."""
    for name, numbers in stats.items():
        if not all(math.isfinite(each) and 0 <= each < 1e3 and (name == "mean" or each > 0) for each in numbers):
            least = "at least 0" if name == "mean" else "above 0"
            raise InputError(f"{where} is {numbers}, expected one number {least} per channel, in pixel units")
