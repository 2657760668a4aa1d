"""Gradients passed straight through what stops them, and the attack that an audit chooses."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustray.tasks.attacks import FGSM, PGD, ApgdT, Fab, FabT
from robustray.tasks.attacks.adaptive import Adaptive
from robustray.tasks.attacks.gradient.stand_ins import averaged, guided, rescaled, smoothed, votes
from robustray.tasks.attacks.gradient.unmasking import unmasked
from robustray.tasks.attacks.gradient.verdicts import predict_logits
from robustray.tasks.errors import InputError
from robustray.tasks.evaluation.evaluate import evaluate
from tests.tasks.test_audit import Straight, Zeros, clipped, half_stopped, net, pictures, through_numpy, winners

WEAK: dict[str, Any] = {"num_steps": 10, "num_queries": 30, "precision": "fp32"}


def gradient(model: Any, images: Tensor) -> Tensor:
    """Of the sum of the logits' squares."""
    inputs = images.clone().requires_grad_(True)
    (found,) = torch.autograd.grad(model(inputs).square().sum(), inputs)
    return found


def without_gradient(x: Tensor) -> Tensor:
    with torch.no_grad():
        return 1.0 * x


STOPPING: list[tuple[str, Callable[[Tensor], Tensor]]] = [
    ("detach", lambda x: x.detach()),
    ("no_grad", without_gradient),
    ("data", lambda x: x.data),
    ("half stopped", half_stopped),
    ("zeros on the way back", Zeros.apply),
    ("clipped", clipped),
    ("through NumPy", lambda x: torch.from_numpy(1.0 * x.detach().numpy())),
    ("through a list", lambda x: torch.tensor(x.tolist())),
]


@pytest.mark.parametrize("stop", [each[1] for each in STOPPING], ids=[each[0] for each in STOPPING])
def test_what_only_stops_gradients_is_passed_exactly(stop: Callable[[Tensor], Tensor]) -> None:
    masked, images = net(stop), pictures()
    model = unmasked(masked, images[:2])
    assert model is not None
    assert torch.equal(model(images), masked(images))
    assert torch.allclose(gradient(model, images), gradient(net(), images), atol=1e-6)


ROUNDING: list[tuple[str, Callable[[Tensor], Tensor]]] = [
    ("round", lambda x: (64 * x).round() / 64),
    ("floor in place", lambda x: (64 * x).floor_() / 64),
    ("integers", lambda x: (255 * x).byte().float() / 255),
    ("straight-through of its own", Straight.apply),
    ("clamp", lambda x: x.clamp(0.3, 0.7)),
    ("fake quantisation", lambda x: torch.fake_quantize_per_tensor_affine(x, 1 / 64, 0, 0, 255)),
]


@pytest.mark.parametrize("steps", [each[1] for each in ROUNDING], ids=[each[0] for each in ROUNDING])
def test_steps_keep_their_values_and_pass_gradients(steps: Callable[[Tensor], Tensor]) -> None:
    masked, images = net(steps), pictures()
    model = unmasked(masked, images[:2])
    assert model is not None and torch.equal(model(images), masked(images))
    cosine = torch.cosine_similarity(gradient(model, images).flatten(1), gradient(net(), images).flatten(1))
    assert float(cosine.min()) > 0.7


def test_named_layers_pass_gradients_as_they_are_and_the_model_is_left_alone() -> None:
    masked, images = net(winners, at=3, hidden=True), pictures()
    state, hooks = copy.deepcopy(masked.state_dict()), [len(each._forward_hooks) for each in masked.modules()]
    model = unmasked(masked, images[:2], ["3", "no.such"])
    assert model is not None and torch.equal(model(images), masked(images))
    assert not torch.allclose(gradient(model, images), gradient(masked, images))
    assert [len(each._forward_hooks) for each in masked.modules()] == hooks
    assert all(torch.equal(value, state[name]) for name, value in masked.state_dict().items())
    assert Zeros.apply.__self__ is Zeros and torch.equal(gradient(Zeros.apply, images), torch.zeros_like(images))


def test_where_no_gradient_can_be_had_there_is_none() -> None:
    constant = net(lambda x: torch.zeros(len(x), 5), at=2)
    assert unmasked(constant, pictures(2)) is None


