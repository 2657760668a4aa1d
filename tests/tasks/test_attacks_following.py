"""An attack that has no gradient to follow says so, and nobody takes its accuracy for robustness."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from robustray.tasks.attacks import (
    FGSM,
    NES,
    PGD,
    RSFGSM,
    ApgdCE,
    ApgdDLR,
    ApgdT,
    AutoAttack,
    Fab,
    FabT,
    FreePGD,
    RandomNoise,
    Square,
)
from robustray.tasks.attacks.following import has_lost
from robustray.tasks.attacks.search.cascade import merge_stage
from robustray.tasks.evaluation.evaluate import evaluate
from tests.tasks.digits_networks import digits, trained

IMAGES, LABELS = digits(48)
NET = trained("mlp")
SIZE: Any = {"norm": "linf", "eps": 0.15}
GRADIENTS: list[Any] = [
    PGD(**SIZE, num_steps=3),
    PGD(**SIZE, num_steps=3, precision="bf16"),
    FGSM(**SIZE),
    RSFGSM(**SIZE),
    ApgdCE(**SIZE, num_steps=3),
]
SCALE_FREE: list[Any] = [ApgdDLR(**SIZE, num_steps=3), ApgdT(**SIZE, num_steps=3), FabT(**SIZE, num_steps=3)]


def huge(x: Tensor) -> Tensor:
    """Logits so large that cross-entropy is flat."""
    return 1e4 * NET(x)


def rounded(x: Tensor) -> Tensor:
    """Of pixels: its derivative is zero everywhere."""
    return NET((x * 16).round() / 16)


def rooted(x: Tensor) -> Tensor:
    return NET(x.sqrt())


@pytest.mark.parametrize("attack", [*GRADIENTS, *SCALE_FREE], ids=repr)
def test_an_honest_network_gives_every_image_a_gradient(attack: Any) -> None:
    result = attack(NET, IMAGES, LABELS)
    attacked = result.clean_predictions == LABELS
    assert torch.equal(result.first_gradient.isnan(), ~attacked)
    assert (result.first_gradient[attacked] > 0).all()
    assert evaluate(NET, (IMAGES, LABELS), attack).warnings == ()


@pytest.mark.parametrize(
    ("model", "attack"), [(huge, a) for a in GRADIENTS] + [(rounded, a) for a in (*GRADIENTS, *SCALE_FREE)]
)
def test_gradients_of_zero_are_counted_and_warned_of(model: Callable[[Tensor], Tensor], attack: Any) -> None:
    found = evaluate(model, (IMAGES, LABELS), attack)
    (score,), warning = found.attacks, found.warnings[-1]
    assert score.taken_gradients == (found.clean.value * 48).__round__()
    assert score.lost_gradients > 0.8 * score.taken_gradients
    assert f"exactly zero or not finite for {score.lost_gradients} of {score.taken_gradients}" in warning
    assert "square" in warning and "apgd-dlr" in warning and attack.name in warning
    assert (found.examples.first_gradient == 0).sum() == score.lost_gradients


@pytest.mark.parametrize("attack", [*GRADIENTS, *SCALE_FREE, Fab(**SIZE, num_steps=3)], ids=repr)
def test_gradients_that_are_not_finite_are_counted_with_those_of_zero(attack: Any) -> None:
    """Black pixels have an infinite derivative under a square root; the other pixels are followed."""
    found = evaluate(rooted, (IMAGES, LABELS), attack)
    (score,), standing = found.attacks, rooted(IMAGES).argmax(1) == LABELS
    assert score.taken_gradients == score.lost_gradients == int(standing.sum())
    assert "exactly zero or not finite" in found.warnings[-1]
    assert np.isinf(found.examples.first_gradient[standing.numpy()]).all()
    assert score.robust.value < found.clean.value


def test_a_gradient_that_is_not_finite_later_on_counts_too() -> None:
    class LateRoot(torch.nn.Module):
        """Its second call with gradients, and every later one, goes through the root."""

        calls = 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += torch.is_grad_enabled()
            return NET(x) + (0 * (x - x.detach()).sum((1, 2, 3)).sqrt()[:, None] if self.calls > 1 else 0)

    result = PGD(**SIZE, num_steps=3, exit_rule="last")(LateRoot(), IMAGES, LABELS)
    assert result.first_gradient is not None and result.first_gradient.isinf().any()
    assert torch.isfinite(result.images).all()


@pytest.mark.parametrize("attack", SCALE_FREE, ids=repr)
def test_attacks_that_do_not_see_the_scale_follow_where_others_cannot(attack: Any) -> None:
    (score,) = evaluate(huge, (IMAGES, LABELS), attack).attacks
    assert score.lost_gradients == 0


@pytest.mark.parametrize(
    "attack", [Square(**SIZE, num_queries=20), NES(**SIZE, num_steps=2, num_samples=4), RandomNoise(**SIZE)], ids=repr
)
def test_attacks_without_gradients_lose_none(attack: Any) -> None:
    found = evaluate(rounded, (IMAGES, LABELS), attack)
    assert (found.attacks[0].lost_gradients, found.attacks[0].taken_gradients) == (0, 0)
    assert not any("exactly zero" in warning for warning in found.warnings)


def test_a_cascade_counts_what_none_of_its_stages_could_follow() -> None:
    attack = AutoAttack(**SIZE)
    saturated, flat = (attack(model, IMAGES[:16], LABELS[:16]) for model in (huge, rounded))
    for result, lost in ((saturated, 0.1), (flat, 1.0)):
        assert result.first_gradient is not None
        standing = result.clean_predictions == LABELS[:16]
        share = (result.first_gradient[standing] == 0).float().mean()
        assert share <= lost if result is saturated else share == lost


def test_optimisation_without_a_ball_tells_too() -> None:
    result = FreePGD(space="pixels", step_size=0.1, num_steps=2)(rounded, IMAGES, LABELS)
    assert result.first_gradient is not None
    assert (result.first_gradient == 0).all()


@pytest.mark.parametrize(
    ("before", "now", "kept"),
    [
        *((np.nan, 2, 2), (0, 2, 2), (2, 0, 2), (2, np.nan, 2), (0, 0, 0), (np.nan, np.nan, np.nan), (2, 1, 2)),
        *((np.inf, 2, 2), (2, np.inf, 2), (0, np.inf, np.inf), (np.inf, 0, np.inf), (np.inf, np.nan, np.inf)),
    ],
)
@pytest.mark.parametrize("array", [np.array, torch.tensor])
def test_of_two_stages_the_larger_gradient_stays(before: float, now: float, kept: float, array: Any) -> None:
    def rows(gradient: float) -> dict[str, Any]:
        gradients = array([float(gradient)])
        return {"success": array([False]), "loss": array([0.0]), "n": array([1]), "first_gradient": gradients}

    whole = rows(before)
    merge_stage(whole, rows(now), array([0]), counted="n")
    np.testing.assert_equal(float(whole["first_gradient"][0]), float(kept))


@pytest.mark.parametrize(("lost", "taken", "says"), [(0, 0, False), (0, 10, False), (5, 100, False), (6, 100, True)])
def test_a_few_percent_are_enough(lost: int, taken: int, says: bool) -> None:
    assert has_lost(lost, taken) == says
