"""Every image on its own: closed forms, the schedule of steps, paths, and independence of the batch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustray.tasks.attacks.objective import CrossEntropy, LatentMatching, ModelOutput, OnLogits
from robustray.tasks.attacks.settings import PGD, Norm
from robustray.tasks.errors import InputError
from robustray.tasks.inputs.items import ascend
from robustray.tasks.inputs.objectives import Anchored, Unit
from robustray.tasks.inputs.settings import Ascent
from robustray.tasks.inputs.starts import grey_noise
from tests.tasks.digits_networks import digits, trained

pytestmark = pytest.mark.usefixtures("one_thread")

NORMS: tuple[Norm, ...] = ("linf", "l2")
ASCENT = Ascent(step_size=0.1, num_steps=8, precision="fp32")


@dataclass(frozen=True)
class Along(OnLogits):
    """<state, image> times a scale: its gradient is known, however small."""

    scale: float = 1.0

    def loss(self, output: ModelOutput, images: Tensor, state: Tensor) -> Tensor:
        return self.scale * (images * state).flatten(1).sum(1)

    def success(self, output: ModelOutput, images: Tensor, state: Tensor) -> None:
        return None


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return trained("cnn")


def grey(count: int = 4) -> Tensor:
    return torch.full((count, 1, 8, 8), 0.5)


# --- Closed forms -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1.0, 1e-12])
def test_steps_have_their_full_length_however_small_the_gradient_is(model: nn.Module, scale: float) -> None:
    direction = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    found = ascend(replace(ASCENT, num_steps=3), model, grey(), direction, objective=Along(scale))
    unit = direction / direction.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    torch.testing.assert_close(found.images, 0.5 + 3 * 0.1 * unit)
    torch.testing.assert_close(found.distance, torch.full((4,), 0.3))


def test_a_gradient_of_zero_is_no_step(model: nn.Module) -> None:
    for norm in NORMS:
        found = ascend(replace(ASCENT, norm=norm), model, grey(), torch.zeros(4, 1, 8, 8), objective=Along())
        assert torch.equal(found.images, grey()) and (found.distance == 0).all()


@pytest.mark.parametrize("norm", NORMS)
def test_within_a_ball_it_ends_at_the_point_of_steepest_ascent(model: nn.Module, norm: Norm) -> None:
    """max <v, x> over the ball: 0.5 + eps * sign(v), or 0.5 + eps * v / |v|."""
    direction = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    found = ascend(replace(ASCENT, norm=norm, eps=0.2), model, grey(), direction, objective=Along())
    unit = direction.sign() if norm == "linf" else direction / direction.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    torch.testing.assert_close(found.images, 0.5 + 0.2 * unit)
    torch.testing.assert_close(found.loss, Along().loss(ModelOutput(grey()), found.images, direction))


def test_the_length_of_steps_falls_linearly(model: nn.Module) -> None:
    falling = replace(ASCENT, step_size=0.05, final_step_size=0.01, num_steps=5)
    assert falling.step_sizes() == pytest.approx([0.05, 0.04, 0.03, 0.02, 0.01])
    found = ascend(falling, model, grey(), torch.ones(4, 1, 8, 8), objective=Along(), record=range(6))
    lengths = (found.path[:, 1:] - found.path[:, :-1]).flatten(2).norm(dim=2)
    torch.testing.assert_close(lengths, torch.tensor(falling.step_sizes()).expand(4, 5))
    assert replace(falling, num_steps=1).step_sizes() == [0.05]


@pytest.mark.parametrize("norm", NORMS)
def test_it_is_pgd_where_pgd_can_do_it(model: nn.Module, norm: Norm) -> None:
    images, labels = digits(40)
    pgd = PGD(norm=norm, eps=0.3, step_size=0.1, num_steps=6, random_start=False, exit_rule="last", precision="fp32")
    expected = replace(pgd, attack_misclassified=True)(model, images, labels)
    ours = ascend(replace(ASCENT, norm=norm, eps=0.3, num_steps=6), model, images, labels, objective=CrossEntropy())
    assert torch.equal(ours.images, expected.images) and torch.equal(ours.loss, expected.loss)


def test_the_anchor_alone_brings_known_pixels_back_and_leaves_the_hole(model: nn.Module) -> None:
    """With nothing else to gain the maximum is the known image outside the hole; the loss there is 0."""
    known, start = torch.rand(4, 1, 8, 8), torch.rand(4, 1, 8, 8)
    hole = torch.zeros(4, 1, 8, 8)
    hole[:, :, 2:5, 2:5] = 1
    state = {"goal": torch.zeros(4, 1, 8, 8), "known": known, "hole": hole}
    objective = Anchored(objective=Along(), weight=10.0)
    steps = replace(ASCENT, step_size=0.2, final_step_size=0.0, num_steps=200)
    found = ascend(steps, model, start, state, objective=objective)
    torch.testing.assert_close(found.images * (1 - hole), known * (1 - hole), atol=0.02, rtol=0)
    torch.testing.assert_close(found.images * hole, start * hole)
    expected = -10 * (((start - known) * (1 - hole)) ** 2).flatten(1).mean(1)
    torch.testing.assert_close(found.path_loss[:, 0], expected)


def test_a_unit_of_the_latent_rises_also_one_that_is_dead(model: Any) -> None:
    images = digits(32)[0]
    latent = model.latent(images)
    dead = (latent == 0).float().argmax(1)
    assert (latent.gather(1, dead[:, None]) == 0).all(), "every image has a dead unit"
    found = ascend(replace(ASCENT, num_steps=30), model, images, dead, objective=Unit())
    assert (model.latent(found.images).gather(1, dead[:, None])[:, 0] == found.loss).all()
    assert (found.loss > 0).float().mean() > 0.5
    asleep = ascend(replace(ASCENT, num_steps=30), model, images, dead, objective=Unit(fake_relu=False))
    assert (asleep.loss > 0).sum() < (found.loss > 0).sum()


def test_latents_are_matched(model: Any) -> None:
    images = digits(40)[0]
    start, targets = images[:20], model.latent(images[20:]).detach()
    steps = replace(ASCENT, step_size=0.3, final_step_size=0.01, num_steps=100)
    found = ascend(steps, model, start, targets, objective=LatentMatching(fake_relu=True))
    assert (-found.loss < 0.5 * -found.path_loss[:, 0]).all(), "every distance more than halves"
    assert found.images.min() >= 0 and found.images.max() <= 1


# --- Invariants -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keep", ["last", "best"])
def test_an_image_does_not_depend_on_its_batch(model: nn.Module, keep: Any) -> None:
    images, labels = digits(50)
    steps = replace(ASCENT, keep=keep, final_step_size=0.01, batch_size=32)
    whole = ascend(steps, model, images, labels, objective=CrossEntropy(), record=(0, 3))
    for rows in (slice(0, 1), slice(5, 26), slice(49, 50)):
        part = ascend(steps, model, images[rows], labels[rows], objective=CrossEntropy(), record=(0, 3))
        for name in vars(whole):
            assert torch.equal(getattr(part, name), getattr(whole, name)[rows]), name


def test_the_best_iterate_is_the_best_of_the_path(model: nn.Module) -> None:
    images, labels = digits(30)
    steps = replace(ASCENT, step_size=0.8, eps=0.8)  # overshoots
    best = ascend(replace(steps, keep="best"), model, images, labels, objective=CrossEntropy(), record=range(9))
    at = best.path_loss.argmax(1)
    assert torch.equal(best.images, best.path[torch.arange(30), at]) and len(at.unique()) > 1
    last = ascend(steps, model, images, labels, objective=CrossEntropy(), record=(8,))
    assert torch.equal(last.images, last.path[:, 0]) and (best.loss >= last.loss - 1e-6).all()


def test_masked_pixels_stay(model: nn.Module) -> None:
    images, labels = digits(20)
    mask = (torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(0)) < 0.5).float()
    centre = (images * 0.9).contiguous()
    steps = replace(ASCENT, norm="linf", eps=0.2)
    found = ascend(steps, model, images, labels, objective=CrossEntropy(), mask=mask, centre=centre)
    assert torch.equal(found.images[mask == 0], images[mask == 0])
    assert (found.images - centre).abs().max() <= 0.2 + 1e-6 and not torch.equal(found.images, images)


def test_starts_are_noise_by_position() -> None:
    whole = grey_noise(3, "inversion", torch.arange(200), (1, 8, 8))
    assert torch.equal(whole[[7, 5]], grey_noise(3, "inversion", torch.tensor([7, 5]), (1, 8, 8)))
    assert not torch.equal(whole, grey_noise(4, "inversion", torch.arange(200), (1, 8, 8)))
    assert abs(float(whole.mean()) - 0.5) < 0.002 and abs(float(whole.std()) - 0.05) < 0.002


def test_no_images(model: nn.Module) -> None:
    images, labels = digits(1)
    found = ascend(ASCENT, model, images[:0], labels[:0], objective=CrossEntropy(), record=(0, 8))
    assert found.images.shape == (0, 1, 8, 8) and found.path.shape == (0, 2, 1, 8, 8)
    assert found.path_loss.shape == (0, 9) and found.loss.shape == found.distance.shape == (0,)


# --- The door ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"norm": "l3"}, "norm"),
        ({"step_size": -0.1}, "step_size"),
        ({"final_step_size": float("nan")}, "final_step_size"),
        ({"num_steps": 0}, "num_steps"),
        ({"norm": "linf", "eps": 8.0}, "8/255"),
        ({"keep": "first"}, "keep"),
        ({"batch_size": 8}, "batch_size"),
        ({"precision": "fp8"}, "precision"),
    ],
)
def test_settings_that_cannot_be_used(bad: Any, says: str) -> None:
    with pytest.raises(InputError, match=says):
        replace(ASCENT, **bad)


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"images": torch.full((2, 1, 8, 8), 1.5)}, "images must lie in"),
        ({"images": torch.full((2, 1, 8, 8), float("nan"))}, "images must lie in"),
        ({"images": torch.zeros(2, 1, 8, 8, dtype=torch.float64)}, "float32"),
        ({"centre": torch.zeros(1, 1, 8, 8)}, "centre must be float32"),
        ({"centre": torch.ones(2, 1, 8, 8)}, "from the centre"),
        ({"state": torch.zeros(3, dtype=torch.int64)}, "state has 3 entries for 2"),
        ({"mask": torch.zeros(2, 8, 8)}, "mask"),
        ({"mask": torch.full((2, 1, 8, 8), 0.5)}, "mask"),
        ({"record": (9,)}, "no step 9"),
    ],
)
def test_arguments_that_cannot_be_used(model: nn.Module, bad: Any, says: str) -> None:
    images, labels = digits(2)
    given = {"images": images, "state": labels, "objective": CrossEntropy()} | bad
    with pytest.raises(InputError, match=says):
        ascend(replace(ASCENT, eps=0.5), model, **given)


def test_a_model_without_latents_is_refused() -> None:
    images, labels = digits(2)
    with pytest.raises(InputError, match="forward_with_latent"):
        ascend(ASCENT, nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), images, labels, objective=Unit())
