"""Predictions against people beyond the classified images: ratings with bounds, accepted labels, confusion, the set."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from robustray.tasks.crowds.confusion import Classes, by_superclass, pairs, within_superclass
from robustray.tasks.crowds.ratings import LOWER, RATED, RATINGS, UPPER, Ratings, acceptance
from robustray.tasks.crowds.sets import ACCEPTED, AcceptedLabels
from robustray.tasks.crowds.tables import read_table
from robustray.tasks.errors import InputError
from robustray.tasks.lab.serial import SerialLab
from robustray.tasks.lab.store import Store
from robustray.tasks.statistics import Estimate
from robustray.tasks.studies.labels.own_ratings import verdict
from robustray.tasks.studies.labels.settings import Settings
from robustray.tasks.studies.labels.study import STUDY
from robustray.tasks.study import Findings

Rows = Mapping[str, list[Any]]


def table(folder: Path, rows: Rows, name: str = "table.parquet") -> str:
    pq.write_table(pa.table(dict(rows)), folder / name)
    return str(folder / name)


def asked(rows: list[tuple[str, int, int, str, int]]) -> Rows:
    return dict(zip(("image", "given", "label", "rater", "answer"), map(list, zip(*rows, strict=True)), strict=True))


def simulated(num_images: int = 400, num_raters: int = 12, seed: int = 0) -> Rows:
    """Three of the raters per image, about labels 0 (given: yes with .6) and 1 (.5); label 2 is never asked about."""
    rng = np.random.default_rng(seed)
    lenient = rng.normal(0, 0.1, num_raters)
    rows = []
    for i in range(num_images):
        for label, chance in ((0, 0.6), (1, 0.5)):
            for rater in rng.choice(num_raters, 3, replace=False):
                yes = rng.random() < chance + lenient[rater]
                rows.append((f"i{i:04}", 0, label, f"r{rater}", 2 if yes else int(rng.integers(0, 2))))
    return asked(rows)


# -- ratings -----------------------------------------------------------------------------------------------------------


def test_bounds_by_hand(tmp_path: Path) -> None:
    rows = [("a", 0, 0, "x", 2), ("a", 0, 0, "y", 2), ("a", 0, 1, "x", 0), ("a", 0, 1, "y", 2)]
    rows += [("b", 0, 0, "x", 1), ("b", 0, 0, "z", 2)]
    ratings = Ratings.of(read_table(table(tmp_path, asked(rows)), RATINGS))
    found = acceptance(ratings, {"m": np.array([1, 1])}, num_resamples=200)["m"]
    assert found.num_rated == 1
    values = {bound: found.score[bound].value for bound in (LOWER, UPPER, RATED)}
    assert values == {LOWER: 0.25, UPPER: 0.75, RATED: 0.5}, "image a: one of two; nobody was asked about b"
    assert found.given.value == 0.75, "both of two, one of two"
    differences = {bound: found.difference[bound].value for bound in (LOWER, UPPER, RATED)}
    assert differences == {LOWER: -0.5, UPPER: 0, RATED: -0.5}, "rated only: image a, .5 minus 1"
    assert found.bounds.value == -0.25
    assert ratings.scores(np.array([1, 9]), 0.0).tolist() == [0.5, 0], "labels beyond the table are unrated"


def test_the_given_label_is_no_worse_than_itself(tmp_path: Path) -> None:
    ratings = Ratings.of(read_table(table(tmp_path, simulated(60)), RATINGS))
    found = acceptance(ratings, {"m": ratings.given}, num_resamples=200)["m"]
    for bound in (LOWER, UPPER, RATED):
        assert (found.difference[bound].lo, found.difference[bound].hi) == (0, 0)
    assert verdict(found, 0.03) == "equivalent"


def test_resampling_raters_widens_intervals(tmp_path: Path) -> None:
    """Two raters who answer everything and never agree: over images nothing varies, over raters everything does."""
    rows = [(f"i{i:02}", 0, 0, rater, answer) for i in range(40) for rater, answer in (("x", 2), ("y", 0))]
    ratings = Ratings.of(read_table(table(tmp_path, asked(rows)), RATINGS))
    found = acceptance(ratings, {"m": ratings.given}, num_resamples=400)["m"]
    assert (found.given.value, found.given.lo, found.given.hi) == (0.5, 0, 1)


def test_intervals_cover_over_images_and_raters(tmp_path: Path) -> None:
    """30 data sets with raters of their own leniency: the mean of the given label and the paired difference."""
    covered = []
    for seed in range(30):
        ratings = Ratings.of(read_table(table(tmp_path, simulated(200, 30, seed=seed)), RATINGS))
        found = acceptance(ratings, {"m": np.ones(200, dtype=np.int64)}, num_resamples=200, seed=seed)["m"]
        covered.append([found.given.lo <= 0.6 <= found.given.hi])
        covered.append([found.difference[LOWER].lo <= -0.1 <= found.difference[LOWER].hi])
    assert np.mean(covered) >= 0.88


def test_verdicts_need_both_bounds() -> None:
    class Fake:
        def __init__(self, lower: tuple[float, float], upper: tuple[float, float]) -> None:
            ends = zip((LOWER, UPPER), (lower, upper), strict=True)
            self.difference = {k: Estimate(value=(lo + hi) / 2, lo=lo, hi=hi, n=100) for k, (lo, hi) in ends}

    cases = {
        ((-0.02, 0.01), (-0.01, 0.02)): "equivalent",
        ((-0.2, -0.1), (-0.01, 0.02)): "undecided",
        ((-0.2, -0.1), (-0.15, -0.05)): "different",
        ((-0.2, -0.1), (0.1, 0.2)): "undecided",
        ((-0.04, 0.01), (-0.02, 0.02)): "undecided",
    }
    for (lower, upper), said in cases.items():
        assert verdict(Fake(lower, upper), 0.03) == said  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (("a", 0, 0, "x", 3), "answer, row 1"),
        (("a", 1, 0, "y", 0), "another given label"),
        (("a", 0, 0, "x", 0), "twice"),
        (("b", 0, 1, "x", 0), "nobody was asked about the given label of 1 images"),
    ],
)
def test_ratings_that_do_not_fit(row: tuple[str, int, int, str, int], says: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=says):
        Ratings.of(read_table(table(tmp_path, asked([("a", 0, 0, "x", 2), row])), RATINGS))


# -- accepted labels, confusion ----------------------------------------------------------------------------------------


def test_accepted_labels_by_hand(tmp_path: Path) -> None:
    path = table(tmp_path, {"image": ["a", "b", "c"], "given": [0, 1, 2], "accepted": [[0, 3], [], [5]]})
    found = AcceptedLabels.of(read_table(path, ACCEPTED))
    assert found.judged.tolist() == [True, False, True]
    assert found.right(np.array([3, 1, 2])).tolist() == [True, False, False]


def test_pairs_and_superclasses_by_hand() -> None:
    given = np.array([0, 0, 0, 1, 1, 2, 3, 3])
    said = {"m": np.array([0, 1, 1, 0, 1, 2, 2, 0]), "n": np.array([0, 0, 1, 1, 1, 2, 3, 3])}
    best = pairs(given, said, 2)
    assert (best[0].first, best[0].second, best[0].confused) == (0, 1, 4)
    assert best[0].decided == 4 + 3 + 3 and best[0].accuracy == pytest.approx(0.6)
    assert (best[1].first, best[1].second) == (0, 3), "ties go to the smaller classes"
    classes = Classes(name=np.array(list("abcd")), superclass=np.array(["x", "x", "y", "y"]))
    within = within_superclass(classes, given, said["m"])
    assert (within.value, within.n) == (0.8, 5)
    names, share, total = by_superclass(classes, given, said["m"])
    assert names.tolist() == ["x", "y"] and total.tolist() == [3, 2]
    assert share.tolist() == [[1, 0], [0.5, 0.5]]


# -- the study ---------------------------------------------------------------------------------------------------------


def write(folder: Path) -> Settings:
    """40 images: 30 classified (in 10 of them people see two objects and call the other main), 6 with one plausible
    label, 3 that nobody ticked, 1 with too few answers. Model "follows" says the given label, "sees" people's."""
    names = [f"i{i:02}" for i in range(40)]
    votes = []
    for i in range(30):
        for worker in range(5):
            chosen, main = ([1], 1) if i < 20 else ([1, 2], 2)
            votes.append({"image": names[i], "given": 1, "main": main, "selected": chosen, "worker": f"w{worker}"})
    pq.write_table(pa.Table.from_pylist(votes), folder / "votes.parquet")
    split = ["classified"] * 30 + ["only-given"] * 6 + ["never-ticked"] * 3 + ["too-few"]
    table(folder, {"image": names, "given": [1] * 40, "split": split}, "images.parquet")
    sees = [1] * 20 + [2] * 10 + [1] * 10
    ranked = {"follows": [[1, 2, 3, 4, 5]] * 40, "sees": [[label, 3 - label, 0, 4, 5] for label in sees]}
    table(folder, {"image": names} | ranked, "predictions.parquet")
    fits = [[1]] * 20 + [[1, 2]] * 10 + [[]] * 10
    table(folder, {"image": names, "given": [1] * 40, "accepted": fits}, "accepted.parquet")
    rows = [(names[i], 1, label, f"r{r}", 2) for i in range(40) for label in (1, 2) for r in range(4)]
    table(folder, asked(rows), "ratings.parquet")
    table(folder, {"class": list(range(6)), "name": list("abcdef"), "superclass": list("xxxyyy")}, "classes.parquet")
    files = ("votes", "images", "predictions", "accepted", "ratings", "classes")
    return Settings(num_resamples=200, **{name: str(folder / f"{name}.parquet") for name in files})  # type: ignore[arg-type]


