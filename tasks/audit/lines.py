"""What has to stand beside a robust accuracy: the cheap checks of an audit, in sentences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from robustray.tasks.attacks.adaptive import Adaptive
from robustray.tasks.attacks.autoattack import Cascade
from robustray.tasks.attacks.autoattack_rand import AutoAttackRand
from robustray.tasks.attacks.family import ApgdDLR, ApgdT, FabT
from robustray.tasks.attacks.settings import Attack
from robustray.tasks.audit.results import LINE, reason

if TYPE_CHECKING:
    import torch

    from robustray.tasks.attacks.gradient.refusals import Model

LOOKED_AT = 8
"""Images that are looked at."""


def no_evidence(model: Model, images: torch.Tensor, attacks: Sequence[Attack], *, seed: int) -> tuple[str, ...]:
    """A line for every check that speaks against accuracies by `attacks`: "this number is no evidence because ...".

    Nothing is looked at where no attack follows gradients, nor for `adaptive`, which looks itself. Flat cross-entropy
    is no reason beside an attack that sees no scale of logits (AutoAttack has some), and randomness none where
    AutoAttack's form for it is alone. The threat model is that of the first attack that follows gradients.

    images: a few (b, ...), on the model's device. Raises: InputError as `robustray.audit`.
    """
    from robustray.tasks.audit.audit import look
    from robustray.tasks.audit.subject import Subject

    following = [each for each in attacks if getattr(each, "uses_gradients", False) and not isinstance(each, Adaptive)]
    if not following or len(images) < 2:
        return ()
    first = following[0]
    findings, _ = look(Subject.of(model, images[:LOOKED_AT], norm=first.norm, eps=first.eps, seed=seed))
    saturated = any(each.check == "saturation" and each.verdict == "no evidence" for each in findings)
    without_scale = any(isinstance(each, AutoAttackRand | Cascade | ApgdDLR | ApgdT | FabT) for each in following)
    excused = {"saturation", "zero gradient"} if saturated and without_scale else set()
    if all(isinstance(each, AutoAttackRand) for each in following):
        excused |= {"randomness"}
    return tuple(
        f"{LINE} {reason(each)}" for each in findings if each.verdict == "no evidence" and each.check not in excused
    )
