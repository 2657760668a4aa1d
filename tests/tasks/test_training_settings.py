"""What a training may be: bad values are refused in words, schedules hold their corner values."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from robustray.tasks.errors import InputError
from robustray.tasks.training.recipes import RECIPES
from robustray.tasks.training.reference import SEEDS, reference_specs
from robustray.tasks.training.settings import TrainSpec
from robustray.tasks.training.work import training_passes


def spec(**changed: Any) -> TrainSpec:
    fields: dict[str, Any] = {"model": "digits:mlp", "data": "digits:train", "epochs": 2, "batch_size": 256}
    return TrainSpec(**fields | changed)


ROBUST = {"loss": "adversarial", "eps": 0.1}

BAD: list[tuple[str, Any]] = [
    *(("epochs", value) for value in (0, -1, 1.5, math.nan, True)),
    *(("batch_size", value) for value in (0, 2.0)),
    *(("threads", value) for value in (0, 0.5)),
    *(("seed", value) for value in (-1, 0.5)),
    *(("lr", value) for value in (-0.1, math.nan, math.inf, "0.1")),
    *(("momentum", value) for value in (-0.1, 1.0, math.nan)),
    *(("weight_decay", value) for value in (-1e-9, math.inf)),
    *(("label_smoothing", value) for value in (-0.1, 1.0, math.nan)),
    *(("schedule", value) for value in ("linear", "")),
    *(("loss", value) for value in ("pgd", "", "Standard")),
    *(("norm", value) for value in ("l1", "inf")),
    *(("eps", value) for value in (-0.1, math.nan, 8)),
    *(("step_size", value) for value in (-0.1, math.inf)),
    *(("num_steps", value) for value in (0, 1.5)),
    *(("eps_schedule", value) for value in (((0, 1), (0, 2)), ((1, 2, 3),), ((0, -1),), ((0, math.nan),), 3)),
    *(("augmentation", value) for value in ("crop", "flip")),
    *(("ema_decay", value) for value in (-0.1, 1.0)),
    *(("precision", value) for value in ("fp16", "float32")),
    *(("attack_precision", value) for value in ("fp16",)),
    *(("validation", value) for value in (-1, 1.5, math.nan)),
    *(("check_steps", value) for value in (0,)),
    *(("check_every", value) for value in (0,)),
    *(("select", value) for value in ("worst",)),
    *(("frozen", value) for value in ("conv1", ("",), ("a", "a"), (1,))),
    ("new_head", True),
    *(("gpus", value) for value in (0, 1.5, -0.5, math.nan)),
    *(("ranks", value) for value in (0, (4, 2), (1, 2, 3), 1.5, (0, 2))),
]


@pytest.mark.parametrize(("name", "value"), BAD)
def test_bad_values_are_named(name: str, value: Any) -> None:
    with pytest.raises(InputError) as refused:
        spec(**ROBUST | {name: value})
    assert name in str(refused.value) and len(str(refused.value).splitlines()) == 1


TOGETHER: list[tuple[dict[str, Any], str]] = [
    ({"eps": 0.1}, r"eps=0.1 has no effect with loss='standard'"),
    ({"num_steps": 3}, r"num_steps=3 has no effect"),
    ({"loss": "noise", "eps": 0.1, "step_size": 0.1}, r"step_size=0.1 has no effect with loss='noise'"),
    ({**ROBUST, "trades_beta": 1.0}, r"trades_beta=1.0 has no effect .* needs 'trades'"),
    ({"loss": "trades", "eps": 0.1}, r"needs random_start=True"),
    ({"select": "best"}, r"select='best' needs validation images"),
    ({"schedule": "steps"}, r"lr_drops=\(\) with schedule='steps'"),
    ({"lr_drops": (1,)}, r"lr_drops=\(1,\) with schedule='triangular'"),
    ({"schedule": "steps", "lr_drops": (2, 1)}, r"lr_drops must have its epochs in rising order"),
    ({"schedule": "steps", "lr_drops": (0,)}, r"epochs above 0"),
    ({"gpus": 0.5, "ranks": 2}, r"gpus must be above 0, and 1 with several ranks"),
    ({"ranks": 3}, r"batch_size 256 cannot be shared by 3 ranks"),
    ({"ranks": (2, 4)}, r"batch_size 256 cannot be shared by 3 ranks"),
]


@pytest.mark.parametrize(("changed", "says"), TOGETHER)
def test_values_that_do_not_go_together(changed: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        spec(**changed)


CORNERS: list[dict[str, Any]] = [
    {"lr": 0.0},
    {"weight_decay": 0.0},
    {"momentum": 0.0},
    {"schedule": "constant"},
    {"loss": "adversarial", "eps": 0.0},
    {"loss": "trades", "eps": 0.0},
    {**ROBUST, "num_steps": 1, "random_start": True, "step_size": 0.125},
    {**ROBUST, "norm": "l2", "eps": 3.0},
    {"validation": 0.5, "select": "best"},
    {"ranks": (1, 2)},
]


@pytest.mark.parametrize("value", CORNERS)
def test_corner_values_are_fine(value: dict[str, Any]) -> None:
    assert {name: getattr(spec(**value), name) for name in value} == value


def test_settings_load_nothing_heavy() -> None:
    code = (
        "import sys, robustray.tasks.training.settings, robustray.tasks.training.reference as r; r.reference_specs(0)\n"
        "print([name for name in ('torch', 'numpy', 'pandas', 'ray') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# -- schedules ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_steps", [1, 2, 3, 5, 100, 1001])
def test_the_triangular_schedule(num_steps: int) -> None:
    rates = [spec(lr=0.4).learning_rate(step, num_steps) for step in range(num_steps)]
    assert all(0 < rate <= 0.4 for rate in rates)
    peak = int(np.argmax(rates))
    assert all(np.diff(rates[: peak + 1]) > 0) and all(np.diff(rates[peak:]) < 0)
    assert abs((peak + 0.5) / num_steps - 0.2) <= 0.5 / num_steps + 1e-9 or num_steps < 3
    assert math.isclose(float(np.mean(rates)), 0.2, rel_tol=1 / num_steps)  # area of the triangle


def test_the_triangle_by_hand() -> None:
    rates = [spec(lr=1.0).learning_rate(step, 10) for step in range(10)]
    assert rates == pytest.approx([0.25, 0.75, 0.9375, 0.8125, 0.6875, 0.5625, 0.4375, 0.3125, 0.1875, 0.0625])
    assert [spec(lr=0.3, schedule="constant").learning_rate(step, 7) for step in range(7)] == [0.3] * 7


def test_drops_come_at_the_first_step_of_their_epoch() -> None:
    """The CIFAR recipe of MadryLab/robustness 1.2.1: 150 epochs, a tenth after 50 and after 100."""
    recipe = spec(epochs=150, schedule="steps", lr_drops=(50, 100), lr=0.1)
    rates = [recipe.learning_rate(step, 150 * 391) for step in range(150 * 391)]
    assert rates[:2] == [0.1, 0.1] and rates[-1] == pytest.approx(0.001)
    assert [i / 391 for i in np.flatnonzero(np.diff(rates)) + 1] == [50, 100]


def test_the_cosine_by_hand() -> None:
    rates = [spec(schedule="cosine", lr=2.0).learning_rate(step, 3) for step in range(3)]
    assert rates == pytest.approx([1 + math.cos(math.pi / 6), 1.0, 1 - math.cos(math.pi / 6)])


def test_eps_is_interpolated_and_constant_outside() -> None:
    warm = spec(**ROBUST | {"eps": 0.2, "eps_schedule": ((1, 0.0), (3, 1.0), (5, 0.5))})
    given = {0: 0, 1: 0, 1.5: 0.05, 2: 0.1, 3: 0.2, 4: 0.15, 5: 0.1, 100: 0.1}
    assert [warm.train_eps(epoch) for epoch in given] == pytest.approx(list(given.values()))
    assert spec(**ROBUST).train_eps(7.5) == 0.1


# -- specs that come with the project ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "step", "check"),
    [
        ({}, 1, 4 * 1),
        ({"loss": "noise", "eps": 0.1}, 1, 4 * 12),
        ({"loss": "adversarial", "eps": 0.1, "num_steps": 3}, 4, 4 * 12),
        ({"loss": "adversarial", "eps": 0.1, "num_steps": 3, "use_best": True}, 5, 4 * 12),
        ({"loss": "trades", "eps": 0.1, "num_steps": 3, "random_start": True}, 6, 4 * 12),
        ({"loss": "adversarial", "eps": 0.1, "num_steps": 3, "check_every": 3}, 4, 2 * 12),
        ({"check_every": 9}, 1, 1),
        ({"ema_decay": 0.9}, 1, 4 * 2),
    ],
)
def test_passes_by_hand(changed: dict[str, Any], step: int, check: int) -> None:
    """Four epochs of 90 images, 10 held out. step: passes of an image in an epoch; check: of a held-out one in all."""
    spec = TrainSpec(model="m:f", data="d", epochs=4, validation=10, check_steps=10, **changed)
    assert training_passes(spec, 100) == 4 * 90 * step + 10 * check


def test_recipes_are_specs_of_their_models() -> None:
    assert all(recipe.model == name for name, recipe in RECIPES.items())


def test_the_twins_differ_in_nothing_but_the_threat() -> None:
    threat = ("loss", "norm", "eps", "step_size", "num_steps")
    for seed in SEEDS:
        twins = reference_specs(seed)
        assert list(twins) == ["standard", "l2_05", "linf8"]
        rest = {tuple((n, v) for n, v in vars(twin).items() if n not in threat) for twin in twins.values()}
        assert len(rest) == 1 and dict(rest.pop())["seed"] == seed
        for twin in twins.values():
            assert (twin.model, twin.epochs, twin.batch_size, twin.lr) == ("small:s", 14, 256, 0.2)
            assert "auto" not in (twin.precision, twin.attack_precision)
    twins = reference_specs(0)
    assert (twins["linf8"].eps, twins["linf8"].step_size, twins["linf8"].num_steps) == (8 / 255, 4 / 255, 3)
    assert (twins["l2_05"].eps, twins["l2_05"].step_size, twins["l2_05"].num_steps) == (0.5, 0.25, 3)


def test_auto_is_settled_and_standard_training_does_not_depend_on_the_machine() -> None:
    assert spec(**ROBUST).settled("cpu").attack_precision in ("fp32", "bf16")
    assert spec().settled("cpu").attack_precision == "fp32"
    fixed = spec(**ROBUST | {"attack_precision": "bf16", "precision": "fp32"})
    assert fixed.settled("cpu") == fixed
