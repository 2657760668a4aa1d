"""Public files of crowd studies, as their repositories publish them, to the Parquet tables that studies read.

CIFAR-10H (jcpeterson/cifar-10h): `cifar10h-counts.npy`, (images, 10) how many people chose each class, in the order of
the CIFAR-10 test set, without labels. CIFAR-10.1 (modestyachts/CIFAR-10.1): a folder of `MODEL_predictions.json`, a
list of classes each. ImageNetV2 (modestyachts/ImageNetV2): a folder of `MODEL.npy`, (images, 5) classes, best first, in
the order of a `datasets/NAME.json` that holds [image, WordNet id] pairs. No pickled array is read.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustray.tasks.errors import InputError

CIFAR10_CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
SUFFIX = "_predictions"
"""End of the file names of CIFAR-10.1, after the model's name."""

Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Imported:
    """A table that was written."""

    rows: int
    models: tuple[str, ...] = ()
    reversed: tuple[str, ...] = ()
    """Models whose columns were stored worst first, as labels show; they are turned round."""


def import_cifar10h(source: Path, labels: Path, target: Path) -> Imported:
    """Write index, label and count_CLASS for every image.

    Raises: InputError for an array of another form, counts that are not whole, an image without answers, or labels that
    are not as many.
    """
    counts = _array(source)
    if counts.ndim != 2 or counts.shape[1] != len(CIFAR10_CLASSES):
        raise InputError(f"{source} has shape {counts.shape}: the counts of CIFAR-10H are (images, 10)")
    votes = _whole(source, counts, None)
    empty = votes.sum(axis=1) == 0
    if empty.any():
        raise InputError(f"{source}, row {int(np.argmax(empty))} (the first is 0): no answer at all")
    given = read_labels(labels, len(CIFAR10_CLASSES))
    if len(given) != len(votes):
        raise InputError(f"{labels} has {len(given):,} labels and {source} {len(votes):,} images")
    columns: dict[str, Any] = {"index": np.arange(len(votes)), "label": given}
    write(target, columns | {f"count_{name}": votes[:, i] for i, name in enumerate(CIFAR10_CLASSES)})
    return Imported(rows=len(votes))


def import_predictions(
    folder: Path, target: Path, *, dataset: Path | None, labels: Path | None, correctness: bool
) -> Imported:
    """Write one column of predicted classes per model (correctness: whether they are right, instead).

    dataset: ImageNetV2's JSON file, whose images name the rows (column image); without it rows are numbered (column
    index, or image where correctness is asked for). labels: of the images, where there is no dataset.

    Raises: InputError for a folder without such files, files of different length, classes that there are not, or
    correctness without labels.
    """
    files = sorted([*folder.glob("*.npy"), *folder.glob("*.json")]) if folder.is_dir() else []
    if not files:
        raise InputError(f"{folder} is no folder with MODEL.npy or MODEL{SUFFIX}.json files of predictions")
    images: list[str] | None = None
    given: Ints | None = None
    num_classes = len(CIFAR10_CLASSES)
    if dataset is not None:
        images, given, num_classes = read_dataset(dataset)
    elif labels is not None:
        given = read_labels(labels, num_classes)
    if correctness and given is None:
        raise InputError("whether a prediction is right takes labels: give --dataset or --labels")
    models: dict[str, Ints] = {}
    turned = []
    for file in files:
        name = file.stem.removesuffix(SUFFIX)
        if name in models:
            raise InputError(f"{folder} has two files of model {name}")
        ranked = _ranked(file, num_classes)
        if given is not None and len(ranked) != len(given):
            raise InputError(f"{file} has {len(ranked):,} predictions for {len(given):,} images")
        if given is not None and _worst_first(ranked, given):
            turned.append(name)
            ranked = ranked[:, ::-1]
        models[name] = ranked[:, 0]
    lengths = {len(values) for values in models.values()}
    if len(lengths) > 1:
        raise InputError(f"{folder}: models have predictions for {min(lengths):,} to {max(lengths):,} images")
    (rows,) = lengths
    key: dict[str, Any] = {"image": images} if images else {"image" if correctness else "index": np.arange(rows)}
    write(target, key | {name: values == given if correctness else values for name, values in models.items()})
    return Imported(rows=rows, models=tuple(models), reversed=tuple(turned))


