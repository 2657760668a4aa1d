"""One step: against textbook loops, against formulas, and what it must leave alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from robustray.tasks.attacks.settings import PGD
from robustray.tasks.data.images import ImageData
from robustray.tasks.lab import seeds
from robustray.tasks.training.adversary import Adversary, divergence
from robustray.tasks.training.batches import Batches
from robustray.tasks.training.loop import train_model
from robustray.tasks.training.ranks import Alone
from robustray.tasks.training.settings import TrainSpec
from robustray.tasks.training.state import TrainState, initial_model
from robustray.tasks.training.step import TrainStep

LINF: dict[str, Any] = {"loss": "adversarial", "eps": 0.1, "step_size": 0.04, "num_steps": 3}
L2: dict[str, Any] = {"loss": "adversarial", "norm": "l2", "eps": 1.0, "step_size": 0.5, "num_steps": 3}
TRADES: dict[str, Any] = {"loss": "trades", "norm": "l2", "eps": 1.0, "random_start": True, "num_steps": 2}
NOISE: dict[str, Any] = {"loss": "noise", "eps": 0.1}


class Net(nn.Module):
    """Convolution, batch norm, dropout: whatever behaves differently while a model trains."""

    def __init__(self, num_classes: int = 4, *, frozen: bool = False, dropout: float = 0.0) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.conv2, self.bn2 = nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16)
        self.dropout, self.head = nn.Dropout(dropout), nn.Linear(16, num_classes)
        if frozen:
            self.bn1.eval()

    def forward(self, images: Tensor) -> Tensor:
        x = self.bn2(self.conv2(self.bn1(self.conv1(images - 0.5)).relu())).relu()
        return self.head(self.dropout(x.mean((2, 3))))


def plain_net(num_classes: int = 4) -> Net:
    return Net(num_classes)


def loud_net(num_classes: int = 4) -> Net:
    """With logits that are far apart: the divergence of nearly equal ones is mostly rounding."""
    net = Net(num_classes)
    nn.init.normal_(net.head.weight, std=2.0)
    return net


def frozen_net(num_classes: int = 4) -> Net:
    return Net(num_classes, frozen=True)


class Untraceable(Net):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) if float(images.detach().sum()) > 0 else super().forward(-images)


def spec(**changed: Any) -> TrainSpec:
    fields: dict[str, Any] = {"model": f"{__name__}:plain_net", "data": "random", "epochs": 2, "batch_size": 16}
    fields |= {"attack_precision": "fp32", "augmentation": "crop-flip", "lr": 0.1}
    return TrainSpec(**fields | changed)


def random_data() -> ImageData:
    """Images whose label shows: the brighter quarter."""
    random = np.random.default_rng(0)
    images = random.integers(156, size=(64, 3, 12, 12), dtype=np.uint8)
    labels = np.arange(64, dtype=np.int64) % 4
    for image, label in zip(images, labels, strict=True):
        image[:, 6 * (label // 2) :][:, :6, 6 * (label % 2) :][:, :, :6] += 60
    return ImageData(name="random", images=images, labels=labels, classes=("a", "b", "c", "d"))


def trained(made: TrainSpec) -> Mapping[str, Tensor]:
    return train_model(made, random_data(), "cpu").weights["last"].tensors


def largest_gap(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> float:
    assert set(first) == set(second)
    return max(float((first[name].double() - second[name].double()).abs().max()) for name in first)


# -- against the textbook ----------------------------------------------------------------------------------------------


def textbook(made: TrainSpec) -> Mapping[str, Tensor]:
    """The same training with `model.eval()`, `loss.backward()` and nothing clever."""
    batches = Batches(made, random_data(), "cpu")
    model = initial_model(made, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0, momentum=made.momentum, weight_decay=made.weight_decay)
    for step in range(batches.num_steps):
        batch = batches[step]
        clean, labels = batch.images, batch.labels
        model.eval()
        start = textbook_start(made, batch.images, batch.indices, batch.epoch)
        points = start
        target = model(clean).softmax(1).detach()
        for _ in range(made.num_steps if made.loss in ("adversarial", "trades") else 0):
            points = points.detach().requires_grad_(True)
            if made.loss == "trades":
                loss = functional.kl_div(model(points).log_softmax(1), target, reduction="batchmean")
            else:
                loss = functional.cross_entropy(model(points), labels)
            loss.backward()
            points = textbook_move(made, points, clean)
        model.train()
        optimizer.zero_grad()
        optimizer.param_groups[0]["lr"] = made.learning_rate(step, batches.num_steps)
        if made.loss == "trades":
            after, before = model(points.detach()), model(clean)
            kl = functional.kl_div(after.log_softmax(1), before.softmax(1), reduction="batchmean")
            (functional.cross_entropy(before, labels) + made.trades_beta * kl).backward()
        else:
            functional.cross_entropy(model(points.detach()), labels, label_smoothing=made.label_smoothing).backward()
        optimizer.step()
    return model.state_dict()


def textbook_start(made: TrainSpec, images: Tensor, indices: Tensor, epoch: int) -> Tensor:
    """Where the attack begins. Random starts are read from the adversary itself, after zero steps of length zero."""
    if not made.random_start and made.loss != "noise":
        return images
    still = spec(
        **TRADES | {"loss": "adversarial", "step_size": 0.0, "num_steps": 1, "norm": made.norm, "seed": made.seed}
    )
    if made.loss == "noise":
        still = made
    return Adversary(still, initial_model(made, 4), images.shape[1:])(
        images, torch.zeros(len(images), dtype=torch.int64), indices, eps=made.eps, epoch=epoch
    )


def textbook_move(made: TrainSpec, points: Tensor, clean: Tensor) -> Tensor:
    assert points.grad is not None
    step = 2.5 * made.eps / made.num_steps if made.step_size is None else made.step_size
    if made.norm == "linf":
        moved = points.detach() + step * points.grad.sign()
        return torch.max(torch.min(moved, clean + made.eps), clean - made.eps).clamp(0, 1)
    length = points.grad.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    delta = points.detach() + step * points.grad / length - clean
    size = delta.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    return (clean + delta * (made.eps / size).clamp(max=1)).clamp(0, 1)


CASES: dict[str, dict[str, Any]] = {
    "standard": {"label_smoothing": 0.1},
    "linf": LINF,
    "l2": L2,
    "l2 from a random start": L2 | {"random_start": True, "step_size": None},
    "trades": TRADES | {"model": f"{__name__}:loud_net", "lr": 0.01},
    "noise linf": NOISE,
    "noise l2": NOISE | {"norm": "l2", "eps": 2.0},
}


@pytest.mark.parametrize("case", CASES)
def test_it_is_the_textbook_loop(case: str) -> None:
    """Two steps on all images; weights, momentum's trace in them, and the statistics of batch norm.

    Not more steps and smaller batches: sooner or later a ReLU that is zero but for rounding opens on one side only
    (seen on one kind of CPU), and from then on both are trainings of their own.
    """
    made = spec(**{"batch_size": 64, "schedule": "constant"} | CASES[case])
    theirs, ours = textbook(made), trained(made)
    assert largest_gap(ours, theirs) < 1e-5
    assert largest_gap(ours, initial_model(made, 4).state_dict()) > 5e-3  # there is something to agree on


def test_network_s_is_the_textbook_loop() -> None:
    made = spec(model="small:s", epochs=1, **LINF | {"eps": 8 / 255, "step_size": 4 / 255})
    assert largest_gap(trained(made), textbook(made)) < 1e-5


def test_bf16_attacks_are_close_and_bf16_updates_not_far() -> None:
    exact = trained(spec(**L2))
    assert 0 < largest_gap(trained(spec(**L2 | {"attack_precision": "bf16"})), exact) < 0.03
    assert 0 < largest_gap(trained(spec(**L2 | {"precision": "bf16"})), exact) < 0.1


@pytest.mark.parametrize("loss", ["adversarial", "trades", "noise"])
def test_eps_zero_is_standard_training(loss: str) -> None:
    weights, standard = trained(spec(loss=loss, eps=0.0)), trained(spec())
    assert all(torch.equal(weights[name], standard[name]) for name in standard)
    scheduled = trained(spec(loss="adversarial", eps=0.1, eps_schedule=((0, 0.0),)))
    assert all(torch.equal(scheduled[name], standard[name]) for name in standard)


def test_divergence_by_hand() -> None:
    clean, perturbed = torch.tensor([[0.0, 0.0], [1.0, 1.0]]), torch.tensor([[0.0, 3.0], [5.0, 5.0]])
    p, q = 0.5, 1 / (1 + np.exp(3))
    wanted = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
    assert torch.allclose(divergence(clean, perturbed), torch.tensor([wanted, 0.0], dtype=torch.float32))


# -- the attack inside -------------------------------------------------------------------------------------------------


def worn_net(**options: Any) -> Net:
    """As in the middle of a training: statistics, scales and shifts of its own."""
    torch.manual_seed(0)
    net = Net(**options)
    for norm in (net.bn1, net.bn2):
        for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
            assert tensor is not None
            nn.init.uniform_(tensor, 0.2, 1.5)
    return net


@pytest.mark.parametrize("case", [LINF, L2])
@pytest.mark.parametrize("use_best", [False, True])
def test_it_finds_what_pgd_finds(case: dict[str, Any], use_best: bool) -> None:
    net, (images, labels) = worn_net(), random_data().batch(range(32))
    found = Adversary(spec(**case, use_best=use_best), net, images.shape[1:])(
        images, labels, torch.arange(32), eps=case["eps"], epoch=0
    )
    attack = PGD(
        norm=case.get("norm", "linf"),
        eps=case["eps"],
        step_size=case["step_size"],
        num_steps=3,
        random_start=False,
        exit_rule="best_loss" if use_best else "last",
        attack_misclassified=True,
        precision="fp32",
    )
    assert torch.allclose(found, attack(net, images, labels).images, atol=1e-5)


@pytest.mark.parametrize("case", [LINF, L2, TRADES, NOISE, LINF | {"random_start": True, "num_steps": 1}])
def test_it_stays_in_the_ball_and_the_box(case: dict[str, Any]) -> None:
    net, (images, labels) = worn_net(), random_data().batch(range(32))
    found = Adversary(spec(**case), net, images.shape[1:])(images, labels, torch.arange(32), eps=case["eps"], epoch=0)
    delta = (found - images).flatten(1)
    size = delta.norm(dim=1) if case.get("norm") == "l2" else delta.abs().amax(dim=1)
    assert (size <= case["eps"] * (1 + 1e-5)).all() and (size > case["eps"] / 2).all()
    assert found.min() >= 0 and found.max() <= 1


def test_gaussian_noise_has_the_length_eps_on_average() -> None:
    images = torch.full((200, 3, 12, 12), 0.5)
    adversary = Adversary(spec(loss="noise", norm="l2", eps=1.0), worn_net(), images.shape[1:])
    sizes = (
        (adversary(images, torch.zeros(200).long(), torch.arange(200), eps=1.0, epoch=0) - 0.5).flatten(1).norm(dim=1)
    )
    assert abs(float(sizes.mean()) - 1) < 0.01 and 0.01 < float(sizes.std()) < 0.06


@pytest.mark.parametrize("kind", [Net, Untraceable])
@pytest.mark.parametrize("case", [LINF, TRADES])
def test_an_attack_leaves_the_model_alone(kind: type[Net], case: dict[str, Any]) -> None:
    torch.manual_seed(0)
    net = kind(frozen=True, dropout=0.5)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    images, labels = random_data().batch(range(32))
    adversary = Adversary(spec(**case), net, images.shape[1:])
    first = adversary(images, labels, torch.arange(32), eps=case["eps"], epoch=0)
    assert torch.equal(adversary(images, labels, torch.arange(32), eps=case["eps"], epoch=0), first)  # no dropout
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in net.parameters())
    assert {name for name, module in net.named_modules() if not module.training} == {"bn1"}
    assert bool(adversary.why_not_folded) == (kind is Untraceable)


def test_the_copy_follows_the_model() -> None:
    """After the weights moved, the attack is that of a new adversary."""
    net, (images, labels) = worn_net(), random_data().batch(range(32))
    standing = Adversary(spec(**L2), net, images.shape[1:])
    before = standing(images, labels, torch.arange(32), eps=1.0, epoch=0)
    with torch.no_grad():
        for tensor in (*net.parameters(), *net.buffers()):
            tensor.copy_(tensor * 1.3)
    after = standing(images, labels, torch.arange(32), eps=1.0, epoch=0)
    fresh = Adversary(spec(**L2), net, images.shape[1:])(images, labels, torch.arange(32), eps=1.0, epoch=0)
    assert torch.equal(after, fresh) and not torch.equal(after, before)


# -- the update --------------------------------------------------------------------------------------------------------


def test_frozen_batch_norm_stays_frozen() -> None:
    made = spec(model=f"{__name__}:frozen_net", **LINF)
    start, end = initial_model(made, 4).state_dict(), trained(made)
    assert torch.equal(end["bn1.running_mean"], start["bn1.running_mean"]) and end["bn1.num_batches_tracked"] == 0
    assert not torch.equal(end["bn2.running_mean"], start["bn2.running_mean"])
    assert end["bn2.num_batches_tracked"] == 8  # one update per step


def test_the_average_by_hand() -> None:
    made = spec(ema_decay=0.5, epochs=1)
    batches = Batches(made, random_data(), "cpu")
    state = TrainState.start(made, initial_model(made, 4), "cpu")
    step = TrainStep(state, shape=torch.Size((3, 12, 12)), steps_per_epoch=batches.steps_per_epoch)
    mean = state.model.get_parameter("head.weight").detach().clone()
    for number, decay in enumerate((2 / 11, 3 / 12, 4 / 13, 5 / 14)):
        step(batches[number])
        mean = decay * mean + (1 - decay) * state.model.get_parameter("head.weight").detach()
    assert state.ema is not None and torch.allclose(state.ema.get_parameter("head.weight"), mean, atol=1e-7)
    assert state.ema.get_buffer("bn1.num_batches_tracked") == 4


def test_dropout_draws_by_step_and_rank() -> None:
    made = spec(augmentation="none", lr=0.0, weight_decay=0.0)

    def loss(step_number: int, rank: int) -> float:
        batches = Batches(made, random_data(), "cpu")
        torch.manual_seed(seeds.integer(0, "initial weights"))
        state = TrainState.start(made, Net(dropout=0.5), "cpu")
        state.step = step_number
        ranks = Alone()
        ranks.rank = rank
        step = TrainStep(state, shape=torch.Size((3, 12, 12)), steps_per_epoch=batches.steps_per_epoch, ranks=ranks)
        step(batches[step_number])
        return float(state.loss_sum)

    assert loss(1, 0) == loss(1, 0) != loss(1, 1)
