"""Is the gradient that attacks follow the slope of the function that the model computes?

All derivatives are those of the difference of two fixed logits, the runner-up's and the prediction's: unlike
cross-entropy it is not flat where the model is sure, and unlike the margin it has no kink where the runner-up changes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import combinations

import torch
from torch import Tensor

from robustray.tasks.attacks.following import is_lost
from robustray.tasks.attacks.gradient.view import GradientView
from robustray.tasks.attacks.objective import CrossEntropy
from robustray.tasks.attacks.search.noise import uniform
from robustray.tasks.audit.findings import Finding, judged
from robustray.tasks.audit.rules import RULES
from robustray.tasks.audit.subject import Pair, Subject, rivals

STEPS = (1e-2, 3e-3, 1e-3, 3e-4)
"""Largest change of a pixel by half a central difference. The best of them counts: kinks spoil long steps, rounding
short ones."""
NUM_DIRECTIONS = 4
NUM_SMOOTHED = 8
"""Points over which the gradient of a smoothed copy is averaged."""
SMOOTHED = 0.5
"""Their distance, in units of eps: each pixel uniform within it."""
CUTS, NUM_JUMPED = (16, 256, 4096), 16
"""Parts of the ball's radius that are one step, at each scale; places along a line at which steps are taken."""
ROUNDING = 3e-6
"""Root mean square of differences, relative to the largest logit, below which they are those of fp32's rounding."""


def check_gradients(subject: Subject) -> Iterator[Finding]:
    """Zero gradients, slopes along the gradient and in random directions, a smoothed copy's gradient."""
    with GradientView(subject.model) as view:
        pair = rivals(view.evaluate(subject.inside()).logits)
        _, _, largest, _ = view.follow(subject.images, subject.labels, CrossEntropy())
        lost = float(is_lost(largest).float().mean())
        yield judged(
            RULES,
            "zero gradient",
            lost,
            f"there is no gradient to follow for {lost:.0%} of the images",
            remedy="adaptive, square",
        )
        points = subject.inside()
        _, gradient, size, _ = view.follow(points, pair, Pair())
        if subject.random:
            return
        if bool(is_lost(size).all()) or _says_one_thing(view, points):  # nothing to compare with
            yield Finding(check="slope along the gradient", verdict="not checked")
            yield Finding(check="slope in random directions", verdict="not checked")
            yield Finding(check="smoothed gradient", verdict="not checked")
        else:
            yield along(view, points, pair, gradient)
            yield across(view, points, pair, gradient, subject)
            yield smoothed(view, points, pair, gradient, subject)


def along(view: GradientView, points: Tensor, pair: Tensor, gradient: Tensor) -> Finding:
    """Central differences along the gradient itself."""
    direction = gradient / gradient.flatten(1).abs().amax(1).clamp_min(1e-30).view(-1, *[1] * (gradient.ndim - 1))
    promised = _dot(gradient, direction)
    errors = [
        float((central(view, points, pair, direction, h) / promised - 1).abs().nan_to_num(math.inf).median())
        for h in STEPS
    ]
    error = min(errors)
    return judged(
        RULES,
        "slope along the gradient",
        error,
        "the loss does not change along the gradient as the gradient says: what gradients follow is not what the model "
        "computes",
        remedy="adaptive, square",
    )


def across(view: GradientView, points: Tensor, pair: Tensor, gradient: Tensor, subject: Subject) -> Finding:
    """Central differences in random directions: their correlation with what the gradient says."""
    promised: list[Tensor] = []
    measured: dict[float, list[Tensor]] = {h: [] for h in STEPS}
    unit = gradient.flatten(1).norm(dim=1).clamp_min(1e-30)
    for k in range(NUM_DIRECTIONS):
        drawn = uniform(subject.seed, "audit directions", k, subject.indices, points.shape[1:], points.device)
        direction = 2 * drawn - 1
        promised.append(_dot(gradient, direction) / unit)
        for h in STEPS:
            measured[h].append(central(view, points, pair, direction, h) / unit)
    correlation = max(_correlation(torch.cat(promised), torch.cat(each)) for each in measured.values())
    return judged(
        RULES,
        "slope in random directions",
        correlation,
        "the gradient says little of how the loss changes in random directions",
        remedy="adaptive, square",
    )