def read_dataset(path: Path) -> tuple[list[str], Ints, int]:
    """Images, classes and number of classes of an ImageNetV2 data set: {"image_filenames": [[image, WordNet id], ...]}.

    A class is the place of its WordNet id among all sorted ones, which is ImageNet's numbering if all 1,000 occur.
    """
    content = _json(path)
    pairs = content.get("image_filenames") if isinstance(content, dict) else None
    fits = isinstance(pairs, list) and all(
        isinstance(pair, list) and len(pair) == 2 and all(isinstance(each, str) for each in pair) for pair in pairs
    )
    if not pairs or not fits:
        raise InputError(f"{path} holds no list image_filenames of [image, WordNet id] pairs")
    images, classes = [pair[0] for pair in pairs], np.array([pair[1] for pair in pairs])
    if len(set(images)) < len(images):
        raise InputError(f"{path}: an image occurs twice")
    found, label = np.unique(classes, return_inverse=True)
    if len(found) != 1_000:
        raise InputError(
            f"{path} has images of {len(found)} classes: numbers of classes are known where all 1,000 occur"
        )
    return images, label.astype(np.int64), len(found)


def read_labels(path: Path, num_classes: int) -> Ints:
    """Labels from a .npy file, a JSON list, or the column `label` of a Parquet file. Raises: InputError."""
    if path.suffix == ".parquet":
        from robustray.tasks.crowds.tables import Column, Schema, read_table

        schema = Schema(what="labels", columns={"label": Column(kind="label")})
        values: NDArray[Any] = read_table(str(path), schema)["label"]
    elif path.suffix == ".json":
        values = _json_array(path)
    else:
        values = _array(path)
    if values.ndim != 1 or not len(values):
        raise InputError(f"{path} holds no flat list of labels, its shape is {values.shape}")
    return _whole(path, values, num_classes)


def _ranked(file: Path, num_classes: int) -> Ints:
    """(images, ranks) predicted classes."""
    values = _json_array(file) if file.suffix == ".json" else _array(file)
    if values.ndim == 1:
        values = values[:, None]
    if values.ndim != 2 or not values.size:
        raise InputError(f"{file} has shape {values.shape}: predictions are (images,) or (images, ranks)")
    return _whole(file, values, num_classes)


def _worst_first(ranked: Ints, given: Ints) -> bool:
    """Whether the last column is right more often than the first: some published files are stored the other way."""
    return ranked.shape[1] > 1 and bool((ranked[:, -1] == given).sum() > (ranked[:, 0] == given).sum())


def _whole(path: Path, values: NDArray[Any], num_classes: int | None) -> Ints:
    if values.dtype.kind not in "iuf":
        raise InputError(f"{path} must hold whole numbers, it holds {values.dtype}")
    with np.errstate(invalid="ignore"):
        fits = (values >= 0) & (values == np.floor(values))
        fits &= values < (2**31 if num_classes is None else num_classes)
    if not fits.all():
        row = int(np.argmin(fits.reshape(len(values), -1).all(axis=1)))
        what = "no whole number from 0 on" if num_classes is None else f"no class from 0 to {num_classes - 1}"
        raise InputError(f"{path}, row {row} (the first is 0): {np.asarray(values[row]).tolist()} holds {what}")
    return values.astype(np.int64)


def _array(path: Path) -> NDArray[Any]:
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} can't be read as a .npy file: {str(error).splitlines()[0]}") from error
    if not isinstance(found, np.ndarray):
        raise InputError(f"{path} holds several arrays: expected a .npy file with one")
    return found


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path} can't be read as JSON: {str(error).splitlines()[0]}") from error


def _json_array(path: Path) -> NDArray[Any]:
    content = _json(path)
    try:
        return np.asarray(content)
    except ValueError as error:
        raise InputError(f"{path} holds lists of different lengths: every image needs as many predictions") from error


def write(target: Path, columns: Mapping[str, Any]) -> None:
    """Write a Parquet table. Raises: InputError where that is not possible, and for a name that says something else."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if target.suffix != ".parquet":
        raise InputError(f"{target} must end in .parquet, which says what it is")

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(dict(columns)), target)
    except OSError as error:
        raise InputError(f"{target} can't be written: {error}") from error
