"""What a training is. Imports nothing heavy: the command line reads it.

All of it enters the key of the trained weights. How often a checkpoint is written does not: it changes no weight.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from robustray.tasks.attacks.precision import PRECISIONS, Precision, resolve_precision
from robustray.tasks.attacks.settings import NORMS, Norm, check_budget
from robustray.tasks.checks import check_choice, check_count, check_size
from robustray.tasks.errors import InputError
from robustray.tasks.training.schedules import SCHEDULES, Schedule, eps_multiplier, rate

if TYPE_CHECKING:
    from robustray.tasks.lab.protocol import Reference

Loss = Literal["standard", "adversarial", "trades", "noise"]
Augmentation = Literal["none", "crop-flip"]
Select = Literal["best", "last"]
FrozenMode = Literal["evaluation", "training"]

LOSSES: tuple[Loss, ...] = ("standard", "adversarial", "trades", "noise")
AUGMENTATIONS: tuple[Augmentation, ...] = ("none", "crop-flip")
SELECTS: tuple[Select, ...] = ("best", "last")
FROZEN_MODES: tuple[FrozenMode, ...] = ("evaluation", "training")
ALL_BUT_HEAD = "*"
"""In `TrainSpec.frozen`: everything but the last linear layer."""

_NOT_STANDARD = ("adversarial", "trades", "noise")
_ATTACKED = ("adversarial", "trades")
_USED_BY: Mapping[str, tuple[str, ...]] = {
    "eps": _NOT_STANDARD,
    "norm": _NOT_STANDARD,
    "eps_schedule": _NOT_STANDARD,
    "step_size": _ATTACKED,
    "num_steps": _ATTACKED,
    "random_start": _ATTACKED,
    "use_best": _ATTACKED,
    "trades_beta": ("trades",),
}
"""Fields that only some losses read. Elsewhere they must be left alone: they would change the key and nothing else."""


LARGEST_RATE = 1e3
"""Largest learning rate, weight decay and weight of a loss: beyond it weights overflow within a few steps."""


@dataclass(frozen=True, kw_only=True)
class TrainSpec:
    """The training of one model by SGD with momentum, on clean, noisy or adversarial images.

    `TrainSpec(model="small:s", data="cifar10:train", epochs=14, loss="adversarial", norm="linf", eps=8 / 255)`.
    Sizes are in pixel units, images in [0, 1]. Madry et al., arXiv:1706.06083, section 2.

    Raises: InputError (a ValueError) for a value that cannot be used.
    """

    model: str
    """Architecture: a name of the registry ("digits:cnn") or your own "module:function", without weights."""
    data: str | Reference
    """Training data: "digits:train", or a data reference that a lab returned."""
    epochs: int
    batch_size: int = 128
    """Images per step, over all ranks; the last, smaller batch of an epoch is left out (batch norm wants full ones)."""
    lr: float = 0.1
    """Peak learning rate."""
    momentum: float = 0.9
    weight_decay: float = 5e-4
    """Weight decay on all parameters, batch norm included."""
    schedule: Schedule = "triangular"
    """Schedule of the learning rate, per step. "triangular" rises from 0 to `lr` in the first fifth and falls to 0;
    "cosine" falls from `lr` to 0; "steps" multiplies by 0.1 at each of `lr_drops`."""
    lr_drops: tuple[float, ...] = ()
    """Epochs after which the learning rate drops, for "steps": (50, 100)."""
    label_smoothing: float = 0.0
    """Share of the target that is spread over all classes."""
    loss: Loss = "standard"
    """What a step sees. "adversarial": adversarial images only. "trades": clean cross-entropy plus `trades_beta` times
    KL(clean || adversarial), arXiv:1901.08573. "noise": images with random noise."""
    norm: Norm = "linf"
    eps: float = 0.0
    """Largest distance from the clean image, in pixel units: 8/255, not 8. For "noise": uniform within eps (linf), or
    Gaussian of length eps on average (l2: standard deviation eps / sqrt(number of pixels and channels))."""
    step_size: float | None = None
    """Step size of the attack in pixel units; None for 2.5 * eps / num_steps, with the eps of the moment."""
    num_steps: int = 7
    """Gradient steps of the attack. 1, with `random_start` and step_size = 1.25 * eps, is fast adversarial training."""
    random_start: bool = False
    """Start the attack at a random point: linf uniform in the ball, l2 on the sphere."""
    use_best: bool = False
    """Train on the iterate of highest loss, at the price of one more forward pass; else on the last iterate."""
    eps_schedule: tuple[tuple[float, float], ...] = ()
    """(epoch, multiplier of eps) in order of epochs, interpolated linearly per step: ((0, 0.0), (5, 1.0)). Training
    only: checks always use eps."""
    trades_beta: float = 6.0
    augmentation: Augmentation = "none"
    """"crop-flip": a crop of the image's own size out of the image padded by an eighth (4 of 32), then a mirror image
    in half of the cases. Each draw depends on (seed, epoch, image) only."""
    ema_decay: float = 0.0
    """Above 0, an average of the weights over steps is computed, checked and stored besides them. It follows faster
    during the first steps: min(ema_decay, (1 + step) / (10 + step))."""
    initial: str | Reference | None = None
    """Fine-tuning: a trained model of the same architecture, by name or reference, that training starts from. Its
    normalisation comes along; its last linear layer is drawn anew where the number of classes differs."""
    new_head: bool = False
    """Draw the last linear layer anew also where the number of classes is the same: they are other classes."""
    frozen: tuple[str, ...] = ()
    """Parts that stay as they are, by the names that weights files have: ("conv1", "layer1.0"); ("*",) is everything
    but the last linear layer."""
    frozen_mode: FrozenMode = "evaluation"
    """Mode of what is frozen. "evaluation": running statistics don't move either. "training": batch norm normalises by
    the batch and its running statistics follow these images, as where only gradients were switched off."""
    precision: Precision = "fp32"
    """Precision of the weight update. Logits and losses are fp32 in any case; "auto": see `attack_precision`."""
    attack_precision: Precision = "auto"
    """Precision of the attack's gradients. "auto": bf16 where the hardware multiplies it; decided once, before the
    key."""
    validation: float = 0
    """Training images held out, fixed by the seed: a number of them, or a share below 1."""
    check_steps: int = 10
    """PGD steps, from a random start, of the check on held-out images."""
    check_every: int = 1
    """Epochs between checks. The last epoch is always checked."""
    select: Select = "last"
    """Which weights `run:KEY` names: those of the last epoch, or those of the highest held-out robust accuracy (clean
    accuracy where eps is 0). The others are stored as `run:KEY@best` and `run:KEY@last`."""
    seed: int = 0
    """Seed of initial weights, shuffling, augmentation, noise, random starts and the held-out images."""
    threads: int = 1
    """CPU threads. A field, since one and two threads give different weights."""
    ranks: int | tuple[int, int] = 1
    """Processes that train one model together; (2, 4): as many as there are between 2 and 4, at the same batch."""
    gpus: float = 1.0
    """Share of a GPU that the training takes where there are any: with 0.25 four small ones share it. No weight depends
    on it, and it is in no key."""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "num_steps", "check_steps", "check_every", "threads"):
            check_count(name, getattr(self, name), at_least=1)
        check_count("seed", self.seed, at_least=0)
        for name in ("lr", "weight_decay", "eps", "trades_beta"):
            check_size(name, getattr(self, name), at_most=LARGEST_RATE)
        for name in ("momentum", "label_smoothing", "ema_decay"):
            value = getattr(self, name)
            check_size(name, value)
            if value >= 1:
                raise InputError(f"{name} must be below 1, got {value!r}")
        for name, known in (
            ("schedule", SCHEDULES),
            ("loss", LOSSES),
            ("norm", NORMS),
            ("augmentation", AUGMENTATIONS),
            ("precision", PRECISIONS),
            ("attack_precision", PRECISIONS),
            ("select", SELECTS),
            ("frozen_mode", FROZEN_MODES),
        ):
            check_choice(name, getattr(self, name), known)
        check_budget(self.norm, self.eps)
        if self.step_size is not None:
            check_size("step_size", self.step_size)
        self._check_validation()
        self._check_lists()
        self._check_ranks()
        check_size("gpus", self.gpus, at_most=1.0)
        if self.gpus == 0 or (self.gpus < 1 and self.ranks != 1):
            raise InputError(f"gpus must be above 0, and 1 with several ranks, got {self.gpus!r}")
        self._check_parts()
        for name, losses in _USED_BY.items():
            if self.loss not in losses and getattr(self, name) != _DEFAULTS[name]:
                words = " or ".join(repr(loss) for loss in losses)
                raise InputError(f"{name}={getattr(self, name)!r} has no effect with loss={self.loss!r}: needs {words}")
        if self.loss == "trades" and self.eps > 0 and not self.random_start:
            raise InputError("loss='trades' needs random_start=True: on the clean image its attack has no gradient")

    def _check_validation(self) -> None:
        check_size("validation", self.validation)
        if self.validation >= 1 and self.validation != int(self.validation):
            raise InputError(f"validation must be a share below 1 or a whole number of images, got {self.validation!r}")
        if self.select == "best" and not self.validation:
            raise InputError("select='best' needs validation images: the best is chosen on images held out of training")

    def _check_lists(self) -> None:
        drops = _rising("lr_drops", self.lr_drops)
        if 0 in drops:
            raise InputError(f"lr_drops must be epochs above 0, got {self.lr_drops!r}")
        if (self.schedule == "steps") != bool(drops):
            raise InputError(f"lr_drops={self.lr_drops!r} with schedule={self.schedule!r}: they belong to 'steps'")
        pairs: object = self.eps_schedule
        if not isinstance(pairs, Sequence) or any(not isinstance(pair, Sequence) or len(pair) != 2 for pair in pairs):
            raise InputError(f"eps_schedule must be pairs (epoch, multiplier), got {pairs!r}")
        _rising("eps_schedule", [epoch for epoch, _ in self.eps_schedule])
        for _, multiplier in self.eps_schedule:
            check_size("eps_schedule's multiplier", multiplier)

    def _check_parts(self) -> None:
        if self.new_head and self.initial is None:
            raise InputError("new_head has no effect without initial: without it every layer is drawn anew")
        parts: object = self.frozen
        if not isinstance(parts, tuple) or not all(isinstance(part, str) and part for part in parts):
            raise InputError(f"frozen must be a tuple of names of layers, got {parts!r}")
        if len(set(parts)) < len(parts):
            raise InputError(f"frozen: {', '.join(parts)} names one twice")
        if ALL_BUT_HEAD in parts and len(parts) > 1:
            raise InputError(f"frozen: {ALL_BUT_HEAD!r} is everything but the last linear layer, and stands alone")
        if self.frozen_mode != "evaluation" and not parts:
            raise InputError(f"frozen_mode={self.frozen_mode!r} has no effect without frozen: nothing is")

    def _check_ranks(self) -> None:
        counts = self.ranks if isinstance(self.ranks, tuple) else (self.ranks, self.ranks)
        if len(counts) != 2:
            raise InputError(f"ranks must be a number or two, (least, most), got {self.ranks!r}")
        for count in counts:
            check_count("ranks", count, at_least=1)
        if counts[0] > counts[1]:
            raise InputError(f"ranks must be (least, most), got {self.ranks!r}")
        for count in range(counts[0], counts[1] + 1):
            if self.batch_size % count:
                raise InputError(f"batch_size {self.batch_size} cannot be shared by {count} ranks: make it a multiple")

    def learning_rate(self, step: int, num_steps: int) -> float:
        """Learning rate of step `step` in 0 .. num_steps - 1."""
        return self.lr * rate(self.schedule, step, num_steps, drops=[drop / self.epochs for drop in self.lr_drops])

    def train_eps(self, epoch: float) -> float:
        """eps of a step `epoch` epochs after the beginning (2.5: in the middle of the third)."""
        return self.eps * eps_multiplier(self.eps_schedule, epoch)

    def num_validation(self, num_images: int) -> int:
        """How many of `num_images` are held out."""
        return int(self.validation) if self.validation >= 1 else round(self.validation * num_images)

    def settled(self, device: str) -> TrainSpec:
        """The spec with "auto" decided for this machine and `device` ("cpu" or "cuda"). Imports torch if there is
        any."""
        attacked = self.loss in _ATTACKED or self.eps > 0
        chosen = {name: getattr(self, name) for name in ("precision", "attack_precision")}
        if not attacked:
            chosen["attack_precision"] = "fp32"  # nothing reads it: the key must not depend on the machine
        for name, precision in chosen.items():
            if precision == "auto":
                chosen[name] = resolve_precision(device)
        return dataclasses.replace(self, **chosen)

    @property
    def least_ranks(self) -> int:
        """Processes that it needs."""
        return self.ranks[0] if isinstance(self.ranks, tuple) else self.ranks

    @property
    def most_ranks(self) -> int:
        """Processes that it can use."""
        return self.ranks[1] if isinstance(self.ranks, tuple) else self.ranks

    @property
    def data_name(self) -> str:
        return self.data if isinstance(self.data, str) else self.data.name

    @property
    def initial_name(self) -> str | None:
        return self.initial if self.initial is None or isinstance(self.initial, str) else self.initial.name


def _rising(name: str, epochs: object) -> Sequence[float]:
    """Raises: InputError unless these are epochs in rising order."""
    if isinstance(epochs, str) or not isinstance(epochs, Sequence):
        raise InputError(f"{name} must be a list of epochs, got {epochs!r}")
    for epoch in epochs:
        check_size(f"{name}'s epoch", epoch)
    if any(first >= second for first, second in itertools.pairwise(epochs)):
        raise InputError(f"{name} must have its epochs in rising order, got {epochs!r}")
    return epochs


_DEFAULTS = {field.name: field.default for field in dataclasses.fields(TrainSpec)}
