"""Answers to "what is in this image?": one row per image and worker, with the main label and all labels selected.

From answers to an image's main label, number of objects, objects and valid labels (Tsipras et al., arXiv:2005.11295).
Ties have rules of their own that know neither the order of rows nor of workers; the authors' tables broke them by first
appearance, which `ties="order"` repeats.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from robustray.tasks.crowds.partition import max_k_cut
from robustray.tasks.crowds.tables import Column, CrowdTable, Labels, Schema

VOTES = Schema(
    what="answers about what is in an image",
    columns={
        "image": Column(kind="name"),
        "given": Column(kind="label"),
        "main": Column(kind="label"),
        "selected": Column(kind="labels"),
        "worker": Column(kind="name", required=False),
    },
)
PREDICTIONS = Schema(
    what="one row per image and one column of predicted classes per model",
    columns={"image": Column(kind="name")},
    models="ranked",
)

Ties = Literal["rule", "order"]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Votes:
    """Answers by number of their image."""

    image: Ints
    """(answers,) 0 .. images - 1."""
    main: Ints
    selected: Labels
    given: Ints
    """(images,) the label of the data set."""
    num_classes: int

    @property
    def num_images(self) -> int:
        return len(self.given)

    @property
    def num_workers(self) -> Ints:
        """(images,) answers of each."""
        return np.bincount(self.image, minlength=self.num_images)


@dataclass(frozen=True, kw_only=True)
class Aggregate:
    """What the answers say of each image. Pairs are (image, label), sorted by image, then label."""

    main_label: Ints
    """(images,) the most frequent main answer."""
    num_objects: Ints
    """(images,) the most frequent number of selected labels."""
    main_tied: Bools
    """(images,) whether another label was main equally often."""
    objects_tied: Bools
    num_optima: Ints
    """(images,) divisions into objects that attain the maximum; 1 for a single object."""
    pair_image: Ints
    """(pairs,)"""
    pair_label: Ints
    pair_votes: Ints
    """(pairs,) workers who selected the label."""
    pair_object: Ints
    """(pairs,) object that the label names, from 0; -1 where no other label was ever selected with it and there are
    several objects: the authors leave these out."""
    representative: Bools
    """(pairs,) whether it is its object's most selected label (ties: the smaller class)."""
    main_object: Ints
    """(images,) object of the main label; -1 where that is in none."""
    given_object: Ints
    """(images,) object of the given label; -1 where that is in none."""


def votes_of(table: CrowdTable) -> tuple[Votes, NDArray[np.str_]]:
    """A checked table as votes, and the names of the images.

    Raises: InputError naming the row: a main label that is not among the selected ones, an image with two given labels,
    a worker who answers an image twice.
    """
    images, first, member = np.unique(table["image"], return_index=True, return_inverse=True)
    given, selected = table["given"], table.lists["selected"]
    differs = given != given[first][member]
    if differs.any():
        row = int(np.argmax(differs))
        raise table.bad("given", row, f"image {images[member[row]]} has another given label in an earlier row")
    among = np.zeros(len(table), dtype=np.bool_)
    among[selected.rows[selected.values == table["main"][selected.rows]]] = True
    if not among.all():
        row = int(np.argmin(among))
        raise table.bad("main", row, f"label {table['main'][row]} is not among the selected ones")
    if table.has("worker"):
        pairs = np.stack([member, np.unique(table["worker"], return_inverse=True)[1]], axis=1)
        found, kept = np.unique(pairs, axis=0, return_index=True)
        if len(found) < len(pairs):
            row = int(np.setdiff1d(np.arange(len(pairs)), kept)[0])
            raise table.bad("worker", row, f"{table['worker'][row]} answers image {images[member[row]]} twice")
    num_classes = int(max(given.max(), selected.values.max())) + 1
    votes = Votes(image=member, main=table["main"], selected=selected, given=given[first], num_classes=num_classes)
    return votes, images


