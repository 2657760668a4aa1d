"""CODE: a hash of the source behind a piece, so that old results are noticed when what made them has changed.

It starts from *roots*, `module:name` or a whole `module`: the block function, the classes of its settings, and what its
references name (the network's class, normalisation, where data come from, decoding). From there names are followed, by
reading, without importing anything:

- Of robustray, definition by definition: the text of each top-level function, class or constant that is reached, and
  all that it names, lazily imported or not. What has no bearing on a finished row is left out: docstrings, comments,
  annotations, the words of errors, what only a type checker sees (`if TYPE_CHECKING:`), and what does nothing but
  refuse (`assert`, `if ...: raise InputError`).
- Of the user's modules, file by file: they may do anything while they are imported.
- A package above a module counts as far as it runs code when it is imported: more than imports and definitions. The
  root package is left out: it leads to everything and runs nothing that a row depends on.
- Of the standard library and installed packages nothing counts but the versions of Python, torch and NumPy.

`tasks.report` and `tasks.figures` are left out (how rows are shown does not change what they say), and so are the keys,
which speak for themselves, and this reader. Networks are named by text in the registry, so that no model depends on the
others.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib
import importlib.metadata
import site
import sys
import sysconfig
from collections.abc import Iterable, Mapping, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

from robustray.tasks.errors import InputError
from robustray.tasks.lab.definitions import WHOLE, Definitions, Place, above, imported_by

PIECE = ("robustray.tasks.lab.jobs:BlockJob", "robustray.tasks.lab.jobs:Worker")
"""The code between any block function and its rows: threads, kernels, types of columns."""
_ROOT = "robustray"
_LEFT_OUT = (
    *("robustray.tasks.report.", "robustray.tasks.figures.", "robustray.distributed."),
    *("robustray.tasks.lab.code.", "robustray.tasks.lab.definitions.", "robustray.tasks.lab.keys."),
)
_INSTALLED = tuple(
    Path(place).resolve()
    for place in {
        *site.getsitepackages(),
        site.getusersitepackages(),
        sysconfig.get_path("stdlib"),
        sysconfig.get_path("platstdlib"),
        sysconfig.get_path("purelib"),
        sysconfig.get_path("platlib"),
        # Those of another environment, which a .pth file brings in.
        *(place for place in sys.path if Path(place).name in ("site-packages", "dist-packages")),
    }
)


def code_hash(roots: Iterable[str]) -> str:
    """12 hex digits: hash of the source behind `roots`, each `module:name` or a whole `module`.

    Raises: ModuleNotFoundError when a named module does not exist.
    """
    return _code_hash(frozenset(roots))


def settings_roots(settings: Any) -> set[str]:
    """`module:name` of all dataclasses in the settings of a step, however deep, such as the user's own attack in a
    field.

    Raises: InputError for a class of `__main__`, whose source could not be found again.
    """
    found: set[str] = set()
    inner: Iterable[Any] = ()
    if dataclasses.is_dataclass(settings) and not isinstance(settings, type):
        kind = type(settings)
        if kind.__module__ == "__main__":
            raise InputError(f"{kind.__qualname__} stands in __main__: move it to a module that can be imported")
        found.add(f"{kind.__module__}:{kind.__qualname__}")
        inner = [getattr(settings, field.name) for field in dataclasses.fields(settings)]
    elif isinstance(settings, Mapping):
        inner = settings.values()
    elif isinstance(settings, Sequence) and not isinstance(settings, str | bytes):
        inner = settings
    return found.union(*map(settings_roots, inner))


def is_own(root: str) -> bool:
    """Whether a root is the user's, not robustray's."""
    return root.partition(":")[0].partition(".")[0] != _ROOT


def forget() -> None:
    """Read all source again. For tests: what a process has imported stays what it was."""
    for cached in (_code_hash, _own_file, _definitions, _look_up):
        cached.cache_clear()


@functools.cache
def _code_hash(roots: frozenset[str]) -> str:
    state = hashlib.sha256(f"python {sys.version_info.major}.{sys.version_info.minor}\n".encode())
    for package in ("torch", "numpy"):
        state.update(f"{package} {importlib.metadata.version(package)}\n".encode())
    for name, source in sorted(reached(roots).items()):
        state.update(f"{name} {hashlib.sha256(source).hexdigest()}\n".encode())
    return state.hexdigest()[:12]


def reached(roots: Iterable[str]) -> dict[str, bytes]:
    """Source by `module:name` (robustray's) or `module` (the user's) of all that `roots` lead to.

    Raises: ModuleNotFoundError when the module of a root does not exist.
    """
    found: dict[str, bytes] = {}
    waiting: list[Place] = []
    for root in sorted(roots):
        module, _, name = root.partition(":")
        if _find_spec(module) is None:
            raise ModuleNotFoundError(f"No module named {module!r}", name=module)
        waiting.append((module, name.partition(".")[0] or WHOLE))
    done: set[Place] = set()
    while waiting:
        module, name = place = waiting.pop()
        path = _own_file(module)
        if place in done or path is None:
            continue
        done.add(place)
        if is_own(module):
            if module not in found:
                found[module] = _read(path)
                waiting += [*imported_by(module, found[module], path.name == "__init__.py"), *above(module)]
            continue
        text, uses = _look_up(module, path, name)
        if text:
            found[f"{module}:{name}"] = text.encode()
        waiting += uses
    return found


@functools.cache
def _look_up(module: str, path: Path, name: str) -> tuple[str, list[Place]]:
    return _definitions(module, path).look_up(name)


@functools.cache
def _definitions(module: str, path: Path) -> Definitions:
    return Definitions(module, _read(path), path.name == "__init__.py", _own_file, _binds)


def _binds(package: str, name: str) -> bool:
    path = _own_file(package)
    return path is not None and name in _definitions(package, path)


def _read(path: Path) -> bytes:
    return path.read_bytes()


@functools.cache
def _own_file(name: str) -> Path | None:
    """The source file of a module that counts: robustray's or the user's; None for all others."""
    root = name.partition(".")[0]
    if root in sys.stdlib_module_names or f"{name}.".startswith(_LEFT_OUT):
        return None
    spec = _find_spec(name)
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    path = Path(spec.origin)
    if root != _ROOT and any(path.resolve().is_relative_to(place) for place in _INSTALLED):
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
    try:
        return _ask_finders(name, path)
    except KeyError:  # the search path of a namespace package is made from its parent, which must be imported for it
        importlib.import_module(above)
        return _ask_finders(name, path)


def _ask_finders(name: str, path: Sequence[str] | None) -> ModuleSpec | None:
    specs = (finder.find_spec(name, path) for finder in sys.meta_path)
    return next((spec for spec in specs if spec is not None), None)
