"""One attack of an evaluation on all images: block by block, checked, and kept where it is to be kept."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from robustray.tasks.attacks.following import is_lost
from robustray.tasks.cost import Part
from robustray.tasks.data.images import ImageData
from robustray.tasks.errors import InputError
from robustray.tasks.evaluation import doors
from robustray.tasks.sweeps.options import Options, passes

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from robustray.tasks.attacks.gradient.verdicts import Model
    from robustray.tasks.attacks.result import AttackResult
    from robustray.tasks.attacks.search.cascade import Stage
    from robustray.tasks.evaluation.kept import Kept, Rows
    from robustray.tasks.report.progress import Progress

BLOCK, KEPT_BLOCK = 512, 128
"""Images that are attacked by one call, and where each call's rows are kept on a CPU: what an interruption costs is at
most one of them. No result depends on it."""
VOTED = 128
"""Images whose draws vote in one call."""
ATTACKED = "robustray.tasks.evaluation.attacking:attacked"
"""What computes the rows that are kept."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One attack on all images. Arrays (n,); an image that was not attacked has no evaluations."""

    item: doors.Named
    broken: NDArray[np.bool_]
    """Images that the attack broke, without those that are wrong without it."""
    prediction: NDArray[np.int64]
    loss: NDArray[np.float32]
    distance: NDArray[np.float32]
    evaluations: NDArray[np.int64]
    first_gradient: NDArray[np.float32]
    stages: tuple[Stage, ...]
    warnings: tuple[str, ...]

    @property
    def lost(self) -> int:
        return int(is_lost(self.first_gradient).sum())

    @property
    def taken(self) -> int:
        return int((~np.isnan(self.first_gradient)).sum())


def plan(chosen: Sequence[doors.Named], count: int) -> tuple[Part, ...]:
    """What the attacks on `count` images cost beside each other, for the time that is left: a part for each name."""
    costs: dict[str, list[int]] = {}
    for item in chosen:
        steps = getattr(item.attack, "num_steps", Options.num_steps)
        costs.setdefault(item.name, []).append(passes(item.name, Options(num_steps=steps)))
    return tuple(Part(step=name, items=count * len(each), cost=sum(each) / len(each)) for name, each in costs.items())


def in_blocks(
    progress: Progress, step: str, indices: Sequence[int], *, size: int = BLOCK, done: int = 0
) -> Iterator[Sequence[int]]:
    """Blocks of the indices; each counts as done when the next one is asked for. done: how many are there already, of
    blocks that are left out."""
    progress.start(step, len(indices) + done, done)
    try:
        for block in (indices[start : start + size] for start in range(0, len(indices), size)):
            began = time.monotonic()
            yield block
            progress.advance(step, len(block), time.monotonic() - began)
    finally:
        progress.finish(step)


