"""Tables of the documentation: every module here has TABLES, kind -> function from the words of a mark to a table."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def tables() -> dict[str, Callable[..., str]]:
    """Those of all modules. Raises: ValueError for two of one kind."""
    found: dict[str, Callable[..., str]] = {}
    for module in sorted(each.name for each in pkgutil.iter_modules(__path__)):
        own = importlib.import_module(f"{__name__}.{module}").TABLES
        twice = found.keys() & own.keys()
        if twice:
            raise ValueError(f"two modules of {__name__} render {sorted(twice)[0]!r}")
        found |= own
    return found
