"""Answers about single labels: selection frequencies, what fewer workers would have said, and predictions judged."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from robustray.tasks.crowds.contains import CONTAINS, Contains
from robustray.tasks.crowds.ratings import LOWER, RATED, UPPER, acceptance
from robustray.tasks.crowds.tables import read_table
from robustray.tasks.errors import InputError
from robustray.tasks.lab.serial import SerialLab
from robustray.tasks.lab.store import Store
from robustray.tasks.studies.labels.own_contains import AS_OFTEN, HALF, MORE_OFTEN, NOBODY, shares
from robustray.tasks.studies.labels.settings import Settings
from robustray.tasks.studies.labels.study import STUDY
from robustray.tasks.study import Findings

Rows = list[tuple[Any, ...]]
NAMES = ("image", "given", "label", "n_shown", "n_selected", "worker")
HAND: Rows = [
    ("a", 0, 0, 8, 6),  # the given label wins
    ("a", 0, 3, 9, 2),
    ("b", 0, 0, 6, 3),  # 1/2 against 4/8: a tie of unequal counts
    ("b", 0, 1, 8, 4),
    ("c", 1, 1, 9, 0),  # nobody ticks it
    ("c", 1, 2, 9, 9),
    ("d", 2, 2, 9, 9),  # asked about alone
    ("e", 1, 0, 9, 9),  # the given label was shown to few
    ("e", 1, 1, 4, 3),
]


def contains(rows: Rows, folder: Path) -> Contains:
    return Contains.of(read_table(table(folder, rows), CONTAINS))


def table(folder: Path, rows: Rows, name: str = "contains.parquet") -> str:
    columns = dict(zip(NAMES, map(list, zip(*rows, strict=True)), strict=False))
    pq.write_table(pa.table(columns), folder / name)
    return str(folder / name)


def test_shares_by_hand(tmp_path: Path) -> None:
    found = contains(HAND, tmp_path)
    other, label = found.other()
    assert other.tolist() == [2 / 9, 0.5, 1, -1, 1] and label.tolist() == [3, 1, 2, 2, 0]
    said = {name: (each.value, each.n) for name, each in shares(found).items()}
    assert said == {AS_OFTEN: (0.6, 5), MORE_OFTEN: (0.4, 5), HALF: (0.2, 5), NOBODY: (0.2, 5)}
    assert found.split().tolist() == ["only-given", "classified", "never-ticked", "only-given", "too-few"]


def test_the_order_of_rows_does_not_matter(tmp_path: Path) -> None:
    one, other = contains(HAND, tmp_path), contains(HAND[::-1], tmp_path)
    for name in ("images", "given", "image", "label", "n_shown", "n_selected", "of_given"):
        assert (getattr(one, name) == getattr(other, name)).all(), name


def test_fewer_workers_are_the_mean_over_all_subsets(tmp_path: Path) -> None:
    """Every subset of every label's answers, one by one."""
    rows = [("a", 0, 0, 4, 2), ("a", 0, 1, 3, 1), ("a", 0, 2, 4, 3), ("b", 1, 1, 3, 3), ("c", 0, 0, 2, 1)]
    found = contains(rows, tmp_path)
    chance, kept = found.fewer([1, 2, 3])
    assert kept.tolist() == [True, True, False], "image c has two answers to its given label"
    for at, size in enumerate((1, 2, 3)):
        answers = [[1] * ticks + [0] * (shown - ticks) for _, _, _, shown, ticks in rows[:3]]
        counts = [[sum(each) for each in itertools.combinations(own, size)] for own in answers]
        cases = list(itertools.product(*counts))
        often = np.mean([max(others) >= given for given, *others in cases])
        more = np.mean([max(others) > given for given, *others in cases])
        assert np.allclose(chance[0, at], [often, more], atol=1e-12)
    assert not chance[1].any(), "no other label was asked about"


def test_labels_seen_by_few_are_left_out_of_fewer(tmp_path: Path) -> None:
    rows = [("a", 0, 0, 4, 0), ("a", 0, 1, 1, 1)]
    chance, kept = contains(rows, tmp_path).fewer([2, 4])
    assert kept.all() and not chance.any(), "the only rival was shown once"


