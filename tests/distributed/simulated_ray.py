"""A Ray made of a few lines, and jobs and listeners for it: thousands of crashes in seconds, at the worst moments.

Actors here are lists of calls. A seed decides which of them answers next, which dies, and which never comes back. What
Ray really does is in `test_pool.py`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import ray.exceptions

from robustray.distributed import places, pool, quarantine
from robustray.distributed.pool import Pool
from robustray.tasks.lab.jobs import Job, Receipt
from robustray.tasks.lab.protocol import Needs
from robustray.tasks.lab.store import Store

# -- a small Ray -------------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class Answer:
    """An object reference."""

    value: Any = None
    error: Exception | None = None
    ready: bool = False


@dataclass(eq=False)
class Actor:
    world: World
    cpus: float
    gpus: float
    queue: list[tuple[str, Any, Answer]] = field(default_factory=list)
    back_at: float = 0.0
    """Calls before this moment fail: it is starting again."""
    killed: bool = False

    @property
    def ping(self) -> Method:
        return Method(self, "ping")

    @property
    def run(self) -> Method:
        return Method(self, "run")


@dataclass
class Method:
    actor: Actor
    name: str

    def remote(self, *arguments: Any) -> Answer:
        answer = Answer()
        if self.actor.world.now < self.actor.back_at and self.actor.world.has_started(self.actor):
            answer.error, answer.ready = ray.exceptions.ActorUnavailableError("restarting", None), True
        else:
            self.actor.queue.append((self.name, arguments, answer))
        return answer


@dataclass
class World:
    """Stands for the module `ray` and for the passing of time."""

    seed: int
    cpus: float = 2.0
    gpus: float = 0.0
    poison: frozenset[int] = frozenset()
    """Items that kill their worker."""
    hungry: frozenset[int] = frozenset()
    """Items that raise MemoryError."""
    faulty: frozenset[int] = frozenset()
    """Items that raise an ordinary exception."""
    unlucky: float = 0.0
    """Probability that somebody kills an actor while a block runs on it."""
    lose_one_at: float | None = None
    """Moment at which an actor is lost for good: its node is gone and there is no other place."""
    start_fails: bool = False
    exceptions = ray.exceptions

    now: float = 0.0
    actors: list[Actor] = field(default_factory=list)
    ran: list[tuple[int, ...]] = field(default_factory=list)
    """Items of every block that was started."""
    most_queued: int = 0
    lost: Actor | None = None
    used: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)

    # what pool.py calls

    def remote(self, kind: type) -> World:
        return self

    def options(
        self, *, num_cpus: float, num_gpus: float, max_restarts: int, max_task_retries: int
    ) -> Callable[..., Any]:
        assert (max_restarts, max_task_retries) == (-1, 0)

        class Start:
            @staticmethod
            def remote(url: str, name: str) -> Actor:
                living = [actor for actor in self.actors if not actor.killed]
                assert sum(actor.cpus for actor in living) + num_cpus <= self.cpus, "more CPUs than there are"
                assert sum(actor.gpus for actor in living) + num_gpus <= self.gpus, "more GPUs than there are"
                actor = Actor(self, num_cpus, num_gpus, back_at=self.now + self.random.uniform(1, 4))
                self.actors.append(actor)
                return actor

        return Start

    def put(self, value: Any) -> Any:
        return value

    def kill(self, actor: Actor) -> None:
        assert not actor.queue or self.start_fails or all(name == "ping" for name, _, _ in actor.queue), "work is lost"
        actor.killed = True

    def get(self, answer: Answer) -> Any:
        assert answer.ready
        if answer.error is not None:
            raise answer.error
        return answer.value

    def wait(self, answers: Sequence[Answer], *, num_returns: int, timeout: float) -> tuple[list[Answer], list[Answer]]:
        until = self.now + timeout
        while not any(answer.ready for answer in answers) and self.now < until:
            self.step()
        ready = [answer for answer in answers if answer.ready][:num_returns]
        return ready, [answer for answer in answers if answer not in ready]

    # what happens meanwhile

    def has_started(self, actor: Actor) -> bool:
        return getattr(actor, "started", False)

    def step(self) -> None:
        self.now += 0.05
        if self.lose_one_at is not None and self.now >= self.lose_one_at and self.lost is None:
            living = [actor for actor in self.actors if not actor.killed and self.has_started(actor)]
            working = [actor for actor in living if actor.queue]
            if working and len(living) > 1:
                self.lost = self.random.choice(working)
                self.die(self.lost, for_ever=True)
        ready = [actor for actor in self.actors if actor.queue and not actor.killed and self.now >= actor.back_at]
        self.most_queued = max(
            [self.most_queued, *(sum(name == "run" for name, _, _ in actor.queue) for actor in self.actors)]
        )
        if not ready:
            return
        actor = self.random.choice(ready)
        if self.start_fails:
            for _, _, answer in actor.queue:
                error = ray.exceptions.RayActorError(error_msg="creation task failed: no such module")
                answer.error, answer.ready = error, True
            actor.queue.clear()
            return
        actor.started = True  # type: ignore[attr-defined]
        name, arguments, answer = actor.queue[0]
        if name == "ping":
            actor.queue.pop(0)
            answer.value, answer.ready = True, True
            return
        items = frozenset(arguments[0].items)
        self.ran.append(tuple(arguments[0].items))
        if items & self.poison or self.random.random() < self.unlucky:
            self.die(actor)
            return
        actor.queue.pop(0)
        answer.ready = True
        if items & self.hungry:
            answer.value = Receipt(outcome="out_of_memory", message="MemoryError: ")
        elif items & self.faulty:
            answer.value = Receipt(outcome="error", message="ValueError: ")
        else:
            answer.value = Receipt(outcome="done", rows=len(items))

    def die(self, actor: Actor, *, for_ever: bool = False) -> None:
        """Everything queued fails, and the errors don't say which call did it."""
        actor.back_at = float("inf") if for_ever else self.now + self.random.uniform(1, 4)
        kinds: list[Callable[[], Exception]] = [
            lambda: ray.exceptions.RayActorError(error_msg="worker process has died"),
            lambda: ray.exceptions.ActorUnavailableError("The actor is temporarily unavailable", None),
            lambda: ray.exceptions.OutOfMemoryError("memory usage threshold"),
        ]
        error = self.random.choice(kinds)
        for _, _, answer in actor.queue:
            answer.error, answer.ready = error(), True
        actor.queue.clear()


