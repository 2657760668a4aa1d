"""Two runs side by side: cells that meet, differences counted by hand, and what is refused."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from robustray.tasks import comparison
from robustray.tasks.comparison import compare_runs, differences
from robustray.tasks.errors import InputError
from robustray.tasks.lab.runs import Run, RunFile, RunIdentity
from robustray.tasks.lab.store import Store
from robustray.tasks.statistics import mcnemar_exact, paired_difference
from robustray.tasks.study import Findings, RunTables, load_study
from robustray.tasks.sweeps.compare import compare

NUM_IMAGES = 8
WRONG = 7
"""The image that is misclassified without any attack."""


def rows(
    broken: Sequence[int],
    *,
    model: str = "m",
    attack: str = "pgd",
    eps: float = 8 / 255,
    seed: int = 0,
    norm: str = "linf",
    data: str = "d",
    num_images: int = NUM_IMAGES,
) -> pd.DataFrame:
    """One cell of a run's `images` table."""
    index = np.arange(num_images)
    wrong = index == WRONG
    return pd.DataFrame(
        {
            "data": data,
            "model": model,
            "norm": norm,
            "attack": attack,
            "seed": seed,
            "eps": eps,
            "index": index,
            "label": 0,
            "clean_prediction": wrong.astype(int),
            "success": wrong | np.isin(index, broken),
        }
    )


def run_of(*cells: pd.DataFrame, label: str = "A", **hashes: str) -> RunTables:
    whole = pd.concat(cells, ignore_index=True)
    return RunTables(
        label=label, settings={}, hashes={"data d": "1234", **hashes}, read=lambda table, columns: whole[list(columns)]
    )


def table(found: Findings, name: str = "differences") -> pd.DataFrame:
    return next(t.frame for t in found.tables if t.name == name)


# -- the attack sweep --------------------------------------------------------------------------------------------------


def test_differences_by_hand() -> None:
    """Of seven images, A breaks 0 1 2 and B breaks 2 3 4 5: two stand in B only, three in A only."""
    found = compare(run_of(rows([0, 1, 2])), run_of(rows([2, 3, 4, 5]), label="B"))
    clean, attacked = table(found).to_dict("records")
    assert (clean["eps"], clean["accuracy_A"], clean["accuracy_B"], clean["difference"]) == (0.0, 7 / 8, 7 / 8, 0.0)
    assert (attacked["accuracy_A"], attacked["accuracy_B"], attacked["n"]) == (4 / 8, 3 / 8, 8)
    assert (attacked["only_A"], attacked["only_B"]) == (3, 2)
    stands_a, stands_b = (np.isin(np.arange(8), broken, invert=True) for broken in ([0, 1, 2, 7], [2, 3, 4, 5, 7]))
    expected = paired_difference(stands_b, stands_a)
    assert (attacked["difference"], attacked["lo"], attacked["hi"]) == (expected.value, expected.lo, expected.hi)
    assert attacked["p"] == mcnemar_exact(3, 2) and attacked["p_holm"] == 1.0
    assert "n = 8 paired images" in found.answer and "2 comparisons" in found.answer and "ℓ∞ 8/255" in found.answer
    differ = table(found, "images-that-differ")
    assert sorted(differ["index"]) == [0, 1, 3, 4, 5]


def test_a_run_against_itself_differs_in_nothing() -> None:
    cells = [rows([0], eps=0.1), rows([0, 1], eps=0.2), rows([3], attack="fgsm", eps=0.1)]
    found = compare(run_of(*cells), run_of(*cells, label="B"))
    for name in ("differences", "differences-by-attack"):
        assert (table(found, name).difference == 0).all() and (table(found, name).p_holm == 1).all()
    assert found.warnings == () and table(found, "images-that-differ").empty


