"""What published predictions and labels determine of a replica's gap when nobody's answers are known.

The rival explanation (arXiv:2412.18409): a replica loses accuracy if more of its images are such that several labels
fit, since models are wrong on these more often. Labels of the original say how much more often, and how many there are.
Without labels of the replica they say how many it would have to have; with them, what they explain.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robustray.tasks.crowds.replicas.causes import KINDS, kitagawa
from robustray.tasks.crowds.replicas.ranked import Array, Ranked, place_of
from robustray.tasks.crowds.sets import AcceptedLabels
from robustray.tasks.errors import InputError

Ints = NDArray[np.int64]
UNKNOWN = -1
KNOWN = ("drop", "share", "one", "several", "needed", "least", "most", "share_replica", "explained", "rest")
"""drop: accuracy on the original minus that on the replica. share: of the original's images those that several labels
fit; one, several: accuracy on the original's images of each kind. needed: share of the replica's images that several
labels would have to fit to explain the drop, at the original's accuracies; may lie outside 0 to 1. least, most: the
drop that no such image, and nothing but such images, would make. share_replica, explained, rest: with labels of the
replica, its own share, the part of the drop that it explains, and the rest: selection and residual together. Images
without a label that fits count in the drop alone."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Labelled:
    """0: one label fits, 1: several, -1: unknown."""

    original: Ints
    """(images,)"""
    replicas: Mapping[str, Ints | None]
    """(its images,); None where none of them has a label."""


def labelled(of: Ranked, accepted: AcceptedLabels) -> Labelled:
    """The kind of every image. Raises: InputError unless both kinds are among the original's."""
    num = accepted.accepted.lengths
    kind = np.where(num == 0, UNKNOWN, (num > 1).astype(np.int64))

    def kinds(images: NDArray[np.str_]) -> Ints:
        place = place_of(images, accepted.names)
        return np.where(place < 0, UNKNOWN, kind[place])

    original, union = kinds(of.original_image), kinds(of.union_image)
    for each, words in zip(KINDS, ("a single label fits", "several labels fit"), strict=True):
        if not (original == each).any():
            raise InputError(f"accepted: there is no image of the original that {words}")
    replicas = {name: union[places] for name, places in of.places.items()}
    return Labelled(
        original=original,
        replicas={name: None if (found == UNKNOWN).all() else found for name, found in replicas.items()},
    )


def known_parts(of: Ranked, kinds: Labelled, top: int, original_weights: Array, replica_weights: Array) -> Array:
    """(resamples, replicas, len(KNOWN)), means over models; NaN what labels of the replica would be needed for."""
    first = _mean_right(of.original, top)
    share_1, mean_1 = _by_kind(original_weights, kinds.original, first)
    accuracy = original_weights @ first / original_weights.sum(axis=1)
    lost = mean_1[:, 0] - mean_1[:, 1]
    found = []
    for name, ranks in of.replicas.items():
        weights, second = replica_weights[:, of.places[name]], _mean_right(ranks, top)
        drop = accuracy - weights @ second / weights.sum(axis=1)
        own = kinds.replicas[name]
        nothing = np.full_like(drop, np.nan)
        share, explained = nothing, nothing
        if own is not None:
            share_2, mean_2 = _by_kind(weights, own, second)
            share, explained = share_2[:, 1], kitagawa(share_1, share_2, mean_1, mean_2)[1]
        with np.errstate(divide="ignore", invalid="ignore"):
            needed = share_1[:, 1] + drop / lost
        of_original = (share_1[:, 1], mean_1[:, 0], mean_1[:, 1])
        ends = (-share_1[:, 1] * lost, share_1[:, 0] * lost)
        found.append(np.stack([drop, *of_original, needed, *ends, share, explained, drop - explained], axis=1))
    return np.stack(found, axis=1)


def _mean_right(ranks: Ints, top: int) -> Array:
    """(images,) share of the models that are right."""
    return np.asarray(((ranks > 0) & (ranks <= top)).mean(axis=1))


def _by_kind(weights: Array, kind: Ints, right: Array) -> tuple[Array, Array]:
    """(resamples, kinds) share of each kind among images whose kind is known, and accuracy within it."""
    held = np.stack([weights[:, kind == each].sum(axis=1) for each in KINDS], axis=1)
    sums = np.stack([weights[:, kind == each] @ right[kind == each] for each in KINDS], axis=1)
    with np.errstate(invalid="ignore"):  # a resample without images of a kind
        return held / held.sum(axis=1, keepdims=True), sums / held
