"""The published files of the labels study's data, to the Parquet tables of `run labels`.

ImageNetMultiLabel (MadryLab/ImageNetMultiLabel, folder `data`): `annotations_classify_task.pkl`, one row per image with
the answers of its workers; `annotations_contains_task.pkl`, one row per image with the labels asked about, how many saw
and how many ticked each; and `image_info.pkl`, what became of each of 10,000 images; tables of old pandas in pickles,
read by a reader that runs nothing. Reassessed ImageNet (google-research/reassessed-imagenet): `real.json`, 50,000 lists
of labels in the order of the file names, and `raters.npz`, who said what of which label.

Some don't hold the images' own labels: those come from a table with the columns image and given.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustray.tasks.crowds.imports import write
from robustray.tasks.crowds.pickled_frames import read_frame
from robustray.tasks.crowds.sets import ALONE, CLASSIFIED, FEW, NEVER
from robustray.tasks.crowds.tables import Column, Schema, read_table
from robustray.tasks.errors import InputError

SPLITS: Mapping[str, str] = {"fu": CLASSIFIED, "easy": ALONE, "mis": NEVER, "amb": FEW}
"""The repository's words and ours."""
LABELS = Schema(what="labels of images", columns={"image": Column(kind="name"), "given": Column(kind="label")})
NAME = "ILSVRC2012_val_{:08d}.JPEG"
"""Name of an image of ImageNet's validation set by its number, from 1 on."""


def import_votes(source: Path, target: Path) -> int:
    """Write image, given, worker, main, selected, in the stored order of the answers; returns how many there are.

    `worker` counts within an image: the published answers don't say which of them are one person's.

    Raises: InputError as `read_frame`, and for rows whose answers don't fit each other.
    """
    frame = read_frame(source, ["main", "selected", "num_workers", "imagenet_label"])
    columns: dict[str, list[Any]] = {"image": [], "given": [], "worker": [], "main": [], "selected": []}
    for row, (image, main, selected, count, given) in enumerate(
        zip(*(frame[name] for name in ("index", "main", "selected", "num_workers", "imagenet_label")), strict=True)
    ):
        fits = isinstance(image, str) and isinstance(main, list) and isinstance(selected, list)
        if not fits or not len(main) == len(selected) == count:
            raise InputError(f"{source}, row {row} (the first is 0): its answers are not those of {count} workers")
        columns["image"] += [image] * len(main)
        columns["given"] += [given] * len(main)
        columns["worker"] += range(len(main))
        columns["main"] += main
        columns["selected"] += selected
    _whole(source, columns["given"] + columns["main"] + [label for each in columns["selected"] for label in each])
    write(target, columns)
    return len(columns["image"])


def import_contains(source: Path, target: Path) -> int:
    """Write image, given, label, n_shown, n_selected; returns how many (image, label) pairs there are.

    Raises: InputError as `read_frame`, and for rows whose lists don't fit each other.
    """
    names = ["query", "selected", "total", "imagenet_label"]
    frame = read_frame(source, names)
    columns: dict[str, list[Any]] = {"image": [], "given": [], "label": [], "n_shown": [], "n_selected": []}
    for row, (image, labels, selected, shown, given) in enumerate(
        zip(*(frame[name] for name in ("index", *names)), strict=True)
    ):
        lists = all(isinstance(each, list) for each in (labels, selected, shown))
        if not isinstance(image, str) or not lists or not len(labels) == len(selected) == len(shown):
            raise InputError(f"{source}, row {row} (the first is 0): query, selected and total differ in length")
        columns["image"] += [image] * len(labels)
        columns["given"] += [given] * len(labels)
        columns["label"] += labels
        columns["n_shown"] += shown
        columns["n_selected"] += selected
    _whole(source, [value for name in ("given", "label", "n_shown", "n_selected") for value in columns[name]])
    write(target, columns)
    return len(columns["image"])


def import_splits(source: Path, labels: Path, target: Path) -> int:
    """Write image, given, split of all images; returns how many there are. Raises: InputError."""
    frame = read_frame(source, ["annotation"])
    unknown = [word for word in frame["annotation"] if not isinstance(word, str) or word not in SPLITS]
    if unknown:
        raise InputError(f"{source}: annotation {unknown[0]!r} is none of {', '.join(SPLITS)}")
    images = np.array(frame["index"], dtype=np.str_)
    split = [SPLITS[word] for word in frame["annotation"]]
    write(target, {"image": images, "given": given_of(labels, images), "split": split})
    return len(images)


def import_accepted(source: Path, labels: Path, target: Path) -> int:
    """`real.json`: write image, given, accepted; returns how many images there are. Raises: InputError."""
    try:
        lists = json.loads(source.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{source} can't be read as JSON: {str(error).splitlines()[0]}") from error
    if not isinstance(lists, list) or not lists or not all(isinstance(each, list) for each in lists):
        raise InputError(f"{source} holds no list of lists of labels")
    _whole(source, [label for each in lists for label in each])
    images = np.array([NAME.format(number) for number in range(1, len(lists) + 1)])
    write(target, {"image": images, "given": given_of(labels, images), "accepted": lists})
    return len(images)


def import_ratings(source: Path, labels: Path, target: Path) -> int:
    """`raters.npz`: write image, given, label, rater, answer; returns the number of answers. Raises: InputError."""
    try:
        with np.load(source, allow_pickle=False) as held:
            tensor, info, ids = held["tensor"], held["info"], held["ids"]
    except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise InputError(f"{source} can't be read as raters.npz (tensor, info, ids): {error}") from error
    if tensor.shape != (len(ids), len(info), 3) or info.shape != (len(info), 2):
        raise InputError(f"{source}: {tensor.shape} answers of {ids.shape} raters about {info.shape} questions")
    if not np.isin(tensor, (0, 1)).all() or (tensor.sum(axis=2) > 1).any():
        raise InputError(f"{source}: an answer is 1 in one of no, maybe and yes, else 0")
    rater, question, answer = np.nonzero(tensor)
    order = np.lexsort((rater, question))
    rater, question, answer = rater[order], question[order], answer[order]
    images = info[:, 0].astype(np.str_)
    try:
        label = info[:, 1].astype(np.int64)
    except ValueError as error:
        raise InputError(f"{source}: info holds (file name, label) pairs with labels that are numbers") from error
    given = given_of(labels, images)
    columns = {"image": images[question], "given": given[question], "label": label[question], "rater": ids[rater]}
    write(target, columns | {"answer": answer})
    return len(answer)


def given_of(labels: Path, images: NDArray[np.str_]) -> NDArray[np.int64]:
    """(images,) labels from a table with the columns image and given. Raises: InputError where one is missing."""
    table = read_table(str(labels), LABELS)
    names, first = np.unique(table["image"], return_index=True)
    place = np.minimum(np.searchsorted(names, images), len(names) - 1)
    missing = names[place] != images
    if missing.any():
        raise InputError(
            f"{labels}: {int(missing.sum())} images have no label there (the first is {images[np.argmax(missing)]})"
        )
    return table["given"][first][place]


def _whole(source: Path, labels: list[Any]) -> None:
    wrong = [each for each in labels if not isinstance(each, int) or isinstance(each, bool) or each < 0]
    if wrong:
        raise InputError(f"{source}: {wrong[0]!r} is no class and no count: whole numbers from 0 on")
