"""How long a whole run will still take: one estimate, from the study's plan and from what was seen so far.

The plan (`Work.parts`) says beforehand how many items every step will have and what one costs beside the others. So a
step that begins changes nothing: it was counted from the start. What the plan gets wrong is put right little by little,
as items are computed; what it does not know is said to be missing ("at least").
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from robustray.tasks.cost import Part

TRUST = 0.05
"""What the plan says of a step's cost weighs as much as having seen this share of its items."""


class Left(NamedTuple):
    """What is left of a run."""

    seconds: float
    at_least: bool
    """Whether something comes of which nothing is known."""


@dataclass(kw_only=True)
class _Step:
    part: Part | None = None
    times: int = 0
    """How often it was asked for."""
    total: int = 0
    done: int = 0
    computed: int = 0
    busy: float = 0.0
    """Seconds of workers behind `computed`."""
    at_once: int = 1
    """Items of its last block."""
    since: float = 0.0
    """When it was asked for first."""

    @property
    def items(self) -> float:
        """Expected in the end."""
        if self.part is None:
            return self.total
        if self.part.times == 1 or self.times == 0:
            return max(self.part.items, self.total)
        still = max(0, self.part.times - self.times)
        return self.total + still * min(self.part.items / self.part.times, self.total / self.times)

    @property
    def left(self) -> float:
        return max(0.0, self.items - self.done)

    @property
    def open(self) -> int:
        """Items that were asked for and are not there."""
        return max(0, self.total - self.done)

    @property
    def cost(self) -> float | None:
        return None if self.part is None else self.part.cost


@dataclass(kw_only=True)
class Remaining:
    """The estimate. Times are those of one clock, in seconds."""

    parts: Sequence[Part] = ()
    workers: int | None = 1
    """Blocks that run at once; None: as many as there turn out to be."""
    began: float = 0.0
    _steps: dict[str, list[_Step]] = field(default_factory=dict, init=False)
    """By name: one for all requests of a step, or one for each part that the plan has of it."""
    _ends: deque[float] = field(default_factory=deque, init=False)
    """When each worker finished its last block, oldest first."""

    def __post_init__(self) -> None:
        for part in self.parts:
            self._steps.setdefault(part.step, []).append(_Step(part=part))
        self._ends = deque([self.began] * (self.workers or 1), maxlen=self.workers or 1)

    def asked(self, step: str, total: int, done: int, now: float) -> None:
        """`total` more items are requested, of which `done` are there already."""
        parts = self._steps.setdefault(step, [_Step()])
        found = next((part for part in parts if not part.times), parts[-1])
        found.since = found.since if found.open else now
        found.times += 1
        found.total += total
        found.done += done

    def computed(self, step: str, n: int, seconds: float, now: float) -> None:
        """A block of `n` items is done, after so many seconds on its worker. A negative n: they are lost again."""
        parts = self._steps[step]
        found = next((part for part in parts if part.open), parts[-1]) if n > 0 else _last_done(parts)
        found.done += n
        if n > 0:
            found.computed += n
            found.busy += seconds
            found.at_once = n
            self._ends.append(now)

    def left(self, now: float) -> Left | None:
        """None before anything was computed."""
        unit, width = self._unit(), self._width()
        seconds, unknown, longest = 0.0, not self.parts, 0.0
        for step in self._all():
            cost = self._cost(step, unit)
            if cost is None:
                unknown |= step.left > 0
                continue
            seconds += step.left * cost / min(width, max(1, math.ceil(step.left / step.at_once)))
            if step.open:
                longest = max(longest, cost * min(step.at_once, step.open))
        if not any(step.computed for step in self._all()):
            return None
        return Left(max(0.0, seconds - min(longest, self._in_flight(now, width))), unknown)

    def _all(self) -> Iterator[_Step]:
        return itertools.chain.from_iterable(self._steps.values())

    def _width(self) -> int:
        if self.workers is not None:
            return max(1, self.workers)
        spent = self._ends[-1] - self.began
        return max(1, round(sum(step.busy for step in self._all()) / spent)) if spent > 0 else 1

    def _unit(self) -> float | None:
        """Seconds per unit of cost, by all that was computed of the plan."""
        planned = [step for step in self._all() if step.part is not None and step.computed]
        costs = sum(step.computed * step.part.cost for step in planned if step.part is not None)
        return sum(step.busy for step in planned) / costs if costs > 0 else None

    def _cost(self, step: _Step, unit: float | None) -> float | None:
        """Seconds of an item: what was seen, and of what was not seen yet what the plan says."""
        if step.cost is None or unit is None:
            return step.busy / step.computed if step.computed else None
        trust = TRUST * step.items
        return (step.busy + trust * step.cost * unit) / (step.computed + trust) if trust else step.cost * unit

    def _in_flight(self, now: float, width: int) -> float:
        """Seconds that the blocks which run now have run, on average: they are not done, but not ahead either."""
        waiting = [step for step in self._all() if step.open]
        if not waiting:
            return 0.0
        running = min(width, sum(math.ceil(step.open / step.at_once) for step in waiting))
        since = min(step.since for step in waiting)
        starts = [max(since, end) for end in list(self._ends)[:running]]
        return sum(now - start for start in starts) / len(starts)


def _last_done(parts: Sequence[_Step]) -> _Step:
    """The newest part that has something to lose."""
    return next((part for part in reversed(parts) if part.done), parts[-1])
