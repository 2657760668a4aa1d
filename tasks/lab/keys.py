"""Keys: the same request has the same name everywhere, for ever.

A key is the SHA-256 of canonical JSON. Canonical means: sorted keys, no spaces, floats by their shortest exact decimal
form (`repr`), dataclasses by qualified name and fields, and nothing that JSON can't hold.

Of attacks, agents and trainings, fields that have their default are left out. So a field that is added, with the
default that means what was done before, renames nothing. A default that changes would give old names a new meaning:
then its version in `DEFAULTS` must rise, and `tests/tasks/test_lab_defaults.py` holds them. Of all other dataclasses,
the user's own among them, every field counts, since no test holds theirs.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

from robustray.tasks.errors import InputError
from robustray.tasks.lab.protocol import BlockFunction, Needs, Reference, Tensor

_BYTES = (bytes, bytearray, memoryview)
_AS_THEY_ARE = {type(None), bool, int, str}
DEFAULTS: Mapping[str, int] = {
    "robustray.tasks.attacks.": 1,
    "robustray.tasks.policy_gradients.settings": 1,
    "robustray.tasks.training.settings": 1,
}
"""Where dataclasses are declared whose defaults are left out of keys -> version of these defaults. To be raised when
one of them changes: it is in the key of all of them, whatever reads them."""


def plain(value: Any, *, defaults: bool = True) -> Any:
    """Turn settings or items into JSON values; without `defaults`, as they are in a key.

    Raises: InputError for what has no exact JSON form.
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InputError(f"{value} in settings or items: only finite numbers have a key")
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: plain(getattr(value, f.name), defaults=defaults) for f in dataclasses.fields(value)}
        if "type" in fields:
            raise InputError(f"{type(value).__qualname__}: a field of settings can't be called 'type'; rename it")
        version = defaults_version(type(value))
        if not defaults and version:
            usual = default_fields(type(value))
            fields = {name: f for name, f in fields.items() if name not in usual or not _same(f, usual[name])}
            fields |= {"defaults": version} if version > 1 else {}
        return {"type": f"{type(value).__module__}:{type(value).__qualname__}", **fields}
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise InputError(f"settings with keys that are not text: {list(value)[:3]}")
        return {key: plain(item, defaults=defaults) for key, item in value.items()}
    if isinstance(value, range):  # most items; a run has hundreds of thousands
        return list(value)
    if isinstance(value, list) and {*map(type, value)} <= _AS_THEY_ARE:
        return value.copy()
    if isinstance(value, Sequence) and not isinstance(value, _BYTES):
        return [plain(item, defaults=defaults) for item in value]
    number: Any = value
    if hasattr(number, "item") and getattr(number, "shape", None) == ():  # a NumPy scalar
        scalar = number.item()
        if type(scalar) is not type(value):  # a long double stays what it is
            return plain(scalar)
    raise InputError(f"{value!r} ({type(value).__name__}) in settings or items has no exact JSON form")


def defaults_version(kind: type) -> int:
    """Version of the defaults of a dataclass; 0 where they are not left out of keys."""
    return next((version for place, version in DEFAULTS.items() if kind.__module__.startswith(place)), 0)


def default_fields(kind: Any) -> dict[str, Any]:
    """Field -> its default, as it is in a key, for the fields of a dataclass that have one."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(kind):
        if field.default is not dataclasses.MISSING:
            found[field.name] = plain(field.default, defaults=False)
        elif field.default_factory is not dataclasses.MISSING:
            found[field.name] = plain(field.default_factory(), defaults=False)
    return found


def _same(one: Any, other: Any) -> bool:
    """Equal as text: 1, 1.0 and True are three values."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def canonical(value: Any) -> str:
    """Canonical JSON of anything that `plain` accepts, as it is in a key."""
    value = plain(value, defaults=False)
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def digest(value: Any, length: int = 16) -> str:
    """The first `length` hex digits of the SHA-256 of canonical JSON.

    16 digits: with 10^9 pieces the chance of any clash is 1 in 37.
    """
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:length]


def column_names(function: BlockFunction) -> dict[str, str]:
    """Column name -> type, as text."""
    return {
        name: f"tensor<{kind.dtype}>" if isinstance(kind, Tensor) else str(kind)
        for name, kind in function.columns.items()
    }


def step_key(
    step: str,
    function: BlockFunction,
    *,
    seed: int,
    settings: Any,
    refs: Mapping[str, Reference],
    numerics: str,
) -> str:
    """Everything that the rows of a step depend on, except the items themselves and the code (see `code.py`).

    Not in it: where the run is, how many workers, the size of a block.
    """
    return digest(
        {
            "step": step,
            "function": function.qualified_name,
            "version": function.version,
            "columns": column_names(function),
            "seed": seed,
            "settings": settings,
            "refs": {role: ref.content_hash for role, ref in refs.items()},
            "numerics": numerics,
        },
        length=24,
    )


def block_key(step: str, first: int, items: Sequence[Any]) -> str:
    """Key of a block: its step, the index of its first item, and its items."""
    return digest([step, first, items])


def numerics_class(device: str, needs: Needs) -> str:
    """What decides the last bits besides the code: kind of device and, on a CPU, threads and MKL's kernels."""
    return f"{device}-fp32" if device != "cpu" else f"cpu-fp32-{needs.threads}-{os.environ.get('MKL_CBWR', 'any')}"
