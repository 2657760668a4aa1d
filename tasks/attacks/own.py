"""What the user's own attack needs: a result from candidate images, and the check that they are allowed."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from robustray.tasks.attacks.gradient.verdicts import Model, predict_logits
from robustray.tasks.attacks.objective import Margin, ModelOutput
from robustray.tasks.attacks.result import AttackResult
from robustray.tasks.attacks.search.norms import GEOMETRIES
from robustray.tasks.attacks.settings import Norm
from robustray.tasks.errors import InputError

TOLERANCE = 1e-4
"""Rounding that a perturbation may exceed its size by, as a share of it."""


def best_of(
    model: Model, images: Tensor, labels: Tensor, candidates: Iterable[Tensor], *, norm: Norm, eps: float
) -> AttackResult:
    """The best candidate of every image, by the model's own fp32 verdict.

    images (b, ...), labels (b,), and candidates (b, ...) each: for an image, the first candidate that is misclassified,
    else the one of largest margin (largest other logit minus the label's), the clean image included. An image that is
    wrong as it is stays as it is.

    Raises: InputError for a candidate outside [0, 1] or further than `eps` from the images.
    """
    logits = predict_logits(model, images)
    loss = Margin().loss(ModelOutput(logits), images, labels)
    clean = predictions = logits.argmax(1)
    best, success, passes = images.clone(), predictions != labels, 1
    for candidate in candidates:
        check_ball(candidate, images, norm=norm, eps=eps, whose="the attack's candidate")
        logits = predict_logits(model, candidate)
        margin = Margin().loss(ModelOutput(logits), candidate, labels)
        fooled = logits.argmax(1) != labels
        better = ~success & (fooled | (margin > loss))
        best[better], loss[better] = candidate[better], margin[better]
        predictions = torch.where(better, logits.argmax(1), predictions)
        success = success | fooled
        passes += 1
    return AttackResult(
        images=best,
        success=success,
        loss=loss,
        distance=GEOMETRIES[norm].size(best - images),
        predictions=predictions,
        clean_predictions=clean,
        num_evaluations=torch.full_like(labels, passes),
    )


def check_ball(adversarial: Tensor, images: Tensor, *, norm: Norm, eps: float, whose: str) -> None:
    """Raises: InputError for images (b, ...) of another shape, outside [0, 1], or outside the ball."""
    if adversarial.shape != images.shape:
        raise InputError(f"{whose} must have images of shape {tuple(images.shape)}")
    if not len(images):
        return
    if not torch.isfinite(adversarial).all() or adversarial.min() < 0 or adversarial.max() > 1:
        raise InputError(f"{whose} has pixels outside [0, 1]: clip them")
    size = float(GEOMETRIES[norm].size(adversarial - images).max())
    if size > eps * (1 + TOLERANCE) + 1e-6:
        raise InputError(f"{whose} left its ball: {norm} distance {size:g}, eps {eps:g}")