def smoothed(view: GradientView, points: Tensor, pair: Tensor, gradient: Tensor, subject: Subject) -> Finding:
    """The cosine between the gradient and its mean over points around."""
    radius = SMOOTHED * (subject.eps if subject.norm == "linf" else subject.eps / math.sqrt(points[0].numel()))
    total = torch.zeros_like(gradient)
    for k in range(NUM_SMOOTHED):
        drawn = uniform(subject.seed, "audit smoothing", k, subject.indices, points.shape[1:], points.device)
        total += view.follow((points + radius * (2 * drawn - 1)).clamp(0, 1), pair, Pair())[1]
    cosine = torch.cosine_similarity(_unit(gradient), _unit(total), dim=1)
    return judged(
        RULES,
        "smoothed gradient",
        float(cosine.median()),
        "the gradient points elsewhere a little further on: it is that of ripples on the loss",
        remedy="adaptive",
    )


def check_jumps(subject: Subject) -> Finding:
    """How the root mean square of the logits' slope grows as steps shrink: its exponent.

    For a function with a slope it does not grow, 0. Jumps are as high in short steps as in long ones, only rarer, so
    that it grows like one over the root of the step, 0.5; where they are so rare that only long steps meet any, it
    falls. So what counts is the largest exponent, by size, between two of the scales. Steps whose differences are
    rounding are not looked at.
    """
    with GradientView(subject.model) as view:
        points = subject.inside()
        radius = subject.eps if subject.norm == "linf" else subject.eps / math.sqrt(points[0].numel())
        squares, floor = {cut: 0.0 for cut in CUTS}, 0.0
        for k in range(NUM_JUMPED):
            drawn = uniform(subject.seed, "audit jumps", k, subject.indices, points.shape[1:], points.device)
            place = uniform(subject.seed, "audit places", k, subject.indices, (1,), points.device)
            direction = radius * (2 * drawn - 1)
            at = (points + place.view(-1, *[1] * (points.ndim - 1)) * direction).clamp(0, 1)
            before = view.evaluate(at).logits
            floor = max(floor, ROUNDING * float(before.abs().max()))
            for cut in CUTS:
                after = view.evaluate((at + direction / cut).clamp(0, 1)).logits
                squares[cut] += float((after - before).double().square().mean()) / NUM_JUMPED
    slopes = {cut: math.sqrt(squares[cut]) * cut for cut in CUTS if math.sqrt(squares[cut]) > floor}
    exponents = [math.log(slopes[b] / slopes[a]) / math.log(b / a) for a, b in combinations(slopes, 2)]
    growth = max(map(abs, exponents), default=math.nan)
    return judged(
        RULES,
        "jumps",
        growth,
        "its logits go in steps (rounding, masks or sorting on the way), which no gradient shows",
        remedy="adaptive, square",
    )


def central(view: GradientView, points: Tensor, pair: Tensor, direction: Tensor, h: float) -> Tensor:
    """(b,): the central difference of the two logits' difference over `h` times the direction on both sides."""
    ahead, _ = view.value(points + h * direction, pair, Pair())
    back, _ = view.value(points - h * direction, pair, Pair())
    return (ahead - back) / (2 * h)


def _says_one_thing(view: GradientView, points: Tensor) -> bool:
    """All images get the same logits but for rounding: what changes from point to point is none of the network's."""
    logits = view.evaluate(points).logits
    return float((logits.amax(0) - logits.amin(0)).max()) <= ROUNDING * float(logits.abs().max())


def _unit(values: Tensor) -> Tensor:
    """(b, ...): with a largest entry of 1; `cosine_similarity` takes lengths below 1e-8 for 1e-8."""
    flat = values.flatten(1)
    return flat / flat.abs().amax(1, keepdim=True).clamp_min(1e-38)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).flatten(1).sum(1)


def _correlation(a: Tensor, b: Tensor) -> float:
    """Through the origin, in [-1, 1]; 0 where one of them is zero."""
    length = float(a.double().norm() * b.double().norm())
    return float((a.double() * b.double()).sum()) / length if length > 0 else 0.0
