"""How a dataclass says what its flags look like, where their types and docstrings don't."""

from __future__ import annotations

from typing import Any

import tyro


def optional(metavar: str) -> Any:
    """Marks a flag whose default needs no words, after its type: `store: Annotated[str | None, optional("FOLDER")]`."""
    return tyro.conf.arg(metavar=metavar, help_behavior_hint="")
