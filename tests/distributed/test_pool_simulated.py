"""The pool's decisions against a Ray made of a few lines: thousands of crashes in seconds, at the worst moments.

Actors here are lists of calls. A seed decides which of them answers next, which dies, and which never comes back. What
Ray really does is in `test_pool.py`.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import ray.exceptions

from robustray.distributed import pool as pool_module
from robustray.distributed.pool import QUEUE_DEPTH, STRIKES, Pool
from robustray.tasks.errors import InputError, WorkFailed
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

    def split(self, into: int) -> None:
        self.open_jobs += into - 1

    def dropped(self, jobs: Sequence[Job]) -> None:
        self.open_jobs -= len(jobs)


def blocks(num_items: int, block: int, needs: Needs = Needs(), first: int = 0) -> list[FakeJob]:
    items = range(first, first + num_items)
    return [FakeJob(tuple(items[i : i + block]), needs) for i in range(0, num_items, block)]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Callable[..., Pool]:
    def make(world: World, **changed: Any) -> Pool:
        class Clock:
            monotonic = staticmethod(lambda: world.now)

            @staticmethod
            def sleep(seconds: float) -> None:
                for _ in range(max(1, round(seconds / 0.05))):
                    world.step()

        monkeypatch.setattr(pool_module, "ray", world)
        monkeypatch.setattr(pool_module, "time", Clock)
        given = {"cpus": world.cpus, "gpus": world.gpus, "use_gpus": world.gpus > 0} | changed
        return Pool(store=Store(str(tmp_path)), payload=lambda ref: None, message=lambda text: None, **given)

    return make


def work(pool: Pool, world: World, *ears: Ears, within: float = 3000.0) -> None:
    def finished() -> bool:
        assert world.now < within, "the pool hangs"
        return all(each.open_jobs == 0 for each in ears)

    pool.work_until(finished)


def submit(pool: Pool, jobs: list[FakeJob]) -> Ears:
    ears = Ears(open_jobs=len(jobs))
    pool.submit(jobs, ears)
    return ears


# -- properties --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(150))
def test_every_item_is_done_once_or_is_poison(seed: int, start: Callable[..., Pool]) -> None:
    """Poison, hungry items and a lost node, without bad luck: exactly the bad items are given up."""
    chance = random.Random(seed)
    num_items, block = chance.choice([(1, 1), (2, 1), (3, 2), (16, 8), (40, 7), (60, 16)])
    bad = frozenset(chance.sample(range(num_items), min(num_items, chance.choice([0, 1, 1, 2, 5]))))
    poison = frozenset(item for item in bad if chance.random() < 0.6)
    world = World(
        seed=seed,
        cpus=float(chance.choice([1, 2, 3, 5])),
        poison=poison,
        hungry=bad - poison,
        lose_one_at=chance.choice([None, 3.0, 8.0]),
    )
    if world.cpus == 1:
        world.lose_one_at = None  # then nothing is left to work with
    pool = start(world, max_actors=chance.choice([None, 1, 2]) if world.lose_one_at is None else None)
    ears = submit(pool, blocks(num_items, block))
    work(pool, world, ears)
    assert sorted(ears.finished) == [item for item in range(num_items) if item not in bad]
    assert sorted(ears.given_up) == sorted(bad)
    assert ears.open_jobs == 0
    assert world.most_queued <= QUEUE_DEPTH


@pytest.mark.parametrize("seed", range(60))
def test_bad_luck_loses_no_item(seed: int, start: Callable[..., Pool]) -> None:
    """Actors that are killed from outside, again and again: a healthy item is given up only after dying alone twice."""
    world = World(seed=seed, cpus=3.0, unlucky=0.25)
    pool = start(world)
    ears = submit(pool, blocks(40, 1 + seed % 8))
    work(pool, world, ears)
    assert sorted([*ears.finished, *ears.given_up]) == list(range(40))
    alone = Counter(items[0] for items in world.ran if len(items) == 1)
    assert all(alone[item] >= STRIKES for item in ears.given_up)


def test_a_block_that_was_not_alone_is_not_blamed(start: Callable[..., Pool]) -> None:
    """One actor dies; the other, which still has two healthy blocks, is chosen for quarantine and dies too."""
    for seed in range(200):
        world = World(seed=seed, cpus=2.0)
        pool = start(world)
        ears = submit(pool, blocks(200, 2))
        work_until_queued(pool, world)
        first, second = (actor for actor in world.actors if not actor.killed)
        world.die(first)
        while not any(actor.quarantine for group in pool._groups.values() for actor in group.actors):
            pool._hand_out()
            for answer in pool._wait():
                pool._settle(*answer)
        world.die(second)
        work(pool, world, ears)
        assert sorted(ears.finished) == list(range(200)) and not ears.given_up
        assert not [event for event in ears.events if "in halves" in event], (seed, ears.events)


def work_until_queued(pool: Pool, world: World) -> None:
    """Until both actors have as much as they may."""
    for _ in range(1000):
        pool._hand_out()
        if len(world.actors) == 2 and all(len(actor.queue) == QUEUE_DEPTH for actor in world.actors):
            return
        for answer in pool._wait():
            pool._settle(*answer)
    raise AssertionError


@pytest.mark.parametrize("block", [1, 2, 8])
def test_out_of_memory_beside_a_neighbour_is_tried_alone(block: int, start: Callable[..., Pool]) -> None:
    """A single item that ran out of memory while others used it up gets its second chance."""
    world = World(seed=0, hungry=frozenset([3]))
    pool = start(world)
    ears = submit(pool, blocks(16, block))
    work(pool, world, ears)
    assert ears.given_up == [3]
    assert world.ran.count((3,)) == (2 if block == 1 else 1)


def test_bisecting_tries_no_more_than_it_must(start: Callable[..., Pool]) -> None:
    """Of 64 items in one block: itself twice, two halves a level, the item alone twice."""
    for poison in (0, 31, 63):
        world = World(seed=poison, poison=frozenset([poison]))
        pool = start(world)
        ears = submit(pool, blocks(64, 64))
        work(pool, world, ears)
        assert ears.given_up == [poison]
        assert len(world.ran) == 2 + 2 * 6 + 1


def test_healthy_blocks_go_on_while_a_bad_one_is_bisected(start: Callable[..., Pool]) -> None:
    world = World(seed=1, poison=frozenset([0]))
    pool = start(world)
    bad, good = submit(pool, blocks(64, 64)), submit(pool, blocks(200, 1, first=100))
    work(pool, world, good)
    assert bad.open_jobs > 0, "the bad block did not delay the good ones"
    work(pool, world, bad)


def test_an_exception_ends_its_step_and_no_other(start: Callable[..., Pool]) -> None:
    for seed in range(30):
        world = World(seed=seed, faulty=frozenset([5]))
        pool = start(world)
        failing, fine = submit(pool, blocks(100, 1)), submit(pool, blocks(20, 1, first=1000))
        work(pool, world, failing, fine)
        assert failing.stopped and failing.open_jobs == 0
        assert 5 <= len(failing.finished) < 20, "in flight they finish, waiting they are dropped"
        assert sorted(fine.finished) == list(range(1000, 1020))


# -- places ------------------------------------------------------------------------------------------------------------


NEEDS = [
    (Needs(), Needs(gpus=0.5)),
    (Needs(), Needs(threads=2)),
    (Needs(threads=2), Needs()),
    (Needs(), Needs(gpus=0.5), Needs(threads=2)),
    (Needs(gpus=0.25), Needs(gpus=0.5), Needs(gpus=1.0), Needs(gpus=2.0, threads=2)),
]


@pytest.mark.parametrize("max_actors", [None, 1])
@pytest.mark.parametrize("gpus", [0.0, 2.0])
@pytest.mark.parametrize("kinds", NEEDS, ids=str)
def test_open_handles_of_several_kinds_all_get_their_turn(
    kinds: tuple[Needs, ...], gpus: float, max_actors: int | None, start: Callable[..., Pool]
) -> None:
    """Whichever is waited for: none has to wait until another is done."""
    for waited_for in range(len(kinds)):
        world = World(seed=waited_for, cpus=2.0, gpus=gpus)
        pool = start(world, quantum_s=2.0, max_actors=max_actors)
        ears = [submit(pool, blocks(600, 1, needs)) for needs in kinds]
        begun: dict[int, float] = {}

        def all_begun(ears: list[Ears] = ears, begun: dict[int, float] = begun, world: World = world) -> bool:
            assert world.now < 500, f"only {sorted(begun)} of {len(ears)} kinds ever began"
            for i, each in enumerate(ears):
                if each.finished:
                    begun.setdefault(i, world.now)
            return len(begun) == len(ears)

        pool.work_until(all_begun)
        assert max(begun.values()) < 20.0 * len(kinds)
        work(pool, world, *ears)
        assert all(sorted(each.finished) == list(range(600)) for each in ears)


def test_places_of_a_finished_kind_go_to_those_that_work(start: Callable[..., Pool]) -> None:
    world = World(seed=0, cpus=4.0)
    pool = start(world, quantum_s=1.0)
    short, long = submit(pool, blocks(4, 1)), submit(pool, blocks(2000, 1, Needs(gpus=0.5)))
    work(pool, world, short)
    most = 0

    def finished() -> bool:
        nonlocal most
        most = max(most, len(pool._groups[Needs(gpus=0.5)].actors))
        return long.open_jobs == 0

    pool.work_until(finished)
    assert most == 4


@pytest.mark.parametrize(
    ("needs", "gpus", "use_gpus"),
    [(Needs(threads=3), 0.0, False), (Needs(gpus=1.0), 0.0, True), (Needs(gpus=2.0), 1.0, True)],
)
def test_what_can_never_be_placed_is_refused(
    needs: Needs, gpus: float, use_gpus: bool, start: Callable[..., Pool]
) -> None:
    world = World(seed=0, cpus=2.0, gpus=gpus)
    pool = start(world, use_gpus=use_gpus)
    ears = Ears()
    with pytest.raises(InputError, match=r"needs .* but there are"):
        pool.submit(blocks(3, 1, needs), ears)
    assert not world.actors
    fine = submit(pool, blocks(3, 1))
    work(pool, world, fine)
    assert fine.finished == [0, 1, 2]


def test_gpu_shares_are_ignored_on_a_run_on_cpus(start: Callable[..., Pool]) -> None:
    world = World(seed=0, cpus=2.0, gpus=0.0)
    ears = submit(pool := start(world), blocks(10, 1, Needs(gpus=1.0)))
    work(pool, world, ears)
    assert len(ears.finished) == 10 and len(world.actors) == 2


@pytest.mark.parametrize("num_items", [1, 2, 3, 4, 5, 20])
@pytest.mark.parametrize("max_actors", [None, 1, 2, 3])
def test_no_more_actors_than_blocks_or_than_allowed(
    num_items: int, max_actors: int | None, start: Callable[..., Pool]
) -> None:
    world = World(seed=num_items, cpus=4.0)
    ears = submit(pool := start(world, max_actors=max_actors), blocks(num_items, 1))
    work(pool, world, ears)
    assert len(world.actors) == min(num_items, max_actors or 4, 4)
    assert sorted(ears.finished) == list(range(num_items))


def test_workers_that_never_start_end_the_run(start: Callable[..., Pool]) -> None:
    world = World(seed=0, start_fails=True)
    ears = submit(pool := start(world), blocks(10, 1))
    with pytest.raises(WorkFailed, match=r"workers don't start: creation task failed: no such module"):
        work(pool, world, ears)


def test_many_blocks_are_never_queued_at_once(start: Callable[..., Pool]) -> None:
    world = World(seed=0, cpus=3.0)
    ears = submit(pool := start(world), blocks(5000, 1))
    most = 0

    def finished() -> bool:
        nonlocal most
        most = max(most, sum(len(actor.queue) for actor in world.actors))
        return ears.open_jobs == 0

    pool.work_until(finished)
    assert most <= 3 * QUEUE_DEPTH
    assert sorted(ears.finished) == list(range(5000))
    assert list(itertools.islice(world.ran, 4)), "and they did run"
