"""The pool's decisions about blocks whose worker died, against a simulated Ray: which is bad, and who waits for it."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from robustray.distributed.pool import QUEUE_DEPTH, Pool
from robustray.distributed.quarantine import STRIKES
from tests.distributed.simulated_ray import World, blocks, pool_in, submit, work


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Pool]:
    return lambda world, **changed: pool_in(world, monkeypatch, str(tmp_path), **changed)


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
        while not any(actor.quarantine for group in pool.groups for actor in group.actors):
            pool.hand_out()
            for answer in pool.wait():
                pool.settle(*answer)
        world.die(second)
        work(pool, world, ears)
        assert sorted(ears.finished) == list(range(200)) and not ears.given_up
        assert not [event for event in ears.events if "in halves" in event], (seed, ears.events)


def work_until_queued(pool: Pool, world: World) -> None:
    """Until both actors have as much as they may."""
    for _ in range(1000):
        pool.hand_out()
        if len(world.actors) == 2 and all(len(actor.queue) == QUEUE_DEPTH for actor in world.actors):
            return
        for answer in pool.wait():
            pool.settle(*answer)
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