def aggregate(votes: Votes, *, ties: Ties = "rule") -> Aggregate:
    """Main label, number of objects and objects of every image; every image has an answer.

    ties="rule": of main labels, the one that more workers selected, then the smaller class; of numbers of objects, the
    smaller one. ties="order": the one that appears first.
    """
    width = votes.num_classes
    answers, labels = votes.selected.rows, votes.selected.values
    pair, pair_votes = np.unique(votes.image[answers] * width + labels, return_counts=True)
    pair_image, pair_label = np.divmod(pair, width)

    def selections(image: Ints, label: Ints) -> Ints:
        return pair_votes[np.searchsorted(pair, image * width + label)]

    main_label, main_tied = _modes(votes.image, votes.main, width, ties, selections)
    num_objects, objects_tied = _modes(votes.image, votes.selected.lengths, width + 1, ties, lambda image, size: -size)
    pair_object, num_optima = _objects(votes, pair, pair_image, num_objects)

    object_key = pair_image * (width + 1) + pair_object + 1
    order = np.lexsort((pair_label, -pair_votes, object_key))
    leads = np.concatenate([[True], object_key[order][1:] != object_key[order][:-1]])
    representative = np.zeros(len(pair), dtype=np.bool_)
    representative[order[leads]] = True

    def object_of(label: Ints) -> Ints:
        wanted = np.arange(votes.num_images) * width + label
        place = np.minimum(np.searchsorted(pair, wanted), len(pair) - 1)
        return np.where(pair[place] == wanted, pair_object[place], -1)

    return Aggregate(
        main_label=main_label,
        num_objects=num_objects,
        main_tied=main_tied,
        objects_tied=objects_tied,
        num_optima=num_optima,
        pair_image=pair_image,
        pair_label=pair_label,
        pair_votes=pair_votes,
        pair_object=pair_object,
        representative=representative & (pair_object >= 0),
        main_object=object_of(main_label),
        given_object=object_of(votes.given),
    )


def _modes(image: Ints, value: Ints, width: int, ties: Ties, preferred: object) -> tuple[Ints, Bools]:
    """(images,) the most frequent value of each image's answers, and whether another one is as frequent."""
    key = image * width + value
    found, first, counts = np.unique(key, return_index=True, return_counts=True)
    of_image, values = np.divmod(found, width)
    second = -preferred(of_image, values) if ties == "rule" else first  # type: ignore[operator]
    order = np.lexsort((values, second, -counts, of_image))
    starts = np.flatnonzero(np.concatenate([[True], of_image[order][1:] != of_image[order][:-1]]))
    best = order[starts]
    largest = counts[best]
    tied = np.bincount(of_image[counts == largest[of_image]], minlength=len(best)) > 1
    return values[best], tied


def _objects(votes: Votes, pair: Ints, pair_image: Ints, num_objects: Ints) -> tuple[Ints, Ints]:
    """(pairs,) object of each label, and (images,) how many divisions are best; images of one form at a time."""
    joint = _joint_selections(votes, pair)
    linked = np.zeros(len(pair), dtype=np.bool_)
    linked[joint[:, :2].ravel()] = True
    several = num_objects > 1
    pair_object = np.where(several[pair_image], -1, 0)
    num_optima = np.ones(votes.num_images, dtype=np.int64)

    vertices = np.flatnonzero(linked & several[pair_image])
    size = np.bincount(pair_image[vertices], minlength=votes.num_images)
    start = np.cumsum(size) - size
    rank = np.zeros(len(pair), dtype=np.int64)
    rank[vertices] = np.arange(len(vertices)) - start[pair_image[vertices]]
    for labels, groups in sorted(set(zip(size[several].tolist(), num_objects[several].tolist(), strict=True))):
        chosen = np.flatnonzero(several & (size == labels) & (num_objects == groups))
        place = np.full(votes.num_images, -1)
        place[chosen] = np.arange(len(chosen))
        weights = np.zeros((len(chosen), labels, labels), dtype=np.int64)
        own = joint[place[pair_image[joint[:, 0]]] >= 0]
        at = place[pair_image[own[:, 0]]]
        weights[at, rank[own[:, 0]], rank[own[:, 1]]] = own[:, 2]
        weights[at, rank[own[:, 1]], rank[own[:, 0]]] = own[:, 2]
        found, optima = max_k_cut(weights, groups)
        rows = vertices[place[pair_image[vertices]] >= 0]
        pair_object[rows] = found[place[pair_image[rows]], rank[rows]]
        num_optima[chosen] = optima
    return pair_object, num_optima


def _joint_selections(votes: Votes, pair: Ints) -> Ints:
    """(edges, 3) two pairs of one image and how many workers selected both, the first below the second."""
    of_pair = np.searchsorted(pair, votes.image[votes.selected.rows] * votes.num_classes + votes.selected.values)
    starts, lengths = votes.selected.starts[:-1], votes.selected.lengths
    edges = []
    for size in range(2, int(lengths.max()) + 1):
        rows = of_pair[starts[lengths == size][:, None] + np.arange(size)]
        one, other = np.triu_indices(size, 1)
        both = np.stack([rows[:, one].ravel(), rows[:, other].ravel()], axis=1)
        edges.append(np.sort(both, axis=1))
    if not edges:
        return np.zeros((0, 3), dtype=np.int64)
    found, counts = np.unique(np.concatenate(edges), axis=0, return_counts=True)
    return np.concatenate([found, counts[:, None]], axis=1)
