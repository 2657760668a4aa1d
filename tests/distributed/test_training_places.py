"""How many processes a training gets on which nodes, and when it is refused. Ray itself: `make acceptance`."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest
import ray
from ray.util.placement_group import PlacementGroup, placement_group

from robustray.distributed import training
from robustray.distributed.groups import GroupNeeds
from robustray.distributed.training import GroupJob, _freed_places, _marked, in_processes
from robustray.tasks.errors import InputError
from robustray.tasks.lab.checkpoints import Interval
from robustray.tasks.training.handle import TrainJob
from robustray.tasks.training.settings import TrainSpec


def job(ranks: int | tuple[int, int], *, device: str = "cpu", threads: int = 1) -> TrainJob:
    spec = TrainSpec(model="digits:mlp", data="digits:train", epochs=1, batch_size=2520, ranks=ranks, threads=threads)
    return TrainJob(spec=spec, key="key", code="code", refs={}, device=device, interval=Interval())


def nodes(*each: tuple[float, float], gone: int = 0) -> list[dict[str, Any]]:
    """(CPUs, GPUs) of nodes; the last `gone` are dead."""
    return [
        {"Alive": i < len(each) - gone, "Resources": {"CPU": cpus} | ({"GPU": gpus} if gpus else {})}
        for i, (cpus, gpus) in enumerate(each)
    ]


TWO = nodes((4, 2), (2, 0))


@pytest.mark.parametrize(
    ("ranks", "more", "there", "least", "most"),
    [
        (2, {}, TWO, 2, 2),
        (6, {}, TWO, 6, 6),
        ((2, 4), {}, TWO, 2, 4),
        ((4, 10), {}, TWO, 4, 6),
        ((1, 4), {}, TWO, 1, 4),
        (2, {"device": "cuda"}, TWO, 2, 2),
        (3, {"threads": 2}, TWO, 3, 3),
        ((1, 6), {"threads": 3}, nodes((5, 0), (5, 0)), 1, 2),
    ],
)
def test_as_many_processes_as_there_is_room_for(
    ranks: Any, more: Any, there: Any, least: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray, "nodes", lambda: there)
    plain = job(ranks, **more)
    placed = in_processes(plain)
    assert isinstance(placed, GroupJob) and (placed.least, placed.most) == (least, most)
    assert placed.needs == GroupNeeds(threads=plain.spec.threads, gpus=1.0, processes=most)
    assert (placed.key, placed.label, placed.spec) == (plain.key, plain.label, plain.spec)


@pytest.mark.parametrize(
    ("ranks", "more", "there", "says"),
    [
        (7, {}, TWO, "ranks=7 needs 7 processes with 1 CPU each, but there is room for 6"),
        ((7, 8), {}, TWO, r"ranks=\(7, 8\) needs 7 processes"),
        (3, {"device": "cuda"}, TWO, "3 processes with 1 CPU and 1 GPU each, but there is room for 2"),
        (2, {"threads": 3}, nodes((4, 0), (2, 0)), "2 processes with 3 CPU each, but there is room for 1"),
        (5, {}, nodes((4, 2), (2, 0), gone=1), "room for 4"),
    ],
)
def test_what_there_is_no_room_for_is_refused(
    ranks: Any, more: Any, there: Any, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray, "nodes", lambda: there)
    with pytest.raises(InputError, match=says):
        in_processes(job(ranks, **more))


def test_a_range_that_leaves_one_trains_as_one_device_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "nodes", lambda: nodes((1, 0)))
    plain = job((1, 4))
    assert in_processes(plain) is plain


@pytest.mark.acceptance
def test_places_that_a_killed_controller_still_takes_are_given_back(
    two_cpus: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It took new ones while the news of its end was under way: the next attempt waited for ever (Ray 2.60)."""
    monkeypatch.setattr(training, "FREE_S", 0.1)
    mine, other = (replace(job(2), key=key) for key in ("00abcdef", "00abddef"))

    def take(whose: TrainJob, attempt: int) -> PlacementGroup:
        return placement_group([_marked(whose, attempt)] * 2)

    def state(places: PlacementGroup) -> str:
        return ray.util.placement_group_table(places)["state"]

    def wait_until_freed(places: PlacementGroup) -> None:
        end = time.monotonic() + 60
        while state(places) != "REMOVED":
            assert time.monotonic() < end, "it is still held"
            time.sleep(0.05)

    before, elsewhere = take(mine, 0), take(other, 0)
    assert before.wait(60)
    with _freed_places(mine) as attempt:
        assert attempt == 1
        wait_until_freed(before)
        ray.util.remove_placement_group(elsewhere)
        own, late, elsewhere = take(mine, attempt), take(mine, 0), take(other, 0)
        assert own.wait(60)
        wait_until_freed(late)
        assert state(own) == "CREATED" and state(elsewhere) == "PENDING"
    with _freed_places(mine) as attempt:
        assert attempt == 2
        wait_until_freed(own)
        assert elsewhere.wait(60), "that of another training is left alone"