# -- jobs and who asked for them ---------------------------------------------------------------------------------------


ONE_THREAD = Needs()


@dataclass(frozen=True)
class FakeJob:
    items: tuple[int, ...]
    needs: Needs = ONE_THREAD
    step: str = "step"
    refs: Any = field(default_factory=dict)

    @property
    def num_items(self) -> int:
        return len(self.items)

    @property
    def label(self) -> str:
        return f"items {self.items}"

    def halves(self) -> tuple[FakeJob, ...]:
        middle = len(self.items) // 2
        return (FakeJob(self.items[:middle], self.needs), FakeJob(self.items[middle:], self.needs)) if middle else ()

    def run(self, worker: Any) -> Receipt:
        raise AssertionError


@dataclass(eq=False)
class Ears:
    """A listener that counts like `Pending` does."""

    open_jobs: int = 0
    stopped: bool = False
    finished: list[int] = field(default_factory=list)
    given_up: list[int] = field(default_factory=list)
    events: list[str] = field(default_factory=list)

    def done(self, job: Job, receipt: Receipt) -> None:
        assert isinstance(job, FakeJob)
        self.open_jobs -= 1
        self.finished += job.items

    def failed(self, job: Job, receipt: Receipt) -> None:
        self.open_jobs -= 1
        self.stopped = True

    def poisoned(self, job: Job, reason: str) -> None:
        assert isinstance(job, FakeJob)
        self.open_jobs -= 1
        self.given_up += job.items

    def retried(self, job: Job, reason: str) -> None:
        self.events.append(f"{job.label}: {reason}")

    def split(self, job: Job, into: int) -> None:
        self.open_jobs += into - 1

    def dropped(self, jobs: Sequence[Job]) -> None:
        self.open_jobs -= len(jobs)


def blocks(num_items: int, block: int, needs: Needs = Needs(), first: int = 0) -> list[FakeJob]:
    items = range(first, first + num_items)
    return [FakeJob(tuple(items[i : i + block]), needs) for i in range(0, num_items, block)]


def pool_in(world: World, patch: pytest.MonkeyPatch, folder: str, **changed: Any) -> Pool:
    """A pool for which `world` is Ray, and its clock the time."""

    class Clock:
        monotonic = staticmethod(lambda: world.now)

        @staticmethod
        def sleep(seconds: float) -> None:
            for _ in range(max(1, round(seconds / 0.05))):
                world.step()

    for module in (pool, places):
        patch.setattr(module, "ray", world)
    for module in (pool, places, quarantine):
        patch.setattr(module, "time", Clock)
    given: dict[str, Any] = {"cpus": world.cpus, "gpus": world.gpus, "use_gpus": world.gpus > 0}
    given |= {"message": lambda text: None} | changed
    return Pool(store=Store(folder), payload=lambda ref: None, **given)


def work(pool: Pool, world: World, *ears: Ears, within: float = 3000.0) -> None:
    def finished() -> bool:
        assert world.now < within, "the pool hangs"
        return all(each.open_jobs == 0 for each in ears)

    pool.work_until(finished)


def submit(pool: Pool, jobs: list[FakeJob]) -> Ears:
    ears = Ears(open_jobs=len(jobs))
    pool.submit(jobs, ears)
    return ears