def test_saturated_functions_have_the_gradient_of_a_warmer_one() -> None:
    model = unmasked(net(lambda z: torch.tanh(1e4 * z), at=2), pictures(2))
    assert model is not None and float(gradient(net(lambda z: torch.tanh(1e4 * z), at=2), pictures()).abs().max()) == 0
    assert float(gradient(model, pictures()).abs().min()) > 0


# -- what stands in for a model ----------------------------------------------------------------------------------------


def test_a_guided_model_has_one_models_logits_and_the_others_gradients() -> None:
    model, guide, images = net(through_numpy), net(), pictures()
    both = guided(model, guide)
    with torch.no_grad():
        assert torch.equal(both(images), model(images))
    assert torch.equal(both(images), model(images))
    inputs = images.clone().requires_grad_(True)
    (found,) = torch.autograd.grad(both(inputs)[:, 0].sum(), inputs)
    assert torch.allclose(found.flatten(1), guide.get_parameter("1.weight")[0].expand(16, -1))


def test_a_linear_model_smoothed_over_a_symmetric_ball_is_itself_but_for_an_offset() -> None:
    model, images = net(), pictures()
    soft = smoothed(model, 0.2, samples=5, seed=1)
    difference = soft(images) - model(images)
    assert torch.allclose(difference, difference[:1].expand_as(difference), atol=1e-6)
    assert torch.equal(soft(images)[3:5], soft(images[3:5])), "the offsets do not depend on the batch"
    assert torch.allclose(rescaled(model, 4)(images) * 4, model(images))


def test_draws_are_the_same_at_every_call_and_votes_are_of_other_ones() -> None:
    model, images = net(lambda x: x + 0.3 * torch.randn_like(x)), pictures()
    state = torch.get_rng_state()
    mean = averaged(model, samples=400, seed=0)
    assert torch.equal(mean(images), mean(images)) and torch.equal(torch.get_rng_state(), state)
    assert torch.allclose(mean(images), net()(images), atol=0.1)
    counts = votes(model, draws=20, seed=0)(images)
    assert torch.equal(counts.floor().sum(1), torch.full((16,), 20.0))
    assert (predict_logits(votes(model, draws=20, seed=0), images) >= 0).all()


# -- the attack --------------------------------------------------------------------------------------------------------


MASKS: list[tuple[str, Callable[[Tensor], Tensor], int, str]] = [
    ("steps", lambda x: (16 * x).round() / 16, 0, "straight-through"),
    ("zeros", Zeros.apply, 1, "straight-through"),
    ("NumPy", lambda x: torch.from_numpy(1.0 * x.detach().numpy()), 0, "straight-through"),
    ("cold", lambda z: 1e5 * z, 2, "rescaled apgd-ce"),
]


@pytest.mark.parametrize(("mask", "at", "stage"), [each[1:] for each in MASKS], ids=[each[0] for each in MASKS])
def test_a_masked_linear_model_falls_as_the_linear_one_does(mask: Any, at: int, stage: str) -> None:
    """PGD reaches the exact worst case of a linear model in one step; behind a mask it breaks nothing."""
    images, eps = pictures(), 0.1
    labels = net()(images).argmax(1)
    honest = Adaptive(norm="linf", eps=eps, **WEAK)(net(), images, labels)
    masked = net(mask, at=at)
    chosen = Adaptive(norm="linf", eps=eps, **WEAK)(masked, images, labels)
    wrong = chosen.clean_predictions != labels
    assert int(chosen.success.sum()) >= int(honest.success.sum()) - 1 > 0
    assert any(name.startswith(stage) for name in chosen.stages)
    assert torch.equal(predict_logits(masked, chosen.images).argmax(1) != labels, chosen.success)
    assert float((chosen.images - images).abs().max()) <= eps + 1e-6 and not (chosen.fell_to[~wrong] == -2).any()


def test_an_honest_model_gets_the_three_attacks_and_no_others() -> None:
    images = pictures()
    found = Adaptive(norm="l2", eps=0.3, **WEAK)(net(), images, net()(images).argmax(1))
    assert found.stages == ("apgd-ce", "apgd-t", "square") and not found.warnings
    assert sum(stage.broken for stage in found.table()) == int(found.success.sum())


