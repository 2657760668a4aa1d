"""CODE: a hash of the source that a block function runs, so that old results are noticed when the code has changed.

The modules are found by reading import statements, lazy ones included, without importing anything. robustray's own
modules and the user's count; the standard library and installed packages don't, except the versions of torch and NumPy.
Left out are `tasks.lab`, `tasks.report` and `tasks.figures`: how a piece is kept or shown does not change what it says.
Of the lab `seeds` counts, which says where random numbers come from.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import hashlib
import importlib.metadata
import site
import sys
import sysconfig
from collections.abc import Iterable, Mapping, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

from robustray.tasks.errors import InputError

_LEFT_OUT = ("robustray.tasks.lab.", "robustray.tasks.report.", "robustray.tasks.figures.", "robustray.distributed.")
_COUNTS = ("robustray.tasks.lab.seeds",)
_INSTALLED = tuple(
    Path(place).resolve()
    for place in {
        *site.getsitepackages(),
        site.getusersitepackages(),
        sysconfig.get_path("stdlib"),
        sysconfig.get_path("platstdlib"),
        sysconfig.get_path("purelib"),
        sysconfig.get_path("platlib"),
    }
)


def code_hash(modules: Iterable[str]) -> str:
    """12 hex digits: hash of the source of `modules` and of every robustray or user module that they import.

    The versions of torch and NumPy enter as well.

    Raises: ModuleNotFoundError when a named module does not exist.
    """
    return _code_hash(frozenset(modules))


def settings_modules(settings: Any) -> set[str]:
    """The modules of all dataclasses in the settings of a step, however deep: an attack of one's own in a field.

    Raises: InputError for a class of `__main__`, whose source could not be found again.
    """
    found: set[str] = set()
    inner: Iterable[Any] = ()
    if dataclasses.is_dataclass(settings) and not isinstance(settings, type):
        kind = type(settings)
        if kind.__module__ == "__main__":
            raise InputError(f"{kind.__qualname__} stands in __main__: move it to a module that can be imported")
        found.add(kind.__module__)
        inner = [getattr(settings, field.name) for field in dataclasses.fields(settings)]
    elif isinstance(settings, Mapping):
        inner = settings.values()
    elif isinstance(settings, Sequence) and not isinstance(settings, str | bytes):
        inner = settings
    return found.union(*map(settings_modules, inner))


@functools.cache  # what this process has imported stays what it was
def _code_hash(modules: frozenset[str]) -> str:
    state = hashlib.sha256()
    for package in ("torch", "numpy"):
        state.update(f"{package} {importlib.metadata.version(package)}\n".encode())
    for name, source in sorted(_sources(modules).items()):
        state.update(f"{name} {hashlib.sha256(source).hexdigest()}\n".encode())
    return state.hexdigest()[:12]


def _sources(modules: frozenset[str]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    waiting = sorted(modules)
    for name in waiting:
        if _find_spec(name) is None:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    while waiting:
        name = waiting.pop()
        path = _own_file(name)
        if path is None or name in found:
            continue
        found[name] = path.read_bytes()
        waiting.extend(_imported(name, found[name], path.name == "__init__.py"))
    return found


@functools.cache
def _own_file(name: str) -> Path | None:
    """The source file of a module that belongs to robustray or to the user; None for all others."""
    root = name.partition(".")[0]
    if root in sys.stdlib_module_names or (f"{name}.".startswith(_LEFT_OUT) and name not in _COUNTS):
        return None
    spec = _find_spec(name)
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    path = Path(spec.origin)
    if root != "robustray" and any(path.resolve().is_relative_to(place) for place in _INSTALLED):
        return None
    return path


def _find_spec(name: str) -> ModuleSpec | None:
    """Where a module comes from; None where there is none.

    Unlike `importlib.util.find_spec` it doesn't import the packages above: `from slow_library import thing` inside a
    function must not load that library into the driver, or fail with it.
    """
    if name in sys.modules:
        return getattr(sys.modules[name], "__spec__", None)
    above = name.rpartition(".")[0]
    path: Sequence[str] | None = None
    if above:
        spec = _find_spec(above)
        path = getattr(sys.modules.get(above), "__path__", None) or (spec.submodule_search_locations if spec else None)
        if path is None:  # `from module import name_that_is_no_module`
            return None
    specs = (finder.find_spec(name, path) for finder in sys.meta_path)
    return next((spec for spec in specs if spec is not None), None)


def _imported(name: str, source: bytes, is_package: bool) -> list[str]:
    """Names that a module's import statements may load: `from a import b` may mean the module `a.b`."""
    names: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                names.append(alias.name)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = name.split(".") if is_package else name.split(".")[:-1]
                parts = parts[: len(parts) - node.level + 1]
                base = ".".join([*parts, base] if base else parts)
            names.append(base)
            names.extend(f"{base}.{alias.name}" for alias in node.names)
    parents = [".".join(parts[:i]) for parts in (n.split(".") for n in names) for i in range(1, len(parts))]
    return [n for n in {*names, *parents} if n]
