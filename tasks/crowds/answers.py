"""The table of a crowd study of dataset replication: images of two pools, shown to workers who tick what fits.

One row per image and phase (or per answer, with `n_shown` 1): how many workers saw it, how many ticked it. `phase` says
whether the answers chose the replica ("selection") or were given anew afterwards ("remeasure").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from robustray.tasks.crowds.tables import Column, CrowdTable, Schema
from robustray.tasks.errors import InputError

ORIGINAL, CANDIDATE = "original", "candidate"
SELECTION, REMEASURE = "selection", "remeasure"

ANSWERS = Schema(
    what="answers of a crowd study",
    columns={
        "image": Column(kind="name"),
        "class": Column(kind="name"),
        "pool": Column(kind="name", choices=(ORIGINAL, CANDIDATE)),
        "phase": Column(kind="name", choices=(SELECTION, REMEASURE)),
        "in_replica": Column(kind="flag"),
        "n_shown": Column(kind="count"),
        "n_selected": Column(kind="count"),
        "worker": Column(kind="name", required=False),
        "hit": Column(kind="name", required=False),
        "weight": Column(kind="weight", required=False),
    },
)
CORRECTNESS = Schema(
    what="one row per image and one true-or-false column per model: is its prediction right?",
    columns={"image": Column(kind="name")},
    models="flag",
)

MOST_ANSWERS = 1_000
"""The most answers to one image. Tables of the chance of every count grow with its square."""

Source = Literal["remeasured", "all candidates"]


@dataclass(frozen=True, kw_only=True)
class Side:
    """Images of one set with the answers that an estimator may use."""

    image: NDArray[np.str_]
    """(images,)"""
    n_shown: NDArray[np.int64]
    n_selected: NDArray[np.int64]
    correct: NDArray[np.float64]
    """(images, models) 1 where a model is right."""
    cluster: NDArray[np.str_]
    """(images,) what was shown together: its HIT, or the image itself."""
    in_replica: NDArray[np.bool_]
    stratum: NDArray[np.int64]
    """(images,) the class of each, numbered alike in both sets."""
    weight: NDArray[np.float64] | None
    """(images,) how many images of the population each represents; None: all equally many."""

    def __len__(self) -> int:
        return len(self.image)


@dataclass(frozen=True, kw_only=True)
class OwnStudy:
    """A study's answers, ready for the estimators."""

    original: Side
    replica: Side
    """The replica with answers given anew; where there are none, all candidates with those of the selection."""
    pool: Side | None
    """All candidates with the answers of the selection; None where the table has only those that were chosen."""
    models: tuple[str, ...]
    source: Source
    clustered: bool
    """Whether the table says what was shown together."""
    warnings: tuple[str, ...]


def own_study(answers: CrowdTable, correctness: CrowdTable) -> OwnStudy:
    """Join a study's two tables and check what a single column can't show.

    Estimators take answers that were given after the choice. Without any, all candidates of the selection serve as the
    second set (re-weighted to the original they estimate the same accuracy); the replica alone can't, since its answers
    chose it.

    Raises: InputError naming table, column and row or image.
    """
    _check_rows(answers)
    images, first, member = np.unique(answers["image"], return_index=True, return_inverse=True)
    for column in ("class", "pool", "in_replica", *(["weight"] if answers.has("weight") else [])):
        differs = answers[column] != answers[column][first][member]
        if differs.any():
            row = int(np.argmax(differs))
            raise answers.bad(column, row, f"image {images[member[row]]} has another {column} in an earlier row")
    pool, in_replica = answers["pool"][first], answers["in_replica"][first]
    if (in_replica & (pool == ORIGINAL)).any():
        row = int(first[np.argmax(in_replica & (pool == ORIGINAL))])
        raise answers.bad("in_replica", row, "an image of the original set can't be in the replica")
    for what, there in (("image of the original set", pool == ORIGINAL), ("image in the replica", in_replica)):
        if not there.any():
            raise InputError(f"{answers.name}: there is no {what}; columns pool and in_replica say which ones are")
    right = _joined(images, correctness)

    def side(chosen: NDArray[np.bool_], phase: str, *, by_hit: bool = True) -> Side:
        return _side(answers, images, member, chosen, phase, right, in_replica, first, by_hit)

    candidates = side(pool == CANDIDATE, SELECTION, by_hit=False) if ((pool == CANDIDATE) & ~in_replica).any() else None
    warnings = [f"columns {', '.join(answers.unused)} of {answers.name} are not used"] if answers.unused else []
    phases = set(answers["phase"].tolist())
    source: Source = "remeasured" if REMEASURE in phases else "all candidates"
    if source == "remeasured":
        anew = np.bincount(member[answers["phase"] == REMEASURE], minlength=len(images)) > 0
        lacking = np.flatnonzero(in_replica & ~anew)
        if len(lacking):
            raise InputError(
                f"{answers.name}: {len(lacking)} images of the replica have no remeasured answers (the first is "
                f"{images[lacking[0]]}): remeasure them, or set in_replica to false"
            )
        if not (anew & (pool == ORIGINAL)).any():
            raise InputError(f"{answers.name}: no image of the original set has remeasured answers")
        left = int(((pool == ORIGINAL) & ~anew).sum())
        if left:
            warnings.append(f"{left:,} images of the original set have no remeasured answers and are left out")
        original, replica = side(anew & (pool == ORIGINAL), REMEASURE), side(in_replica, REMEASURE)
    else:
        if not ((pool == CANDIDATE) & ~in_replica).any():
            raise InputError(
                f"{answers.name}: all its answers chose the replica, and answers that chose can't also correct for the "
                "choice: add rows of phase remeasure, or the candidates that were not chosen"
            )
        warnings.append(
            "no answers were given after the choice: all candidates of the selection are re-weighted instead of the "
            "replica"
        )
        original, replica = side(pool == ORIGINAL, SELECTION), side(pool == CANDIDATE, SELECTION)
    for what, of in (("original set", original), ("second set", replica)):
        if len(of) < 2:
            raise InputError(f"{answers.name}: the {what} has a single image, which says nothing of how images differ")
        if of.n_shown.max() > MOST_ANSWERS:
            image, most = of.image[np.argmax(of.n_shown)], of.n_shown.max()
            raise InputError(
                f"{answers.name}: image {image} has {most:,} answers; at most {MOST_ANSWERS:,} are analysed"
            )
    return OwnStudy(
        original=original,
        replica=replica,
        pool=candidates if candidates is not None and len(candidates) else None,
        models=tuple(correctness.models),
        source=source,
        clustered=answers.has("hit"),
        warnings=tuple(warnings),
    )