def findings_of(settings: Settings, folder: Path) -> Findings:
    store = Store(str(folder / "store"))
    store.create()
    lab = SerialLab(store=store)
    STUDY.door(settings, lab)
    return STUDY.run(settings, lab)


def test_the_whole_set(tmp_path: Path) -> None:
    found = findings_of(write(tmp_path), tmp_path)
    frames = {each.name: each.frame for each in found.tables}
    whole = frames["whole-set"].set_index("share")
    several, other = whole.loc["several objects"], whole.loc["given label is not the main label"]
    assert (several.value, several.n, several.lowest, several.highest) == (10 / 36, 36, 0.25, 14 / 40)
    assert (other.value, other.n, other.lowest, other.highest) == (13 / 39, 39, 13 / 40, 14 / 40)
    accuracy = frames["whole-set-accuracy"].set_index(["model", "slice", "measure"]).accuracy
    assert accuracy["sees", "several objects", "top-1"] == 0 and accuracy["sees", "several objects", "top-5"] == 1
    assert accuracy["sees", "whole set", "top-1"] == 0.75 and accuracy["follows", "2 objects", "top-1"] == 1
    lost = frames["lost-on-several"].set_index("model").lost
    assert lost.to_dict() == {"follows": 0, "sees": 1}
    described = {each.words: each for each in found.descriptions}
    assert described["Accuracy that follows loses on images with several objects, the least of 2 models"].estimate == 0
    assert [claim.words for claim in found.claims] == [
        "People accept the best model's predictions as often as the given labels."
    ], "one's own data have properties; the only claim is the one with a margin"
    accepted = frames["accepted"].set_index("model").accepted
    assert accepted.to_dict() == {"(the given labels)": 1, "follows": 1, "sees": 1}
    acceptance_ = frames["acceptance"].set_index("model")
    assert acceptance_.verdict.to_dict() == {"follows": "equivalent", "sees": "equivalent"}
    assert frames["acceptance-comparisons"].p.tolist() == [1.0], "no image on which their scores differ"
    pairs_ = frames["pairs"]
    assert pairs_[pairs_.who == "models"].confused.tolist() == [10]
    within = frames["within-superclass"].set_index("name").within
    assert within["sees"] == 1 and np.isnan(within["follows"])


