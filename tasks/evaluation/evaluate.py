"""Robust accuracy of a model in one call, for notebooks: the doors, the noise and the verdicts of `attack-sweep`.

Everything happens in this process. Which of the numbers to report: docs/which-number.md.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from robustray.tasks.attacks.autoattack_rand import AutoAttackRand
from robustray.tasks.attacks.family import Square
from robustray.tasks.attacks.following import has_lost, lost_words
from robustray.tasks.attacks.settings import Attack, Norm
from robustray.tasks.corruptions.settings import Corruption
from robustray.tasks.corruptions.tables import SEVERITIES, Table
from robustray.tasks.data.images import ImageData
from robustray.tasks.errors import InputError
from robustray.tasks.evaluation import corrupting, doors
from robustray.tasks.evaluation.attacking import ATTACKED, VOTED, Outcome, attack_all, in_blocks, plan, vote
from robustray.tasks.evaluation.corrupting import PREDICTED
from robustray.tasks.evaluation.results import AttackScore, Evaluation, WorstCase
from robustray.tasks.report.progress import make_progress
from robustray.tasks.statistics import proportion
from robustray.tasks.sweeps.votes import by_image, counted

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from robustray.tasks.attacks.gradient.verdicts import Model
    from robustray.tasks.evaluation.kept import Kept


def evaluate(
    model: Model | str,
    data: tuple[Any, Any] | ImageData | str,
    attacks: Attack | str | Sequence[Attack | str] = (),
    *,
    corruptions: str | Sequence[str] = (),
    severities: Sequence[int] = SEVERITIES,
    table: Table | Literal["auto"] = "auto",
    norm: Norm = "linf",
    eps: float | Sequence[float] | None = None,
    seed: int = 0,
    num_images: int = 0,
    names: Sequence[str] | None = None,
    device: str = "auto",
    data_root: str | Path | None = None,
    store: str | Path | None = None,
    progress: bool = True,
) -> Evaluation:
    """Accuracy of `model` on `data`, clean, under each attack, and in the worst case over them, image by image; and
    under common corruptions.

    model: a torch module (or a function) from images (b, channels, height, width) in [0, 1] to logits (b, classes),
        with its normalisation inside; it stays where and as it is. Or a name as after `--model`.
    data: (images, labels): images (n, 1 or 3, height, width), uint8 or floats in [0, 1], labels (n,) whole numbers,
        as arrays or tensors. Or an `ImageData`, or a name as after `--data`.
    attacks: attacks of any norms and sizes (`PGD(norm="linf", eps=8/255)`, one's own), or names of `robustray list`,
        which take `norm` and `eps` (one size or several). None are needed where corruptions are asked for.
    corruptions: names of common corruptions (`tasks.corruptions.tables.ALL`), or "all" for the 14 of them that need no
        photographs. severities: of each, 1 to 5. table: whose parameters, "imagenet-c" or "cifar10-c"; "auto" takes the
        first for images from 100 pixels up.
    seed: noise depends on it and on an image's place (0, 1, ...) alone. num_images: the first ones; 0 means all.
    names: what the attacks are called in the result, one each; their own names if not given.
    device: of a model given by name; "auto" takes a GPU where there is one. data_root: where names are looked up, as
        after `--data-root` (ROBUSTRAY_DATA).
    store: a folder that keeps every finished block of images: the same call again answers from it, one that was
        interrupted goes on, and more images or attacks cost only themselves. None keeps nothing, and looks names up in
        "runs", where a model that trains itself is written.
    progress: say on standard error how many images were attacked, how fast, and how long the rest will take: bars on a
        terminal, elsewhere a line every five seconds.

    Where an attack follows gradients, the cheap checks of `robustray.audit` are made on the first images, and what
    speaks against the numbers stands below them (`Evaluation.against`).

    The numbers are those of `attack-sweep` with the same attacks and seed: equal to the bit for one thread
    (`torch.set_num_threads(1)`) on one kind of CPU, and up to a rare borderline image otherwise.

    Raises: InputError (a ValueError) for what cannot be used: pixels outside [0, 1], NaN, labels without an output,
    probabilities instead of logits, an attack without a size, an attack whose images leave their ball, a corruption or
    severity that there is not; with a store, also a model or attack that could not be known again.
    """
    from robustray.tasks.attacks.gradient.trial import attack_remarks
    from robustray.tasks.attacks.gradient.verdicts import predict_logits
    from robustray.tasks.audit.lines import no_evidence
    from robustray.tasks.evaluation.kept import Kept, identified
    from robustray.tasks.lab.jobs import fix_kernels

    fix_kernels()
    wanted = doors.open_corruptions(corruptions, severities, table)
    chosen = doors.named(doors.open_attacks(attacks, norm, eps, needed=not wanted.corruptions), names)
    num_votes = doors.num_votes(chosen, wanted)
    lab = doors.open_lab(store or "runs", data_root, device)
    data_name, images = doors.open_data(data, lab)
    if num_images < 0 or num_images > len(images):
        raise InputError(f"num_images {num_images}: there are {len(images)} images; 0 means all")
    n = num_images or len(images)
    model_name, network = doors.open_model(model, lab)
    where = doors.device_of(network, lab)
    images = doors.fitting(images, network, where, known=isinstance(data, str | ImageData))
    remarks = attack_remarks(network, doors.first_images(images, where), [item.attack for item in chosen])
    against = no_evidence(network, doors.first_images(images, where), [item.attack for item in chosen], seed=seed)

    labels = images.labels[:n]
    kept: list[Kept | None] = [None] * len(chosen)
    cells: dict[Corruption, Kept | None] = dict.fromkeys(wanted.cells(*images.shape[1:]))
    if store:
        content, roots = identified(network, images, seed=seed, where=where)
        lab.store.create()
        kept = [Kept.open(lab.store, item.attack, content, roots, function=ATTACKED) for item in chosen]
        cells = {cell: Kept.open(lab.store, cell, content, roots, function=PREDICTED) for cell in cells}
    with contextlib.closing(make_progress(silent=not progress)) as told:
        if num_votes:
            parts = [
                vote(network, images, block, seed, where, num_votes)
                for block in in_blocks(told, "clean", range(n), size=VOTED)
            ]
            prediction, votes = (np.concatenate(each) for each in zip(*parts, strict=True))
        else:
            logits = (
                predict_logits(network, images.batch(block)[0].to(where))
                for block in in_blocks(told, "clean", range(n))
            )
            prediction, votes = np.concatenate([each.argmax(1).cpu().numpy() for each in logits]), None
        right = prediction == labels
        standing = np.flatnonzero(right)
        told.expect((*corrupting.plan(tuple(cells), n), *plan(chosen, len(standing))), 1)
        corrupted = corrupting.corrupt_all(cells, network, images, n, seed, where, told)
        outcomes = [
            attack_all(item, network, images, standing, n, seed, where, told, found)
            for item, found in zip(chosen, kept, strict=True)
        ]
    return Evaluation(
        model=model_name,
        data=data_name,
        seed=seed,
        clean=proportion(right),
        attacks=tuple(_score(outcome, right, votes) for outcome in outcomes),
        worst=tuple(_worst_cases(outcomes, right)),
        corrupted=corrupted,
        examples=_examples(outcomes, labels, prediction),
        against=against,
        warnings=tuple(
            dict.fromkeys([*remarks, *(w for o in outcomes for w in o.warnings), *_masking(outcomes, right)])
        ),
    )


# -- what all attacks say together -------------------------------------------------------------------------------------


def _score(outcome: Outcome, right: NDArray[np.bool_], votes: NDArray[np.float32] | None) -> AttackScore:
    """votes: of the clean images, where an attack's verdicts are votes."""
    attack = outcome.item.attack
    decided = None
    if votes is not None and isinstance(attack, AutoAttackRand):
        decided = counted(by_image(np.where(right, outcome.loss, votes), attack.num_draws))
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
        decided=decided,
    )


def _worst_cases(outcomes: Sequence[Outcome], right: NDArray[np.bool_]) -> Iterator[WorstCase]:
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


def _masking(outcomes: Sequence[Outcome], right: NDArray[np.bool_]) -> Iterator[str]:
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
        others = [o.broken for o in same if getattr(o.item.attack, "uses_gradients", False)]
        if others:
            before = right & ~np.any(others, axis=0)
            after = before & ~square.broken
            counts = int(before.sum()), int((before & square.broken).sum()), int(after.sum())
            if warning := masking_warning([Stage("square", *counts)], len(right)):
                yield warning


EXAMPLES = (
    *("attack", "norm", "eps", "index", "label", "clean_prediction", "prediction"),
    *("success", "loss", "distance", "evaluations", "first_gradient"),
)
"""Columns of `Evaluation.examples`."""


def _examples(outcomes: Sequence[Outcome], labels: NDArray[np.int64], clean: NDArray[np.int64]) -> pd.DataFrame:
    """Images for `Evaluation.examples`."""
    import pandas as pd

    if not outcomes:
        return pd.DataFrame(columns=EXAMPLES)
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
