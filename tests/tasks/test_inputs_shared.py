"""A parameter that many images carry: the step by hand, what it reaches on digits, and going on after a kill."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from robustray.tasks.attacks.gradient.verdicts import predict_logits
from robustray.tasks.attacks.objective import CrossEntropy, State
from robustray.tasks.attacks.search import noise
from robustray.tasks.data.digits import DigitsSource
from robustray.tasks.data.images import ImageData
from robustray.tasks.errors import InputError
from robustray.tasks.inputs.settings import SharedAscent
from robustray.tasks.inputs.shared import Design, SharedParameter, add, box, drawn, universal
from robustray.tasks.lab.resumable import complete
from tests.tasks.digits_networks import trained

pytestmark = pytest.mark.usefixtures("one_thread")

EPS = 0.25
ASCENT = SharedAscent(norm="linf", step_size=0.02, num_steps=40, batch_size=64, precision="fp32")
UNIVERSAL = universal("linf", EPS, CrossEntropy())


@pytest.mark.parametrize(("norm", "eps"), [("l1", 0.1), ("linf", -0.1), ("linf", 8.0), ("l2", float("nan"))])
def test_a_ball_that_is_none_is_refused(norm: Any, eps: float) -> None:
    with pytest.raises(InputError, match=r"norm|eps"):
        universal(norm, eps, CrossEntropy())


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return trained("cnn")


@pytest.fixture(scope="module")
def data() -> ImageData:
    return DigitsSource(split="train").fetch("digits:train")


def work(model: nn.Module, data: ImageData, ascent: SharedAscent = ASCENT, **changed: Any) -> SharedParameter:
    """A universal perturbation that starts at zero."""
    given: dict[str, Any] = {"design": UNIVERSAL, "indices": range(200), "parameter": torch.zeros(1, 1, 8, 8)}
    return SharedParameter(ascent=ascent, model=model, data=data, **given | changed)


def made(*given: Any, **changed: Any) -> Tensor:
    return complete(work(*given, **changed))["parameter"]


def accuracy(model: nn.Module, data: ImageData, parameter: Tensor) -> float:
    images, labels = data.batch(range(len(data)))
    return float((predict_logits(model, add(parameter, images, labels)).argmax(1) == labels).float().mean())


def test_a_universal_perturbation_fools_images_it_was_not_designed_on(model: nn.Module, data: ImageData) -> None:
    designed = work(model, data, indices=range(len(data)))
    losses = [row["objective"] for row in designed.steps()]
    assert designed.step == len(losses) == 40 and designed.parameter.abs().max() <= EPS
    assert sum(losses[-5:]) > sum(losses[:5])
    test = DigitsSource(split="test").fetch("digits:test")
    random = EPS * torch.sign(torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(0)))
    clean, noisy, fooled = (
        accuracy(model, test, each) for each in (torch.zeros(1, 1, 8, 8), random, designed.parameter)
    )
    assert clean > 0.9 and fooled < noisy - 0.2


def test_a_step_by_hand(model: nn.Module, data: ImageData) -> None:
    """The gradient of the batch's summed loss with respect to the parameter, by autograd through everything."""
    start = 0.05 * torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    found = work(model, data, replace(ASCENT, norm="l2"), parameter=start)
    row = next(found.steps())
    images, labels = data.batch(np.arange(200)[drawn(ASCENT, 200, 0)])
    parameter = start.clone().requires_grad_(True)
    loss = functional.cross_entropy(model((images + parameter).clamp(0, 1)), labels, reduction="none")
    (gradient,) = torch.autograd.grad(loss.sum(), parameter)
    assert row == {"objective": pytest.approx(float(loss.detach().mean()))}
    torch.testing.assert_close(found.parameter, start + 0.02 * gradient / gradient.norm())


@pytest.mark.parametrize("gradients", ["fresh", "cumulative"])
def test_killed_and_resumed_it_ends_at_the_same_bits(model: nn.Module, data: ImageData, gradients: Any) -> None:
    ascent = replace(ASCENT, gradients=gradients, final_step_size=0.005, num_steps=12)
    whole = work(model, data, ascent)
    rows = list(whole.steps())
    parts, seen = work(model, data, ascent), []
    for until in (5, 6, 12):
        fresh = work(model, data, ascent)
        fresh.load(parts.tensors(), parts.record())
        parts = fresh
        steps = parts.steps()
        seen += [next(steps) for _ in range(until - parts.step)]
        steps.close()
    assert parts.step == 12 and seen == rows and not list(parts.steps())
    for name, tensor in whole.tensors().items():
        assert torch.equal(tensor, parts.tensors()[name]), name
    assert (whole.gradient != 0).any() == (gradients == "cumulative")


