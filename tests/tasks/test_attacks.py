"""Settings, doors and behaviour of the attacks on small networks."""

from __future__ import annotations

import itertools
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from robustray.tasks.attacks import ATTACKS, FGSM, PGD, Attack, RandomNoise
from robustray.tasks.attacks.gradient.verdicts import predict_logits
from robustray.tasks.attacks.gradient.view import GradientView
from robustray.tasks.attacks.objective import CrossEntropy, LatentMatching, Margin, ModelOutput
from robustray.tasks.attacks.result import AttackResult
from robustray.tasks.errors import InputError
from robustray.tasks.models.digits import DigitsCnn, DigitsMlp
from robustray.tasks.models.normalised import Normalised

Norms = Literal["linf", "l2"]
NORMS: tuple[Norms, ...] = ("linf", "l2")
BY_GRADIENT = ("pgd", "fgsm", "rs-fgsm", "noise")
"""Attacks that take steps of one size, or none; those of AutoAttack have tests of their own."""


@pytest.fixture(autouse=True)
def full_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """ "auto" is fp32 here, on any machine; what holds in bf16 too is in test_attacks_view.py."""
    monkeypatch.setattr("robustray.tasks.attacks.search.rows.resolve_precision", lambda device: "fp32")


def make_net(kind: str = "cnn", seed: int = 0) -> Normalised:
    torch.manual_seed(seed)
    net = Normalised(DigitsCnn(10) if kind == "cnn" else DigitsMlp(10), [0.3], [0.3])
    # untrained networks are nearly constant: spread their logits, so that predictions differ between images
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(2.0)
    return net.eval()


def make_images(count: int, seed: int = 1) -> Tensor:
    return torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


def own_labels(net: nn.Module, images: Tensor) -> Tensor:
    """The labels with which every clean prediction is right."""
    return predict_logits(net, images).argmax(1)


