"""Models that draw random numbers: draws that can be repeated, votes with a closed form, the same in any company."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from robustray.tasks.attacks import PGD, AutoAttack, AutoAttackRand
from robustray.tasks.attacks.gradient.draws import Draws
from robustray.tasks.attacks.search.voting import voted
from robustray.tasks.attacks.settings import Norm
from robustray.tasks.errors import InputError
from robustray.tasks.evaluation.evaluate import evaluate
from robustray.tasks.lab.seeds import integer
from robustray.tasks.studies.attack_sweep.settings import SIZES, Settings
from robustray.tasks.sweeps.votes import by_image, counted

pytestmark = pytest.mark.usefixtures("one_thread")

SHAPE = (1, 4, 4)
FEW: dict[str, Any] = {"num_steps": 4, "eot_samples": 3, "num_checks": 9, "num_draws": 25}


class Linear(nn.Module):
    """Three classes of a pixel's mean: known distances, known shares under noise."""

    def __init__(self, noise: Callable[[Tensor], Tensor] | None = None) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(3, 16, generator=generator))
        self.noise = noise

    def forward(self, images: Tensor) -> Tensor:
        x = images if self.noise is None else self.noise(images)
        return (x.flatten(1) - 0.5) @ self.weight.T


def gaussian(x: Tensor) -> Tensor:
    return x + 0.3 * torch.randn_like(x)


NOISES: dict[str, Callable[[Tensor], Tensor]] = {
    "gaussian": gaussian,
    "dropout": lambda x: nn.functional.dropout(x, 0.3, training=True),
    "one number for the batch": lambda x: x * (1 if float(torch.rand(1)) < 0.7 else -1),
    "drawn from the pixels": torch.bernoulli,  # vmap refuses it
}


def images_and_labels(count: int = 40) -> tuple[Tensor, Tensor]:
    images = 0.1 + 0.8 * torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(1))
    return images, Linear()(images).argmax(1)


def test_votes_are_those_of_the_seeded_generator() -> None:
    """A model that is right when its number is below 0.6, whatever it sees: counted by hand."""

    def lucky(images: Tensor) -> Tensor:
        right = (torch.rand(1) < 0.6).float() + 0 * images.flatten(1).sum(1)
        return torch.stack((right, 1 - right), 1) * 2

    images = images_and_labels(20)[0]
    found = voted(lucky, images, torch.zeros(20, dtype=torch.int64), num_draws=200, seed=3)
    right = int(found["right"][0])
    assert (found["right"] == right).all(), "one draw is one network: the same for all images"
    assert stats.binomtest(right, 200, 0.6).pvalue > 1e-4
    draws = Draws(lucky, images[:2], seed=3)
    torch.manual_seed(integer(3, "verdict", 7))
    assert torch.equal(draws.logits(images, "verdict", 7)[:, 0] > 1, (torch.rand(1) < 0.6).expand(20))


def test_shares_under_noise_are_those_of_the_normal_distribution() -> None:
    """Two classes and Gaussian noise before a linear layer: the share of right draws is Phi(margin / spread)."""
    net = Linear(gaussian)
    images, _ = images_and_labels(60)
    labels = torch.zeros(60, dtype=torch.int64)
    two = lambda x: net(x)[:, :2]  # noqa: E731
    found = voted(two, images, labels, num_draws=1000, seed=0)
    difference = net.weight[0] - net.weight[1]
    margins = (images.flatten(1) - 0.5) @ difference
    expected = stats.norm.cdf((margins / (0.3 * difference.norm())).detach().numpy())
    assert np.abs(found["right"].numpy() / 1000 - expected).max() < 0.07  # 4.4 standard errors
    table = by_image(found["loss"], 1000)
    assert (table.right.to_numpy() == found["right"].numpy()).all()
    for row, share in zip(table.itertuples(), expected, strict=True):
        if row.verdict != "undecided" and abs(share - 0.5) > 0.02:
            assert (row.verdict == "robust") == (share > 0.5)


@pytest.mark.parametrize("name", NOISES)
def test_no_image_depends_on_its_company(name: str) -> None:
    net = Linear(NOISES[name])
    images, labels = images_and_labels(34)
    attack = AutoAttackRand(norm="linf", eps=0.1, **FEW)
    whole = attack(net, images, labels)
    assert not whole.warnings
    for rows in (slice(0, 17), slice(17, 34)):
        part = AutoAttackRand(norm="linf", eps=0.1, batch_size=16, **FEW)(
            net, images[rows], labels[rows], indices=range(34)[rows]
        )
        for field in ("images", "right", "loss", "success", "predictions", "fell_to", "num_evaluations"):
            assert torch.equal(getattr(part, field), getattr(whole, field)[rows]), field
    assert (whole.success == (2 * whole.right <= FEW["num_draws"])).all()
    assert ((whole.predictions != labels) == whole.success).all()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_linear_model_behind_noise_falls_where_its_mean_does(norm: Norm) -> None:
    """With noise of mean zero the majority turns, of two classes, where the margin without noise does."""
    net = Linear(gaussian)
    two = lambda x: net(x)[:, :2].matmul(torch.eye(2, 3)) - torch.tensor([0, 0, 1e3])  # noqa: E731  # DLR wants three
    images, _ = images_and_labels()
    difference = (net.weight[0] - net.weight[1]).detach()
    margins = (images.flatten(1) - 0.5) @ difference
    labels = (margins < 0).long()
    dual = difference.abs().sum() if norm == "linf" else difference.norm()
    distance = margins.abs() / dual
    eps = float(distance.median())
    result = AutoAttackRand(norm=norm, eps=eps, num_steps=20, eot_samples=5, num_draws=200)(two, images, labels)
    clear = (distance - eps).abs() * dual > 0.3 * difference.norm() * 0.5  # half a standard deviation of the noise
    inside = bool(clear.any()) and (result.success == (distance < eps))[clear]
    assert isinstance(inside, Tensor) and inside.float().mean() > 0.95
    assert (result.distance <= eps * (1 + 1e-5)).all()