def vote(
    model: Model, data: ImageData, block: Sequence[int], seed: int, where: torch.device, num_draws: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Prediction of the images `block` by the majority of `num_draws` draws of a random model, and how they vote
    (`VotedResult.loss`)."""
    from robustray.tasks.attacks.search.voting import voted

    images, labels = (each.to(where) for each in data.batch(block))
    found = voted(model, images, labels, num_draws=num_draws, seed=seed)
    return found["predictions"].cpu().numpy(), found["loss"].cpu().numpy()


def attack_all(
    item: doors.Named,
    model: Model,
    data: ImageData,
    standing: NDArray[np.int64],
    n: int,
    seed: int,
    where: torch.device,
    progress: Progress,
    kept: Kept | None,
) -> Outcome:
    """The attack on the images that are classified correctly; finished blocks are read from where they are kept."""
    size = BLOCK if kept is None or where.type != "cpu" else KEPT_BLOCK
    blocks = [standing[start : start + size].tolist() for start in range(0, len(standing), size)]
    found = {block[0]: rows for block in blocks if kept is not None and (rows := kept.read(block)) is not None}
    missing = [image for block in blocks if block[0] not in found for image in block]
    for block in in_blocks(progress, item.name, missing, size=size, done=len(standing) - len(missing)):
        found[block[0]] = attacked(item, model, data, block, seed, where)
        if kept is not None:
            kept.write(block, found[block[0]])
    columns: dict[str, NDArray[Any]] = {
        "broken": np.zeros(n, np.bool_),
        "prediction": np.full(n, -1, np.int64),
        "loss": np.full(n, np.nan, np.float32),
        "distance": np.zeros(n, np.float32),
        "evaluations": np.zeros(n, np.int64),
        "first_gradient": np.full(n, np.nan, np.float32),
    }
    rows_of = [found[block[0]] for block in blocks]
    for block, rows in zip(blocks, rows_of, strict=True):
        for name, values in rows.columns.items():
            columns[name][block] = values
    return Outcome(
        item=item,
        **columns,
        stages=_summed([rows.stages for rows in rows_of if rows.stages]),
        warnings=tuple(warning for rows in rows_of for warning in rows.warnings),
    )


def attacked(
    item: doors.Named, model: Model, data: ImageData, block: Sequence[int], seed: int, where: torch.device
) -> Rows:
    """One call of the attack, on the images `block`."""
    from robustray.tasks.attacks.search.cascade import CascadeResult
    from robustray.tasks.evaluation.kept import Rows

    images, labels = (each.to(where) for each in data.batch(block))
    result = item.attack(model, images, labels, seed=seed, indices=block)
    _check(item, result, images)
    found = {
        "broken": result.success,
        "prediction": result.predictions,
        "loss": result.loss,
        "distance": result.distance,
        "evaluations": result.num_evaluations,
    }
    if result.first_gradient is not None:
        found["first_gradient"] = result.first_gradient
    warnings: list[str] = []
    if not type(item.attack).__module__.startswith("robustray."):
        warnings += _look_again(item.name, model, labels, result, found)
    return Rows(
        columns={name: values.detach().cpu().numpy() for name, values in found.items()},
        warnings=(*warnings, *result.warnings),
        stages=tuple(result.table()) if isinstance(result, CascadeResult) else (),
    )


def _check(item: doors.Named, result: AttackResult, images: torch.Tensor) -> None:
    """Raises: InputError for a result that is none, or whose images are not of the threat model."""
    import torch

    from robustray.tasks.attacks.own import check_ball

    adversarial, success = getattr(result, "images", None), getattr(result, "success", None)
    if not isinstance(adversarial, torch.Tensor) or not isinstance(success, torch.Tensor):
        raise InputError(f"{item.name} must return an AttackResult, got {type(result).__name__}")
    check_ball(adversarial, images, norm=item.attack.norm, eps=item.attack.eps, whose=item.name)
    if success.shape != (len(images),) or success.dtype != torch.bool:
        raise InputError(f"{item.name}: success must be a bool tensor with one entry per image")


def _look_again(
    name: str, model: Model, labels: torch.Tensor, result: AttackResult, found: dict[str, torch.Tensor]
) -> list[str]:
    """One's own attack is not taken at its word: what the model says of its images decides."""
    from robustray.tasks.attacks.gradient.verdicts import predict_logits

    found["prediction"] = predict_logits(model, result.images).argmax(1)
    found["broken"] = found["prediction"] != labels
    wrong = int((found["broken"] != result.success).sum())
    return [f"{name}: success was reported wrongly for some images; the model's own prediction counts"] if wrong else []


def _summed(tables: Sequence[Sequence[Stage]]) -> tuple[Stage, ...]:
    """The stage tables of all blocks as one: stages of one name are one, in the order in which they first appear."""
    from robustray.tasks.attacks.search.cascade import Stage

    named: dict[str, list[Stage]] = {}
    for stage in (stage for table in tables for stage in table):
        named.setdefault(stage.name, []).append(stage)
    return tuple(
        Stage(name, *(sum(getattr(stage, field) for stage in of) for field in ("attacked", "broken", "standing")))
        for name, of in named.items()
    )