class WithBatchNorm(nn.Module):
    """Conv, batch norm, dropout: everything that behaves differently in training mode."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3)
        self.norm = nn.BatchNorm2d(8)
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.dropout(self.norm(self.conv(x)).relu().mean((2, 3))))


# --- Settings ---------------------------------------------------------------------------------------------------------

BAD_SETTINGS: list[tuple[Any, dict[str, Any], str]] = [
    (PGD, {"norm": "linf", "eps": -0.1}, "eps must be a finite number and not negative, got -0.1"),
    (PGD, {"norm": "l2", "eps": float("nan")}, "eps"),
    (PGD, {"norm": "l2", "eps": float("inf")}, "eps"),
    (PGD, {"norm": "l2", "eps": "0.5"}, "eps"),
    (PGD, {"norm": "linf", "eps": 8}, "pixel units, 8/255 and not 8"),
    (PGD, {"norm": "linff", "eps": 0.1}, "did you mean 'linf'"),
    (PGD, {"norm": "l2", "eps": 1, "step_size": -1.0}, "step_size"),
    (PGD, {"norm": "l2", "eps": 1, "num_steps": 0}, "num_steps"),
    (PGD, {"norm": "l2", "eps": 1, "num_steps": 2.5}, "num_steps"),
    (PGD, {"norm": "l2", "eps": 1, "num_restarts": 0}, "num_restarts"),
    (PGD, {"norm": "l2", "eps": 1, "num_restarts": 2, "random_start": False}, "would be the same"),
    (PGD, {"norm": "l2", "eps": 1, "exit_rule": "best"}, "did you mean 'best_loss'"),
    (PGD, {"norm": "l2", "eps": 1, "attack_misclassified": True}, "exit_rule"),
    (PGD, {"norm": "l2", "eps": 1, "batch_size": 8}, "batch_size"),
    (FGSM, {"norm": "linf", "eps": 1.5}, "eps"),
    (FGSM, {"norm": "l2", "eps": 1, "step_size": float("nan")}, "step_size"),
    (PGD, {"norm": "l2", "eps": 1, "precision": "fp16"}, "precision cannot be 'fp16'"),
    (RandomNoise, {"norm": "l2", "eps": 1, "num_draws": 0}, "num_draws"),
    (RandomNoise, {"norm": "l1", "eps": 1}, "norm"),
]


@pytest.mark.parametrize(("attack", "settings", "says"), BAD_SETTINGS)
def test_bad_settings_are_refused_in_words(attack: Any, settings: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says.replace("(", r"\(")):
        attack(**settings)


def test_repr_shows_what_was_set_and_can_be_read_back() -> None:
    attack = PGD(norm="linf", eps=8 / 255, step_size=2 / 255, num_steps=50)
    assert repr(attack) == "PGD(norm='linf', eps=8/255, step_size=2/255, num_steps=50)"
    for other in (attack, FGSM(norm="l2", eps=0.5), RandomNoise(norm="l2", eps=0.1, num_draws=3)):
        assert eval(repr(other)) == other


def test_step_size_is_two_and_a_half_budgets_over_the_steps() -> None:
    assert PGD(norm="l2", eps=0.5, num_steps=20).plan().step_size == pytest.approx(0.0625)
    assert FGSM(norm="l2", eps=0.5).plan().step_size == 0.5


def test_settings_import_neither_torch_nor_pandas(repository: Path) -> None:
    code = (
        "import sys\n"
        "sys.modules.update(dict.fromkeys(('torch', 'pandas', 'numpy', 'ray', 'pyarrow')))\n"  # None: import fails
        "from robustray.tasks.attacks import ATTACKS\n"
        "made = [kind(norm='linf', eps=8 / 255) for kind in ATTACKS.values()]\n"
        "print(made[0], all('eps=8/255' in repr(attack) for attack in made))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, check=False)
    assert done.stdout == "PGD(norm='linf', eps=8/255) True\n", done.stderr


def test_ones_own_attack_is_any_callable_with_a_norm_and_a_budget() -> None:
    class Twice:
        """PGD, and again from where the first one ended."""

        norm: Norms = "linf"
        eps = 0.1

        def __call__(self, model: Any, images: Tensor, labels: Tensor, *, seed: int = 0, **rest: Any) -> AttackResult:
            first = PGD(norm=self.norm, eps=self.eps / 2)(model, images, labels, seed=seed)
            return PGD(norm=self.norm, eps=self.eps / 2)(model, first.images, labels, seed=seed + 1)

    attacks: list[Attack] = [Twice(), PGD(norm="l2", eps=0.1), FGSM(norm="l2", eps=0.1)]
    assert all(attack(make_net(), IMAGES, LABELS, seed=1).success.shape == (20,) for attack in attacks)


# --- Doors ------------------------------------------------------------------------------------------------------------

IMAGES, LABELS = make_images(20), torch.zeros(20, dtype=torch.int64)
ATTACK = PGD(norm="linf", eps=0.1, num_steps=2)
NAN_IMAGES = IMAGES.clone()
NAN_IMAGES[3, 0, 0, 0] = torch.nan

BAD_CALLS: list[tuple[str, Any, dict[str, Any], str]] = [
    ("bytes", ATTACK, {"images": (IMAGES * 255).to(torch.uint8)}, "float32"),
    ("half", ATTACK, {"images": IMAGES.half()}, "float32"),
    ("array", ATTACK, {"images": IMAGES.numpy()}, "float32"),
    ("0..255", ATTACK, {"images": IMAGES * 255}, "normalisation belongs into the model"),
    ("negative", ATTACK, {"images": IMAGES - 0.5}, r"lie in \[0, 1\]"),
    ("NaN", ATTACK, {"images": NAN_IMAGES}, "row 3"),
    ("vector", ATTACK, {"images": torch.rand(20)}, "shape"),
    ("float labels", ATTACK, {"labels": LABELS.float()}, "labels must be an int64"),
    ("few labels", ATTACK, {"labels": LABELS[:3]}, "labels must have shape"),
    ("label 10", ATTACK, {"labels": LABELS + 10}, r"labels must be in 0 .. 9"),
    ("label -1", ATTACK, {"labels": LABELS - 1}, r"labels must be in 0 .. 9"),
    ("few indices", ATTACK, {"indices": [1, 2]}, "indices"),
    ("float indices", ATTACK, {"indices": [0.5] * 20}, "indices must be integers"),
    ("mask shape", ATTACK, {"mask": torch.ones(20, 1, 7, 8)}, "mask"),
    ("mask of one", ATTACK, {"mask": torch.ones(1, 1, 8, 8)}, "mask"),
    ("grey mask", ATTACK, {"mask": torch.full((20, 1, 8, 8), 0.5)}, "mask"),
    ("targets unasked", ATTACK, {"targets": LABELS}, "targeted=False"),
    ("no targets", replace(ATTACK, targeted=True), {}, "needs targets="),
    ("target 10", replace(ATTACK, targeted=True), {"targets": LABELS + 10}, "targets must be in 0 .. 9"),
    ("float targets", replace(ATTACK, targeted=True), {"targets": LABELS.float()}, "targets must be an int64"),
    ("two directions", replace(ATTACK, targeted=True), {"targets": LABELS, "objective": Margin()}, "direction"),
    ("few targets", ATTACK, {"targets": LABELS[:2], "objective": Margin()}, "2 entries for 20"),
    ("one target", ATTACK, {"targets": torch.tensor(3), "objective": Margin()}, "no entries for 20"),
    ("a list of targets", ATTACK, {"targets": [3] * 20, "objective": Margin()}, "targets must be a tensor .*got list"),
    ("NumPy's mask", ATTACK, {"mask": np.ones((20, 1, 8, 8), np.float32)}, "mask must be a tensor .*got ndarray"),
    ("a list as mask", ATTACK, {"mask": [1.0] * 20}, "mask must be a tensor .*got list"),
    ("no goal", ATTACK, {"targets": torch.rand(20, 64), "objective": LatentMatching()}, "exit_rule"),
    ("no latent", ATTACK, {"model": WithBatchNorm().eval(), "objective": LatentMatching()}, "forward_with_latent"),
    ("NaN logits", ATTACK, {"model": lambda x: x.flatten(1)[:, :10] * torch.nan}, "NaN or infinite logits"),
    ("one output", ATTACK, {"model": lambda x: x.flatten(1)[:, 0]}, "must return logits"),
    ("a tuple", ATTACK, {"model": lambda x: (x, x)}, "got tuple"),
    ("probabilities", ATTACK, {"model": lambda x: x.flatten(1)[:, :10].softmax(1)}, "remove the softmax"),
    ("constant", ATTACK, {"model": lambda x: torch.eye(10)[[0] * len(x)] * 3}, "passes no gradient to its images"),
]


@pytest.mark.parametrize(("attack", "call", "says"), [row[1:] for row in BAD_CALLS], ids=[row[0] for row in BAD_CALLS])
def test_bad_arguments_are_refused_in_words(attack: Any, call: dict[str, Any], says: str) -> None:
    arguments = {"model": make_net(), "images": IMAGES, "labels": LABELS} | call
    with pytest.raises(InputError, match=says):
        attack(**arguments)


def test_infinite_losses_are_refused() -> None:
    class Broken(CrossEntropy):
        def loss(self, output: ModelOutput, images: Tensor, state: Tensor) -> Tensor:
            return output.logits[:, 0] / 0

    class Scalar(CrossEntropy):
        def loss(self, output: ModelOutput, images: Tensor, state: Tensor) -> Tensor:
            return output.logits.sum()

    net = make_net()
    for objective, says in ((Broken(), "NaN or infinite"), (Scalar(), "one entry per image")):
        with pytest.raises(InputError, match=says):
            ATTACK(net, IMAGES, own_labels(net, IMAGES), objective=objective)


def test_a_stochastic_model_is_named_in_the_warnings() -> None:
    def noisy(x: Tensor) -> Tensor:
        return x.flatten(1)[:, :10] + 0.1 * torch.randn(len(x), 10)

    assert "lucky draw" in ATTACK(noisy, IMAGES, LABELS).warnings[0]
    assert ATTACK(make_net(), IMAGES, LABELS).warnings == ()


# --- What an attack leaves alone --------------------------------------------------------------------------------------


def test_the_model_is_left_as_it_was() -> None:
    net = WithBatchNorm().train()
    net.norm.eval()  # deliberately frozen
    frozen = next(net.conv.parameters()).requires_grad_(False)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    result = PGD(norm="linf", eps=0.1, num_steps=3, exit_rule="last", attack_misclassified=True)(net, IMAGES, LABELS)
    assert [module.training for module in net.modules()] == [True, True, False, True, True]
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())
    assert not frozen.requires_grad
    assert net.head.weight.requires_grad
    assert result.warnings == ()  # the dropout was off
    assert not result.images.requires_grad


def test_modes_come_back_after_an_error() -> None:
    net = WithBatchNorm().train()
    with pytest.raises(RuntimeError), GradientView(net) as view:
        view.evaluate(torch.rand(4, 3, 8, 8))
    assert all(module.training for module in net.modules())


def test_the_images_given_are_not_written_to() -> None:
    images, net = IMAGES.clone(), make_net()
    PGD(norm="linf", eps=0.1)(net, images, own_labels(net, images))
    assert torch.equal(images, IMAGES)


# --- Invariants -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", BY_GRADIENT)
def test_ball_and_box_hold(name: str, norm: Norms) -> None:
    net, images = make_net(), make_images(40).round(decimals=1)  # many saturated pixels
    eps = 0.2 if norm == "linf" else 0.7
    result = ATTACKS[name](norm=norm, eps=eps)(net, images, own_labels(net, images))
    delta = (result.images - images).flatten(1)
    distance = delta.abs().amax(1) if norm == "linf" else delta.norm(dim=1)
    assert torch.allclose(distance, result.distance, atol=1e-6)
    assert distance.max() <= eps * (1 + 1e-5)
    assert result.images.min() >= 0
    assert result.images.max() <= 1
    logits = net(result.images)
    assert torch.equal(result.predictions, logits.argmax(1))
    assert torch.equal(result.success, result.predictions != own_labels(net, images))
    labels = own_labels(net, images)
    assert torch.allclose(result.loss, functional.cross_entropy(logits, labels, reduction="none"), atol=1e-5)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", BY_GRADIENT)
def test_no_budget_returns_the_clean_image(name: str, norm: Norms) -> None:
    net = make_net()
    result = ATTACKS[name](norm=norm, eps=0.0)(net, IMAGES, LABELS)
    assert torch.equal(result.images, IMAGES)
    assert torch.equal(result.success, result.clean_predictions != LABELS)


def test_no_images_give_no_rows() -> None:
    result = ATTACK(make_net(), IMAGES[:0], LABELS[:0], indices=[])
    assert result.images.shape == (0, 1, 8, 8)
    assert result.success.dtype == torch.bool
    assert result.num_evaluations.shape == result.loss.shape == result.distance.shape == (0,)


@pytest.mark.parametrize("norm", NORMS)
def test_robust_accuracy_falls_with_the_budget(norm: Norms) -> None:
    net, images = make_net(), make_images(60)
    labels = own_labels(net, images)
    rates = [
        PGD(norm=norm, eps=eps, random_start=False)(net, images, labels).success.float().mean().item()
        for eps in (0.0, 0.01, 0.03, 0.1, 0.3, 1.0)
    ]
    assert rates == sorted(rates)
    assert rates[0] == 0
    assert rates[-1] > 0.9


@pytest.mark.parametrize("norm", NORMS)
def test_best_loss_never_falls_with_more_steps(norm: Norms) -> None:
    net, images = make_net(), make_images(30)
    labels = own_labels(net, images)
    attack = PGD(norm=norm, eps=0.1, step_size=0.05, num_steps=1, exit_rule="best_loss")
    losses = [replace(attack, num_steps=steps)(net, images, labels).loss for steps in range(1, 8)]
    assert all((later >= earlier).all() for earlier, later in itertools.pairwise(losses))


@pytest.mark.parametrize("exit_rule", ["first_success", "last", "best_loss"])
@pytest.mark.parametrize("norm", NORMS)
def test_restarts_are_never_weaker(norm: Norms, exit_rule: Any) -> None:
    net, images = make_net(), make_images(60)
    labels = own_labels(net, images)
    attack = PGD(norm=norm, eps=0.03 if norm == "linf" else 0.1, num_steps=3, exit_rule=exit_rule)
    one, four = (replace(attack, num_restarts=n)(net, images, labels, seed=3) for n in (1, 4))
    assert 0 < one.success.float().mean() < 1
    if exit_rule == "best_loss":
        assert (four.loss >= one.loss).all()
    else:
        assert (four.success | ~one.success).all()
        # without success, the highest loss
        assert (four.loss >= one.loss)[~four.success].all()
        assert (four.num_evaluations == one.num_evaluations)[one.success].all()
    assert (four.num_evaluations > one.num_evaluations)[~one.success].all()


# --- Exit rules -------------------------------------------------------------------------------------------------------


def by_hand(net: nn.Module, images: Tensor, labels: Tensor, step: float, eps: float, num_steps: int) -> list[Tensor]:
    """x_0 ... x_T of linf PGD without random start, as one writes it down."""
    iterates = [images]
    for _ in range(num_steps):
        x = iterates[-1].clone().requires_grad_(True)
        (gradient,) = torch.autograd.grad(functional.cross_entropy(net(x), labels, reduction="sum"), x)
        delta = (iterates[-1] + step * gradient.sign() - images).clamp(-eps, eps)
        iterates.append((images + delta).clamp(0, 1))
    return iterates


def test_each_exit_rule_returns_the_iterate_it_names() -> None:
    net, images = make_net("mlp"), make_images(64)
    labels = own_labels(net, images)
    attack = PGD(norm="linf", eps=0.08, step_size=0.04, num_steps=6, random_start=False, batch_size=16)
    iterates = torch.stack(by_hand(net, images, labels, 0.04, 0.08, 6))
    logits = torch.stack([net(x) for x in iterates])
    wrong = logits.argmax(2) != labels
    losses = torch.stack([functional.cross_entropy(row, labels, reduction="none") for row in logits])
    num_steps, every = len(iterates) - 1, torch.arange(64)
    first = torch.where(wrong.any(0), wrong.int().argmax(0), num_steps)
    assert 0.2 < wrong[-1].float().mean() < 1
    assert len(first.unique()) > 2

    result = attack(net, images, labels)
    assert torch.allclose(result.images, iterates[first, every], atol=1e-5)
    assert torch.equal(result.success, wrong.any(0))
    # the clean pass, one gradient pass for each of x_0 ... x_first, and for x_T a forward pass instead
    assert torch.equal(result.num_evaluations, first + 2)

    result = replace(attack, exit_rule="last")(net, images, labels)
    assert torch.allclose(result.images, iterates[-1], atol=1e-5)
    assert torch.equal(result.success, wrong[-1])
    assert (result.num_evaluations == num_steps + 2).all()

    result = replace(attack, exit_rule="best_loss")(net, images, labels)
    assert torch.allclose(result.loss, losses.amax(0), atol=1e-4)
    assert (result.num_evaluations == num_steps + 2).all()


def test_misclassified_images_leave_after_one_pass_unless_asked_for() -> None:
    net, images = make_net(), make_images(40)
    labels = own_labels(net, images)
    labels[::2] = (labels[::2] + 1) % 10
    result = ATTACK(net, images, labels)
    assert result.success[::2].all()
    assert (result.num_evaluations[::2] == 1).all()
    assert (result.distance[::2] == 0).all()
    assert torch.equal(result.images[::2], images[::2])
    attack = PGD(norm="linf", eps=0.1, num_steps=2, exit_rule="last", attack_misclassified=True)
    result = attack(net, images, labels)
    assert (result.distance > 0).all()
    assert (result.num_evaluations == 4).all()


def test_passes_are_counted_where_they_happen() -> None:
    rows = 0
    net, images = make_net(), make_images(48)
    labels = own_labels(net, images)

    def counting(x: Tensor) -> Tensor:
        nonlocal rows
        rows += len(x)
        return net(x)

    attack = PGD(norm="linf", eps=0.001, num_steps=5, num_restarts=3, exit_rule="best_loss", batch_size=16)
    result = attack(counting, images, labels)
    assert (result.num_evaluations == 1 + 3 * (5 + 1)).all()
    assert rows == result.num_evaluations.sum() + 16  # the check for a stochastic model


def test_noise_tries_its_draws_until_one_succeeds() -> None:
    net, images = make_net(), make_images(60)
    labels = own_labels(net, images)
    result = RandomNoise(norm="linf", eps=0.5, num_draws=7)(net, images, labels)
    assert 0 < result.success.float().mean() < 1
    assert (result.num_evaluations[~result.success] == 8).all()
    assert (result.num_evaluations[result.success] <= 8).all()
    assert (result.num_evaluations[result.success] < 8).any()


@pytest.mark.parametrize("norm", NORMS)
def test_fgsm_is_one_step_of_pgd(norm: Norms) -> None:
    net, images = make_net(), make_images(30)
    labels = own_labels(net, images)
    pgd = PGD(norm=norm, eps=0.1, step_size=0.1, num_steps=1, random_start=False, exit_rule="last")
    a, b = FGSM(norm=norm, eps=0.1)(net, images, labels), pgd(net, images, labels)
    assert torch.equal(a.images, b.images)
    assert torch.equal(a.loss, b.loss)
    assert (a.num_evaluations == 3).all()


# --- Objectives, targets, masks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", NORMS)
def test_targeted_attacks_reach_their_target(norm: Norms) -> None:
    net, images = make_net(), make_images(40)
    labels = own_labels(net, images)
    targets = (labels + 1 + torch.arange(40) % 3) % 10
    eps = 0.5 if norm == "linf" else 4.0
    result = PGD(norm=norm, eps=eps, num_steps=40, targeted=True)(net, images, labels, targets=targets)
    assert torch.equal(result.success, result.predictions == targets)
    assert result.success.float().mean() > 0.5
    # what is maximised is minus the cross-entropy with the target
    loss = -functional.cross_entropy(net(result.images), targets, reduction="none")
    assert torch.allclose(result.loss, loss, atol=1e-5)
    again = PGD(norm=norm, eps=eps, num_steps=40)(
        net, images, labels, targets=targets, objective=CrossEntropy(targeted=True)
    )
    assert torch.equal(again.images, result.images)


def test_margin_is_positive_exactly_where_it_succeeds() -> None:
    net, images = make_net(), make_images(40)
    labels = own_labels(net, images)
    result = PGD(norm="linf", eps=0.05)(net, images, labels, objective=Margin())
    assert torch.equal(result.success, result.loss > 0)
    assert 0 < result.success.float().mean() < 1
    output = ModelOutput(torch.tensor([[1.0, 4.0, 2.0]]))
    assert Margin().loss(output, IMAGES[:1], torch.tensor([1])).tolist() == [-2.0]
    assert Margin(targeted=True).loss(output, IMAGES[:1], torch.tensor([2])).tolist() == [-2.0]


@pytest.mark.parametrize("fake_relu", [False, True])
@pytest.mark.parametrize("exit_rule", ["last", "best_loss"])
def test_latents_are_matched_inside_a_mask(exit_rule: Any, fake_relu: bool) -> None:
    net, images = make_net(), make_images(20)
    with torch.no_grad():
        wanted = net.latent(make_images(20, seed=5))
    mask = torch.zeros(20, 1, 8, 8)
    mask[:, :, :6] = 1
    objective = LatentMatching(fake_relu=fake_relu)
    attack = PGD(norm="l2", eps=3.0, num_steps=60, random_start=exit_rule == "last", exit_rule=exit_rule)
    labels = own_labels(net, images)
    result = attack(net, images, labels, objective=objective, targets=wanted, mask=mask)
    with torch.no_grad():
        before, after = ((net.latent(x) - wanted).norm(dim=1) / wanted.norm(dim=1) for x in (images, result.images))
    assert torch.allclose(result.loss, -after, atol=1e-5)
    assert (after < 0.7 * before).all()
    assert torch.equal(result.images[:, :, 6:], images[:, :, 6:])
    assert not torch.equal(result.images[:, :, :6], images[:, :, :6])
    assert torch.equal(result.success, result.predictions != labels)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", BY_GRADIENT)
def test_an_empty_mask_allows_nothing(name: str, norm: Norms) -> None:
    net = make_net()
    result = ATTACKS[name](norm=norm, eps=0.5)(net, IMAGES, own_labels(net, IMAGES), mask=torch.zeros(20, 1, 1, 1))
    assert torch.equal(result.images, IMAGES)


def test_an_l2_step_keeps_its_length_inside_a_mask() -> None:
    net, images = make_net(), torch.full((16, 1, 8, 8), 0.5)
    mask = torch.zeros(16, 1, 8, 8)
    mask[:, :, 2:4, 2:4] = 1
    attack = PGD(norm="l2", eps=1.0, step_size=0.1, num_steps=1, random_start=False, exit_rule="last")
    result = attack(net, images, own_labels(net, images), mask=mask)
    assert torch.allclose(result.distance, torch.tensor(0.1))
