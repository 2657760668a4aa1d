"""How many processes a training gets on which nodes, and when it is refused. Ray itself: `make acceptance`."""

from __future__ import annotations

from typing import Any

import pytest
import ray

from robustray.distributed.groups import GroupNeeds
from robustray.distributed.training import GroupJob, in_processes
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
