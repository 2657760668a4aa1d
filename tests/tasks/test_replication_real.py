"""The replication study on people's answers with a known truth: tables that fit, splits that share no answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from robustray.tasks.crowds.replicas.estimators import MOMENTS, RAW
from robustray.tasks.crowds.tables import read_table
from robustray.tasks.errors import InputError
from robustray.tasks.lab.serial import SerialLab
from robustray.tasks.lab.store import Store
from robustray.tasks.studies.replication.real import CLASSES, COUNTS, PREDICTED, image_weights, most_answers, people
from robustray.tasks.studies.replication.settings import Settings
from robustray.tasks.studies.replication.study import STUDY

NUM = 3_000


def write(folder: Path, **changed: np.ndarray) -> tuple[Path, Path]:
    """Images of which 40 simulated people each say what they see; models are right with chance .2 + .7 s^2."""
    rng = np.random.default_rng(0)
    s, label = rng.beta(5, 1, NUM), rng.integers(0, 10, NUM)
    votes = np.zeros((NUM, 10), dtype=np.int64)
    right = rng.binomial(40, s)
    votes[np.arange(NUM), label] = right
    votes[np.arange(NUM), (label + 1) % 10] = 40 - right
    columns = {"index": np.arange(NUM), "label": label} | {f"count_{c}": votes[:, i] for i, c in enumerate(CLASSES)}
    chance = rng.random((2, NUM)) < 0.2 + 0.7 * s**2
    predicted = {"index": np.arange(NUM)[::-1]}
    predicted |= {f"m{i}": np.where(hit, label, (label + 1) % 10)[::-1] for i, hit in enumerate(chance)}
    files = folder / "counts.parquet", folder / "predicted.parquet"
    pq.write_table(pa.table(columns | {k: v for k, v in changed.items() if k in columns}), files[0])
    pq.write_table(pa.table(predicted | {f"{k[2:]}": v for k, v in changed.items() if k.startswith("p_")}), files[1])
    return files


def test_a_known_truth_is_found_again(tmp_path: Path) -> None:
    """Matching costs accuracy, factorial moments give it back; the same table for other blocks."""
    counts, predicted = write(tmp_path)
    frames: list[pd.DataFrame] = []
    tipping = pd.Series(dtype=float)
    for block in (2, 3):
        settings = Settings(
            counts=str(counts), predictions=str(predicted), num_splits=6, num_resamples=200, block=block
        )
        store = Store(str(tmp_path / f"store{block}"))
        store.create()
        lab = SerialLab(store=store)
        assert len(STUDY.door(settings, lab).refs) == 2
        tables = STUDY.run(settings, lab).tables
        frames.append(tables[0].frame)
        tipping = next(table.frame for table in tables if table.name == "tipping-points").iloc[0]
    assert frames[0].equals(frames[1])
    assert frames[0].n_answers.unique().tolist() == [5, 10, 20]
    at_ten = frames[0][frames[0].n_answers == 10].set_index("estimator")
    assert at_ten.gap[RAW] > 0.02 and at_ten.gap_lo[RAW] > 0
    assert at_ten.gap_lo[MOMENTS] < 0 < at_ten.gap_hi[MOMENTS]
    assert MOMENTS not in set(frames[0][frames[0].n_answers == 5].estimator), "five answers are too few"
    assert tipping.points_per_logit > 0.02 and tipping.logits * tipping.points_per_logit == pytest.approx(tipping.gap)
    assert tipping.logits_lo < 0 < tipping.logits_hi, "nothing is left to explain"
    assert at_ten.to_most[RAW] == pytest.approx(0, abs=1e-12), "the raw gap needs no answers"


def test_resamples_keep_the_number_of_images() -> None:
    weights = image_weights(50, 200, 0)
    assert (weights[0] == 1).all() and (weights.sum(axis=1) == 50).all()


def test_tables_that_do_not_fit(tmp_path: Path) -> None:
    def load(**changed: np.ndarray) -> object:
        counts, predicted = write(tmp_path, **changed)
        return people(read_table(str(counts), COUNTS), read_table(str(predicted), PREDICTED))

    with pytest.raises(InputError, match="no class 11"):
        load(label=np.full(NUM, 11))
    with pytest.raises(InputError, match="two rows"):
        load(index=np.zeros(NUM, dtype=int))
    with pytest.raises(InputError, match="same values of index"):
        load(p_index=np.arange(NUM) + 1)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"counts": "c.parquet"}, "--counts needs --predictions"),
        ({"predictions": "p.parquet"}, "--predictions needs --counts"),
        ({"counts": "c", "predictions": "p", "data": "d", "correctness": "r"}, "one of them"),
    ],
)
def test_half_of_the_tables(changes: dict[str, str], says: str) -> None:
    with pytest.raises(InputError, match=says):
        Settings(**changes)  # type: ignore[arg-type]


def test_cifar10h_is_what_its_readme_says(shared_data: Path) -> None:
    folder = shared_data / "annotations"
    found = people(
        read_table(str(folder / "cifar10h_counts.parquet"), COUNTS),
        read_table(str(folder / "cifar101_pred_original.parquet"), PREDICTED),
    )
    assert len(found.n_shown) == 10_000 and len(found.models) == 30
    assert (found.n_shown.min(), found.n_shown.max(), most_answers(found)) == (47, 63, 27)
    assert (found.n_selected / found.n_shown).mean() == pytest.approx(0.952, abs=5e-4)
    assert found.correct.mean(axis=0).min() + 0.01 > 0.82 and found.correct.mean(axis=0).max() < 0.98
