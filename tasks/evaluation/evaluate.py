"""Robust accuracy of a model in one call, for notebooks: the doors, the noise and the verdicts of `attack-sweep`.

Everything happens in this process; nothing is stored. Which of the numbers to report: docs/which-number.md.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from robustray.tasks.attacks.family import Square
from robustray.tasks.attacks.following import has_lost, is_lost, lost_words
from robustray.tasks.attacks.settings import Attack, Norm
from robustray.tasks.data.images import ImageData
from robustray.tasks.errors import InputError
from robustray.tasks.evaluation import doors as doors
from robustray.tasks.evaluation.results import AttackScore, Evaluation, WorstCase
from robustray.tasks.report.progress import make_progress
from robustray.tasks.statistics import proportion

if TYPE_CHECKING:
    import pandas as pd
    import torch
    from numpy.typing import NDArray

    from robustray.tasks.attacks.gradient.verdicts import Model
    from robustray.tasks.attacks.result import AttackResult
    from robustray.tasks.attacks.search.cascade import Stage
    from robustray.tasks.report.progress import Progress

BLOCK = 512
"""Images that are attacked by one call. No result depends on it."""


def evaluate(
    model: Model | str,
    data: tuple[Any, Any] | ImageData | str,
    attacks: Attack | str | Sequence[Attack | str],
    *,
    norm: Norm = "linf",
    eps: float | Sequence[float] | None = None,
    seed: int = 0,
    num_images: int = 0,
    names: Sequence[str] | None = None,
    device: str = "auto",
    data_root: str | None = None,
    store: str = "runs",
    progress: bool = True,
) -> Evaluation:
    """Accuracy of `model` on `data`, clean, under each attack, and in the worst case over them, image by image.

    model: a torch module (or a function) from images (b, channels, height, width) in [0, 1] to logits (b, classes),
        with its normalisation inside; it stays where and as it is. Or a name as after `--model`.
    data: (images, labels): images (n, 1 or 3, height, width), uint8 or floats in [0, 1], labels (n,) whole numbers,
        as arrays or tensors. Or an `ImageData`, or a name as after `--data`.
    attacks: attacks of any norms and sizes (`PGD(norm="linf", eps=8/255)`, one's own), or names of `robustray list`,
        which take `norm` and `eps` (one size or several).
    seed: noise depends on it and on an image's place (0, 1, ...) alone. num_images: the first ones; 0 means all.
    names: what the attacks are called in the result, one each; their own names if not given.
    device: of a model given by name; "auto" takes a GPU where there is one. data_root, store: where names are looked
        up, as after `--data-root` (ROBUSTRAY_DATA) and `--store`; only a model that trains itself is written there.
    progress: say on standard error how many images were attacked, how fast, and how long the rest will take: bars on a
        terminal, elsewhere a line every five seconds.

    The numbers are those of `attack-sweep` with the same attacks and seed: equal to the bit for one thread
    (`torch.set_num_threads(1)`) on one kind of CPU, and up to a rare borderline image otherwise.

    Raises: InputError (a ValueError) for what cannot be used: pixels outside [0, 1], NaN, labels without an output,
    probabilities instead of logits, an attack without a size, an attack whose images leave their ball.
    """
    from robustray.tasks.attacks.gradient.trial import attack_remarks
    from robustray.tasks.attacks.gradient.verdicts import predict_logits
    from robustray.tasks.lab.jobs import fix_kernels

    fix_kernels()
    chosen = doors.named(doors.open_attacks(attacks, norm, eps), names)
    lab = doors.open_lab(store, data_root, device)
    data_name, images = doors.open_data(data, lab)
    model_name, network = doors.open_model(model, lab)
    where = doors.device_of(network, lab)
    images = doors.fitting(images, network, where, known=isinstance(data, str | ImageData))
    remarks = attack_remarks(network, doors.first_images(images, where), [item.attack for item in chosen])
    if num_images < 0 or num_images > len(images):
        raise InputError(f"num_images {num_images}: there are {len(images)} images; 0 means all")
    n = num_images or len(images)

    labels = images.labels[:n]
    with contextlib.closing(make_progress(silent=not progress)) as told:
        logits = (predict_logits(network, images.batch(block)[0].to(where)) for block in _told(told, "clean", range(n)))
        prediction = np.concatenate([each.argmax(1).cpu().numpy() for each in logits])
        right = prediction == labels
        standing = np.flatnonzero(right)
        outcomes = [_attack(item, network, images, standing, n, seed, where, told) for item in chosen]
    return Evaluation(
        model=model_name,
        data=data_name,
        seed=seed,
        clean=proportion(right),
        attacks=tuple(_score(outcome, right) for outcome in outcomes),
        worst=tuple(_worst_cases(outcomes, right)),
        examples=_examples(outcomes, labels, prediction),
        warnings=tuple(
            dict.fromkeys([*remarks, *(w for o in outcomes for w in o.warnings), *_masking(outcomes, right)])
        ),
    )


@dataclass(frozen=True, kw_only=True)
class _Outcome:
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


def _blocks(indices: Sequence[int]) -> Iterator[Sequence[int]]:
    return (indices[start : start + BLOCK] for start in range(0, len(indices), BLOCK))


def _told(progress: Progress, step: str, indices: Sequence[int]) -> Iterator[Sequence[int]]:
    """Blocks of the indices; each counts as done when the next one is asked for."""
    progress.start(step, len(indices), 0)
    try:
        for block in _blocks(indices):
            began = time.monotonic()
            yield block
            progress.advance(step, len(block), time.monotonic() - began)
    finally:
        progress.finish(step)


def _attack(
    item: doors.Named,
    model: Model,
    data: ImageData,
    standing: NDArray[np.int64],
    n: int,
    seed: int,
    where: torch.device,
    progress: Progress,
) -> _Outcome:
    """The attack on the images that are classified correctly."""
    from robustray.tasks.attacks.search.cascade import CascadeResult

    columns: dict[str, NDArray[Any]] = {
        "broken": np.zeros(n, np.bool_),
        "prediction": np.full(n, -1, np.int64),
        "loss": np.full(n, np.nan, np.float32),
        "distance": np.zeros(n, np.float32),
        "evaluations": np.zeros(n, np.int64),
        "first_gradient": np.full(n, np.nan, np.float32),
    }
    warnings: list[str] = []
    tables = []
    for block in _told(progress, item.name, standing.tolist()):
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
        if not type(item.attack).__module__.startswith("robustray."):
            warnings += _look_again(item.name, model, labels, result, found)
        for name, values in found.items():
            columns[name][block] = values.detach().cpu().numpy()
        warnings += result.warnings
        tables += [result.table()] if isinstance(result, CascadeResult) else []
    return _Outcome(item=item, **columns, stages=_summed(tables), warnings=tuple(warnings))


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


# -- what all attacks say together -------------------------------------------------------------------------------------


def _summed(tables: Sequence[Sequence[Stage]]) -> tuple[Stage, ...]:
    """The stage tables of all blocks as one."""
    from robustray.tasks.attacks.search.cascade import Stage

    return tuple(
        Stage(of[0].name, *(sum(getattr(stage, field) for stage in of) for field in ("attacked", "broken", "standing")))
        for of in zip(*tables, strict=True)
    )


def _score(outcome: _Outcome, right: NDArray[np.bool_]) -> AttackScore:
    attack = outcome.item.attack
    return AttackScore(
        name=outcome.item.name,
        attack=repr(attack),
        norm=attack.norm,
        eps=attack.eps,
        robust=proportion(right & ~outcome.broken),
        evaluations=int(outcome.evaluations.sum()),
        lost_gradients=outcome.lost,
        taken_gradients=outcome.taken,
        stages=outcome.stages,
    )


def _worst_cases(outcomes: Sequence[_Outcome], right: NDArray[np.bool_]) -> Iterator[WorstCase]:
    models: list[tuple[Norm, float]] = [(o.item.attack.norm, o.item.attack.eps) for o in outcomes]
    for norm, eps in dict.fromkeys(models):
        within = [o for o in outcomes if o.item.attack.norm == norm and o.item.attack.eps <= eps]
        broken = np.any([o.broken for o in within], axis=0)
        yield WorstCase(
            norm=norm,
            eps=eps,
            attacks=tuple(dict.fromkeys(o.item.name for o in within)),
            robust=proportion(right & ~broken),
        )


def _masking(outcomes: Sequence[_Outcome], right: NDArray[np.bool_]) -> Iterator[str]:
    """Where gradients were nothing to follow, and where Square, alone or in a cascade, broke what they could not."""
    from robustray.tasks.attacks.search.cascade import Stage, masking_warning

    for outcome in outcomes:
        if has_lost(outcome.lost, outcome.taken):
            yield lost_words(outcome.item.name, outcome.lost, outcome.taken)
    for outcome in outcomes:
        if outcome.stages and (warning := masking_warning(outcome.stages, len(right))):
            yield warning
    for square in (o for o in outcomes if isinstance(o.item.attack, Square)):
        attack = square.item.attack
        same = [o for o in outcomes if (o.item.attack.norm, o.item.attack.eps) == (attack.norm, attack.eps)]
        others = [o.broken for o in same if getattr(o.item.attack, "uses_gradients", True)]
        if others:
            before = right & ~np.any(others, axis=0)
            after = before & ~square.broken
            counts = int(before.sum()), int((before & square.broken).sum()), int(after.sum())
            if warning := masking_warning([Stage("square", *counts)], len(right)):
                yield warning


def _examples(outcomes: Sequence[_Outcome], labels: NDArray[np.int64], clean: NDArray[np.int64]) -> pd.DataFrame:
    """Images for `Evaluation.examples`."""
    import pandas as pd

    wrong = clean != labels
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "attack": o.item.name,
                    "norm": o.item.attack.norm,
                    "eps": o.item.attack.eps,
                    "index": np.arange(len(labels)),
                    "label": labels,
                    "clean_prediction": clean,
                    "prediction": np.where(wrong, clean, o.prediction),
                    "success": wrong | o.broken,
                    "loss": o.loss,
                    "distance": o.distance,
                    "evaluations": o.evaluations,
                    "first_gradient": o.first_gradient,
                }
            )
            for o in outcomes
        ],
        ignore_index=True,
    )
