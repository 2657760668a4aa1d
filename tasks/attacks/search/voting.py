"""Runs AutoAttack on a model that draws random numbers, and lets new draws decide (`attacks.autoattack_rand`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from robustray.tasks.attacks.autoattack_rand import AutoAttackRand
from robustray.tasks.attacks.doors import check_arguments, check_class_range
from robustray.tasks.attacks.gradient.draws import Draws, FollowedDraws
from robustray.tasks.attacks.gradient.refusals import Model, refuse_one_output
from robustray.tasks.attacks.objective import Margin
from robustray.tasks.attacks.objectives_dlr import require_classes
from robustray.tasks.attacks.search.cascade import STANDS, WRONG_BEFORE, CascadeResult
from robustray.tasks.attacks.search.norms import GEOMETRIES
from robustray.tasks.attacks.search.record import noted
from robustray.tasks.attacks.search.rows import run_search
from robustray.tasks.models.watching import watched

VERDICT = "verdict"
"""What the draws of verdicts are for; those of clean images and of images under attack are the same."""


@dataclass(frozen=True, kw_only=True, eq=False)
class VotedResult(CascadeResult):
    """What `AutoAttackRand` returns. `success`: the label is the answer of at most half of the draws. `loss`: the share
    of draws that are wrong minus that of those that are right, in [-1, 1]. `predictions`: the most frequent answer; of
    a broken image, the most frequent wrong one."""

    right: Tensor
    """(b,) int64: draws whose answer is the label, at `images`."""
    num_draws: int


def run_rand(
    attack: AutoAttackRand,
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    seed: int,
    indices: Sequence[int] | Tensor | None,
) -> VotedResult:
    """The call of `AutoAttackRand`."""
    stages = attack.stages()
    problem = check_arguments(
        stages[0].plan(), model, images, labels, indices=indices, objective=None, mask=None, targets=None
    )
    images, labels = problem.images, problem.labels
    with watched(model):
        parts = []
        if len(images):
            draws = Draws(model, images[:2], seed=seed)
            _check_classes(draws, model, images[:1], labels)
            for rows in torch.arange(len(images), device=images.device).split(attack.batch_size):
                # All images of a call begin and step together, so that its pass p is the same draw for each of them.
                parts.append(_attacked(attack, draws, images[rows], labels[rows], problem.indices[rows], seed))
    whole = (
        {name: torch.cat([part[name] for part in parts]) for name in parts[0]} if parts else _nothing(images, labels)
    )
    return VotedResult(**whole, stages=tuple(stage.name for stage in stages), num_draws=attack.num_draws)


def voted(model: Model, images: Tensor, labels: Tensor, *, num_draws: int, seed: int) -> dict[str, Tensor]:
    """The verdict of `num_draws` draws on images (b > 0, ...) as they are: right, predictions and loss as in
    `VotedResult`. Raises: InputError for draws that cannot be repeated."""
    with watched(model):
        draws = Draws(model, images[:2], seed=seed)
        return {name: torch.cat(found) for name, found in _in_parts(draws, images, labels, num_draws).items()}


def _in_parts(draws: Draws, images: Tensor, labels: Tensor, num_draws: int) -> dict[str, list[Tensor]]:
    parts = [
        _verdict(draws, points, wanted, num_draws)
        for points, wanted in zip(images.split(128), labels.split(128), strict=True)
    ]
    return {name: [part[name] for part in parts] for name in parts[0]}


def _verdict(draws: Draws, points: Tensor, labels: Tensor, num_draws: int) -> dict[str, Tensor]:
    votes, _ = draws.votes(points, VERDICT, num_draws)
    right = votes.gather(1, labels[:, None])[:, 0]
    broken = 2 * right <= num_draws
    others = votes.scatter(1, labels[:, None], -1)
    return {
        "right": right,
        "predictions": torch.where(broken, others.argmax(1), labels),
        "loss": 1 - 2 * right / num_draws,
    }


def _attacked(
    attack: AutoAttackRand, draws: Draws, images: Tensor, labels: Tensor, indices: Tensor, seed: int
) -> dict[str, Tensor]:
    """Fields of `VotedResult` of at most `batch_size` images."""
    clean = _verdict(draws, images, labels, attack.num_draws)
    standing = (2 * clean["right"] > attack.num_draws).nonzero()[:, 0]
    was_right = torch.zeros_like(labels, dtype=torch.bool).index_fill_(0, standing, True)
    points, best = images.clone(), torch.full_like(clean["loss"], -torch.inf)
    found_by = torch.zeros_like(labels)
    evaluations = torch.full_like(labels, attack.num_draws)
    first_gradient = torch.full_like(best, torch.nan)
    enough = attack.num_checks / 2  # three quarters against one
    for position, stage in enumerate(attack.stages()):
        if not len(standing):
            break
        kind, options = stage.kind()
        found = run_search(
            kind,
            # also where the checks call the clean image wrong: the verdict called it right
            replace(stage.plan(), attack_misclassified=True),
            FollowedDraws(draws, stage.name, attack.num_checks),
            images[standing],
            labels[standing],
            seed=seed,
            indices=indices[standing],
            objective=Margin(),
            mask=None,
            targets=None,
            leaves_at=enough,
            **options,
        )
        better = found.loss > best[standing]
        taken = standing[better]
        points[taken], best[taken], found_by[taken] = found.images[better], found.loss[better], position
        evaluations[standing] += found.num_evaluations
        assert found.first_gradient is not None
        first_gradient[standing] = noted(first_gradient[standing], found.first_gradient)
        standing = standing[best[standing] < enough]
    final = _verdict(draws, points, labels, attack.num_draws)
    evaluations += torch.where(was_right, attack.num_draws, 0)
    success = 2 * final["right"] <= attack.num_draws
    fell_to = torch.where(success, found_by, STANDS)
    return {
        **final,
        "images": points,
        "success": success,
        "distance": GEOMETRIES[attack.norm].size(points - images),
        "clean_predictions": clean["predictions"],
        "num_evaluations": evaluations,
        "first_gradient": first_gradient,
        "fell_to": torch.where(was_right, fell_to, WRONG_BEFORE),
    }


def _check_classes(draws: Draws, model: Model, few: Tensor, labels: Tensor) -> None:
    with torch.no_grad():
        num_classes = draws.logits(few, VERDICT, 0).shape[1]
    refuse_one_output(num_classes, model)
    require_classes(num_classes, AutoAttackRand.min_classes, AutoAttackRand.name)
    check_class_range("labels", labels, num_classes, model)


def _nothing(images: Tensor, labels: Tensor) -> dict[str, Any]:
    empty = images.new_zeros(0)
    per_image = {"success": labels.bool(), "loss": empty, "distance": empty, "first_gradient": empty}
    counts = ("right", "predictions", "clean_predictions", "num_evaluations", "fell_to")
    return {"images": images, **per_image, **dict.fromkeys(counts, labels)}