def _check_rows(answers: CrowdTable) -> None:
    shown, selected = answers["n_shown"], answers["n_selected"]
    if (shown == 0).any():
        raise answers.bad("n_shown", int(np.argmin(shown)), "is 0: leave out images that nobody saw")
    over = selected > shown
    if over.any():
        row = int(np.argmax(over))
        raise answers.bad("n_selected", row, f"{selected[row]} of {shown[row]} answers selected it")
    keys = ["image", "phase"] + [column for column in ("worker", "hit") if answers.has(column)]
    if answers.has("worker"):
        keys = ["image", "phase", "worker"]
        many = shown > 1
        if many.any():
            raise answers.bad("n_shown", int(np.argmax(many)), "a row with a worker is one answer: n_shown must be 1")
    rows = np.stack([np.unique(answers[key], return_inverse=True)[1] for key in keys], axis=1)
    found, first = np.unique(rows, axis=0, return_index=True)
    if len(found) < len(rows):
        row = int(np.setdiff1d(np.arange(len(rows)), first)[0])
        what = ", ".join(f"{key} {answers[key][row]}" for key in keys)
        raise answers.bad(keys[-1], row, f"{what} occurs in an earlier row: no answer may count twice")


def _joined(images: NDArray[np.str_], correctness: CrowdTable) -> NDArray[np.float64]:
    """(images, models) correctness of each image. Raises: InputError where there is none, or two."""
    names, first, count = np.unique(correctness["image"], return_index=True, return_counts=True)
    if (count > 1).any():
        raise InputError(f"{correctness.name}: image {names[np.argmax(count > 1)]} has {count.max()} rows")
    place = np.minimum(np.searchsorted(names, images), len(names) - 1)
    missing = names[place] != images
    if missing.any():
        raise InputError(
            f"{correctness.name}: {int(missing.sum())} images of the study are not in it (the first is "
            f"{images[np.argmax(missing)]}): every model needs a verdict on each image"
        )
    return np.stack([flags[first][place] for flags in correctness.models.values()], axis=1).astype(np.float64)


def _side(
    answers: CrowdTable,
    images: NDArray[np.str_],
    member: NDArray[np.intp],
    chosen: NDArray[np.bool_],
    phase: str,
    right: NDArray[np.float64],
    in_replica: NDArray[np.bool_],
    first: NDArray[np.intp],
    by_hit: bool,
) -> Side:
    """The chosen images with their answers of one phase, rows of one image added up. first: a row of each image;
    by_hit: images are resampled by hit, so each must lie in one."""
    rows = (answers["phase"] == phase) & chosen[member]
    shown = np.bincount(member[rows], weights=answers["n_shown"][rows], minlength=len(images)).astype(np.int64)
    selected = np.bincount(member[rows], weights=answers["n_selected"][rows], minlength=len(images)).astype(np.int64)
    cluster = images.astype(object)
    if by_hit and answers.has("hit"):
        hits, places = answers["hit"][rows], member[rows]
        cluster[places] = hits
        several = cluster[places] != hits
        if several.any():
            raise InputError(
                f"{answers.name}: image {images[places[np.argmax(several)]]} was shown in two hits of phase {phase}: "
                "images that share hits in chains can't be resampled by hit; leave the column out and say so"
            )
    there = chosen & (shown > 0)
    stratum = np.unique(answers["class"], return_inverse=True)[1]
    return Side(
        image=images[there],
        n_shown=shown[there],
        n_selected=selected[there],
        correct=right[there],
        cluster=cluster[there].astype(np.str_),
        in_replica=in_replica[there],
        stratum=stratum[first][there],
        weight=answers["weight"][first][there] if answers.has("weight") else None,
    )