def test_cumulative_gradients_are_summed(model: nn.Module, data: ImageData) -> None:
    """Two steps of no length: both gradients are those at the start, and the sum is theirs."""
    still = replace(ASCENT, step_size=0.0, num_steps=2, gradients="cumulative")
    found = work(model, data, still)
    totals = [found.gradient for _ in found.steps()]
    expected = []
    for step in (0, 1):
        images, labels = data.batch(drawn(ASCENT, 200, step))
        parameter = torch.zeros(1, 1, 8, 8, requires_grad=True)
        loss = functional.cross_entropy(model((images + parameter).clamp(0, 1)), labels, reduction="sum")
        expected.append(torch.autograd.grad(loss, parameter)[0])
    torch.testing.assert_close(totals[0], expected[0])
    torch.testing.assert_close(totals[1], expected[0] + expected[1])


def test_every_image_is_drawn_once_an_epoch() -> None:
    epoch = np.concatenate([drawn(ASCENT, 200, step) for step in range(3)])
    assert len(set(epoch.tolist())) == 192 and epoch.max() < 200
    assert not np.array_equal(drawn(ASCENT, 200, 0), drawn(ASCENT, 200, 3)), "another epoch, another order"
    assert np.array_equal(drawn(ASCENT, 200, 4), drawn(ASCENT, 200, 4))
    assert not np.array_equal(drawn(ASCENT, 200, 0), drawn(replace(ASCENT, seed=1), 200, 0))


def test_a_patch_per_class_at_places_drawn_by_step(model: nn.Module, data: ImageData) -> None:
    """k parameters: each image carries that of its label, 4x4 pixels at a random place."""

    def place(step: int, indices: Tensor, labels: Tensor) -> State:
        corner = (5 * noise.uniform(5, "places", step, indices, (2,), "cpu")).long()
        return {"corner": corner, "label": labels}

    def apply(parameter: Tensor, images: Tensor, placements: Any) -> Tensor:
        rows = placements["corner"][:, :1] + torch.arange(4)
        columns = placements["corner"][:, 1:] + torch.arange(4)
        at = torch.arange(len(images))[:, None, None]
        carrying = images.clone()
        carrying[at, 0, rows[:, :, None], columns[:, None, :]] = parameter[placements["label"]][:, 0]
        return carrying

    design = Design(apply=apply, place=place, project=box, objective=CrossEntropy(targeted=True))
    ascent = replace(ASCENT, step_size=0.05, num_steps=60)
    start = torch.full((10, 1, 4, 4), 0.5)
    below5 = np.flatnonzero(data.labels < 5).tolist()
    found = made(model, data, ascent, design=design, indices=below5, parameter=start)
    assert found.min() >= 0 and found.max() <= 1
    assert torch.equal(found[5:], start[5:]), "no image carried them: gradient zero, no step"
    assert (found[:5] != start[:5]).flatten(1).any(1).all()

    images, labels = data.batch(below5)
    at = place(10_000, torch.tensor(below5), labels)  # places that no step has drawn
    before, after = (
        functional.cross_entropy(predict_logits(model, apply(each, images, at)), labels) for each in (start, found)
    )
    assert after < 0.9 * before


def test_targets_may_be_the_same_for_all(model: nn.Module, data: ImageData) -> None:
    targets = torch.full((300,), 8)
    towards = universal("linf", EPS, CrossEntropy(targeted=True))
    found = made(model, data, design=towards, indices=range(300), targets=targets)
    images, labels = data.batch(range(len(data)))
    answers = predict_logits(model, add(found, images, labels)).argmax(1)
    assert (answers == 8).float().mean() > 0.5


def test_the_model_is_left_as_it_was(model: nn.Module, data: ImageData) -> None:
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    gradients = [parameter.grad for parameter in model.parameters()]
    model.train()
    try:
        made(model, data, replace(ASCENT, num_steps=2))
        assert model.training
        assert all(a is b.grad for a, b in zip(gradients, model.parameters(), strict=True))
    finally:
        model.eval()
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"indices": range(40)}, "batch_size 64: only 40"),
        ({"parameter": torch.zeros(8)}, "shared parameter must be float32"),
        ({"parameter": torch.zeros(1, 1, 8, 8, dtype=torch.float64)}, "float32"),
        ({"targets": torch.zeros(3, dtype=torch.int64)}, "targets has 3 entries"),
        ({"design": replace(UNIVERSAL, apply=lambda p, x, at: x[:, :, :4])}, "apply returned shape"),
        ({"design": replace(UNIVERSAL, apply=lambda p, x, at: x)}, "do not depend on the parameter"),
        ({"design": replace(UNIVERSAL, apply=lambda p, x, at: x + p + 1.5)}, "outside"),
    ],
)
def test_arguments_that_cannot_be_used(model: nn.Module, data: ImageData, bad: Any, says: str) -> None:
    with pytest.raises(InputError, match=says):
        made(model, data, **bad)


@pytest.mark.parametrize(
    ("bad", "says"), [({"batch_size": 0}, "batch_size"), ({"gradients": "none"}, "gradients"), ({"seed": -1}, "seed")]
)
def test_settings_that_cannot_be_used(bad: Any, says: str) -> None:
    with pytest.raises(InputError, match=says):
        replace(ASCENT, **bad)
