"""The study of transfer: what the page says, two runs side by side, and the named grid."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from robustray.tasks.studies.transfer import reduce
from robustray.tasks.studies.transfer.findings import findings
from robustray.tasks.studies.transfer.kinds import FIXED, FULL, STANDARD
from robustray.tasks.studies.transfer.metric import mean_per_class
from robustray.tasks.studies.transfer.results import Results
from robustray.tasks.studies.transfer.study import STUDY
from robustray.tasks.study import RunTables, Size
from robustray.tune_configs.transfers import transfer_sources
from tests.tasks.transfer_rows import QUICK, transfers


def test_sources_that_are_trained_here_may_be_fixed_features_only() -> None:
    settings = replace(QUICK, fine_tuning=False, num_seeds=2, shrink=4)
    names = [source.name for source in settings.all_sources()]
    frames = [
        transfers({name: [5, 6] for name in names}, n=60, target=each.name, side=each.side) for each in settings.targets
    ]
    frame = pd.concat(frames)
    flags = np.arange(9) < 5
    found = findings(
        Results(
            settings=settings,
            targets=settings.targets,
            transfers=frame[frame["mode"] == FIXED],
            probes=pd.DataFrame(
                [{"source": name, "seed": seed, "clean": flags, "robust": flags} for name in names for seed in (0, 1)]
            ),
            num_source_classes=3,
            classes={each.name: ("a", "b", "c") for each in settings.targets},
            num_few={each.name: 9 for each in settings.targets},
            examples={},
        )
    )
    assert len(found.claims) == 3 and "fine-tuned" not in found.answer
    (curve,) = [drawing for drawing in found.figures if drawing.name.startswith("by-size")]
    assert "4 pixels: all images were shrunk so far" in curve.caption


def test_runs_that_judge_a_target_differently_are_compared_with_a_warning() -> None:
    right = {STANDARD: [5, 5], "A": [6, 7]}
    labels = np.arange(10) % 2
    accuracy, per_class = (
        reduce.transfer_table(frame, list(right))
        for frame in (
            transfers(right),
            transfers(right, metric=mean_per_class(labels, 2)).assign(**{"judged by": "mean per-class accuracy"}),
        )
    )

    def tables(label: str, frame: pd.DataFrame) -> RunTables:
        return RunTables(label=label, settings={}, hashes={}, read=lambda name, columns: frame[list(columns)])

    assert STUDY.compare is not None
    (words,) = STUDY.compare(tables("A", accuracy), tables("B", per_class)).warnings
    assert words.startswith("t: A is judged by accuracy, B by mean per-class accuracy")
    assert not STUDY.compare(tables("A", accuracy), tables("B", accuracy)).warnings


@pytest.mark.parametrize("size", ["quick", "small", "paper"])
def test_the_named_grid_reads_rows_that_its_cells_have(size: Size) -> None:
    grid = transfer_sources(size)
    assert len({(cell.levels["target"], cell.levels["eps_train"], cell.levels["seed"]) for cell in grid.cells}) == len(
        grid.cells
    )
    for cell in grid.cells:
        settings = cell.settings
        assert settings.num_seeds == 1 and settings.seed == cell.levels["seed"]
        for read, mode in zip(cell.reads.values(), (FIXED, FULL), strict=True):
            (target,) = settings.targets
            (source,) = [each for each in settings.sources_of(mode) if each.name == read.row["source"]]
            assert source.eps == cell.levels["eps_train"] and target.name == read.row["target"]
            assert read.row["mode"] == mode and target.main