def test_predictions_are_judged_by_ticks(tmp_path: Path) -> None:
    """Unrated predictions bound the score; without workers, intervals are over images."""
    found = contains(HAND, tmp_path)
    assert found.ratings.asked.shape[1] == 1
    predicted = {"m": np.array([3, 1, 2, 5, 1])}  # image d: nobody was asked about label 5
    accepted = acceptance(found.ratings, predicted, num_resamples=200)["m"]
    rated = np.array([2 / 9, 4 / 8, 1, 3 / 4])
    assert accepted.num_rated == 4
    assert accepted.score[LOWER].value == pytest.approx(rated.sum() / 5)
    assert accepted.score[UPPER].value == pytest.approx((rated.sum() + 1) / 5)
    assert accepted.score[RATED].value == pytest.approx(rated.mean())
    given = np.array([6 / 8, 3 / 6, 0, 1, 3 / 4])
    assert accepted.difference[LOWER].value == pytest.approx((rated.sum() - given.sum()) / 5)


def test_workers_are_drawn_again_where_they_are_known(tmp_path: Path) -> None:
    """One row per answer: the same frequencies, and wider intervals where workers differ."""
    rng = np.random.default_rng(0)
    answers: Rows = []
    for i in range(200):
        for worker in range(4):
            answers.append((f"i{i:03}", 0, 0, 1, 1, f"w{worker}"))
            answers.append((f"i{i:03}", 0, 1, 1, int(rng.random() < (0.1, 0.4, 0.7, 1.0)[worker]), f"w{worker}"))
    by_worker = contains(answers, tmp_path)
    counted: Rows = []
    for label in (0, 1):
        for i in range(200):
            own = [row for row in answers if row[0] == f"i{i:03}" and row[2] == label]
            counted.append((f"i{i:03}", 0, label, len(own), sum(row[4] for row in own)))
    plain = contains(counted, tmp_path)
    assert (by_worker.n_selected == plain.n_selected).all() and (by_worker.n_shown == plain.n_shown).all()
    predicted = {"m": np.ones(200, dtype=np.int64)}
    found = [acceptance(each.ratings, predicted, num_resamples=400)["m"].score[LOWER] for each in (by_worker, plain)]
    assert found[0].value == pytest.approx(found[1].value)
    assert found[0].hi - found[0].lo > 3 * (found[1].hi - found[1].lo)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (("a", 0, 1, 9, 10), "n_selected, row 9 .*10 of 9 workers"),
        (("a", 0, 1, 0, 0), "n_shown, row 9 .*nobody saw"),
        (("a", 0, 3, 9, 2), "row 9 .*image a, label 3 occurs in an earlier row"),
        (("a", 1, 1, 9, 2), "given, row 9 .*another given label"),
        (("f", 1, 2, 9, 2), "nobody was asked about the given label of 1 images .*f"),
        (("f", 1, 1, 2_000, 2), "image f was shown 2,000 times"),
    ],
)
def test_answers_that_do_not_fit(row: tuple[Any, ...], says: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=says):
        contains([*HAND, row], tmp_path)


def test_a_worker_counts_once(tmp_path: Path) -> None:
    rows: Rows = [("a", 0, 0, 1, 1, "x"), ("a", 0, 0, 1, 0, "y")]
    assert contains(rows, tmp_path).n_shown.tolist() == [2]
    with pytest.raises(InputError, match=r"row 2 .*worker x occurs in an earlier row"):
        contains([*rows, ("a", 0, 0, 1, 0, "x")], tmp_path)
    with pytest.raises(InputError, match="n_shown must be 1"):
        contains([*rows, ("a", 0, 0, 3, 0, "z")], tmp_path)


# -- the study ---------------------------------------------------------------------------------------------------------


def findings_of(settings: Settings, folder: Path) -> Findings:
    store = Store(str(folder / "store"))
    store.create()
    lab = SerialLab(store=store)
    STUDY.door(settings, lab)
    return STUDY.run(settings, lab)


