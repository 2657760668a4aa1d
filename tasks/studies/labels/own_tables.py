"""The user's own tables, opened, checked and joined: those of `--votes`, `--contains` and the settings that go with
them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from robustray.tasks.crowds.classify import PREDICTIONS, VOTES, Votes, votes_of
from robustray.tasks.crowds.confusion import CLASSES, Classes
from robustray.tasks.crowds.contains import CONTAINS, Contains
from robustray.tasks.crowds.ratings import RATINGS, Ratings
from robustray.tasks.crowds.sets import ACCEPTED, IMAGES, AcceptedLabels, WholeSet
from robustray.tasks.crowds.tables import CrowdTable, Schema, open_table
from robustray.tasks.errors import InputError
from robustray.tasks.studies.labels.settings import Settings

if TYPE_CHECKING:
    from robustray.tasks.lab import Lab
    from robustray.tasks.lab.protocol import Reference

Ranked = Mapping[str, NDArray[np.int64]]
"""Model -> (images, ranks) predicted classes, the best first, -1 behind the last."""
SCHEMAS: Mapping[str, Schema] = {
    "votes": VOTES,
    "predictions": PREDICTIONS,
    "contains": CONTAINS,
    "images": IMAGES,
    "accepted": ACCEPTED,
    "ratings": RATINGS,
    "classes": CLASSES,
}
"""Setting -> what its file holds."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Own:
    """Everything that was given; None for a table that was not. Predictions are joined to each of the tables."""

    table: CrowdTable
    """Table of votes."""
    names: NDArray[np.str_]
    votes: Votes
    ranked: Ranked
    """Ranked predictions of the images with votes."""
    images: tuple[WholeSet, Ranked] | None
    accepted: tuple[AcceptedLabels, Ranked] | None
    ratings: tuple[Ratings, Ranked] | None
    contains: tuple[Contains, Ranked] | None
    classes: Classes | None
    notes: tuple[str, ...]


def references(settings: Settings) -> dict[str, Reference]:
    paths = {name: getattr(settings, name) for name in SCHEMAS}
    return {name: open_table(path, SCHEMAS[name]) for name, path in paths.items() if path}


@dataclass(frozen=True, kw_only=True, eq=False)
class OwnContains:
    """Answers about single labels, without any about what is in an image."""

    contains: Contains
    ranked: Ranked
    notes: tuple[str, ...]


def load_contains(settings: Settings, lab: Lab) -> OwnContains:
    """Raises: InputError naming file, column and row of what does not fit."""
    tables = {name: lab.load(ref) for name, ref in references(settings).items()}
    contains = Contains.of(tables["contains"])
    return OwnContains(contains=contains, ranked=joined(contains.images, tables), notes=_unused(tables))


def load(settings: Settings, lab: Lab) -> Own:
    """Raises: InputError naming file, column and row of what does not fit."""
    tables = {name: lab.load(ref) for name, ref in references(settings).items()}
    votes, names = votes_of(tables["votes"])
    ranked = joined(names, tables)
    images = accepted = ratings = contains = classes = None
    if "images" in tables:
        whole = WholeSet.of(tables["images"], names, votes.given)
        images = whole, joined(whole.names, tables)
    if "accepted" in tables:
        fitting = AcceptedLabels.of(tables["accepted"])
        accepted = fitting, joined(fitting.names, tables)
    if "ratings" in tables:
        rated = Ratings.of(tables["ratings"])
        ratings = rated, joined(rated.images, tables)
    notes = _unused(tables)
    if "contains" in tables:
        asked = Contains.of(tables["contains"])
        contains = asked, joined(asked.images, tables)
        notes += _same_labels(tables, names, votes.given, asked)
    if "classes" in tables:
        largest = [votes.num_classes - 1]
        largest += [int(each.max()) for each in ranked.values()]
        for side in (images, accepted):
            if side is not None:
                largest += [int(side[0].given.max()), *(int(each.max()) for each in side[1].values())]
        classes = Classes.of(tables["classes"], max(largest) + 1)
    return Own(
        table=tables["votes"],
        names=names,
        votes=votes,
        ranked=ranked,
        images=images,
        accepted=accepted,
        ratings=ratings,
        contains=contains,
        classes=classes,
        notes=notes,
    )


def _unused(tables: Mapping[str, CrowdTable]) -> tuple[str, ...]:
    return tuple(
        f"columns {', '.join(table.unused)} of {table.name} are not used" for table in tables.values() if table.unused
    )


def _same_labels(
    tables: Mapping[str, CrowdTable], names: NDArray[np.str_], given: NDArray[np.int64], asked: Contains
) -> tuple[str, ...]:
    """A word about images that one of the two tables lacks. Raises: InputError where their given labels differ."""
    both, at, place = np.intersect1d(names, asked.images, assume_unique=True, return_indices=True)
    differs = given[at] != asked.given[place]
    if differs.any():
        image = np.argmax(differs)
        raise InputError(
            f"{tables['contains'].name}: image {both[image]} has given label {asked.given[place][image]}, but "
            f"{given[at][image]} in {tables['votes'].name}"
        )
    lacking = len(names) - len(both)
    if not lacking:
        return ()
    return (f"{lacking:,} images of {tables['votes'].name} are not in {tables['contains'].name}",)


def joined(images: NDArray[np.str_], tables: Mapping[str, CrowdTable]) -> Ranked:
    """Predictions of these images; none without a table of them. Raises: InputError as `join`."""
    return join(images, tables["predictions"]) if "predictions" in tables else {}


def join(names: NDArray[np.str_], table: CrowdTable) -> Ranked:
    """Model -> (images, ranks) predicted classes. Raises: InputError where an image has no prediction, or two rows."""
    found, first, count = np.unique(table["image"], return_index=True, return_counts=True)
    if (count > 1).any():
        raise InputError(f"{table.name}: image {found[np.argmax(count > 1)]} has {count.max()} rows")
    place = np.minimum(np.searchsorted(found, names), len(found) - 1)
    missing = found[place] != names
    if missing.any():
        raise InputError(
            f"{table.name} lacks {int(missing.sum()):,} of the images that are asked about (the first is "
            f"{names[np.argmax(missing)]}): every model needs a prediction for each image"
        )
    return {model: values[first][place] for model, values in table.models.items()}


def top(ranked: Ranked) -> dict[str, NDArray[np.int64]]:
    """Model -> (images,) the class predicted first."""
    return {model: labels[:, 0] for model, labels in ranked.items()}
