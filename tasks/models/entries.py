"""Which weights of a checkpoint: files may hold raw and averaged ones side by side."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from robustray.tasks.errors import InputError
from robustray.tasks.words import nearest

if TYPE_CHECKING:
    import torch

    State = dict[str, torch.Tensor]

PLACES = ("state_dict", "model", "net", "model_state_dict")
"""Names under which checkpoints hold their weights, the first one that is there counts."""
RAW, AVERAGED = "raw", "averaged"
_AVERAGE = re.compile(r"(?:^|[_.])(?:ema|swa|avg|average|averaged)(?:$|[_.])", re.IGNORECASE)
_COUNTERS = ("n_averaged", "initted", "step")
"""What wrappers that average keep beside the weights."""


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The weights that were taken, and what else there was to take."""

    state: State
    entry: str
    """Its name in the file; empty where the file is a state dict and nothing else."""
    others: tuple[str, ...]
    """Names of the other entries that are weights by their names, raw or averaged."""


def choose(loaded: Mapping[Any, Any], which: str | None, source: str) -> Chosen:
    """The weights in `loaded`, which is what a checkpoint holds: a bare state dict, or entries of which some are one.

    which: name of an entry; or "raw" or "averaged"; None: averaged ones where there are some, since published figures
    are theirs (timm and torchvision's reference evaluate them too), else the raw ones.

    Raises: InputError where there are no weights, or none by that name.
    """
    entries = _entries(loaded)
    averages = [_bare_keys(entries[key]) for key in entries if is_average(key)]
    named = [key for key in entries if key in PLACES or is_average(key) or _bare_keys(entries[key]) in averages]
    if not entries or (which is None and not named and "" not in entries):
        raise InputError(_nothing_known(loaded, list(entries), source))
    entry = _pick(named or [""], which) if which in (None, RAW, AVERAGED) else which
    if entry is None or entry not in entries:
        known = [key for key in entries if key]
        has = f"its weights are under {', '.join(map(repr, known))}" if known else "it holds one state dict alone"
        raise InputError(f"--which {which}: {source} holds no such weights{nearest(which or '', known)}; {has}")
    state = entries[entry]
    for key, value in state.items():
        _check_tensor(f"{source}: {key!r}", value)
    others = tuple(key for key in named if key != entry)
    return Chosen(state={str(key): value for key, value in state.items()}, entry=entry, others=others)


def is_average(name: str) -> bool:
    """Whether an entry of that name holds averaged weights: model_ema, state_dict_ema, swa_state_dict."""
    return _AVERAGE.search(name) is not None


def take_count(state: State) -> tuple[State, int | None]:
    """The weights in torch's `AveragedModel` (`n_averaged` beside `module.`), and of how many models they are the
    average; (state, None) where they are not in one."""
    rest = {key: value for key, value in state.items() if key != "n_averaged"}
    if len(rest) == len(state) or not rest or not all(key.startswith("module.") for key in rest):
        return state, None
    return {key.removeprefix("module."): value for key, value in rest.items()}, int(state["n_averaged"])


def _entries(loaded: Mapping[Any, Any]) -> dict[str, Mapping[Any, Any]]:
    """Every mapping that is, or should be, weights, by its name; {"": loaded} for a bare state dict."""
    found = {}
    for key, value in loaded.items():
        if isinstance(value, Mapping) and value:
            inside = [value[place] for place in (*PLACES, "module") if isinstance(value.get(place), Mapping)]
            inside += [each for each in value.values() if isinstance(each, Mapping) and _all_tensors(each)]
            inner = next(iter(inside), value)
            if key in PLACES or _all_tensors(inner):
                found[str(key)] = inner
    if found or not _all_tensors(loaded):
        return found
    return _side_by_side(cast("State", loaded)) or {"": loaded}


def _side_by_side(state: State) -> dict[str, Mapping[Any, Any]]:
    """Raw and averaged weights in one state dict, distinguished by their first parts (`model.`, `ema_model.`); else
    {}."""
    groups: dict[str, State] = {}
    for key, value in state.items():
        if key not in _COUNTERS:
            first, _, rest = str(key).partition(".")
            groups.setdefault(first, {})[rest] = value
    alike = len(groups) > 1 and len({frozenset(_bare_keys(group)) for group in groups.values()}) == 1
    return dict(groups) if alike and any(map(is_average, groups)) else {}


def _bare_keys(state: Mapping[Any, Any]) -> set[str]:
    return {str(key).removeprefix("module.") for key in state if key not in _COUNTERS}


def _pick(named: list[str], which: str | None) -> str | None:
    """Pick one of several entries: the first by `PLACES`, or the first in the file that is an average."""
    averages = [key for key in named if is_average(key)]
    raw = [*(key for key in PLACES if key in named), *(key for key in named if key not in (*PLACES, *averages))]
    wanted = {RAW: raw, AVERAGED: averages, None: averages or raw}[which]
    return next(iter(wanted), None)


def _all_tensors(value: Mapping[Any, Any]) -> bool:
    import torch

    return bool(value) and all(isinstance(each, torch.Tensor) for each in value.values())


def _check_tensor(what: str, value: Any) -> None:
    """Raises: InputError unless it is a plain tensor of numbers."""
    import torch

    if not isinstance(value, torch.Tensor):
        raise InputError(_no_tensor(what, value))
    kind = str(value.dtype).removeprefix("torch.")
    if value.is_quantized:
        raise InputError(f"{what} is quantised ({kind}): save the weights as floats, before quantisation")
    if value.layout is not torch.strided or value.is_nested:
        raise InputError(f"{what} is a sparse or nested tensor ({value.layout}): save it dense, as with .to_dense()")
    if value.is_meta:
        raise InputError(f"{what} has a shape and no values (meta device): save the loaded weights")
    if value.is_complex():
        raise InputError(f"{what} is complex ({kind}): weights of networks here are real numbers")


def _nothing_known(loaded: Mapping[Any, Any], entries: list[str], source: str) -> str:
    import torch

    if entries:
        listed = ", ".join(map(repr, entries))
        return f"{source} holds tensors under {listed}: say which, as in --which {entries[0]}"
    wrong, value = next(each for each in loaded.items() if not isinstance(each[1], torch.Tensor))
    return f"{source}: {_no_tensor(repr(wrong), value)}"


def _no_tensor(what: str, value: Any) -> str:
    places = ", ".join(map(repr, PLACES))
    return f"{what} is {type(value).__name__}, expected tensors: a state dict, bare or under {places}"