def test_swapping_the_runs_turns_every_sign() -> None:
    a, b = run_of(rows([0, 1, 2])), run_of(rows([3]))
    there, back = table(compare(a, b)), table(compare(b, a))
    np.testing.assert_allclose(there.difference, -back.difference)
    np.testing.assert_allclose(there.lo, -back.hi)
    assert there.p.tolist() == back.p.tolist()


def test_p_values_are_adjusted_for_every_comparison_of_the_page() -> None:
    many = dict(num_images=40)
    a = run_of(*(rows([], attack=k, **many) for k in ("pgd", "fgsm")))  # type: ignore[arg-type]
    b = run_of(*(rows(range(20), attack=k, **many) for k in ("pgd", "fgsm")))  # type: ignore[arg-type]
    found = compare(a, b)
    whole = pd.concat([table(found), table(found, "differences-by-attack")])
    assert len(whole) == 4 and "4 comparisons" in found.answer  # clean, worst case, two attacks
    assert whole.p_holm.max() == 1.0 and whole.p_holm.min() == pytest.approx(4 * whole.p.min())


def test_the_worst_case_is_each_runs_own() -> None:
    """A's second attack has no partner in B, and counts in A's worst case all the same."""
    found = compare(run_of(rows([0]), rows([1, 2], attack="square")), run_of(rows([0])))
    attacked = table(found).iloc[1]
    assert (attacked.accuracy_A, attacked.accuracy_B) == (4 / 8, 6 / 8)
    assert table(found, "differences-by-attack").attack.tolist() == ["pgd"]
    assert any("Only in A" in line and "square" in line for line in found.warnings)


def test_one_model_against_another_is_what_is_compared() -> None:
    found = compare(run_of(rows([0], model="standard")), run_of(rows([], model="robust"), label="B"))
    assert set(table(found).model) == {"standard (A), robust (B)"} and not found.warnings
    with pytest.raises(InputError, match="no model: x, y in A, z in B"):
        compare(run_of(rows([], model="x"), rows([], model="y")), run_of(rows([], model="z")))


def test_one_attack_against_another_is_what_is_compared() -> None:
    found = compare(run_of(rows([0], attack="pgd")), run_of(rows([0, 1], attack="autoattack"), label="B"))
    assert table(found).difference.tolist() == [0, -1 / 8] and "differences-by-attack" not in [
        t.name for t in found.tables
    ]
    assert "A over pgd, B over autoattack" in found.tables[0].caption


@pytest.mark.parametrize(
    ("seeds_a", "seeds_b", "says"),
    [
        ((0,), (0, 1), "compared with seed 0."),
        ((0,), (1,), "compared with seed 0 of A and 1 of B."),
        ((0, 1), (5,), "compared with seed 0 of A and 5 of B."),
    ],
)
def test_more_seeds_are_no_stronger_attack(seeds_a: tuple[int, ...], seeds_b: tuple[int, ...], says: str) -> None:
    """Every seed breaks another image; only equally many of them count."""
    a, b = (run_of(*(rows([seed], seed=seed) for seed in seeds)) for seeds in (seeds_a, seeds_b))
    found = compare(a, b)
    assert table(found).iloc[1].accuracy_A == table(found).iloc[1].accuracy_B == 6 / 8
    assert any(line.endswith(says) for line in found.warnings)


def test_only_the_images_of_both_count() -> None:
    found = compare(run_of(rows([0, 6])), run_of(rows([0], num_images=4)))
    assert table(found).n.tolist() == [4, 4] and table(found).iloc[1].difference == 0
    assert found.warnings == ("A has 8 images, B 4: compared over the 4 of both.",)


def test_images_are_counted_in_the_data_that_both_runs_have() -> None:
    """B's further data are no reason to say that it has more images of the same; A's shorter part of e is."""
    known = {"data e": "5678", "data other": "9999"}
    here = run_of(rows([0]), rows([], data="e", num_images=3), **known)
    there = run_of(rows([0]), rows([], data="e"), rows([], data="other", num_images=30), label="B", **known)
    assert compare(here, there).warnings == (
        "Only in B, with no row here: data other.",
        "A has 3 images of e, B 8: compared over the 3 of both.",
    )


