"""Runs attacks in a row, each on the images that still stand, and says which image fell to which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from robustray.tasks.attacks.doors import check_arguments
from robustray.tasks.attacks.following import is_lost
from robustray.tasks.attacks.gradient.refusals import Model, refuse_one_output
from robustray.tasks.attacks.gradient.verdicts import predict_logits
from robustray.tasks.attacks.objectives_dlr import require_classes
from robustray.tasks.attacks.result import AttackResult

if TYPE_CHECKING:
    from robustray.tasks.attacks.autoattack import Cascade

STANDS, WRONG_BEFORE = -1, -2
"""In `CascadeResult.fell_to`."""
MASKING_POINTS = 0.2
"""In percentage points of all images: if Square lowers accuracy by more, gradients hide something (section 5)."""


@dataclass(frozen=True)
class Stage:
    """One line of the stage table."""

    name: str
    attacked: int
    """Images that stood before it."""
    broken: int
    standing: int
    """Of all images, after it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class CascadeResult(AttackResult):
    """What a cascade returns."""

    stages: tuple[str, ...]
    """Names of the attacks."""
    fell_to: Tensor
    """(b,) int64: position in `stages` of the attack that broke the image; -1 (STANDS): none did; -2 (WRONG_BEFORE):
    the clean image is not classified as its label."""

    def table(self) -> tuple[Stage, ...]:
        """Who fell to what, in the order of the attacks."""
        standing, rows = int((self.fell_to != WRONG_BEFORE).sum()), []
        for position, name in enumerate(self.stages):
            broken = int((self.fell_to == position).sum())
            rows.append(Stage(name, standing, broken, standing - broken))
            standing -= broken
        return tuple(rows)

    def masking_warning(self) -> str | None:
        """A warning if Square broke what gradients could not, else None."""
        return masking_warning(self.table(), len(self.fell_to))


def masking_warning(table: Sequence[Stage], num_images: int) -> str | None:
    """The warning for a stage table over all `num_images` images of an evaluation; None if nothing is suspicious."""
    broken = sum(stage.broken for stage in table if stage.name == "square")
    if not is_suspicious(broken, num_images):
        return None
    return (
        f"Square, which sees no gradients, broke {broken} of {num_images} images that withstood every attack before "
        "it: the model hides its gradients, and its robust accuracy is likely overestimated"
    )


def is_suspicious(broken: int, num_images: int) -> bool:
    """Whether so many images that Square alone broke, of all images of an evaluation, speak of hidden gradients."""
    return broken > 1 and 100 * broken > MASKING_POINTS * num_images


def merge_stage(whole: Mapping[str, Any], found: Mapping[str, Any], standing: Any, *, counted: str) -> None:
    """Write into `whole`, in place, what a later stage found for the images that stood before it.

    whole: one array (images, ...) per name, tensors or NumPy arrays. found: the same names (or some of them) for the
    images at the positions `standing`, in that order; "success" and "loss" among them. The name `counted` adds up;
    of "first_gradient" the one that could be followed, and the larger one of two; the others are taken over where the
    stage succeeded or ended at a larger loss (the margin, for every attack of a cascade), so that a row always
    describes one point.
    """
    better = found["success"] | (found["loss"] > whole["loss"][standing])
    whole[counted][standing] += found[counted]
    if "first_gradient" in found:
        before, now = whole["first_gradient"][standing], found["first_gradient"]
        takes = (before != before) | (now > before) & ~is_lost(now) | is_lost(before) & (now > 0)  # NaN: none before
        whole["first_gradient"][standing[takes]] = now[takes]
    for name in found.keys() - {counted, "first_gradient"}:
        whole[name][standing[better]] = found[name][better]


def run_cascade(
    cascade: Cascade,
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    seed: int,
    indices: Sequence[int] | Tensor | None,
    mask: Tensor | None,
) -> CascadeResult:
    """The call of every attack in `autoattack`."""
    stages = cascade.stages()
    problem = check_arguments(
        stages[0].plan(), model, images, labels, indices=indices, objective=None, mask=mask, targets=None
    )
    if len(images):
        neediest = max(stages, key=lambda stage: stage.min_classes)
        num_classes = predict_logits(model, images[:1]).shape[1]
        refuse_one_output(num_classes, model)
        require_classes(num_classes, neediest.min_classes, f"{neediest.name} of {cascade.name}")

    whole: dict[str, Any] = {}
    warnings: dict[str, None] = {}  # in order, each once
    fell_to = torch.full_like(problem.labels, STANDS)
    standing = torch.arange(len(images), device=images.device)
    last: AttackResult | None = None
    for position, stage in enumerate(stages):
        last = stage(
            model,
            problem.images[standing],
            problem.labels[standing],
            seed=seed,
            indices=problem.indices[standing],
            mask=None if problem.mask is None else problem.mask[standing],
        )
        warnings.update(dict.fromkeys(last.warnings))
        if position == 0:
            whole = {name: getattr(last, name).clone() for name in _PER_IMAGE}
            # no attack touches what is wrong without one
            fell_to[last.success & (last.clean_predictions != problem.labels)] = WRONG_BEFORE
        else:
            found = {name: getattr(last, name) for name in _PER_IMAGE}
            merge_stage(whole, found, standing, counted="num_evaluations")
        fallen = standing[last.success]
        fell_to[fallen[fell_to[fallen] == STANDS]] = position
        standing = standing[~last.success]
    assert last is not None
    return CascadeResult(
        **whole,
        warnings=tuple(warnings),
        precision=last.precision,
        folded=last.folded,
        stages=tuple(stage.name for stage in stages),
        fell_to=fell_to,
    )


_PER_IMAGE = (
    *("images", "success", "loss", "distance", "predictions", "clean_predictions", "num_evaluations"),
    "first_gradient",
)