def test_a_random_model_is_judged_by_the_majority_and_says_so() -> None:
    images = pictures()
    labels = net()(images).argmax(1)
    noisy = net(lambda x: x + 0.05 * torch.randn_like(x))
    attack = Adaptive(norm="linf", eps=0.1, **WEAK)
    first, again = attack(noisy, images, labels), attack(noisy, images, labels)
    assert torch.equal(first.images, again.images) and torch.equal(first.success, again.success)
    assert first.stages[0] == "eot apgd-ce" and "majority of 32 draws" in first.warnings[0]
    truth = Adaptive(norm="linf", eps=0.1, **WEAK)(net(), images, labels)
    assert int(first.success.sum()) >= int(truth.success.sum()) - 2


def test_evaluate_takes_it_by_name_and_shows_its_stages() -> None:
    images = pictures()
    labels = net()(images).argmax(1).numpy()
    found = evaluate(
        net(Zeros.apply, at=1), (images, labels), [PGD(norm="linf", eps=0.1), Adaptive(norm="linf", eps=0.1, **WEAK)]
    )
    plain, chosen = found.attacks
    assert plain.robust.value > chosen.robust.value
    (line,) = found.against
    assert line in repr(found) and "no gradient to follow for 100% of the images, in the layer 1" in line
    assert "straight-through apgd-ce broke" in repr(found) and "autoattack" not in repr(found).lower()


def test_two_blocks_with_other_stages_are_one_table() -> None:
    from robustray.tasks.attacks.search.cascade import Stage
    from robustray.tasks.evaluation.attacking import _summed

    first = [Stage("apgd-ce", 5, 2, 3), Stage("square", 3, 1, 2)]
    second = [Stage("apgd-ce", 4, 1, 3), Stage("smoothed apgd-ce", 3, 1, 2), Stage("square", 2, 0, 2)]
    assert _summed([first, second]) == (
        Stage("apgd-ce", 9, 3, 6),
        Stage("square", 5, 1, 4),
        Stage("smoothed apgd-ce", 3, 1, 2),
    )


def test_few_classes_no_images_and_bad_values() -> None:
    images = pictures(4)
    two = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    assert Adaptive(norm="linf", eps=0.1, **WEAK)(two, images, two(images).argmax(1)).stages[1] == "pgd"
    empty = Adaptive(norm="linf", eps=0.1)(net(), images[:0], torch.zeros(0, dtype=torch.int64))
    assert len(empty.success) == 0 and empty.table() == ()
    with pytest.raises(InputError, match="mask"):
        Adaptive(norm="linf", eps=0.1)(net(), images, torch.zeros(4, dtype=torch.int64), mask=torch.ones(4, 1, 4, 4))
    with pytest.raises(InputError, match=r"labels must be in 0 \.\. 1"):
        Adaptive(norm="linf", eps=0.1)(two, images, torch.full((4,), 2))
    with pytest.raises(InputError, match="num_draws"):
        Adaptive(norm="linf", eps=0.1, num_draws=0)


# -- expectation over transformation, in any attack --------------------------------------------------------------------


@pytest.mark.parametrize("kind", [PGD, FGSM, ApgdT, FabT, Fab])
def test_averaging_over_draws_changes_nothing_of_a_model_that_draws_none(kind: Any) -> None:
    images, labels = pictures(), net()(pictures()).argmax(1)
    few: dict[str, Any] = {} if kind is FGSM else {"num_steps": 3}
    once, often = (
        kind(norm="linf", eps=0.1, precision="fp32", eot_samples=count, **few)(net(), images, labels)
        for count in (1, 4)
    )
    assert torch.equal(once.success, often.success) and torch.allclose(once.images, often.images, atol=1e-5)


def test_averaging_over_draws_finds_the_step_that_noise_hides() -> None:
    """The gradient of x + noise through a steep tanh is a lottery; its mean is the slope of the smoothed function."""

    def noisy(x: Tensor) -> Tensor:
        return torch.tanh(8 * (x - 0.5 + 0.5 * torch.randn_like(x)))

    images, model = pictures(), net(noisy)
    labels = votes(model, draws=50, seed=0)(images).argmax(1)
    torch.manual_seed(0)
    steps = [
        FGSM(norm="linf", eps=0.1, precision="fp32", attack_misclassified=True, eot_samples=count)(
            model, images, labels
        ).images
        - images
        for count in (1, 200, 200)
    ]
    once, mean, again = (step.sign().flatten() for step in steps)
    assert float((mean == again).float().mean()) > float((once == again).float().mean()) + 0.05


def test_draws_are_counted_from_one() -> None:
    with pytest.raises(InputError, match="eot_samples"):
        PGD(norm="linf", eps=0.1, eot_samples=0)
