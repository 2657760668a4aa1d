"""Grids without Ray: what belongs together, main effects in closed form, cells of studies and of agents."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from robustray.tasks.errors import InputError, WorkFailed
from robustray.tasks.grids import cells, findings
from robustray.tasks.grids.best import best_cells, judging_cells, split_seeds
from robustray.tasks.grids.effects import interactions, main_effects
from robustray.tasks.grids.findings import Standing
from robustray.tasks.grids.settings import LATE_RETURN, Cell, Grid, Outcome, Read
from robustray.tasks.lab.serial import SerialLab
from robustray.tasks.lab.store import Store
from robustray.tasks.policy_gradients.settings import AgentSpec, PolicyGradient
from robustray.tasks.report.tables import columns_of
from robustray.tasks.statistics import mean_interval
from robustray.tasks.studies.attack_sweep.settings import SIZES
from tests.tasks.rl_environments import HERE

SETTINGS = PolicyGradient(steps_per_stream=32, num_minibatches=2, hidden=(4,))
SPEC = AgentSpec(environment=f"{HERE}:Target", settings=SETTINGS, iterations=4)
RETURN = [Outcome(name=LATE_RETURN, words="late return")]


def agents(*cells_of: Cell, **changed: Any) -> Grid:
    fields: dict[str, Any] = {"question": "?", "paper": "a test", "outcomes": RETURN, "cells": cells_of} | changed
    return Grid(**fields)


def cell(**levels: Any) -> Cell:
    return Cell(levels=levels, settings=dataclasses.replace(SPEC, seed=levels.get("seed", 0)))


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: agents(), "at least one cell"),
        (lambda: agents(cell(seed=0), outcomes=[]), "at least one outcome"),
        (lambda: agents(cell()), "cells need levels"),
        (lambda: agents(cell(), cell()), "cells need levels"),
        (lambda: agents(cell(seed=0), cell(seed=0)), "two cells have the levels seed=0"),
        (lambda: agents(cell(seed=0), cell(eps=1)), "other factors: seed, and eps"),
        (lambda: agents(cell(status=0)), "'status' is the name of two columns"),
        (lambda: agents(cell(seed=0), study="attack-sweep"), "settings are AgentSpec"),
        (lambda: agents(Cell(levels={"seed": 0}, settings=SIZES["quick"])), "settings are Settings"),
        (lambda: agents(cell(seed=0), outcomes=[Outcome(name="x", words="x")]), "outcome 'x' is read"),
    ],
)
def test_cells_that_do_not_belong_together_are_refused(build: Any, says: str) -> None:
    with pytest.raises(InputError, match=says):
        build()


def table(value: Any, lacking: tuple[tuple[str, int, int], ...] = ()) -> pd.DataFrame:
    """A 2 x 3 design with three seeds; cells in `lacking` are not finished."""
    rows = [(a, b, seed) for a in ("off", "on") for b in (1, 2, 3) for seed in (0, 1, 2)]
    values = [math.nan if row in lacking else value(*row) for row in rows]
    return pd.DataFrame(rows, columns=["a", "b", "seed"]).assign(y=values)


def additive(a: str, b: int, seed: int) -> float:
    return 10.0 * (a == "on") + 2.0 * b + (0.5, 0.0, -0.5)[seed] * (1 + (a == "on"))


def test_main_effects_of_an_additive_table_are_its_terms() -> None:
    effects = main_effects(table(additive), ["a", "b", "seed"], "y").set_index(["factor", "level"])
    assert list(effects.index) == [("a", "off"), ("a", "on"), ("b", 1), ("b", 2), ("b", 3)]
    assert effects["mean"].tolist() == pytest.approx([4, 14, 7, 9, 11])
    assert effects.difference.tolist() == pytest.approx([math.nan, 10, math.nan, 2, 4], nan_ok=True)
    expected = mean_interval([10.5, 10.0, 9.5])  # on minus off, one number per seed
    row = effects.loc["a", "on"]
    assert (row.difference_lo, row.difference_hi) == pytest.approx(expected.interval)
    assert effects.loc["b", 2].difference_lo == pytest.approx(2)  # the seeds' own part is common to all levels of b
    assert (effects.seeds == 3).all() and effects.cells.tolist() == [9, 9, 6, 6, 6]


def test_interactions_of_an_additive_table_are_zero_and_otherwise_the_product_s_own() -> None:
    additive_only = interactions(table(lambda a, b, seed: 10.0 * (a == "on") + 2.0 * b), ["a", "b", "seed"], "y")
    assert additive_only[["factor", "other"]].drop_duplicates().to_numpy().tolist() == [["a", "b"]]
    assert additive_only.level.tolist() == ["on", "on"] and additive_only.other_level.tolist() == [2, 3]
    assert additive_only.interaction.tolist() == [0, 0]

    own = (1.0, 2.0, 3.0)  # of the seeds
    found = interactions(table(lambda a, b, seed: (a == "on") * b * own[seed]), ["a", "b", "seed"], "y")
    assert found.interaction.tolist() == pytest.approx([2, 4])
    assert (found.lo[0], found.hi[0]) == pytest.approx(mean_interval(own).interval)
    assert (found.seeds == 3).all() and (found.combinations == 3).all()

    holed = interactions(
        table(lambda a, b, seed: (a == "on") * b * own[seed], (("on", 3, 2),)), ["a", "b", "seed"], "y"
    )
    assert holed.interaction.tolist() == pytest.approx([2, 3]), "only the pair that the hole is in loses a seed"
    assert holed.seeds.tolist() == [3, 2]


def test_one_factor_has_no_interaction() -> None:
    assert interactions(pd.DataFrame({"a": [1, 2], "y": [3.0, 5.0]}), ["a"], "y").empty


def chosen_grid(better: Any = "higher", **changed: Any) -> Grid:
    """Two sizes that nobody chooses, three rates that one does, four seeds."""
    every = [cell(eps=eps, lr=lr, seed=seed) for eps in (1, 2) for lr in (1, 2, 3) for seed in range(4)]
    outcome = Outcome(name=LATE_RETURN, words="late return", better=better)
    return agents(*every, outcomes=[outcome], **{"choose": ("lr",)} | changed)


def cells_of(grid: Grid, value: Any) -> pd.DataFrame:
    rows = [dict(each.levels) for each in grid.cells]
    return pd.DataFrame([row | {LATE_RETURN: value(**row)} for row in rows])


def test_the_best_is_chosen_by_some_seeds_and_judged_by_the_others() -> None:
    grid = chosen_grid()
    # At eps 1, rate 2 is lucky with the seeds that choose; at eps 2, rate 3 is best with all.
    frame = cells_of(
        grid, lambda eps, lr, seed: (10.0 * (seed < 2) if lr == 2 else lr) if eps == 1 else lr + 0.1 * seed
    )
    found = best_cells(frame, grid, grid.outcomes[0], split_seeds(grid))
    assert found[["eps", "lr", "seeds"]].to_numpy().tolist() == [[1, 2, 2], [2, 3, 2]]
    assert found[LATE_RETURN].tolist() == pytest.approx([0.0, 3.25]), "not the value by which it was chosen"
    assert found.choosing_mean.tolist() == pytest.approx([10.0, 3.05])
    assert (found.lo[1], found.hi[1]) == pytest.approx(mean_interval([3.2, 3.3]).interval)


def test_lower_may_be_better_and_the_grid_may_name_the_choosing_seeds() -> None:
    grid = chosen_grid(better="lower", choosing_seeds=(3,))
    found = best_cells(
        cells_of(grid, lambda eps, lr, seed: float(lr * (seed + 1))), grid, grid.outcomes[0], split_seeds(grid)
    )
    assert found.lr.tolist() == [1, 1] and found.seeds.tolist() == [3, 3] and found.choosing_mean.tolist() == [4, 4]


def test_no_best_without_what_it_takes() -> None:
    """Nothing to choose; one seed; candidates that lack one of the choosing seeds. Judged by none, it has no value."""
    for grid, value in (
        (chosen_grid(choose=()), lambda eps, lr, seed: 1.0),
        (agents(cell(lr=1, seed=0), cell(lr=2, seed=0), choose=("lr",)), lambda lr, seed: 1.0),
        (chosen_grid(), lambda eps, lr, seed: 1.0 if seed else math.nan),
    ):
        assert best_cells(cells_of(grid, value), grid, grid.outcomes[0], split_seeds(grid)).empty
    grid = chosen_grid()
    unjudged = cells_of(grid, lambda eps, lr, seed: 1.0 if seed < 2 else math.nan)
    found = best_cells(unjudged, grid, grid.outcomes[0], split_seeds(grid))
    assert found.lr.tolist() == [1, 1] and found[LATE_RETURN].isna().all() and (found.seeds == 0).all()
    assert judging_cells(unjudged, grid, grid.outcomes[0], split_seeds(grid)) == [2, 3, 14, 15]
    assert split_seeds(grid, asha=True).judge == (1, 2, 3)
    for changed, says in (
        ({"choose": ("seed",)}, "choose: 'seed'"),
        ({"choosing_seeds": (9,)}, "no cell has the seed 9"),
    ):
        with pytest.raises(InputError, match=says):
            chosen_grid(**changed)


def test_the_page_names_the_best_and_draws_all_combinations() -> None:
    grid = chosen_grid()
    frame = cells_of(grid, lambda eps, lr, seed: 10.0 * eps + lr + 0.1 * seed)
    ended = [Standing(cell=c, outcomes={LATE_RETURN: v}) for c, v in zip(grid.cells, frame[LATE_RETURN], strict=True)]
    found = findings.find(grid, ended)
    assert [table.name for table in found.tables] == [
        "best", "main-effects-late-return", "interactions-late-return", "cells"
    ]  # fmt: skip
    assert [figure.name for figure in found.figures] == ["main-effects", "parallel"]
    assert "Best by" not in found.answer, "two best ones: the table tells"
    assert "over the seeds 0, 1 (" in found.tables[0].caption
    assert "over the seed 0 (" in findings.find(grid, ended, asha=True).tables[0].caption
    whole = dataclasses.replace(grid, choose=("eps", "lr"))
    assert findings.find(whole, ended).answer.endswith(
        "Best by the choosing seeds: eps 2, lr 3; 23.2 [22.6, 23.9] on the 2 seeds that judge."
    )


def test_a_missing_cell_takes_its_whole_combination_out() -> None:
    """Where (on, 3, seed 0) is missing, (off, 3, seed 0) may not pull the mean of "off" up."""
    whole = main_effects(table(lambda a, b, seed: 100.0 * b), ["a", "b", "seed"], "y")
    holed = main_effects(table(lambda a, b, seed: 100.0 * b, (("on", 3, 0),)), ["a", "b", "seed"], "y")
    assert whole["mean"][:2].tolist() == [200, 200]
    assert holed["mean"][0] == holed["mean"][1] < 200 and holed.difference[1] == 0
    assert holed.cells[:2].tolist() == [8, 8]


def test_one_seed_has_no_interval_and_no_complete_combination_no_mean() -> None:
    one = main_effects(table(additive).query("seed == 0"), ["a", "b", "seed"], "y")
    assert np.isinf(one[["lo", "hi"]].to_numpy()).all() and (one.seeds == 1).all()
    lacking = tuple(("on", b, seed) for b in (1, 2, 3) for seed in (0, 1, 2))
    nothing = main_effects(table(additive, lacking), ["a", "b", "seed"], "y").query("factor == 'a'")
    assert nothing["mean"].isna().all() and (nothing.cells == 0).all()


def test_intervals_of_shares_end_where_shares_do() -> None:
    shares = table(lambda a, b, seed: (0.1, 0.9, 0.5)[seed] if a == "off" else 1 - (0.1, 0.9, 0.5)[seed])
    effects = main_effects(shares, ["a", "b", "seed"], "y", limits=(0, 1))
    assert effects.lo.min() == 0 and effects.hi.max() == 1
    assert (effects.difference_lo[1], effects.difference_hi[1]) == (-1, 1)


def test_a_factor_without_seeds_or_others() -> None:
    frame = pd.DataFrame({"a": [1, 2], "y": [3.0, 5.0]})
    assert main_effects(frame, ["a"], "y")["mean"].tolist() == [3, 5]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(str(tmp_path / "store"))
    made.create()
    return made


def look(grid: Grid, store: Store) -> list[cells.Looked]:
    lab = SerialLab(store=store)
    return [cells.look(grid, each, lab, "robustray tune x") for each in grid.cells]


def run(grid: Grid, place: int, store: Store) -> Any:
    return cells.run(grid, grid.cells[place], store=store, make_lab=lambda s: SerialLab(store=s), command="c")


def test_a_cell_of_an_agent_is_finished_once(store: Store) -> None:
    grid = agents(cell(seed=0), cell(seed=1))
    assert [each.outcomes for each in look(grid, store)] == [None, None]
    outcomes = run(grid, 0, store)
    (learned,) = SerialLab(store=store).learn([SPEC]).result()
    late = learned.episodes.query("update >= 3").episode_return  # the last quarter of four updates
    assert outcomes == {LATE_RETURN: pytest.approx(late.mean())}
    first, second = look(grid, store)
    assert first.outcomes == outcomes and first.found_in == learned.key and second.outcomes is None
    assert first.key != second.key


def sweep(**changed: Any) -> Grid:
    settings = dataclasses.replace(
        SIZES["quick"],
        models=("digits:mlp",),
        attacks=("fgsm",),
        norms=("linf",),
        eps_linf=(0.1,),
        num_images=40,
        num_transfer=0,
        num_examples=0,
    )
    read = Read(**{"table": "worst-case", "column": "robust_accuracy", "row": {"eps": 0.1}} | changed)
    one = Cell(levels={"eps": 0.1}, settings=settings, reads={"accuracy": read})
    return agents(one, study="attack-sweep", outcomes=[Outcome(name="accuracy", words="accuracy", unit="percent")])


def test_a_cell_of_a_study_is_one_of_its_runs(store: Store) -> None:
    grid = sweep()
    assert look(grid, store)[0].outcomes is None
    outcomes = run(grid, 0, store)
    assert 0 < outcomes["accuracy"] < 1
    (looked,) = look(grid, store)
    assert looked.outcomes == outcomes and looked.found_in.startswith("attack-sweep-")
    assert run(grid, 0, store) == outcomes and len(list(Path(store.url).glob("*/run.json"))) == 1
    for changed, says in (
        ({"table": "nothing"}, "no table 'nothing'"),
        ({"column": "nothing"}, "no column 'nothing'"),
        ({"row": {"norm": "linf"}}, "2 rows"),
    ):
        with pytest.raises(InputError, match=says):
            look(sweep(**changed), store)


def test_what_cannot_be_used_names_its_cell(store: Store) -> None:
    grid = sweep()
    wrong = dataclasses.replace(grid.cells[0], settings=dataclasses.replace(SIZES["quick"], models=("nothing",)))
    with pytest.raises(InputError, match=r"cell eps=0\.1: .*nothing"):
        look(dataclasses.replace(grid, cells=[wrong]), store)
    other = dataclasses.replace(grid.cells[0], settings=SETTINGS)
    with pytest.raises(InputError, match=r"cell eps=0\.1: settings of attack-sweep are not PolicyGradient"):
        look(dataclasses.replace(grid, cells=[other]), store)


def test_a_failure_is_kept_until_it_is_forgotten(store: Store) -> None:
    assert cells.failure(store, "grids/x", "k") is None
    cells.keep_failure(store, "grids/x", "k", "it broke")
    assert cells.failure(store, "grids/x", "k") == "it broke"
    cells.forget_failure(store, "grids/x", "k")
    assert cells.failure(store, "grids/x", "k") is None


def test_an_agent_that_fails_raises(store: Store) -> None:
    broken = agents(Cell(levels={"seed": 0}, settings=dataclasses.replace(SPEC, environment=f"{HERE}:NaNReward")))
    with pytest.raises(WorkFailed, match=r"NaN|nan|finite"):
        run(broken, 0, store)


def test_a_grid_of_agents_that_do_not_repeat_takes_back_its_promise(store: Store) -> None:
    lucky = Cell(levels={"seed": 0}, settings=dataclasses.replace(SPEC, environment=f"{HERE}:Unrepeatable"))
    pages = []
    for grid in (agents(lucky), agents(cell(seed=0))):
        run(grid, 0, store)
        looked = cells.look(grid, grid.cells[0], SerialLab(store=store), "c")
        ended = [Standing(cell=grid.cells[0], outcomes=looked.outcomes, unrepeatable=looked.unrepeatable)]
        facts = findings.facts_of(
            grid, ended, name="x", size="quick", run="grids/x", command="c", device="cpu", date="2026-01-01T00:00:00"
        )
        document = findings.publish(store, "grids/x", findings.find(grid, ended), facts)
        pages.append(Path(document["report"]).read_text())
    assert [f"{HERE}:Unrepeatable gives other numbers for the same seed" in page for page in pages] == [True, False]
    assert ["Run it again to get this page again" in page for page in pages] == [False, True]


def test_findings_name_what_is_missing(store: Store) -> None:
    grid = agents(*(cell(algorithm=name, seed=seed) for name in ("ppo", "trpo") for seed in (0, 1)))
    ended = [
        Standing(cell=each, outcomes={LATE_RETURN: float(place)} if place < 3 else None, error="" if place < 3 else "x")
        for place, each in enumerate(grid.cells)
    ]
    found = findings.find(grid, ended)
    assert found.answer.startswith("3 of 4 cells finished, 2 seeds: late return from 0 to 2")
    assert found.warnings == ("cell algorithm=trpo, seed=1 is missing: x",)
    effects, every = found.tables
    assert effects.frame.cells.tolist() == [1, 1] and every.frame.status.tolist() == ["finished"] * 3 + ["failed"]
    facts = findings.facts_of(
        grid, ended, name="x", size="quick", run="grids/x", command="c", device="cpu", date="2026-01-01T00:00:00"
    )
    document = findings.publish(store, "grids/x", found, facts)
    page = Path(document["report"]).read_text()
    assert "Main effects" in page and "1 cell failed" in page and "<span>seeds 0, 1</span>" in page
    assert ">error</th>" in page and found.answer.endswith("over the cells.")  # with one seed there is none
    assert pd.read_parquet(document["tables"]["cells"]).equals(every.frame)
    assert (Path(store.url) / "grids/x/tables/cells.csv").is_file()


def test_the_answer_counts_differences_and_the_page_has_no_empty_column(store: Store) -> None:
    grid = agents(*(cell(algorithm=name, seed=seed) for name in ("a", "b", "c") for seed in (0, 1)))
    values = (0.0, 1.0, 0.1, 1.2, 5.0, 6.0)  # b is above a by 0.1 and 0.2, c by 5 and 5
    ended = [Standing(cell=each, outcomes={LATE_RETURN: value}) for each, value in zip(grid.cells, values, strict=True)]
    found = findings.find(grid, ended)
    assert found.answer.endswith(
        "late return from 0 to 6 over the cells. Differences between levels whose interval excludes 0: 1 of 2."
    )
    assert found.tables[1].frame.error.tolist() == [""] * 6
    assert [column.name for column in columns_of(found.tables[1])][-2:] == [LATE_RETURN, "status"]


def test_a_level_is_drawn_as_it_is_called() -> None:
    grid = agents(*(cell(which_set=name, seed=seed) for name in ("D_R", "D_NR") for seed in (0, 1)))
    ended = [Standing(cell=each, outcomes={LATE_RETURN: float(place)}) for place, each in enumerate(grid.cells)]
    svg = findings.find(grid, ended).figures[0].svg
    assert ">which set D_R<" in svg and ">which set D_NR<" in svg


def test_nothing_finished_is_no_figure() -> None:
    grid = agents(cell(seed=0))
    found = findings.find(grid, [Standing(cell=grid.cells[0], outcomes=None, error="x")])
    assert not found.figures and "no late return yet" in found.answer
