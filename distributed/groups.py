"""The state of the pool: which actors there are, which blocks each of them was given, and which blocks still wait."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from robustray.tasks.lab.executor import Listener
from robustray.tasks.lab.jobs import Job
from robustray.tasks.lab.protocol import Needs


@dataclass(frozen=True, kw_only=True)
class GroupNeeds(Needs):
    """Needs of a job that starts several processes, each with these needs, and waits for them.

    Its actor takes no resources itself; the pool reserves those of its processes.
    """

    processes: int


@dataclass(eq=False)
class Task:
    """A job, who asked for it, and what it is suspected of."""

    job: Job
    listener: Listener
    strikes: int = 0
    alone: bool = False
    """It was a suspect when it was sent: nothing else ran, or waited, on its actor."""


@dataclass(eq=False)
class Actor:
    """An actor as the driver sees it."""

    handle: Any
    name: str
    started: float = 0.0
    """When it answered for the first time."""
    up: bool = False
    """It has answered since it started or its last call failed."""
    ping: Any = None
    ping_at: float = 0.0
    failed_starts: int = 0
    down_at: float = 0.0
    """Time at which its last call failed."""
    in_flight: dict[Any, Task] = field(default_factory=dict)
    holds: set[str] = field(default_factory=set)
    """Content hashes of what it was given."""
    quarantine: bool = False
    """It gets suspects only, one at a time."""
    retiring: bool = False
    """It gets nothing more, since another group waits for its place."""


@dataclass(eq=False)
class Group:
    """The actors of one kind of `Needs`, and the work that waits for them."""

    needs: Needs
    waiting: deque[Task] = field(default_factory=deque)
    suspects: deque[Task] = field(default_factory=deque)
    """Their actor died with them on it; see `quarantine.py`."""
    actors: list[Actor] = field(default_factory=list)
    served_at: float = 0.0
    """When it last had an actor; who waits longest comes first."""

    @property
    def has_work(self) -> bool:
        return bool(self.waiting or self.suspects)

    @property
    def in_flight(self) -> int:
        return sum(len(actor.in_flight) for actor in self.actors)

    def drop_stopped(self) -> None:
        """Take the jobs of failed steps out of the queues."""
        for queue in (self.waiting, self.suspects):
            dropped = [task for task in queue if task.listener.stopped]
            if dropped:
                kept = [task for task in queue if not task.listener.stopped]
                queue.clear()
                queue.extend(kept)
                for task in dropped:
                    task.listener.dropped([task.job])
