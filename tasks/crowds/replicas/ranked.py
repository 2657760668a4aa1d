"""Accuracies on an original test set and on its replicas, from the rank of the true class: no answer is needed.

Replicas of one study share images: the union of their images is resampled, by class (each class's number is fixed in
the original and in a replica), and the original by itself; all models and sets are computed on the same resamples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from robustray.tasks.crowds.tables import Column, CrowdTable, Schema
from robustray.tasks.errors import InputError
from robustray.tasks.words import nearest

Array = NDArray[np.float64]
RANKS = Schema(
    what="one row per image, its class, and one column per model: the rank of the true class among its predictions, "
    "from 1, or 0 where it is not among them",
    columns={
        "image_id": Column(kind="name"),
        "class_id": Column(kind="name"),
    },
    models="label",
)
ANNOTATED = Schema(
    what="one row per image of the original, and whether it is one of those that replicas were matched to",
    columns={"image_id": Column(kind="name"), "in_annotated20k": Column(kind="flag")},
)
TOPS = (1, 5)
"""A prediction is right if the true class is among the first one, or the first five."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Ranked:
    """The original and its replicas, one row per image."""

    models: tuple[str, ...]
    original: NDArray[np.int64]
    """(images, models) ranks; 0: not among them."""
    original_class: NDArray[np.str_]
    original_image: NDArray[np.str_]
    annotated: NDArray[np.bool_] | None
    """(images,) which of the original's images the replicas were matched to; None where no table says so."""
    replicas: Mapping[str, NDArray[np.int64]]
    """Replica -> (its images, models); an image's rank may differ a little between them, as published ones do."""
    places: Mapping[str, NDArray[np.intp]]
    """Replica -> place of its images among those of all replicas."""
    union_class: NDArray[np.str_]
    """(images of all replicas,)"""
    union_image: NDArray[np.str_]

    def strata(self) -> NDArray[np.str_]:
        """(original's images, then those of all replicas) whose numbers were fixed: classes, and of the original those
        that were annotated."""
        first = np.char.add("o", self.original_class)
        if self.annotated is not None:
            first = np.char.add(first, np.where(self.annotated, " annotated", ""))
        return np.concatenate([first, np.char.add("r", self.union_class)])


def ranked(
    original: CrowdTable,
    replicas: Mapping[str, CrowdTable],
    leave_out: Sequence[str] = (),
    annotated: CrowdTable | None = None,
) -> Ranked:
    """Join a study's tables; models that every table has are kept, but for those to leave out.

    annotated: of the form `ANNOTATED`, every image of the original.

    Raises: InputError for an image twice in a table, an image with another class in two replicas, a class with one
    image (or one annotated image), no model that all have, or an image of the original that `annotated` has not.
    """
    unknown = sorted(set(leave_out) - set(original.models))
    if unknown:
        raise InputError(
            f"{original.name} has no model {unknown[0]!r} to leave out{nearest(unknown[0], original.models)}"
        )
    shared = set(original.models).intersection(*(table.models for table in replicas.values())) - set(leave_out)
    models = [name for name in original.models if name in shared]
    if not models:
        raise InputError(f"{original.name} and its replicas share no column of a model")
    for table in (original, *replicas.values(), *([] if annotated is None else [annotated])):
        images, count = np.unique(table["image_id"], return_counts=True)
        if (count > 1).any():
            raise InputError(f"{table.name}: image {images[np.argmax(count > 1)]} has {count.max()} rows")
    every = np.concatenate([table["image_id"] for table in replicas.values()])
    images, first, member = np.unique(every, return_index=True, return_inverse=True)
    classes = np.concatenate([table["class_id"] for table in replicas.values()])
    differs = classes != classes[first][member]
    if differs.any():
        raise InputError(f"image {every[np.argmax(differs)]} has another class in two of the replicas' tables")
    ends = np.cumsum([len(table) for table in replicas.values()])
    places = dict(zip(replicas, np.split(member, ends[:-1]), strict=True))
    for what, labels in ((original.name, original["class_id"]), ("the replicas", classes[first])):
        found, count = np.unique(labels, return_counts=True)
        if count.min() < 2:
            raise InputError(
                f"{what}: class {found[count.argmin()]} has one image, which says nothing of its spread: leave it out"
            )
    return Ranked(
        models=tuple(models),
        original=_ranks(original, models),
        original_class=original["class_id"],
        original_image=original["image_id"],
        annotated=None if annotated is None else _annotated(original, annotated),
        replicas={name: _ranks(table, models) for name, table in replicas.items()},
        places=places,
        union_class=classes[first],
        union_image=images,
    )


def _annotated(original: CrowdTable, annotated: CrowdTable) -> NDArray[np.bool_]:
    place = place_of(original["image_id"], annotated["image_id"])
    if (place < 0).any():
        missing = original["image_id"][place < 0]
        raise InputError(
            f"{annotated.name}: {len(missing)} images of {original.name} are not in it (the first is {missing[0]})"
        )
    flags = np.asarray(annotated["in_annotated20k"][place])
    for here in (True, False):
        found, count = np.unique(original["class_id"][flags == here], return_counts=True)
        if len(found) == 0 or count.min() < 2:
            which = "annotated images" if here else "images that are not annotated"
            says = "has one of them" if len(found) else "has any"
            raise InputError(
                f"{annotated.name}: {which}: {f'class {found[count.argmin()]}' if len(found) else 'no class'} {says}; "
                "intervals need two of every class: leave the table out, or the class"
            )
    return flags


def place_of(wanted: NDArray[np.str_], images: NDArray[np.str_]) -> NDArray[np.intp]:
    """(wanted,) the row of each image; -1 where there is none."""
    order = np.argsort(images, kind="stable")
    place = order[np.minimum(np.searchsorted(images[order], wanted), len(images) - 1)]
    return np.where(images[place] == wanted, place, -1)


def _ranks(table: CrowdTable, models: Sequence[str]) -> NDArray[np.int64]:
    return np.stack([table.models[name] for name in models], axis=1)


def accuracies(of: Ranked, top: int, original_weights: Array, replica_weights: Array) -> Array:
    """(resamples, 1 + replicas, models): of the original, then of every replica in the order of `replicas`."""
    parts = [shares(of.original, top, original_weights)]
    for name, ranks in of.replicas.items():
        parts.append(shares(ranks, top, replica_weights[:, of.places[name]]))
    return np.stack(parts, axis=1)


def shares(ranks: NDArray[np.int64], top: int, weights: Array) -> Array:
    """(resamples, models) accuracy on a set."""
    right = ((ranks > 0) & (ranks <= top)).astype(np.float64)
    return np.asarray(weights @ right / weights.sum(axis=1, keepdims=True))


def line(x: Array, y: Array) -> Array:
    """(..., 3) slope, intercept and correlation of y on x over the last axis, by least squares.

    NaN where all models are alike, or one has an infinite probit.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        dx, dy = x - x.mean(axis=-1, keepdims=True), y - y.mean(axis=-1, keepdims=True)
        slope = (dx * dy).sum(axis=-1) / (dx**2).sum(axis=-1)
        correlation = (dx * dy).sum(axis=-1) / np.sqrt((dx**2).sum(axis=-1) * (dy**2).sum(axis=-1))
        return np.stack([slope, y.mean(axis=-1) - slope * x.mean(axis=-1), correlation], axis=-1)


def probit(share: Array) -> Array:
    """The normal quantile; accuracies of 0 and 1 have none and give -inf and inf."""
    return np.asarray(special.ndtri(share), dtype=np.float64)
