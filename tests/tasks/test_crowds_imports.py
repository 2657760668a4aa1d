"""Importers of crowd files: tiny files of the published forms, and files that do not fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from robustray.tasks.crowds.answers import CORRECTNESS
from robustray.tasks.crowds.imports import CIFAR10_CLASSES, import_cifar10h, import_predictions, write
from robustray.tasks.crowds.tables import read_table
from robustray.tasks.errors import InputError
from robustray.tasks.importers import IMPORTERS, cifar10h, predictions
from robustray.tasks.studies.replication.real import CLASSES, COUNTS, PREDICTED, people


def cifar10h_files(folder: Path) -> tuple[Path, Path]:
    """Four images in the published form: floats that are whole, no labels."""
    counts = np.zeros((4, 10))
    counts[np.arange(4), [3, 8, 8, 0]] = [50, 47, 40, 51]
    counts[2, 1] = 9
    np.save(folder / "cifar10h-counts.npy", counts)
    np.save(folder / "labels.npy", np.array([3, 8, 8, 0], dtype=np.uint8))
    return folder / "cifar10h-counts.npy", folder / "labels.npy"


def test_counts_and_predictions_join(tmp_path: Path) -> None:
    """What both importers write is what `run replication --counts --predictions` reads."""
    counts, labels = cifar10h_files(tmp_path)
    written = cifar10h.run(counts, cifar10h.Flags(labels=str(labels), output=str(tmp_path / "counts.parquet")))
    assert written.lines == [f"wrote {tmp_path / 'counts.parquet'} (4 images)"]
    folder = tmp_path / "original_predictions"
    folder.mkdir()
    (folder / "nas_predictions.json").write_text(json.dumps([3, 8, 1, 0], indent=2))
    (folder / "wrn_28_10_predictions.json").write_text("[3, 8, 8, 1]")
    done = predictions.run(folder, predictions.Flags())
    assert done.lines == [f"wrote {tmp_path / 'original_predictions.parquet'} (4 images, 2 models)"]
    found = people(
        read_table(str(tmp_path / "counts.parquet"), COUNTS),
        read_table(str(tmp_path / "original_predictions.parquet"), PREDICTED),
    )
    assert found.models == ("nas", "wrn_28_10")
    assert found.n_shown.tolist() == [50, 47, 49, 51] and found.n_selected.tolist() == [50, 47, 40, 51]
    assert found.correct.tolist() == [[1, 1], [1, 1], [0, 1], [1, 0]]
    assert CIFAR10_CLASSES == CLASSES


@pytest.mark.parametrize("suffix", [".npy", ".json", ".parquet"])
def test_labels_come_in_three_forms(suffix: str, tmp_path: Path) -> None:
    counts, _ = cifar10h_files(tmp_path)
    file = tmp_path / f"given{suffix}"
    if suffix == ".npy":
        np.save(file, np.array([3, 8, 8, 0]))
    elif suffix == ".json":
        file.write_text("[3, 8, 8, 0]")
    else:
        pq.write_table(pa.table({"label": [3, 8, 8, 0]}), file)
    assert import_cifar10h(counts, file, tmp_path / "out.parquet").rows == 4


def imagenetv2_files(folder: Path, num_classes: int = 1_000) -> tuple[Path, Path]:
    """Two images of each class; a model that is right, and one stored worst first, as the Fisher vectors are."""
    wnids = [f"n{2 * c:08d}" for c in range(num_classes)]
    pairs = [[f"image{c}_{i}", wnids[c]] for i in range(2) for c in reversed(range(num_classes))]
    (folder / "imagenetv2-b-33.json").write_text(json.dumps({"image_filenames": pairs}))
    label = np.array([int(wnid[1:]) // 2 for _, wnid in pairs])
    models = folder / "imagenetv2-b-33"
    models.mkdir(exist_ok=True)
    ranked = np.stack([(label + shift) % num_classes for shift in range(5)], axis=1)
    np.save(models / "resnet50.npy", ranked)
    np.save(models / "fv_16k_model.npy", ranked[:, ::-1])
    return models, folder / "imagenetv2-b-33.json"


def test_imagenetv2_becomes_predictions_and_verdicts(tmp_path: Path) -> None:
    folder, dataset = imagenetv2_files(tmp_path)
    done = predictions.run(folder, predictions.Flags(dataset=str(dataset)))
    assert "2,000 images, 2 models" in done.lines[0] and "worst first" in done.lines[1] and "fv_16k" in done.lines[1]
    frame = pd.read_parquet(tmp_path / "imagenetv2-b-33.parquet")
    assert frame.columns.tolist() == ["image", "fv_16k_model", "resnet50"]
    assert frame.resnet50[0] == 999 and frame.resnet50.equals(frame.fv_16k_model.rename("resnet50"))
    target = tmp_path / "right.parquet"
    flags = predictions.Flags(dataset=str(dataset), correctness=True, output=str(target))
    assert predictions.run(folder, flags).next.startswith("run replication --data STUDY.parquet --correctness")
    right = read_table(str(target), CORRECTNESS)
    assert all(values.all() for values in right.models.values()) and len(right) == 2_000


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("c.npy", np.zeros((4, 9)), r"shape \(4, 9\)"),
        ("c.npy", np.zeros((4, 10)), "row 0 .*no answer at all"),
        ("c.npy", np.full((4, 10), 0.5), "row 0 .*no whole number"),
        ("c.npy", np.full((4, 10), np.nan), "no whole number"),
        ("c.npy", np.ones((3, 10)), "4 labels and .* 3 images"),
        ("c.npy", np.array([None] * 4, dtype=object), "can't be read as a .npy file"),
        ("labels.npy", np.array([0, 1, 2, 10]), "row 3 .*no class from 0 to 9"),
        ("labels.npy", np.array([[0, 1], [2, 3]]), "no flat list"),
    ],
)
def test_counts_that_do_not_fit(file: str, content: Any, says: str, tmp_path: Path) -> None:
    counts, labels = cifar10h_files(tmp_path)
    counts = counts.rename(tmp_path / "c.npy")
    np.save(tmp_path / file, content, allow_pickle=True)
    with pytest.raises(InputError, match=says):
        import_cifar10h(counts, labels, tmp_path / "out.parquet")


def test_predictions_that_do_not_fit(tmp_path: Path) -> None:
    def run(folder: Path, **given: Any) -> None:
        flags: dict[str, Any] = {"dataset": None, "labels": None, "correctness": False} | given
        import_predictions(folder, tmp_path / "out.parquet", **flags)

    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "a_predictions.json").write_text("[1, 2, 3]")
    with pytest.raises(InputError, match="takes labels"):
        run(folder, correctness=True)
    (folder / "b_predictions.json").write_text("[1, 2]")
    with pytest.raises(InputError, match="for 2 to 3 images"):
        run(folder)
    (folder / "b_predictions.json").write_text("[1, 2, 11]")
    with pytest.raises(InputError, match=r"b_predictions.json, row 2 .*\[11\]"):
        run(folder)
    (folder / "b_predictions.json").write_text("{")
    with pytest.raises(InputError, match="can't be read as JSON"):
        run(folder)
    (folder / "b_predictions.json").write_text("[[1, 2], [3], [4, 5]]")
    with pytest.raises(InputError, match=r"b_predictions.json holds lists of different lengths"):
        run(folder)
    (folder / "b_predictions.json").unlink()
    (folder / "c.npy").write_bytes(b"PK\x03\x04 broken")
    with pytest.raises(InputError, match=r"c.npy can't be read as a .npy file"):
        run(folder)
    np.save(folder / "a.npy", np.array([1, 2, 3]))
    with pytest.raises(InputError, match="two files of model a"):
        run(folder)
    few, dataset = imagenetv2_files(tmp_path, num_classes=12)
    with pytest.raises(InputError, match="images of 12 classes"):
        run(few, dataset=dataset)
    dataset.write_text('{"image_filenames": [["a", "n1"], ["a", "n2"]]}')
    with pytest.raises(InputError, match="an image occurs twice"):
        run(few, dataset=dataset)
    dataset.write_text('{"images": []}')
    with pytest.raises(InputError, match="no list image_filenames"):
        run(few, dataset=dataset)


def test_published_tables_came_from_such_files(shared_data: Path) -> None:
    """The shared table in the published form, through the importer, is the shared table."""
    assert {"cifar10h", "predictions"} <= set(IMPORTERS)
    table = pd.read_parquet(shared_data / "annotations" / "cifar10h_counts.parquet").sort_values("index")
    names = [f"count_{name}" for name in CIFAR10_CLASSES]
    assert names == [column for column in table.columns if column.startswith("count_")]
    assert (table.label == table[names].to_numpy().argmax(axis=1)).mean() > 0.99, "columns are in the order of labels"


def test_a_table_is_called_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"answers\.csv must end in \.parquet"):
        write(tmp_path / "answers.csv", {"image": ["a"]})
    assert not list(tmp_path.iterdir())
