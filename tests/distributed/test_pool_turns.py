"""The pool's decisions about places, against a simulated Ray: how many actors, of which kind, and whose turn it is."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from robustray.distributed.groups import GroupNeeds
from robustray.distributed.pool import QUEUE_DEPTH, Pool
from robustray.tasks.errors import InputError, WorkFailed
from robustray.tasks.lab.protocol import Needs
from tests.distributed.simulated_ray import Ears, World, blocks, pool_in, submit, work


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Pool]:
    return lambda world, **changed: pool_in(world, monkeypatch, str(tmp_path), **changed)


NEEDS = [
    *(
        (kinds, gpus)
        for gpus in (0.0, 2.0)
        for kinds in (
            (Needs(), Needs(threads=2)),
            (Needs(threads=2), Needs()),
            (Needs(), GroupNeeds(processes=2)),
            (Needs(threads=2), GroupNeeds(processes=2), GroupNeeds(processes=1)),
        )
    ),
    ((Needs(), Needs(gpus=0.5)), 2.0),
    ((Needs(), Needs(gpus=0.5), Needs(threads=2)), 2.0),
    ((Needs(gpus=0.25), Needs(gpus=0.5), Needs(gpus=1.0), Needs(gpus=2.0, threads=2)), 2.0),
]


@pytest.mark.parametrize("max_actors", [None, 1])
@pytest.mark.parametrize(("kinds", "gpus"), NEEDS, ids=str)
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


def test_processes_that_a_job_starts_have_their_places(start: Callable[..., Pool]) -> None:
    """Two at a time, on four CPUs: its own actor takes none, and the others leave it two."""
    world = World(seed=0, cpus=4.0)
    pool = start(world, quantum_s=1.0)
    pairs, others = submit(pool, blocks(20, 1, GroupNeeds(processes=2))), submit(pool, blocks(500, 1))
    seen: set[tuple[int, int]] = set()

    def finished() -> bool:
        waiting, working = (len(pool.places.groups[needs].actors) for needs in (GroupNeeds(processes=2), Needs()))
        seen.add((waiting, working))
        return pairs.open_jobs == others.open_jobs == 0

    pool.work_until(finished)
    assert {actor.cpus for actor in world.actors} == {0.0, 1.0}
    assert all(2 * waiting + working <= 4 for waiting, working in seen)
    assert any(waiting and working == 2 for waiting, working in seen)


def test_places_of_a_finished_kind_go_to_those_that_work(start: Callable[..., Pool]) -> None:
    world = World(seed=0, cpus=4.0, gpus=2.0)
    pool = start(world, quantum_s=1.0)
    short, long = submit(pool, blocks(4, 1)), submit(pool, blocks(2000, 1, Needs(gpus=0.5)))
    work(pool, world, short)
    most = 0

    def finished() -> bool:
        nonlocal most
        most = max(most, len(pool.places.groups[Needs(gpus=0.5)].actors))
        return long.open_jobs == 0

    pool.work_until(finished)
    assert most == 4


@pytest.mark.parametrize(
    ("needs", "gpus", "use_gpus"),
    [
        (Needs(threads=3), 0.0, False),
        (GroupNeeds(processes=3), 0.0, False),
        (GroupNeeds(processes=2, gpus=1.0), 1.0, True),
        (Needs(gpus=1.0), 0.0, True),
        (Needs(gpus=2.0), 1.0, True),
    ],
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
    """The actors of one share go on with the next: starting new ones was half of what some runs cost."""
    world = World(seed=0, cpus=2.0, gpus=0.0)
    pool = start(world, quantum_s=0.0)
    for share in (1.0, 0.25, 0.0, 1.0):
        ears = submit(pool, blocks(10, 1, Needs(gpus=share)))
        work(pool, world, ears)
        assert len(ears.finished) == 10
    assert len(world.actors) == 2


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


def test_a_run_without_workers_says_so_now_and_then(start: Callable[..., Pool]) -> None:
    """A cluster lost all its nodes: that a worker is unavailable was taken for an answer, and nothing was said."""
    world, said = World(seed=0, cpus=1.0), list[str]()
    pool = start(world, message=said.append)
    ears = submit(pool, blocks(100, 1))
    pool.work_until(lambda: len(ears.finished) > 10)
    assert not said
    world.die(world.actors[0])
    world.actors[0].back_at = world.now + 100
    work(pool, world, ears)
    assert len(said) == 3 and all("has it lost its nodes?" in words for words in said)
