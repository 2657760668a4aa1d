"""What is drawn at random, so that nobody chose it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from robustray.tasks.lab.seeds import stream

T = TypeVar("T")


def chosen(items: Sequence[T], count: int, *, seed: int, what: str = "examples") -> list[T]:
    """`count` of the items (all, if there are fewer) without repeats, in their own order.

    The same for the same seed, purpose and number of items: `chosen(range(1000), 6, seed=0)`.
    """
    places = sorted(stream(seed, what).permutation(len(items))[:count].tolist())
    return [items[place] for place in places]
