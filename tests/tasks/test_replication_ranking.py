"""Replicas without answers: tables joined, the published drops and lines, shared images resampled together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from robustray.tasks.crowds.replicas.ranked import RANKS, Ranked, accuracies, line, probit, ranked
from robustray.tasks.crowds.tables import read_table
from robustray.tasks.errors import InputError
from robustray.tasks.lab.serial import SerialLab
from robustray.tasks.lab.store import Store
from robustray.tasks.studies.replication.settings import Settings
from robustray.tasks.studies.replication.study import STUDY

ORIGINAL = {"image_id": ["a", "b", "c", "d"], "class_id": [0, 0, 1, 1], "m": [1, 1, 3, 0], "k": [1, 2, 1, 1]}
FIRST = {"image_id": ["x", "y", "z", "u"], "class_id": [0, 0, 1, 1], "m": [1, 0, 0, 2], "k": [1, 1, 0, 1]}
SECOND = {"image_id": ["y", "v", "u", "w"], "class_id": [0, 0, 1, 1], "k": [1, 1, 1, 1], "m": [1, 1, 2, 1]}


def write(folder: Path, name: str, columns: dict[str, Any]) -> str:
    pq.write_table(pa.table(columns), folder / f"{name}.parquet")
    return str(folder / f"{name}.parquet")


def joined(folder: Path, leave_out: tuple[str, ...] = (), **changed: dict[str, Any]) -> Ranked:
    tables = {"original": ORIGINAL, "first": FIRST, "second": SECOND} | changed
    read = {name: read_table(write(folder, name, columns), RANKS) for name, columns in tables.items()}
    return ranked(read.pop("original"), read, leave_out)


def test_accuracies_by_hand(tmp_path: Path) -> None:
    of = joined(tmp_path)
    assert of.models == ("m", "k") and len(of.union_class) == 6, "two images are in both"
    ones = np.ones((1, 4)), np.ones((1, 6))
    assert accuracies(of, 1, *ones)[0].tolist() == [[0.5, 0.75], [0.25, 0.75], [0.75, 1.0]]
    assert accuracies(of, 5, *ones)[0].tolist() == [[0.75, 1.0], [0.5, 0.75], [1.0, 1.0]]
    assert joined(tmp_path, leave_out=("k",)).models == ("m",)
    images = ["u", "v", "w", "x", "y", "z"]  # of both replicas, in order
    twice = np.array([[2.0 if image == "y" else 1.0 for image in images]])
    assert accuracies(of, 1, ones[0], twice)[0, 1:, 1].tolist() == [0.8, 1.0], "drawn twice, twice in both sets"


def test_lines_over_models() -> None:
    x = np.array([[0.5, 0.6, 0.9], [0.2, 0.3, 0.4]])
    assert line(x, 1.2 * x - 0.3) == pytest.approx(np.array([[1.2, -0.3, 1.0]] * 2))
    assert probit(np.array([0.5, 0.975])) == pytest.approx([0.0, 1.959964], abs=1e-6)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"first": FIRST | {"image_id": ["x", "x", "z", "u"]}}, "image x has 2 rows"),
        ({"second": SECOND | {"class_id": [1, 0, 0, 1]}}, "image y has another class|image u has another class"),
        ({"original": {"image_id": ["a"], "class_id": [0], "other": [1]}}, "share no column of a model"),
        ({"original": ORIGINAL | {"class_id": [0, 0, 0, 1]}}, "class 1 has one image"),
        ({"leave_out": ("q",)}, "no model 'q' to leave out"),
    ],
)
def test_tables_that_do_not_fit(changed: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=says):
        joined(tmp_path, **changed)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"original": "o"}, "--original needs --replicas"),
        ({"replicas": ("r",)}, "--replicas needs --original"),
        ({"original": "o", "replicas": ("a/r.parquet", "b/r.parquet")}, "two files are called r.parquet"),
        ({"original": "o", "replicas": ("r",), "data": "d", "correctness": "c"}, "--data and --original"),
    ],
)
def test_settings_that_do_not_fit(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        Settings(**changes)


def test_the_page_of_replicas_without_answers(tmp_path: Path) -> None:
    """Four models on 400 images; the replica's are 20 points harder, and its twin is the same set."""
    rng = np.random.default_rng(0)

    def table(prefix: str, easier: float) -> dict[str, Any]:
        right = rng.random((400, 4)) < np.array([0.4, 0.5, 0.6, 0.7]) + easier
        return {"image_id": [f"{prefix}{i}" for i in range(400)], "class_id": np.arange(400) % 4} | {
            f"model{m}": np.where(right[:, m], 1, 3) for m in range(4)
        }

    original, replica = write(tmp_path, "val", table("o", 0.2)), table("r", 0.0)
    replicas = tuple(write(tmp_path, name, replica) for name in ("hard", "again"))
    settings = Settings(original=original, replicas=replicas, num_resamples=200)
    store = Store(str(tmp_path / "store"))
    store.create()
    lab = SerialLab(store=store)
    assert set(STUDY.door(settings, lab).refs) == {f"table {name}" for name in (original, *replicas)}
    found = STUDY.run(settings, lab)
    sets = found.tables[0].frame.set_index(["top", "set"])
    hard, again = (sets.loc[(1, name)] for name in ("hard", "again"))
    assert hard["drop"] == pytest.approx(0.2, abs=0.05) and hard.drop_lo > 0.1
    assert hard.tolist()[1:] == again.tolist()[1:], "the same images, the same resamples"
    assert sets.loc[(5, "hard")]["drop"] == 0 and found.claims[0].verdict == "supported"
    assert found.tables[1].frame.model.tolist() == ["model3", "model2", "model1", "model0"]


def test_published_drops_and_lines_come_out(shared_data: Path) -> None:
    """Recht et al. 2019: -11.8 / -8.2, -3.2 / -1.2 and +2.1 / +1.8 points; 64 convolutional networks on a line."""
    folder = shared_data / "annotations"
    names = ("matched_frequency", "threshold07", "top_images")
    of = ranked(
        read_table(str(folder / "pred_rank_imagenet_val.parquet"), RANKS),
        {name: read_table(str(folder / f"pred_rank_v2_{name}.parquet"), RANKS) for name in names},
    )
    assert len(of.models) == 67 and len(of.original) == 50_000
    ones = np.ones((1, 50_000)), np.ones((1, len(of.union_class)))
    for top, expected in ((1, [-11.83, -3.20, 2.08]), (5, [-8.21, -1.24, 1.78])):
        found = accuracies(of, top, *ones)[0]
        assert 100 * (found[1:] - found[0]).mean(axis=1) == pytest.approx(expected, abs=0.006)
    found = accuracies(of, 1, *ones)[0]
    nets = np.array([not name.startswith("fv_") for name in of.models])
    assert nets.sum() == 64
    assert line(found[0, nets], found[1, nets]) == pytest.approx([1.110, -0.203, 0.9957], abs=5e-4)
    assert line(probit(found[0, nets]), probit(found[1, nets]))[[0, 2]] == pytest.approx([0.968, 0.9977], abs=5e-4)
    at = of.models.index("resnet50")
    assert 100 * found[:, at] == pytest.approx([76.13, 63.33, 72.70, 78.09], abs=0.006)