def test_a_model_without_randomness_is_judged_as_by_one_answer() -> None:
    net, (images, labels) = Linear(), images_and_labels()
    result = AutoAttackRand(norm="linf", eps=0.05, **FEW)(net, images, labels)
    assert set(result.right.tolist()) <= {0, 25}
    plain = AutoAttack(norm="linf", eps=0.05).stages()[0](net, images, labels)
    assert torch.equal(result.success, plain.success)
    assert result.table()[0].attacked == 40


def test_the_model_and_the_generator_are_left_as_they_were() -> None:
    net, (images, labels) = Linear(gaussian).train(), images_and_labels(18)
    before, state = net.weight.detach().clone(), torch.random.get_rng_state()
    AutoAttackRand(norm="linf", eps=0.1, **FEW)(net, images, labels)
    assert torch.equal(net.weight, before) and net.training and net.weight.grad is None
    assert torch.equal(torch.random.get_rng_state(), state)


def test_numbers_that_cannot_be_repeated_are_refused() -> None:
    images, labels = images_and_labels(16)
    own = torch.Generator().manual_seed(0)
    for noise in (
        lambda x: x + torch.from_numpy(np.random.default_rng().normal(size=x.shape)).float(),
        lambda x: x + torch.randn(x.shape, generator=own),
    ):
        with pytest.raises(InputError, match=r"torch\.manual_seed does not repeat"):
            AutoAttackRand(norm="linf", eps=0.1, **FEW)(Linear(noise), images, labels)
    two = lambda x: Linear(gaussian)(x)[:, :2]  # noqa: E731
    with pytest.raises(InputError, match="at least 3 classes"):
        AutoAttackRand(norm="linf", eps=0.1, **FEW)(two, images, labels % 2)
    with pytest.raises(InputError, match="precision"):
        AutoAttackRand(norm="linf", eps=0.1, precision="bf16")


def test_no_images_give_an_empty_result() -> None:
    found = AutoAttackRand(norm="linf", eps=0.1)(Linear(gaussian), torch.zeros(0, *SHAPE), torch.zeros(0).long())
    assert len(found.success) == 0 == len(found.right)


def test_evaluate_says_how_many_images_are_decided() -> None:
    images, labels = images_and_labels()
    net, attack = Linear(gaussian), AutoAttackRand(norm="linf", eps=0.05, **FEW)
    found = evaluate(net, (images, labels), attack, progress=False)
    again = evaluate(net, (images, labels), attack, progress=False)
    assert found.to_frame().equals(again.to_frame()) and not found.warnings and not found.against
    (score,) = found.attacks
    assert score.decided is not None and score.decided.num_draws == 25
    assert score.decided.robust + score.decided.broken + score.decided.undecided == 40
    assert score.decided.robust <= score.robust.value * 40 <= 40 - score.decided.broken
    assert "the majority of 25 draws decides" in repr(found)
    with pytest.raises(InputError, match="evaluate it alone"):
        evaluate(net, (images, labels), [attack, PGD(norm="linf", eps=0.05)])
    plain = evaluate(net, (images, labels), PGD(norm="linf", eps=0.05, num_steps=2), progress=False)
    assert any("autoattack-rand" in line for line in plain.against)


def test_counts_of_verdicts() -> None:
    # 61 of 100 and 39 of 100 are the first to exclude a half
    table = by_image(1 - 2 * np.array([100, 61, 60, 40, 39, 0]) / 100, 100)
    assert table.verdict.tolist() == ["robust", "robust", "undecided", "undecided", "broken", "broken"]
    assert counted(table).words().startswith("the majority of 100 draws decides: 2 of 6 images surely stand, 2 surely")


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"attacks": ("autoattack-rand", "pgd")}, "run it alone"),
        ({"corruptions": ("gaussian-noise",)}, "leave them out"),
        ({"num_transfer": 10}, "give 0, or attack one model"),
        ({"precision": "bf16"}, "in fp32"),
    ],
)
def test_a_sweep_by_votes_has_nothing_beside_it(changed: dict[str, Any], says: str) -> None:
    base: dict[str, Any] = {
        "models": SIZES["quick"].models,
        "data": SIZES["quick"].data,
        "attacks": ("autoattack-rand",),
    }
    assert Settings(**base).by_votes
    with pytest.raises(InputError, match=says):
        Settings(**(base | changed))