def test_images_that_stand_and_lack_a_verdict_are_left_out() -> None:
    """Square gave up on images 0 and 6 in B: 0 fell to PGD, 6 stood."""
    cells = [rows([0]), rows([1], attack="square")]
    found = compare(run_of(*cells), run_of(cells[0], cells[1].drop(index=[0, 6]), label="B"))
    clean, attacked = table(found).to_dict("records")
    assert (clean["n"], attacked["n"]) == (8, 7) and attacked["difference"] == 0
    assert table(found, "differences-by-attack").n.tolist() == [8, 6]


def test_images_meet_by_content_not_by_name() -> None:
    here, there = run_of(rows([0])), run_of(rows([0], data="folder/d"), **{"data folder/d": "1234"})
    assert len(table(compare(here, there))) == 2
    with pytest.raises(InputError, match=r"no images \(data of the same content\)"):
        compare(here, replace(there, hashes={"data folder/d": "other"}))


def test_no_common_size_is_no_comparison() -> None:
    with pytest.raises(InputError, match="no cell"):
        compare(run_of(rows([], eps=0.1)), run_of(rows([], eps=0.2)))
    with pytest.raises(InputError, match="no cell"):
        compare(run_of(rows([], eps=0.1)), run_of(rows([], eps=0.1, norm="l2")))


def test_the_figure_has_both_runs() -> None:
    cells = list(itertools.product(("m", "k"), (0.1, 0.2)))
    a, b = (run_of(*(rows(broken, model=m, eps=e) for m, e in cells)) for broken in ([0], [0, 1]))
    main, *_ = compare(a, b).figures
    for label in ("m · A", "m · B", "k · A", "k · B"):
        assert label in main.svg and label in main.alt


# -- any study ---------------------------------------------------------------------------------------------------------


def a_run(store: Store, name: str, *, cells: Sequence[pd.DataFrame] = (), **changes: Any) -> Run:
    """A finished run with its `images` table, as the engine leaves it."""
    settings = {"type": "x:Settings", "num_steps": 20, "eps": [8 / 255], "inner": {"deep": 1}} | changes.pop("set", {})
    identity = RunIdentity(
        study=changes.pop("study", "attack-sweep"),
        size="quick",
        settings=settings,
        seed=0,
        hash8=name[-8:],
        code=changes.pop("code", "c0de"),
    )
    given: dict[str, Any] = {
        "status": "finished",
        "environment": {"versions": {"torch": "2.14"}, "hardware": {"device": "cpu", "precision": "bf16", "cpus": 2}},
        "hashes": {"data d": "1234", "model m": "5678", "code": "c0de"},
        "document": {"answer": f"the answer of {name}", "tables": {}},
    }
    file = RunFile(
        id=name,
        identity=identity,
        created="2026-01-01T00:00:00",
        command=f"run {name}",
        options={},
        **(given | changes),
    )
    run = Run(store, file)
    run.save()
    if cells:
        import io

        buffer = io.BytesIO()
        pd.concat(cells).to_parquet(buffer)
        run.write("tables/images.parquet", buffer.getvalue())
    return run


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "runs"))


A, B = "attack-sweep-20260101-000000-aaaaaaaa", "attack-sweep-20260102-000000-bbbbbbbb"


def test_every_kind_of_difference_is_named(store: Store) -> None:
    a = a_run(store, A)
    b = a_run(
        store,
        B,
        set={"num_steps": 50, "eps": [4 / 255], "inner": {"deep": 2}},
        code="other",
        hashes={"data d": "1234", "model m": "9999" * 16, "code": "other"},
        environment={"versions": {"torch": "2.15"}, "hardware": {"device": "cpu", "precision": "fp32", "gpu": "x"}},
    )
    found = {(d.kind, d.name): (d.a, d.b) for d in differences(a, b)}
    assert found == {
        ("setting", "num_steps"): ("20", "50"),
        ("setting", "eps"): ("8/255", "4/255"),
        ("setting", "inner.deep"): ("1", "2"),
        ("data and weights", "model m"): ("5678", "9999999999999999…"),
        ("code", "study and attacks"): ("c0de", "other"),
        ("numerics", "precision"): ("bf16", "fp32"),
        ("version", "torch"): ("2.14", "2.15"),
        ("machine", "cpus"): ("2", "–"),
        ("machine", "gpu"): ("–", "x"),
    }
    assert list(differences(a, a)) == []


