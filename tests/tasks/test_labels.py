"""The simulated crowd: each of its chances, what the pipeline makes of them, and the study on small scenes."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from robustray.tasks.data.scenes import SceneSettings
from robustray.tasks.errors import InputError
from robustray.tasks.lab.protocol import Context
from robustray.tasks.lab.serial import SerialLab
from robustray.tasks.lab.store import Store
from robustray.tasks.studies.labels import reduce
from robustray.tasks.studies.labels.blocks import crowd_block
from robustray.tasks.studies.labels.crowd import (
    Crowd,
    classify,
    group_of,
    queries,
    relation,
    survivors,
    tick_chance,
)
from robustray.tasks.studies.labels.reduce import Collected
from robustray.tasks.studies.labels.settings import Settings
from robustray.tasks.studies.labels.study import STUDY
from robustray.tasks.study import Findings

SCENES = SceneSettings(split="test", n=1, classes=18, multi=0.4)
OBJECTS = np.array([[0, -1, -1], [3, 7, -1], [5, 12, 10]])
"""One object; two; three, in all three superclasses."""


def crowd(precision: float = 0.6, **changes: Any) -> Crowd:
    return dataclasses.replace(Crowd(scenes=SCENES, precision=precision, num_workers=9, num_classify=9), **changes)


def collected(precision: float = 0.6, num: int = 1_500, seed: int = 0, **changes: Any) -> Collected:
    context = Context(settings=crowd(precision, **changes), seed=seed, device="cpu", load=lambda name: None)
    rows = crowd_block(range(num), context)
    return Collected.of(pd.DataFrame({name: list(values) for name, values in rows.items()}))


# -- single steps ------------------------------------------------------------------------------------------------------


def test_relations_of_labels_by_hand() -> None:
    def of(image: int, label: int) -> str:
        return str(relation(OBJECTS[image : image + 1], np.array([label]))[0])

    assert [of(0, label) for label in (0, 1, 2, 5, 6)] == ["main", "sibling", "superclass", "superclass", "absent"]
    assert [of(1, label) for label in (3, 7, 2, 6, 0, 17)] == [
        "main",
        "other object",
        "sibling",
        "sibling",
        "superclass",
        "absent",
    ]
    assert of(2, 17) == "superclass", "three objects leave no superclass out"
    assert tick_chance(OBJECTS[:1], 18)[0, [0, 1, 3, 9]].tolist() == [0.90, 0.45, 0.12, 0.02]


def test_queries_have_the_shares_they_claim() -> None:
    rng = np.random.default_rng(0)
    objects = np.repeat(OBJECTS[1:2], 40_000, axis=0)
    query = queries(objects, 0.5, 18, rng.random((40_000, 4)))
    counts = pd.Series(relation(objects, query)).value_counts(normalize=True)
    expected = {"main": 0.5, "other object": 0.2, "sibling": 0.15, "superclass": 0.1, "absent": 0.05}
    assert {name: counts[name] for name in expected} == pytest.approx(expected, abs=0.01)
    near = query[relation(objects, query) == "superclass"]
    assert set(near.tolist()) == {0, 1, 4, 5}, "all four classes that are neither the main one's nor its sibling's"


def test_a_single_object_has_no_other() -> None:
    rng = np.random.default_rng(1)
    objects = np.repeat(OBJECTS[:1], 5_000, axis=0)
    query = queries(objects, 0.0, 18, rng.random((5_000, 4)))
    found = set(relation(objects, query).tolist())
    assert found == {"sibling", "superclass", "absent"}


def test_survivors_are_half_as_confident_and_five_at_most() -> None:
    contained = np.zeros((2, 18), dtype=int)
    contained[0, [0, 1, 2, 3, 4]] = [8, 4, 3, 9, 0]
    contained[1, :8] = [2, 9, 9, 8, 7, 6, 5, 4]
    kept = survivors(contained, np.array([0, 0]))
    assert np.flatnonzero(kept[0]).tolist() == [0, 1, 3]
    assert np.flatnonzero(kept[1]).tolist() == [0, 1, 2, 3, 4, 5], "the five best, and the given one"


def test_classify_by_forced_luck() -> None:
    """Everyone notices everything (draws near 0) and takes the first of the weights."""
    surviving = np.zeros((3, 18), dtype=bool)
    surviving[0, [0, 1]], surviving[1, [3, 7, 15]], surviving[2, [17]] = True, True, True
    zero = np.zeros((3, 2, 3))
    main, selected = classify(
        OBJECTS, surviving, np.array([0, 3, 17]), noticed=zero, named=zero, chosen=np.array([[0.0, 0.95]] * 3)
    )
    assert main.tolist() == [[0, 0], [3, 7], [17, 17]], "a worker in ten calls another object main"
    assert [np.flatnonzero(row).tolist() for row in selected[:, 0]] == [[0], [3, 7], [17]]
    blind = np.full((3, 2, 3), 0.99)
    main, selected = classify(
        OBJECTS, surviving, np.array([1, 15, 17]), noticed=blind, named=zero, chosen=np.zeros((3, 2))
    )
    assert main[:, 0].tolist() == [1, 15, 17], "who can name nothing takes the given label"


def test_main_labels_are_always_selected() -> None:
    found = collected(0.4, 600)
    assert np.take_along_axis(found.selected, found.main[:, :, None], axis=2).all()
    assert not (found.selected & ~found.surviving[:, None, :]).any()
    groups = group_of(np.arange(18))
    per_group = np.stack([found.selected[:, :, groups == g].sum(axis=2) for g in range(3)])
    assert per_group.max() == 1, "one name for one object, and objects are of different superclasses"


# -- the pipeline ------------------------------------------------------------------------------------------------------


def test_given_labels_are_outputs_and_right_where_the_search_is() -> None:
    perfect = collected(1.0, 800)
    assert (perfect.query == perfect.objects[:, 0]).all()
    frame = reduce.collection({1.0: perfect}, [3, 9], [0.5, 0.8])
    assert (frame.not_main == 0).all() and (frame.false_accepts == 0).all()
    assert (frame.not_classify < 0.12).all() and (frame.not_contains > frame.not_classify).all()
    lax, strict = (frame[frame.threshold == threshold].kept.to_numpy() for threshold in (0.5, 0.8))
    assert (strict < lax).all()


def test_worse_searches_meet_the_same_luck() -> None:
    """Whoever is asked the right question at precision .4 is asked it at .8, too; and hears the same answers."""
    bad, good = collected(0.4), collected(0.8)
    right_before = bad.query == bad.objects[:, 0]
    assert (good.query[right_before] == good.objects[right_before, 0]).all()
    same = bad.query == good.query
    assert (bad.ticks[same] == good.ticks[same]).all() and (bad.objects == good.objects).all()


def test_the_share_falls_as_precision_rises() -> None:
    found = {precision: collected(precision) for precision in (0.4, 0.7, 1.0)}
    frame = reduce.collection(found, [9], [0.5])
    assert frame.not_main.is_monotonic_decreasing and frame.not_main.iloc[-1] == 0
    kept = [found[precision].kept(9, 0.5) for precision in (0.4, 1.0)]
    change = reduce.change(found[0.4], kept[0], found[1.0], kept[1], num_resamples=400)
    assert change.value == pytest.approx(-frame.not_main.iloc[0]) and change.hi < -0.3
    nothing = reduce.change(found[0.7], kept[0], found[0.7], kept[0], num_resamples=400)
    assert (nothing.value, nothing.lo, nothing.hi) == (0, 0, 0)


def test_thresholds_count_whole_workers() -> None:
    found = collected(num=400)
    assert (found.kept(9, 5 / 9) == (found.ticks.sum(axis=1) >= 5)).all()
    assert (found.kept(9, 0.5) == (found.ticks.sum(axis=1) >= 5)).all()
    assert (found.kept(4, 0.5) == (found.ticks[:, :4].sum(axis=1) >= 2)).all()


def test_people_see_what_is_there() -> None:
    """Nearly always the right number of objects and, up to siblings, always the main one; the parts add up."""
    found = collected(0.8)
    kept = found.kept(9, 0.5)
    people = reduce.people(found, kept)
    parts = reduce.split(found, kept)
    assert parts.number.sum() == kept.sum() and parts.number[0] == people.votes.num_images
    truth = reduce.against_truth(found, people)
    assert truth["number of objects is right"].value > 0.93
    assert truth["main label is the main object's class"].value > 0.92
    assert truth["main label is that class or its sibling"].value > 0.99
    single = ~found.multi[people.images]
    assert (people.found.num_objects[single] == 1).all(), "no single object is seen as several"


def test_more_people_see_better() -> None:
    kept = collected(0.8).kept(9, 0.5)
    right = []
    for num_classify in (3, 15):
        found = collected(0.8, num_classify=num_classify)
        truth = reduce.against_truth(found, reduce.people(found, kept))
        right.append(truth["main label is the main object's class"].value)
    assert right[1] > right[0] + 0.02


def test_a_scene_depends_on_seed_and_index_alone() -> None:
    context = Context(settings=crowd(), seed=5, device="cpu", load=lambda name: None)
    whole, part = crowd_block([0, 1, 2, 700], context), crowd_block([700], context)
    for name in whole:
        assert (np.asarray(whole[name])[3:] == np.asarray(part[name])).all(), name
    other = crowd_block(range(40), dataclasses.replace(context, seed=6))
    assert (np.asarray(other["query"]) != np.asarray(crowd_block(range(40), context)["query"])).any()


# -- the study ---------------------------------------------------------------------------------------------------------


def findings_of(settings: Settings, folder: Path) -> Findings:
    store = Store(str(folder / "store"))
    store.create()
    lab = SerialLab(store=store)
    STUDY.door(settings, lab)
    return STUDY.run(settings, lab)


def test_the_study_on_a_few_scenes(tmp_path: Path) -> None:
    small = Settings(
        test_data="scenes:test,n=400,classes=18,multi=0.5,size=16,aa=1",
        train_data="scenes:train,n=130,classes=18,multi=0.5,size=16,aa=1",
        epochs=1,
        num_resamples=200,
    )
    found = findings_of(small, tmp_path)
    assert [claim.verdict for claim in found.claims][:2] == ["supported", "supported"]
    assert {table.name for table in found.tables} == {"headline", "collection", "split", "accuracy", "suspect-labels"}
    accuracy = next(table.frame for table in found.tables if table.name == "accuracy")
    assert set(accuracy.model) == {"trained on given labels", "trained on main labels"}
    assert len(found.pictures) == 1


def test_claims_count_the_images_that_their_shares_are_of(tmp_path: Path) -> None:
    """400 scenes, of which too few are kept with several objects: an interval over scenes does not make them many."""
    few = Settings(
        test_data="scenes:test,n=400,classes=18,multi=0.04,size=16,aa=1",
        train_data="scenes:train,n=40,classes=18,multi=0.5,size=16,aa=1",
        epochs=0,
        num_resamples=200,
    )
    assert [claim.verdict for claim in findings_of(few, tmp_path).claims] == ["undecided"] * 4


def write_tables(folder: Path) -> None:
    """30 images: in the last 10 people see two objects and call the other one main."""
    rows = []
    for i in range(30):
        for worker in range(5):
            chosen, main = ([1], 1) if i < 20 else ([1, 2], 2)
            rows.append({"image": f"i{i}", "given": 1, "main": main, "selected": chosen, "worker": f"w{worker}"})
    pq.write_table(pa.Table.from_pylist(rows), folder / "votes.parquet")
    images = [f"i{i}" for i in range(30)]
    pq.write_table(pa.table({"image": images, "follows": [1] * 30, "sees": [1] * 20 + [2] * 10}), folder / "p.parquet")


def test_answers_of_ones_own(tmp_path: Path) -> None:
    write_tables(tmp_path)
    settings = Settings(votes=str(tmp_path / "votes.parquet"), predictions=str(tmp_path / "p.parquet"))
    found = findings_of(settings, tmp_path)
    assert "33.3 %" in found.answer and "100.0 %" in found.answer
    follow = next(table.frame for table in found.tables if table.name == "main-minus-given").set_index("model")
    assert follow.difference.to_dict() == {"follows": -1.0, "sees": 1.0}
    fewer = next(table.frame for table in found.tables if table.name == "annotators")
    assert list(dict.fromkeys(fewer.workers)) == ["1", "3", "5", "extrapolated"]
    assert (fewer.change.dropna() == 0).all() and fewer.value.nunique() == 3, "all workers agree here"
    ties = next(table.frame for table in found.tables if table.name == "ties")
    assert (ties.lowest == ties.highest).all(), "nothing is tied here"
    compared = next(table.frame for table in found.tables if table.name == "comparisons").set_index("measure")
    assert compared.loc["main label", ["first", "second"]].tolist() == ["follows", "sees"]
    assert (compared.difference["main label"], compared.n["main label"]) == (-1.0, 10)
    assert compared.p["main label"] == pytest.approx(2 / 2**10), "all ten discordant pairs on one side"
    assert compared.p["any label"] == 1, "no discordant pair"
    assert (compared.difference["selection frequency"], compared.p["selection frequency"]) == (0, 1), "all select both"
    selected = next(table.frame for table in found.tables if table.name == "selected")
    assert (selected.selected == 1).all() and (selected.minus_given.dropna() == 0).all()
    assert {figure.name for figure in found.figures} == {
        *("headline", "objects-per-image", "selection-frequencies", "headlines-by-workers"),
        "accuracy-several-objects",
    }
    assert found.claims == () and len(found.descriptions) == 3
    assert found.descriptions[2].estimate is None and "--contains" in found.descriptions[2].measured
    suspects = next(table.frame for table in found.tables if table.name == "suspect-labels")
    assert len(suspects) == 10 and (suspects.given_votes == 5).all()
    assert set(suspects.selected) == {"1:5 2:5"}


@pytest.mark.parametrize("model", ["one-coin", "dawid-skene"])
def test_answers_of_ones_own_weighed_by_their_workers(
    model: Literal["one-coin", "dawid-skene"], tmp_path: Path
) -> None:
    """Two good workers against three who guess: the label of most votes is wrong in places, the weighed one nowhere."""
    rng = np.random.default_rng(1)
    rows = []
    for i in range(200):
        for worker in range(5):
            main = i % 4 + 10 if worker < 2 else int(rng.integers(10, 14))
            given = i % 4 + 10 if i >= 20 else (i + 1) % 4 + 10
            rows.append({"image": f"i{i:03}", "given": given, "main": main, "selected": [main], "worker": f"w{worker}"})
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "votes.parquet")
    found = findings_of(Settings(votes=str(tmp_path / "votes.parquet"), worker_model=model), tmp_path)
    tables = {table.name: table.frame for table in found.tables}
    shares = tables["weighed"].set_index("share").value
    assert shares["given label is not the most probable one"] == 0.1, "20 wrong labels in 200"
    assert shares["given label is not the most frequent main answer"] > 0.15
    assert set(tables["workers"].worker[:3]) == {"w2", "w3", "w4"}, "least accurate first"
    labels = tables["weighed-labels"]
    assert (labels.most_probable == [i % 4 + 10 for i in range(200)]).all()
    assert ((labels.lo <= labels.probability) & (labels.probability <= labels.hi)).mean() > 0.9
    assert found.warnings == ()


def test_classes_in_another_order_are_noticed(tmp_path: Path) -> None:
    """With its classes numbered from the other end, a good model looks like one that guesses."""
    rng = np.random.default_rng(0)
    given = rng.integers(0, 20, 60)
    rows = [
        {"image": f"i{i:02}", "given": int(label), "main": int(label), "selected": [int(label)]}
        for i, label in enumerate(given)
        for _ in range(5)
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "votes.parquet")
    models = {"good": given, "backwards": 19 - given}
    pq.write_table(pa.table({"image": [f"i{i:02}" for i in range(60)]} | models), tmp_path / "p.parquet")
    settings = Settings(
        votes=str(tmp_path / "votes.parquet"), predictions=str(tmp_path / "p.parquet"), num_resamples=200
    )
    (warning,) = findings_of(settings, tmp_path).warnings
    assert warning.startswith("backwards: its predictions") and "are its classes numbered as in" in warning


def test_many_models_are_lines(tmp_path: Path) -> None:
    write_tables(tmp_path)
    images = [f"i{i}" for i in range(30)]
    models = {f"m{k}": [1] * (30 - k) + [2] * k for k in range(7)}
    pq.write_table(pa.table({"image": images} | models), tmp_path / "p.parquet")
    settings = Settings(votes=str(tmp_path / "votes.parquet"), predictions=str(tmp_path / "p.parquet"))
    found = findings_of(settings, tmp_path)
    drawn = next(figure for figure in found.figures if figure.name == "accuracy-several-objects")
    assert "7 models" in drawn.caption and "models, sorted by the given label" in drawn.svg


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"worker_model": "one-coin"}, "--worker-model needs --votes"),
        ({"precisions": (0.8, 0.6)}, "ascend"),
        ({"precisions": (0.5, 1.5)}, "more than 1"),
        ({"thresholds": ()}, "thresholds"),
        ({"claimed_precision": 0.5}, "claimed_precision: 0.5 is none of"),
        ({"claimed_workers": 4}, "claimed_workers"),
        ({"num_classify": 0}, "num_classify"),
        ({"test_data": "digits:test"}, "only scenes have"),
        ({"predictions": "p.parquet"}, "--predictions needs --votes"),
    ],
)
def test_settings_that_do_not_fit(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        Settings(**changes)