def test_one_table_beside_votes_at_a_time(tmp_path: Path) -> None:
    whole = write(tmp_path)
    for name in ("images", "accepted", "ratings", "classes"):
        chosen: dict[str, Any] = {name: getattr(whole, name)}
        settings = Settings(votes=whole.votes, predictions=whole.predictions, num_resamples=200, **chosen)
        assert findings_of(settings, tmp_path).tables
    alone = findings_of(Settings(votes=whole.votes, images=whole.images), tmp_path)
    assert "whole-set" in {each.name for each in alone.tables}


@pytest.mark.parametrize("selected", [[1], [1, 2]])
def test_a_set_in_which_all_images_have_one_object_or_all_have_several(selected: list[int], tmp_path: Path) -> None:
    """What models lose on images with several objects is not known then; everything else is said."""
    names = [f"i{i}" for i in range(6)]
    votes = [{"image": name, "given": 1, "main": 1, "selected": selected} for name in names for _ in range(3)]
    pq.write_table(pa.Table.from_pylist(votes), tmp_path / "votes.parquet")
    settings = Settings(
        votes=str(tmp_path / "votes.parquet"),
        predictions=table(tmp_path, {"image": names, "m": [1] * 6}, "predictions.parquet"),
        images=table(tmp_path, {"image": names, "given": [1] * 6, "split": ["classified"] * 6}, "images.parquet"),
        num_resamples=200,
    )
    frames = {each.name: each.frame for each in findings_of(settings, tmp_path).tables}
    lost = frames["lost-on-several"].iloc[0]
    assert np.isnan(lost.lost) and (lost.lost_lo if "lost_lo" in lost else lost.lo) == -1
    assert np.isnan(lost.several_objects if selected == [1] else lost.one_object)