def test_page_tables_and_document(store: Store, tmp_path: Path) -> None:
    """The same name for other weights is the trap; the page says it at its top."""
    a = a_run(store, A, cells=[rows([0])])
    b = a_run(store, B, cells=[rows(range(7))], hashes={"data d": "1234", "model m": "0000", "code": "c0de"})
    found = compare_runs(a, b, command="robustray compare A B")
    page = Path(found.page)
    assert page == tmp_path / "runs" / "compare" / f"{A}--20260102-000000-bbbbbbbb" / "index.html"
    text = page.read_text()
    for words in (f"the answer of {A}", f"../../{B}/report.html", "robustray compare A B", f"run {A}", "Equal in both"):
        assert words in text
    assert "same name stands for other content" in text.split("<main>")[0]
    document = json.loads(json.dumps(found.document, allow_nan=False))
    assert document["runs"] == {"A": A, "B": B} and document["report"] == found.page
    kept = pd.read_parquet(document["tables"]["differences"])
    assert document["cells"]["differences"] == kept.to_dict("records")
    assert 0 < document["cells"]["differences"][1]["p"] < 0.05


def test_runs_of_two_stores_meet_too(store: Store, tmp_path: Path) -> None:
    other = Store(str(tmp_path / "elsewhere"))
    found = compare_runs(a_run(store, A, cells=[rows([0])]), a_run(other, A, cells=[rows([1])]), command="c")
    assert f'href="../../../elsewhere/{A}/report.html"' in Path(found.page).read_text()


def test_a_study_without_a_paired_comparison_says_so(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    study = replace(load_study("attack-sweep"), compare=None)
    monkeypatch.setattr(comparison, "load_study", lambda name: study)
    found = compare_runs(a_run(store, A), a_run(store, B, set={"num_steps": 3}), command="c")
    assert "no paired comparison" in found.findings.answer and not found.tables
    assert [(d.name, d.b) for d in found.facts.differences] == [("num_steps", "3")]
    assert "no paired comparison" in Path(found.page).read_text()


def test_what_cannot_be_compared_is_refused_before_anything_is_written(store: Store, tmp_path: Path) -> None:
    a = a_run(store, A, cells=[rows([0])])
    for other, says in (
        (a, "given twice"),
        (a_run(store, B, study="other-study"), "give two of one study"),
        (a_run(store, B, status="running"), "running, not finished: `robustray resume"),
        (a_run(store, B, status="failed", error="out of disk"), "failed, not finished"),
        (a_run(store, B, status="interrupted", document={}), "interrupted, not finished"),
        (a_run(store, B), "no table 'images' any more: `robustray report"),
    ):
        with pytest.raises(InputError, match=says):
            compare_runs(a, other, command="c")
    b = a_run(store, B)
    b.write("tables/images.parquet", b"no table")
    with pytest.raises(InputError, match="damaged"):
        compare_runs(a, b, command="c")
    assert not (tmp_path / "runs" / "compare").exists()


def test_a_run_with_items_given_up_counts_as_finished_and_says_so(store: Store) -> None:
    a = a_run(store, A, cells=[rows([0])])
    b = a_run(store, B, cells=[rows([0]).iloc[:6]], status="failed", failures=[{"step": "attack"}])
    found = compare_runs(a, b, command="c")
    assert found.document["cells"]["differences"][1]["n"] == 6
    assert any("1 items were given up" in line for line in found.document["warnings"])
