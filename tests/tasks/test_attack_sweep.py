"""The attack sweep: reductions against counts by hand, and invariants of a tiny run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from robustray.tasks.errors import InputError
from robustray.tasks.kit.sizes import reference_size
from robustray.tasks.lab.serial import SerialLab
from robustray.tasks.lab.store import Store
from robustray.tasks.statistics.intervals import wilson
from robustray.tasks.studies.attack_sweep.settings import SIZES, Settings, estimate
from robustray.tasks.studies.attack_sweep.study import STUDY
from robustray.tasks.study import Findings
from robustray.tasks.sweeps.options import PASSED
from robustray.tasks.sweeps.records import Cell, cost, records, robust_accuracy, worst_case, worst_case_accuracy

TINY = replace(
    SIZES["quick"], models=("digits:mlp",), num_images=40, eps_linf=(0.05, 0.2), eps_l2=(0.4,), num_examples=2, block=16
)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Findings:
    lab = SerialLab(store=Store(str(tmp_path_factory.mktemp("store"))))
    return STUDY.run(replace(TINY, num_seeds=2), lab)


def table(found: Findings, name: str) -> pd.DataFrame:
    return next(t.frame for t in found.tables if t.name == name)


def clean_rows(correct: list[bool]) -> pd.DataFrame:
    n = len(correct)
    prediction = np.where(correct, 0, 1).astype(np.int16)
    return pd.DataFrame(
        {
            "index": range(n),
            "label": np.int16(0),
            "prediction": prediction,
            "loss": np.float32(1),
            "correct": correct,
        }
    )


def attack_rows(indices: list[int], broken: list[int]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "index": indices,
            "label": np.int16(0),
            "clean_prediction": np.int16(0),
            "prediction": [np.int16(i in broken) for i in indices],
            "success": [i in broken for i in indices],
            "loss": np.float32(2),
            "distance": np.float32(0.1),
            "evaluations": 5,
            "fell_to": ["pgd" if i in broken else "" for i in indices],
        }
    )


def test_records_by_hand() -> None:
    """Four images: 3 is wrong from the start, 1 falls at the small size, 0 at the large one, 2 stands."""
    cell = Cell("d", "m", "linf", "pgd", 0)
    clean = {cell: clean_rows([True, True, True, False])}
    stages = {cell: [(0.1, attack_rows([0, 1, 2], [1])), (0.2, attack_rows([0, 2], [0]))]}
    rows = records(clean, stages)
    assert rows[rows.eps == 0.1].success.tolist() == [False, True, False, True]
    assert rows[rows.eps == 0.2].success.tolist() == [True, True, False, True]
    assert rows[rows.eps == 0.2].carried.tolist() == [False, True, False, True]
    assert rows[rows.eps == 0.2].evaluations.tolist() == [5, 0, 5, 0]
    accuracy = robust_accuracy(rows)
    assert accuracy.robust_accuracy.tolist() == [0.5, 0.25]
    assert accuracy.n.tolist() == [4, 4]
    assert (accuracy.lo[0], accuracy.hi[0]) == pytest.approx(tuple(map(float, wilson(2, 4))))
    assert cost(rows)[["attacked", "evaluations", "per_image"]].to_numpy().tolist() == [[3, 15, 5], [2, 10, 5]]


def test_the_worst_case_is_per_image_not_the_minimum_of_the_means() -> None:
    stages = {
        Cell("d", "m", "linf", "a", 0): [(0.1, attack_rows([0, 1, 2, 3], [0, 1]))],
        Cell("d", "m", "linf", "b", 0): [(0.1, attack_rows([0, 1, 2, 3], [2]))],
    }
    worst = worst_case_accuracy(worst_case(records(dict.fromkeys(stages, clean_rows([True] * 4)), stages)))
    assert worst.robust_accuracy.tolist() == [0.25]  # the attacks alone leave 0.5 and 0.75


def test_missing_rows_lower_n_and_nothing_else() -> None:
    """An item that was given up has no row: it must not count as surviving or as broken."""
    cell = Cell("d", "m", "linf", "pgd", 0)
    rows = records({cell: clean_rows([True] * 4)}, {cell: [(0.1, attack_rows([0, 1, 3], [1]))]})
    assert robust_accuracy(rows)[["robust_accuracy", "n"]].to_numpy().tolist() == [[2 / 3, 3]]


def test_an_image_without_all_verdicts_is_in_the_worst_case_only_where_it_fell() -> None:
    """Attack b gave up on images 1 and 3: 1 fell to a, and 3, which stood under a, may have fallen to b."""
    stages = {
        Cell("d", "m", "linf", "a", 0): [(0.1, attack_rows([0, 1, 2, 3], [1]))],
        Cell("d", "m", "linf", "b", 0): [(0.1, attack_rows([0, 2], [2]))],
    }
    rows = records(dict.fromkeys(stages, clean_rows([True] * 4)), stages)
    assert dict(worst_case(rows)[["index", "success"]].to_numpy().tolist()) == {0: False, 1: True, 2: True}


def test_accuracy_never_rises_with_the_size(found: Findings) -> None:
    for _, rows in table(found, "by-attack").groupby(["model", "norm", "attack", "seed"], observed=True):
        assert rows.sort_values("eps").robust_accuracy.is_monotonic_decreasing


def test_the_worst_case_is_at_most_every_attack(found: Findings) -> None:
    worst = table(found, "worst-case").set_index(["norm", "eps"]).robust_accuracy
    for row in table(found, "by-attack").itertuples():
        assert worst[row.norm, row.eps] <= row.robust_accuracy


def test_every_image_of_every_cell_has_one_row(found: Findings) -> None:
    rows = table(found, "images")
    assert not rows.duplicated(["data", "model", "norm", "attack", "seed", "eps", "index"]).any()
    assert len(rows) == 40 * 3 * 2 * (2 + 1)  # images, attacks, seeds, sizes of both norms


def test_distances_keep_to_the_size(found: Findings) -> None:
    rows = table(found, "images")
    assert (rows.distance <= rows.eps * (1 + 1e-5)).all()


def test_seeds_are_repetitions_not_copies(found: Findings) -> None:
    rows = table(found, "images").query("attack == 'noise' and norm == 'linf' and eps == 0.2")
    first, second = (part.set_index("index").loss for _, part in rows.groupby("seed"))
    assert not first.equals(second)


def test_single_images_say_what_the_table_of_images_says(found: Findings) -> None:
    (gallery,) = found.galleries
    (model,) = TINY.models
    rows = table(found, "images").query("norm == 'linf' and eps == 0.2")
    fell, seen = gallery.cells[model, "ℓ∞ 0.2"]
    assert list(gallery.indices) == sorted(set(rows["index"])) and gallery.start == (model, "ℓ∞ 0.2")
    for index, label, ways, answer in zip(gallery.indices, gallery.labels, fell, seen, strict=True):
        own = rows[rows["index"] == index]
        assert set(own.label) == {label}
        if list(ways) == [-1]:
            assert (own.clean_prediction != own.label).all()
        else:
            assert {gallery.ways[way] for way in ways} == set(own[own.success].attack)
        assert (answer == label) == (not ways)


def test_claims_state_their_rule_and_the_answer_its_n(found: Findings) -> None:
    assert "n = 40" in found.answer
    assert len(found.claims) == 4  # two comparisons per norm
    assert all("interval" in claim.test and claim.n <= 40 and claim.interval for claim in found.claims)
    assert all(claim.paper is None for claim in found.claims)  # nothing published on digits


def test_what_breaks_of_a_model_is_described_without_a_verdict(found: Findings) -> None:
    worst = table(found, "worst-case")
    (model,) = TINY.models
    for said, norm in zip(found.descriptions, ("linf", "l2"), strict=True):
        assert model in said.words and "Wilson" in said.measured and said.interval is not None
        assert said.n == round(40 * worst[(worst.norm == norm) & (worst.eps == 0)].robust_accuracy.item())


@pytest.mark.parametrize(
    ("norm", "sizes", "expected"),
    [("linf", (1 / 255, 8 / 255, 0.2), 8 / 255), ("linf", (0.1, 0.2, 0.3), 0.2), ("l2", (0.25, 0.5, 1.0), 0.5)],
)
def test_the_size_of_the_claims_is_fixed_before_the_run(norm: Any, sizes: tuple[float, ...], expected: float) -> None:
    changed: Any = {f"eps_{norm}": sizes}
    assert reference_size(norm, replace(TINY, **changed).eps(norm)) == expected


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"models": ()}, "models"),
        ({"models": ("a", "a")}, "twice"),
        ({"eps_linf": (-0.1,)}, "positive"),
        ({"eps_linf": (float("nan"),)}, "positive"),
        ({"eps_linf": (8.0,)}, "8/255"),
        ({"eps_l2": (1.0, 0.5)}, "ascend"),
        ({"norms": ("l1",)}, "l1"),
        ({"exit_rule": "never"}, "never"),
        ({"num_steps": 0}, "num_steps"),
        ({"seed": -1}, "seed"),
        ({"block": 0}, "block"),
    ],
)
def test_bad_settings_are_refused_in_words(bad: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        replace(TINY, **bad)


def test_the_estimate_is_an_upper_bound(found: Findings) -> None:
    settings: Settings = replace(TINY, num_seeds=2)
    assert table(found, "cost").evaluations.sum() <= estimate(settings).counts[PASSED]


def test_no_image_is_classified_correctly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing to attack and nothing to show: the report says 0 %, and nothing divides by zero."""
    (tmp_path / "always_wrong_model.py").write_text(
        "import torch\n"
        "class Wrong(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.bias = torch.nn.Parameter(-torch.arange(10.0))\n"
        "    def forward(self, x):\n"
        "        return x.flatten(1)[:, :10] * 0 + self.bias\n"
        "def build():\n"
        "    return Wrong()\n"
    )
    (tmp_path / "ones.py").write_text(
        "import numpy as np\n"
        "def data():\n"
        "    return np.zeros((20, 1, 8, 8), np.float32), np.ones(20, np.int64), tuple('abcdefghij')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    settings = replace(TINY, models=("always_wrong_model:build",), data=("ones:data",), num_images=0)
    lab = SerialLab(store=Store(str(tmp_path / "store")))
    STUDY.door(settings, lab)
    found = STUDY.run(settings, lab)
    assert (table(found, "worst-case").robust_accuracy == 0).all()
    assert found.pictures == ()
    assert {claim.verdict for claim in found.claims} <= {"undecided"}
    assert all(each.estimate is None and each.n == 0 for each in found.descriptions)
