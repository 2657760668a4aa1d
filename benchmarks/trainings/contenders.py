"""Training loops that do the same work: ours, MadryLab's, and the plain one of tutorials.

A contender is a function of a range of steps: it takes them one after the other and returns the mean loss of their
updates. Everybody starts from the same weights, and gets the same batches where it does not bring its own loader.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.cuda import cuda_stays_here
from benchmarks.trainings import records as rec
from robustray.tasks.attacks.precision import Arithmetic
from robustray.tasks.data.images import ImageData
from robustray.tasks.data.reference import open_data
from robustray.tasks.training.batches import Batches
from robustray.tasks.training.settings import TrainSpec
from robustray.tasks.training.state import TrainState, initial_model
from robustray.tasks.training.step import TrainStep

Contender = Callable[[range], float]
BATCH_SIZE = 128


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """A training of one epoch over a few batches of CIFAR-10."""

    spec: TrainSpec
    data: ImageData
    batches: tuple[tuple[Tensor, Tensor], ...]
    """Images and labels of each step, augmented: what our own loop makes during its steps is ready for the others."""

    def model(self) -> Any:
        """Untrained, always with the same weights; in training mode."""
        return initial_model(self.spec, self.data.num_classes)

    def optimizer(self, model: nn.Module) -> torch.optim.SGD:
        spec = self.spec
        return torch.optim.SGD(model.parameters(), spec.lr, momentum=spec.momentum, weight_decay=spec.weight_decay)


def open_case(loss: str, model: str, num_steps: int, threads: int, data: ImageData) -> Case:
    """loss: "standard", or "adversarial": PGD-7 from the image itself, linf 8/255, step size 2.5 * eps / 7."""
    count = num_steps * BATCH_SIZE
    few = dataclasses.replace(data, images=data.images[:count], labels=data.labels[:count])
    spec = TrainSpec(
        model=model,
        data=data.name,
        epochs=1,
        batch_size=BATCH_SIZE,
        schedule="constant",
        augmentation="crop-flip",
        attack_precision="fp32",
        threads=threads,
    )
    if loss == "adversarial":
        spec = dataclasses.replace(spec, loss="adversarial", eps=8 / 255, num_steps=7)
    made = Batches(spec, few, "cpu")
    batches = tuple((batch.images, batch.labels) for batch in (made[step] for step in range(num_steps)))
    return Case(spec=spec, data=few, batches=batches)


def training_images(data_root: str) -> ImageData:
    """CIFAR-10's training set."""
    data = open_data("cifar10:train", data_root=data_root)
    return data.build(data.fetch(), "cpu")


# --- Ours -------------------------------------------------------------------------------------------------------------


def ours(update: Arithmetic, attack: Arithmetic, case: Case) -> Contender:
    """What `loop.train_model` does in each step, augmentation and the look at the loss included."""
    spec = dataclasses.replace(case.spec, precision=update, attack_precision=attack)
    batches = Batches(spec, case.data, "cpu")
    state = TrainState.start(spec, case.model(), "cpu")
    step = TrainStep(state, shape=torch.Size(case.data.shape), steps_per_epoch=batches.steps_per_epoch)

    def run(steps: range) -> float:
        before = float(state.loss_sum)
        for number in steps:
            step(batches[number])
            state.refuse_non_finite()
        return (float(state.loss_sum) - before) / len(steps)

    return run


# --- MadryLab's robustness --------------------------------------------------------------------------------------------


def robustness(use_best: bool, case: Case) -> Contender:
    """The loop over an epoch inside its `train_model`, on ready batches; no evaluation, no checkpoint, no tables.

    It normalises by itself, so it gets our network without the normalisation. Its `.cuda()` is the identity meanwhile.
    One thing it does differently at the same cost: it clamps to [0, 1] once more before it normalises, and torch hands
    no gradient through a clamp at its ends. Pixels that are exactly 0 or 1 stay there, so its first loss is a little
    lower. On images without such pixels both attacks make the same images, to rounding.
    """
    loop, attacker = import_module("robustness.train"), import_module("robustness.attacker")
    whole, spec = case.model(), case.spec
    assert spec.norm == "linf" and not spec.random_start
    statistics = SimpleNamespace(mean=whole.mean.flatten(), std=whole.std.flatten())
    model = attacker.AttackerModel(_TakesOptions(whole.backbone), statistics)
    optimizer = case.optimizer(model)
    settings = SimpleNamespace(
        constraint="inf",
        eps=spec.eps,
        attack_lr=2.5 * spec.eps / spec.num_steps,
        attack_steps=spec.num_steps,
        random_start=False,
        random_restarts=0,
        use_best=use_best,
        custom_eps_multiplier=None,
        mixed_precision=False,
    )

    def run(steps: range) -> float:
        loader = [case.batches[step] for step in steps]
        with cuda_stays_here():
            _, loss = loop._model_loop(settings, "train", loader, model, optimizer, 0, True, None)
        return float(loss)

    return run


class _TakesOptions(nn.Module):
    """A network called as that library calls its own, with options that training leaves off."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor, **options: bool) -> Tensor:
        assert not any(options.values())
        logits: Tensor = self.network(images)
        return logits


# --- The plain loop ---------------------------------------------------------------------------------------------------


def plain(loader: Callable[[Case, range], Iterable[Any]], case: Case) -> Contender:
    """Forward, backward, step: fp32, NCHW, no averaging, loss read after each step."""
    model = case.model()
    optimizer, criterion = case.optimizer(model), nn.CrossEntropyLoss()

    def run(steps: range) -> float:
        total = 0.0
        for images, labels in loader(case, steps):
            loss = criterion(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        return total / len(steps)

    return run


def in_memory(case: Case, steps: range) -> Iterable[Any]:
    """Ready batches: their augmentation costs this loop nothing."""
    return [case.batches[step] for step in steps]


def data_loader(case: Case, steps: range) -> Iterable[Any]:
    """Batches of torchvision's CIFAR-10 through its usual transforms, in this process."""
    from torch.utils.data import DataLoader, Subset

    chosen = range(steps.start * BATCH_SIZE, steps.stop * BATCH_SIZE)
    pictures: Any = _Pictures(case.data)
    return DataLoader(Subset(pictures, chosen), batch_size=BATCH_SIZE, shuffle=True, num_workers=0)


class _Pictures:
    """Like `torchvision.datasets.CIFAR10`: a PIL image per item, cropped and mirrored by torchvision."""

    def __init__(self, data: ImageData) -> None:
        transforms = import_module("torchvision.transforms")
        self._pixels = data.images.transpose(0, 2, 3, 1).copy()
        self._labels = data.labels.tolist()
        self._transform = transforms.Compose(
            [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip(), transforms.ToTensor()]
        )

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        from PIL import Image

        return self._transform(Image.fromarray(self._pixels[index])), self._labels[index]


CONTENDERS: Mapping[str, Callable[[Case], Contender]] = {
    rec.FP32: partial(ours, "fp32", "fp32"),
    rec.MIXED: partial(ours, "fp32", "bf16"),
    rec.BF16: partial(ours, "bf16", "bf16"),
    rec.LAST: partial(robustness, False),
    rec.BEST: partial(robustness, True),
    rec.IN_MEMORY: partial(plain, in_memory),
    rec.LOADER: partial(plain, data_loader),
}
