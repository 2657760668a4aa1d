"""The named grids, and the user's own, by name. Imports nothing heavy, since `--help` and `list` read it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from robustray.tasks.data.own import describe, load_function, looks_like_own
from robustray.tasks.errors import InputError
from robustray.tasks.grids.settings import Grid
from robustray.tasks.study import Size
from robustray.tasks.words import nearest
from robustray.tune_configs.names import GRIDS


def grid_names() -> dict[str, str]:
    """Name -> one line."""
    return {name: about for name, (_, about) in GRIDS.items()}


def grid_function(name: str) -> Callable[..., Any]:
    """The function behind a name of `GRIDS` or `my_pkg.my_mod:function`. Raises: InputError."""
    if name not in GRIDS and not looks_like_own(name):
        raise InputError(f"there is no grid {name!r}{nearest(name, GRIDS)}, or my_pkg.my_mod:function")
    return load_function(GRIDS[name][0] if name in GRIDS else name)


def load_grid(name: str, size: Size) -> Grid:
    """Raises: InputError for an unknown name, and for a function that makes no grid of that size."""
    function = grid_function(name)
    try:
        inspect.signature(function).bind(size)
        grid = function(size)
    except InputError as error:
        raise InputError(f"grid {name}: {error}") from error
    except Exception as error:  # the function may be the user's: whatever it raises is theirs to read
        raise InputError(f"grid {name} of size {size}: {describe(error)}; it is called with the size") from error
    if not isinstance(grid, Grid):
        raise InputError(f"grid {name}: the function must return a robustray.tasks.grids.settings.Grid, got {grid!r}")
    return grid