def test_the_published_figures(shared_data: Path) -> None:
    """ReaL accuracies, and superclass confusion, of the published predictions."""
    folder = shared_data / "annotations"
    if not folder.is_dir():
        pytest.skip("no annotation tables")
    real = pd.read_parquet(folder / "real_labels.parquet")
    values = real.real.tolist()
    top = pd.read_parquet(folder / "pred_top1_imagenet_val.parquet").set_index("image_id").loc[real.image_id]
    from robustray.tasks.crowds.tables import Labels

    accepted = AcceptedLabels(
        names=real.image_id.to_numpy(str),
        given=real.class_id.to_numpy(np.int64),
        accepted=Labels(
            values=np.concatenate(values).astype(np.int64), starts=np.cumsum([0, *(len(each) for each in values)])
        ),
    )
    judged = accepted.judged
    assert judged.sum() == 46_837
    found = {model: accepted.right(top[model].to_numpy(np.int64))[judged].mean() for model in ("alexnet", "resnet50")}
    assert found == pytest.approx({"alexnet": 0.631, "resnet50": 0.830}, abs=5e-4)
    assert accepted.right(accepted.given)[judged].mean() == pytest.approx(0.900, abs=5e-4)
    named = pd.read_parquet(folder / "classes.parquet").sort_values("class_id")
    classes = Classes(name=named.name.to_numpy(str), superclass=named.superclass.to_numpy(str))
    given = top.class_id.to_numpy(np.int64)
    assert within_superclass(classes, given, top.resnet50.to_numpy(np.int64)).value == pytest.approx(0.622, abs=5e-4)
