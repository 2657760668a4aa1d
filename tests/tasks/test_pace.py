"""Minutes from a measured second: what is measured, what is said, and what is not known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from robustray.tasks.cost import EnvironmentStep, NetworkPass, NumpySecond, Part, UnitOfCost, Work
from robustray.tasks.errors import InputError
from robustray.tasks.kit import pace
from robustray.tasks.kit.estimates import training_part
from robustray.tasks.kit.pace import Pace, architecture, measure, rounded, time_words
from robustray.tasks.training.settings import TrainSpec


def work(unit: UnitOfCost | None, *, times: int = 1) -> Work:
    parts = (Part(step="train", items=10, cost=50.0), Part(step="attack", items=100, cost=7.0, times=times))
    return Work(counts={"passes": 1_200}, note="", parts=parts, unit=unit)


def at(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    monkeypatch.setattr(pace, "measure", lambda unit: Pace(seconds=seconds, words="one core was timed"))


@pytest.mark.parametrize(
    ("workers", "times", "words"),
    [
        (0, 1, "time: about 20 min of one free core here, an estimate: one core was timed"),
        (1, 1, "time: about 20 min of one free core here, an estimate: one core was timed"),
        (4, 1, "time: about 5 min on 4 free cores here (20 min of one), an estimate: one core was timed"),
        (4, 2, "time: at most about 5 min on 4 free cores here (20 min of one), an estimate: one core was timed"),
    ],
)
def test_cost_times_pace_over_workers(monkeypatch: pytest.MonkeyPatch, workers: int, times: int, words: str) -> None:
    """1,200 units of a second, and ten seconds to start."""
    at(monkeypatch, 1.0)
    assert time_words(work(NumpySecond(), times=times), workers) == words


def test_what_is_not_known_is_said() -> None:
    assert "does not say" in time_words(Work(counts={"samples": 1}, note=""), 2)
    assert "run:0123 is in the store" in time_words(work(NetworkPass(models=("run:0123",))), 2)
    assert "mine:build is your own" in time_words(work(NetworkPass(models=("mine:build",))), 2)
    assert "not estimated (" in time_words(work(EnvironmentStep(environment="Hoper-v5")), 2)


@pytest.mark.parametrize(
    ("name", "built"),
    [
        ("digits:cnn", "digits:cnn"),
        ("cifar:resnet20", "cifar:resnet20"),
        ("small:linf8", "small:s"),
        ("twin:l2_05:1", "small:s"),
        ("cifar:resnet18@weights.safetensors", "cifar:resnet18"),
    ],
)
def test_weights_do_not_matter_to_the_pace(name: str, built: str) -> None:
    assert architecture(name) == built


@pytest.fixture
def briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "MEASURED_S", 0.05)


UNITS: list[UnitOfCost] = [
    NetworkPass(models=("digits:mlp", "digits:cnn")),
    NetworkPass(models=("scenes:cnn",), side=16),
    EnvironmentStep(environment="Hopper-v5"),
    NumpySecond(),
]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: type(unit).__name__)
@pytest.mark.usefixtures("briefly")
def test_every_unit_is_measured_and_named(unit: UnitOfCost) -> None:
    import torch

    threads, state = torch.get_num_threads(), torch.random.get_rng_state()
    found = measure(unit)
    assert found.seconds > 0 and "measured now" in found.words
    assert torch.get_num_threads() == threads and torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("name", ["scenes:cnn", "cifar:resnet20"])
def test_more_pixels_cost_more(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Sixteen times the pixels are sixteen times the numbers written. These are counted in the clock's place, for a
    small network's time on a busy machine is mostly that of calls, of which both sizes make as many."""
    monkeypatch.setattr(pace, "_rate", lambda step, seconds=0.0: 1e12 / numbers_written(step))
    small, large = (measure(NetworkPass(models=(name,), side=side)).seconds for side in (16, 64))
    assert large / small == pytest.approx(16, rel=0.05)


def numbers_written(step: Callable[[], object]) -> int:
    """By all operations of torch in `step`, forward and backward."""
    from torch import Tensor
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    class Counting(TorchDispatchMode):
        count = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            found = func(*args, **(kwargs or {}))
            self.count += sum(leaf.numel() for leaf in tree_leaves(found) if isinstance(leaf, Tensor))
            return found

    with Counting() as counting:
        step()
    return counting.count


def test_a_network_that_is_slow_for_the_time_there_is_is_not_attacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "MEASURED_S", 1e-6)
    monkeypatch.setattr("robustray.tasks.attacks.PGD.__call__", lambda *given, **named: pytest.fail("PGD was run"))
    assert measure(NetworkPass(models=("digits:cnn",))).seconds > 0


def test_an_unknown_architecture_is_refused() -> None:
    with pytest.raises(InputError, match="digits"):
        measure(NetworkPass(models=("digits:cn",)))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(2, "5 s"), (43, "45 s"), (61, "1 min"), (1_000, "17 min"), (7_700, "2 h 10 min"), (400_000, "5 days")],
)
def test_times_are_round(seconds: float, words: str) -> None:
    assert rounded(seconds) == words


@pytest.mark.parametrize(
    ("model", "unit", "times"),
    [
        ("small:s", "small:s", 1.0),
        ("cifar:resnet18", "small:s", 84.0),  # what would take a day is not told as a quarter of an hour
        ("small:s", "cifar:resnet18", 1 / 84),
        ("cifar:resnet18", "my_mod:build", 1.0),  # not known: counts alike
        ("cifar:resnet18", "", 1.0),
    ],
)
def test_a_training_of_a_heavier_network_counts_more(model: str, unit: str, times: float) -> None:
    spec = TrainSpec(model=model, data="cifar10:train", epochs=1)
    alike, counted = training_part([(spec, 1000)] * 2), training_part([(spec, 1000)] * 2, unit=unit)
    assert counted.items == alike.items == 2
    assert counted.cost == pytest.approx(alike.cost * times)
