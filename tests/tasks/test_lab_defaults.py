"""Keys leave out fields that have their default: a new field renames nothing, a changed one must raise a version."""

from __future__ import annotations

import dataclasses
import importlib
import json
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import robustray.tasks.attacks
import robustray.tasks.policy_gradients
import robustray.tasks.training
from robustray.tasks.attacks.settings import PGD
from robustray.tasks.lab import keys
from robustray.tasks.training.settings import TrainSpec

HELD = Path(__file__).parents[1] / "assets" / "defaults.json"
ATTACK = PGD(norm="linf", eps=0.1)
SPEC = TrainSpec(model="digits:mlp", data="", epochs=1)


def declared() -> Iterator[Any]:
    """The dataclasses whose defaults are left out of keys."""
    for package in (robustray.tasks.attacks, robustray.tasks.policy_gradients, robustray.tasks.training):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if found.name.startswith(tuple(keys.DEFAULTS)):
                module = importlib.import_module(found.name)
                yield from (kind for kind in vars(module).values() if _is_settings(kind, found.name))


def _is_settings(kind: object, module: str) -> bool:
    """A dataclass of this module whose values are compared and don't change; not what an attack returns."""
    parameters = getattr(kind, "__dataclass_params__", None)
    return getattr(kind, "__module__", "") == module and parameters is not None and parameters.eq and parameters.frozen


def defaults() -> dict[str, dict[str, Any]]:
    """By class; those whose defaults have no key (arrays, modules) are never in one."""
    found = {}
    for kind in declared():
        try:
            usual = keys.default_fields(kind)
        except ValueError:
            continue
        if usual:
            found[f"{kind.__module__}:{kind.__qualname__}"] = usual
    return found


def test_a_changed_default_raises_the_version() -> None:
    """Where this fails: raise the version in `keys.DEFAULTS`, or give the old default back; then run this file."""
    held, now = json.loads(HELD.read_text()), defaults()
    for name, fields in held["defaults"].items():
        place = next(place for place in held["versions"] if name.startswith(place))
        if keys.DEFAULTS[place] > held["versions"][place]:
            continue
        assert name in now, f"{name} is gone: a class that was renamed has other keys"
        changed = {field for field, value in fields.items() if now[name].get(field, "no default") != value}
        assert not changed, f"{name}: another default of {', '.join(sorted(changed))} under the same version"


def test_all_defaults_are_held() -> None:
    """Where this fails: a field or a class is new, or a version was raised. Run this file as a program."""
    assert json.loads(HELD.read_text()) == {"versions": dict(keys.DEFAULTS), "defaults": defaults()}


@pytest.mark.parametrize("settings", [ATTACK, SPEC], ids=["attack", "training"])
def test_a_new_field_orphans_nothing(settings: Any) -> None:
    fields = {field.name: getattr(settings, field.name) for field in dataclasses.fields(settings)}
    later = dataclasses.make_dataclass(
        type(settings).__name__, [("new", int, 7)], bases=(type(settings),), frozen=True, kw_only=True
    )
    later.__module__, later.__qualname__ = type(settings).__module__, type(settings).__qualname__
    assert keys.canonical(later(**fields)) == keys.canonical(settings)
    assert keys.canonical(later(**fields, new=8)) != keys.canonical(settings)
    assert keys.plain(later(**fields))["new"] == 7, "a run's own record has every field"


def test_a_default_that_is_given_has_the_same_key() -> None:
    assert keys.canonical(dataclasses.replace(ATTACK, num_restarts=ATTACK.num_restarts)) == keys.canonical(ATTACK)
    assert keys.canonical(dataclasses.replace(ATTACK, num_restarts=ATTACK.num_restarts + 1)) != keys.canonical(ATTACK)


def test_another_version_of_the_defaults_is_another_key(monkeypatch: pytest.MonkeyPatch) -> None:
    before = [keys.digest(settings) for settings in (ATTACK, SPEC)]
    monkeypatch.setattr(keys, "DEFAULTS", {place: version + 1 for place, version in keys.DEFAULTS.items()})
    assert not set(before) & {keys.digest(settings) for settings in (ATTACK, SPEC)}


if __name__ == "__main__":
    content = {"versions": dict(keys.DEFAULTS), "defaults": defaults()}
    HELD.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
