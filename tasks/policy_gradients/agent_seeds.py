"""Seeds of agents of studies. Two studies that want the same agents ask for the same seed here."""

from __future__ import annotations

from typing import Literal

Use = Literal["select", "report"]
USES: tuple[Use, ...] = ("select", "report")
MOST = 1_000
"""Cells of one run, and agents of one use in a cell."""
TRPO_CELL = 3
"""Cell of the TRPO agents that the studies of arXiv:2005.12729 and arXiv:1811.02553 both use."""


def cell_seed(seed: int, use: Use, cell: int, number: int) -> int:
    """Seed of agent `number` of a cell of a run. Seeds are one to one: no agent that is reported shares its random
    numbers with one by which a choice was made, with an agent of another cell, or with one of a run with another
    seed."""
    return ((seed * len(USES) + USES.index(use)) * MOST + cell) * MOST + number
