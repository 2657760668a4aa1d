"""A crowd study of one's own: two tables, a verdict by margin, and what is refused or not told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from robustray.tasks.crowds.replicas.estimators import (
    MOMENTS,
    RAW,
)
from robustray.tasks.crowds.replicas.samplers import frequency_bin, match
from robustray.tasks.crowds.replicas.scenarios import SCENARIOS
from robustray.tasks.lab.serial import SerialLab
from robustray.tasks.lab.store import Store
from robustray.tasks.studies.replication import own
from robustray.tasks.studies.replication.settings import Settings
from robustray.tasks.studies.replication.study import STUDY
from robustray.tasks.study import Findings


def write_study(folder: Path, *, answers: int = 12, seed: int = 0, remeasure: bool = True) -> None:
    """A simulated study of 900 images a side as the two tables that a user brings. True gap 0."""
    rng = np.random.default_rng(seed)
    scenario = SCENARIOS["reference"]
    s1, pool = scenario.original.draw(rng, 900), scenario.candidates.draw(rng, 6_000)
    k1, kf = rng.binomial(10, s1), rng.binomial(10, pool)
    zero = np.zeros(len(s1), dtype=int), np.zeros(len(pool), dtype=int)
    chosen = match(frequency_bin(k1, 10 + zero[0]), zero[0], frequency_bin(kf, 10 + zero[1]), zero[1], 900, rng)
    columns: dict[str, list[object]] = {
        name: [] for name in ("image", "class", "pool", "phase", "in_replica", "n_shown", "n_selected")
    }

    def add(name: str, k: np.ndarray, which: str, phase: str, kept: np.ndarray, n: int) -> None:
        columns["image"] += [f"{name}{i}" for i in range(len(k))]
        columns["class"] += ["x"] * len(k)
        columns["pool"] += [which] * len(k)
        columns["phase"] += [phase] * len(k)
        columns["in_replica"] += kept.tolist()
        columns["n_shown"] += [n] * len(k)
        columns["n_selected"] += k.tolist()

    inside = np.isin(np.arange(len(pool)), chosen)
    add("o", k1, "original", "selection", zero[0] > 0, 10)
    add("c", kf, "candidate", "selection", inside, 10)
    if remeasure:
        add("o", rng.binomial(answers, s1), "original", "remeasure", zero[0] > 0, answers)
        before = len(columns["image"])
        add("c", rng.binomial(answers, pool), "candidate", "remeasure", inside, answers)
        kept = np.concatenate([np.ones(before, dtype=bool), inside])
        for name in columns:
            columns[name] = [each for each, keep in zip(columns[name], kept, strict=True) if keep]
    pq.write_table(pa.table(columns), folder / "study.parquet")
    chances = np.concatenate([scenario.chance(s1, candidate=False), scenario.chance(pool, candidate=True)])
    right = rng.random(chances.shape) < chances
    names = [f"o{i}" for i in range(900)] + [f"c{i}" for i in range(6_000)]
    pq.write_table(
        pa.table({"image": names} | {f"model{m}": right[:, m] for m in range(6)}), folder / "correct.parquet"
    )


def own_findings(folder: Path) -> Findings:
    settings = Settings(
        data=str(folder / "study.parquet"), correctness=str(folder / "correct.parquet"), num_resamples=400
    )
    store = Store(str(folder / "store"))
    store.create()
    lab = SerialLab(store=store)
    opened = STUDY.door(settings, lab)
    assert len(opened.refs) == 2
    return STUDY.run(settings, lab)


def test_a_study_of_ones_own(tmp_path: Path) -> None:
    """True gap 0, bias about 12 points: biased, and what is left covers 0."""
    write_study(tmp_path)
    found = own_findings(tmp_path)
    table = found.tables[0].frame.set_index(["model", "estimator"])
    raw, corrected = (table.loc[("mean of all models", name)] for name in (RAW, MOMENTS))
    assert raw.gap_lo > 0.05 and corrected.gap_lo < 0 < corrected.gap_hi
    assert corrected.bias == pytest.approx(raw.gap - corrected.gap)
    assert "biased, margin 1 points" in found.answer
    assert [claim.verdict for claim in found.claims] == ["supported", "contradicted"]
    (lost,) = found.descriptions
    assert lost.interval is not None and lost.interval[0] < 0 < lost.interval[1]
    per_model = table.xs(RAW, level="estimator").drop("mean of all models")
    assert per_model.gap.mean() == pytest.approx(raw.gap), "all models on the same images"
    assert len(per_model) == 6
    tipping = next(table.frame for table in found.tables if table.name == "tipping-points").set_index("model")
    assert np.sign(tipping.logits["mean of all models"]) == np.sign(corrected.gap)


def changed_study(folder: Path, **tables: Callable[[pd.DataFrame], pd.DataFrame]) -> Findings:
    """A study of 150 images a side with answers given anew; tables: what is done to "study", to "correct"."""
    write_study(folder)
    for name in ("study", "correct"):
        frame = pq.read_table(folder / f"{name}.parquet").to_pandas()
        if name == "study":
            frame = frame[frame.phase == "remeasure"].groupby("pool").head(150).reset_index(drop=True)
        change = tables.get(name)
        (frame if change is None else change(frame)).to_parquet(folder / f"{name}.parquet")
    return own_findings(folder)


@pytest.mark.parametrize("ticks", [0, 12])
def test_where_all_answers_agree_nothing_is_said_of_the_choice(ticks: int, tmp_path: Path) -> None:
    found = changed_study(tmp_path, study=lambda frame: frame.assign(n_selected=ticks))
    assert "can't be said by answers that differ so little" in found.answer
    assert [claim.verdict for claim in found.claims] == ["undecided"] * 2
    assert {table.name for table in found.tables} == {"gaps", "answers"}, "no tipping point and no plan"


@pytest.mark.parametrize("right", [False, True])
def test_models_that_are_always_alike_lose_nothing(right: bool, tmp_path: Path) -> None:
    def alike(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.assign(**{name: right for name in frame.columns if name != "image"})

    found = changed_study(tmp_path, correct=alike)
    assert "costs 0.0 points [0.0, 0.0]" in found.answer and "0.0 points [0.0, 0.0] are left (n" in found.answer
    assert "plan" not in {table.name for table in found.tables}


def test_a_leniency_beyond_first_order_is_not_told_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Models that hardly depend on the frequency would need a leniency of hundreds of logits."""
    monkeypatch.setattr(own, "MOST_LOGITS", 1e-3)
    assert "are left, more than any leniency of up to 0.001 logits would make (n" in changed_study(tmp_path).answer