def write(folder: Path) -> dict[str, str]:
    """30 images; in the last 10 label 2 is ticked by more workers than the given 1, and model "sees" says so."""
    names = [f"i{i:02}" for i in range(30)]
    rows: Rows = [
        (name, 1, label, 6, ticks)
        for i, name in enumerate(names)
        for label, ticks in ((1, 4), (2, 6 if i >= 20 else 1))
    ]
    models = {"follows": [1] * 30, "sees": [1] * 20 + [2] * 10}
    pq.write_table(pa.table({"image": names} | models), folder / "predictions.parquet")
    return {"contains": table(folder, rows), "predictions": str(folder / "predictions.parquet")}


def test_answers_about_single_labels_alone(tmp_path: Path) -> None:
    found = findings_of(Settings(num_resamples=200, **write(tmp_path)), tmp_path)  # type: ignore[arg-type]
    assert "in 33.3 %" in found.answer
    frames = {each.name: each.frame for each in found.tables}
    assert frames["contains"].set_index("share").value[MORE_OFTEN] == pytest.approx(1 / 3)
    fewer = frames["contains-annotators"]
    assert fewer.workers.tolist() == [1, 1, 3, 3, 5, 5, 6, 6] and (fewer.change[fewer.workers == 6] == 0).all()
    assert frames["contains-split"].images.tolist() == [10, 20, 0, 0]
    images = frames["contains-images"]
    assert (images.other_frequency[:10] == 1).all() and (images.split[:10] == "classified").all(), "suspects first"
    accepted = frames["contains-acceptance"].set_index("model")
    assert accepted.verdict.to_dict() == {"follows": "equivalent", "sees": "different"}
    assert accepted.lower_minus_given["sees"] == pytest.approx(1 / 9)
    compared = frames["contains-acceptance-comparisons"]
    assert compared.difference.tolist() == pytest.approx([-1 / 9]) and compared.p[0] < 0.01
    assert "images and raters" not in str(found.claims[0].test) and "images (bootstrap)" in found.claims[0].test
    assert [each.estimate for each in found.descriptions] == pytest.approx([1 / 3])


def test_answers_about_single_labels_beside_votes(tmp_path: Path) -> None:
    own = write(tmp_path)
    rows = [
        {"image": f"i{i:02}", "given": 1, "main": 1, "selected": [1], "worker": f"w{w}"}
        for i in range(25, 32)
        for w in range(3)
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "votes.parquet")
    votes = str(tmp_path / "votes.parquet")
    found = findings_of(Settings(votes=votes, contains=own["contains"], num_resamples=200), tmp_path)
    assert {"headline", "contains", "contains-images"} <= {each.name for each in found.tables}
    assert any("2 images of" in warning and "are not in" in warning for warning in found.warnings)
    other = [{**row, "given": 2, "main": 2, "selected": [2]} for row in rows]
    pq.write_table(pa.Table.from_pylist(other), tmp_path / "votes.parquet")
    with pytest.raises(InputError, match="image i25 has given label 1, but 2 in"):
        findings_of(Settings(votes=votes, contains=own["contains"]), tmp_path)


def test_given_labels_shown_to_fewer_than_all_others(tmp_path: Path) -> None:
    """No image whose given label as many saw: no table of fewer workers, and no word of it."""
    rows: Rows = [(f"i{i}", 0, label, 9 if label else 3, 2) for i in range(3) for label in range(12)]
    tables = findings_of(Settings(contains=table(tmp_path, rows), num_resamples=200), tmp_path).tables
    assert "contains-annotators" not in {each.name for each in tables}
    assert not any("see the next table" in each.caption for each in tables)


def test_one_label_per_image_and_one_answer(tmp_path: Path) -> None:
    """Nothing to compare with, and nobody to leave out: no nan in words, no table of fewer workers."""
    found = findings_of(Settings(contains=table(tmp_path, [("a", 0, 0, 1, 1), ("b", 1, 1, 1, 0)])), tmp_path)
    assert "nan" not in found.answer and "contains-annotators" not in {each.name for each in found.tables}
    images = next(each.frame for each in found.tables if each.name == "contains-images")
    assert (images.other == -1).all()
