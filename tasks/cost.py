"""What a run will do and what that costs, as far as it follows from the settings.

`robustray show` says it beforehand, and a run takes from it how much time is left.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, kw_only=True)
class NetworkPass:
    """A unit of cost: one image forward and backward through a network, with its gradient by the image."""

    models: tuple[str, ...]
    """As after `--model`; of several the mean, for every image meets all of them."""
    side: int = 0
    """Of the images, in pixels; 0: as the network has it."""


@dataclass(frozen=True, kw_only=True)
class EnvironmentStep:
    """A unit of cost: one step of a simulator, with random actions."""

    environment: str


@dataclass(frozen=True, kw_only=True)
class NumpySecond:
    """A unit of cost: a second of one core of the machine on which the study's pieces were timed, for studies that draw
    numbers and multiply matrices and have no network."""


UnitOfCost: TypeAlias = NetworkPass | EnvironmentStep | NumpySecond


@dataclass(frozen=True, kw_only=True)
class Part:
    """What one step of a run will do, as far as it follows from the settings.

    A step whose requests differ in what an item costs has a part for each of them, in the order of the requests.
    """

    step: str
    items: int
    """Number of items of the step, over all requests for it that this part stands for."""
    cost: float
    """Cost of one item, in units of `Work.unit`."""
    times: int = 1
    """How often the step is requested, each time with at most `items / times` items: fewer images remain correct after
    an attack than before it."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """An estimate of what a run will do, for `robustray show` and for the time that a run says is left."""

    counts: Mapping[str, int]
    """What is done (in the plural) -> how often, at most, the heaviest first: {"passes of single images": 2_000_000,
    "images": 10_000}, {"environment steps": 50_000}, {"simulated studies": 300}."""
    note: str
    """One sentence: what dominates, and a measured time with its machine."""
    parts: tuple[Part, ...] = ()
    """The steps and their cost; empty where it is not known, as for a user's own study that does not give it."""
    unit: UnitOfCost | None = None
    """What `Part.cost` counts."""

    @property
    def cost(self) -> float:
        """Cost of all parts together."""
        return sum(part.items * part.cost for part in self.parts)

    @property
    def words(self) -> str:
        """`"up to 2,000,000 passes of single images, 10,000 images. PGD dominates: 12 min on 2 cores."`"""
        return f"up to {', '.join(f'{count:,} {what}' for what, count in self.counts.items())}. {self.note}"
