"""A shared parameter with the weights of the model: a step by hand, both sides of the game, going on after a kill."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from robustray.tasks.attacks.gradient.verdicts import predict_logits
from robustray.tasks.attacks.objective import CrossEntropy
from robustray.tasks.data.digits import DigitsSource
from robustray.tasks.data.images import ImageData
from robustray.tasks.errors import InputError
from robustray.tasks.inputs.joint import JointParameter
from robustray.tasks.inputs.settings import SharedAscent, WeightSteps
from robustray.tasks.inputs.shared import SharedParameter, add, drawn, universal
from robustray.tasks.lab.optimise import OptimiseSpec, optimisation
from robustray.tasks.lab.protocol import Context
from robustray.tasks.lab.resumable import complete
from robustray.tasks.lab.serial import SerialLab
from robustray.tasks.lab.store import Store
from robustray.tasks.training.settings import TrainSpec
from tests.tasks.digits_networks import trained

pytestmark = pytest.mark.usefixtures("one_thread")

ASCENT = SharedAscent(norm="linf", step_size=0.02, num_steps=12, batch_size=64, precision="fp32")
WEIGHTS = WeightSteps(lr=0.05, final_lr=0.01)
AGAINST, TOGETHER = (universal("linf", 0.25, CrossEntropy(targeted=helps)) for helps in (False, True))


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return trained("mlp")


@pytest.fixture(scope="module")
def data() -> ImageData:
    return DigitsSource(split="train").fetch("digits:train")


def work(model: nn.Module, data: ImageData, ascent: SharedAscent = ASCENT, **changed: Any) -> JointParameter:
    given: dict[str, Any] = {
        "design": AGAINST,
        "weights": WEIGHTS,
        "indices": range(200),
        "parameter": torch.zeros(1, 1, 8, 8),
    }
    return JointParameter(ascent=ascent, model=model, data=data, **given | changed)


def test_a_step_by_hand(model: nn.Module, data: ImageData) -> None:
    """The parameter along its own gradient, the weights down the mean loss, both of the pass before the step."""
    start = 0.05 * torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    found = work(model, data, replace(ASCENT, norm="l2"), parameter=start)
    row = next(found.steps())

    images, labels = data.batch(np.arange(200)[drawn(ASCENT, 200, 0)])
    network = copy.deepcopy(model).train().requires_grad_(True)
    parameter = start.clone().requires_grad_(True)
    loss = functional.cross_entropy(network((images + parameter).clamp(0, 1)), labels)
    gradient, *moves = torch.autograd.grad(loss, [parameter, *network.parameters()])
    assert row == {"objective": pytest.approx(float(loss.detach())), "learnt": pytest.approx(-float(loss.detach()))}
    torch.testing.assert_close(found.parameter, start + 0.02 * gradient / gradient.norm())
    for now, before, move in zip(found.network.parameters(), model.parameters(), moves, strict=True):
        torch.testing.assert_close(now.detach(), before.detach() - 0.05 * (move + 5e-4 * before.detach()))


def test_weights_that_learn_stand_against_what_fools_frozen_ones(model: nn.Module, data: ImageData) -> None:
    """Against each other: the loss on images that carry the parameter falls; with frozen weights it rises."""
    ascent = replace(ASCENT, num_steps=40)
    frozen = SharedParameter(
        ascent=ascent, model=model, design=AGAINST, data=data, indices=range(400), parameter=torch.zeros(1, 1, 8, 8)
    )
    rising = [row["objective"] for row in frozen.steps()]
    joint = work(model, data, ascent, indices=range(400))
    rows = [row["objective"] for row in joint.steps()]
    assert sum(rising[-5:]) > sum(rows[-5:]) + 1
    images, labels = data.batch(range(400))
    carrying = add(frozen.parameter, images, labels)
    right = [
        float((predict_logits(each, carrying).argmax(1) == labels).float().mean()) for each in (model, joint.network)
    ]
    assert right[1] > right[0] + 0.1


def test_together_both_climb_one_objective(model: nn.Module, data: ImageData) -> None:
    rows = list(work(model, data, design=TOGETHER).steps())
    assert all(row["objective"] == pytest.approx(row["learnt"]) for row in rows)
    assert rows[-1]["learnt"] > rows[0]["learnt"]


@pytest.mark.parametrize("gradients", ["fresh", "cumulative"])
def test_killed_and_resumed_it_ends_at_the_same_bits(data: ImageData, gradients: Any) -> None:
    """With batch norm and dropout, whose state and draws have to come along."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Conv2d(1, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(72, 10)
        )
    ascent = replace(ASCENT, gradients=gradients, num_steps=7)
    whole = work(network, data, ascent)
    rows = list(whole.steps())
    parts, seen = work(network, data, ascent), []
    for until in (0, 3, 4, 7):
        fresh = work(network, data, ascent)
        fresh.load(parts.tensors(), parts.record())
        parts, steps = fresh, fresh.steps()
        seen += [next(steps) for _ in range(until - parts.step)]
        steps.close()
        torch.rand(until + 1)  # somebody else draws
    assert parts.step == 7 and seen == rows and not list(parts.steps())
    assert set(whole.tensors()) == set(parts.tensors()) and any("running_var" in name for name in whole.tensors())
    for name, tensor in whole.tensors().items():
        assert torch.equal(tensor, parts.tensors()[name]), name


@optimisation(version=1)
def jointly(context: Context) -> JointParameter:
    return work(context.load("model"), context.load("data"), replace(ASCENT, num_steps=2))


def test_a_lab_runs_it_and_keeps_parameter_and_weights(tmp_path: Path) -> None:
    lab = SerialLab(store=Store(str(tmp_path)))
    data = lab.data("digits:train")
    (model,) = lab.train([TrainSpec(model="digits:mlp", data="digits:train", epochs=1, batch_size=64)]).result()
    (found,) = lab.optimise("design", [OptimiseSpec(function=jointly, refs={"model": model, "data": data})]).result()
    assert list(found.curve) == ["step", "objective", "learnt"] and len(found.curve) == 2
    direct = complete(work(lab.load(model), lab.load(data), replace(ASCENT, num_steps=2)))
    assert set(found.arrays) == set(direct)
    assert all(np.array_equal(found.arrays[name], each.numpy()) for name, each in direct.items())


def test_the_model_that_was_given_stays_as_it_was(model: nn.Module, data: ImageData) -> None:
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    result = complete(work(model, data, replace(ASCENT, num_steps=2)))
    assert not model.training and all(torch.equal(before[name], each) for name, each in model.state_dict().items())
    assert set(result) == {"parameter"} | {f"weights/{name}" for name in before}
    assert not torch.equal(result["weights/head.weight"], before["head.weight"])


def test_what_cannot_be_used(model: nn.Module, data: ImageData) -> None:
    with pytest.raises(InputError, match="module with parameters"):
        work(nn.Flatten(), data)
    with pytest.raises(InputError, match=r"not finite in step \d+; lower lr"):
        list(work(model, data, weights=WeightSteps(lr=1e20)).steps())
    for bad in ({"lr": -1.0}, {"lr": 0.1, "momentum": 1.0}, {"lr": 0.1, "final_lr": float("nan")}):
        with pytest.raises(InputError, match=r"lr|momentum"):
            WeightSteps(**bad)
