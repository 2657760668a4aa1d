"""How a study trains its networks: the settings that studies share, and the trainings they make. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from robustray.tasks.attacks.precision import Precision
from robustray.tasks.attacks.settings import Norm
from robustray.tasks.training.schedules import Schedule
from robustray.tasks.training.settings import Augmentation, TrainSpec


@dataclass(frozen=True, kw_only=True)
class HowTrained:
    """Settings of a study whose networks differ in nothing but the threat and the seed."""

    epochs: int
    """Passes over the training images."""
    batch_size: int
    """Images per step."""
    lr: float
    """Peak learning rate."""
    schedule: Schedule = "triangular"
    """How the learning rate changes: triangular, steps (drops to a tenth at lr_drops), cosine, constant."""
    lr_drops: tuple[float, ...] = ()
    """Epochs after which the learning rate drops, for steps."""
    weight_decay: float = 5e-4
    """L2 penalty, on all parameters."""
    augmentation: Augmentation = "none"
    """crop-flip: a random crop of the padded image, mirrored in half of the cases."""
    step_share: float = 0.5
    """Length of a step of the attack that robust networks are trained on, as a share of eps."""
    validation: float = 0.0
    """Training images held out for the learning curves: a number, or a share below 1."""
    attack_precision: Precision = "auto"
    """Arithmetic of that attack's gradients; weights are always updated in fp32."""

    def how(self) -> dict[str, Any]:
        """These settings as fields of a `TrainSpec`; the length of a step is `step_share * eps`."""
        whole = self.validation >= 1 and self.validation == int(self.validation)
        found = {field.name: getattr(self, field.name) for field in fields(HowTrained) if field.name != "step_share"}
        return found | {"validation": int(self.validation) if whole else self.validation}  # 1000 is not 1000.0 in a key

    def against(self, standard: TrainSpec, norm: Norm, eps: float, **attack: Any) -> TrainSpec:
        """The same training on adversarial images of size `eps`. attack: further fields of a `TrainSpec`."""
        step_size = self.step_share * eps
        return replace(standard, loss="adversarial", norm=norm, eps=eps, step_size=step_size, **attack)


def how_of(spec: TrainSpec) -> dict[str, Any]:
    """The same settings, of a training with an attack that is known: `Settings(**how_of(twin), ...)`."""
    assert spec.step_size is not None and spec.eps > 0, "a training with an attack"
    found = {field.name: getattr(spec, field.name) for field in fields(HowTrained) if field.name != "step_share"}
    return found | {"step_share": spec.step_size / spec.eps}
