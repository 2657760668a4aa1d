"""Are logits so far apart that cross-entropy has nothing left to say?"""

from __future__ import annotations

import torch
from torch import Tensor

from robustray.tasks.attacks.gradient.verdicts import predict_logits
from robustray.tasks.audit.findings import Finding, judged
from robustray.tasks.audit.rules import RULES
from robustray.tasks.audit.subject import Subject

SURE = 1e-6
"""Probability of all other classes together below which an image counts as saturated."""


def check_saturation(subject: Subject) -> Finding:
    """The share of images that are saturated, and by which temperature logits would have to be divided."""
    with torch.random.fork_rng(devices=[]):
        logits = predict_logits(subject.model, subject.images)
    share = float((others(logits) < SURE).float().mean())
    return judged(
        RULES,
        "saturation",
        share,
        f"the other classes have a probability below {SURE:g} for {share:.0%} of the images, where cross-entropy is "
        f"flat (logits divided by {temperature(logits):.2g} would not be)",
        remedy="apgd-dlr or apgd-t, which do not see the scale of logits; adaptive",
    )


def others(logits: Tensor) -> Tensor:
    """(b,): probability of all classes but the largest, without cancellation."""
    gaps = logits.double() - logits.double().amax(1, keepdim=True)
    rest = gaps.topk(gaps.shape[1], dim=1).values[:, 1:].exp().sum(1)
    return rest / (1 + rest)


def temperature(logits: Tensor) -> float:
    """A power of two by which the median gap between the two largest logits becomes about 2 or less; at least 1."""
    top = logits.topk(2, dim=1).values
    gap = float((top[:, 0] - top[:, 1]).median())
    power = 1.0
    while gap / power > 2:
        power *= 2
    return power