def test_a_plan_is_made_and_simulated(tmp_path: Path) -> None:
    """All candidates are in the table: designs vary the answers that choose, too; the recommended one is simulated."""
    write_study(tmp_path)
    tables = {table.name: table.frame for table in own_findings(tmp_path).tables}
    designs, check = tables["plan"], tables["plan-check"]
    assert len(designs) == 5 * 3 * 4 and set(designs.choosing) == {5, 10, 20}
    same = designs[(designs.choosing == 10) & (designs.original == 900)].set_index("new_answers")
    assert same.answers[12] == 10 * (900 + 6_000) + 12 * 1_800
    corrected = tables["gaps"].set_index(["model", "estimator"]).loc[("mean of all models", MOMENTS)]
    assert same.half_width[12] == pytest.approx((corrected.bias_hi - corrected.bias_lo) / 2, rel=0.15)
    assert (check.n == 200).all() and (check.realised > 0).all()


def test_too_few_answers_give_no_verdict(tmp_path: Path) -> None:
    write_study(tmp_path, answers=6)
    found = own_findings(tmp_path)
    assert "can't be said with 6 answers" in found.answer
    assert all(claim.verdict == "undecided" for claim in found.claims)
    assert any("only 6 answers" in warning for warning in found.warnings)
    assert "plan" not in {table.name for table in found.tables}


def test_without_new_answers_the_candidates_tell(tmp_path: Path) -> None:
    """All candidates with the answers of the choice estimate the same: the gap is 0 and the raw one is not."""
    write_study(tmp_path, remeasure=False)
    found = own_findings(tmp_path)
    table = found.tables[0].frame.set_index(["model", "estimator"])
    raw, corrected = (table.loc[("mean of all models", name)] for name in (RAW, MOMENTS))
    assert raw.gap_lo > 0.05 and corrected.gap_lo < 0 < corrected.gap_hi
    assert any("all candidates" in warning for warning in found.warnings)


def write_small(folder: Path, *, hits: int, weights: tuple[float, float] = (1.0, 1.0)) -> None:
    """60 images a side with 12 answers, in `hits` HITs that show images of both sets; every second one has the second
    weight."""
    rng = np.random.default_rng(0)
    s = np.concatenate([rng.beta(8, 2, 60), rng.beta(4, 3, 60)])
    names, second = [f"i{k}" for k in range(120)], np.arange(120) >= 60
    columns = {
        "image": names,
        "class": "x",
        "pool": np.where(second, "candidate", "original"),
        "phase": "remeasure",
        "in_replica": second,
        "n_shown": 12,
        "n_selected": rng.binomial(12, s),
        "hit": [f"h{k % hits}" for k in range(120)],
        "weight": np.where(np.arange(120) % 2 == 0, *weights),
    }
    pd.DataFrame(columns).to_parquet(folder / "study.parquet", index=False)
    right = pd.DataFrame({"image": names, "model": rng.random(120) < s})
    right.to_parquet(folder / "correct.parquet", index=False)


def test_one_hit_has_no_interval_and_the_page_says_why(tmp_path: Path) -> None:
    write_small(tmp_path, hits=1)
    found = own_findings(tmp_path)
    assert {claim.verdict for claim in found.claims} == {"undecided"} and found.claims[0].interval == (-np.inf, np.inf)
    assert any(warning.startswith("all images were shown in one HIT") for warning in found.warnings)
    assert "plan" not in {table.name for table in found.tables}


def test_few_hits_are_warned_of_and_weights_counted_for_what_they_are_worth(tmp_path: Path) -> None:
    write_small(tmp_path, hits=4, weights=(1.0, 3.0))
    found = own_findings(tmp_path)
    assert any(warning.startswith("4 HITs: so few") for warning in found.warnings)
    table = next(table.frame for table in found.tables if table.name == "answers")
    assert table.images.tolist() == [60, 60]
    assert table.effective_images.tolist() == pytest.approx([48, 48]), "(30 + 90)^2 / (30 + 270)"
    check = next(table.frame for table in found.tables if table.name == "plan-check")
    assert ((check.ratio > 0.7) & (check.ratio < 1.4)).all(), "48 images, too few for influence functions"
