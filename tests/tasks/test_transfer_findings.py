"""The study of transfer: what the page says, two runs side by side, and the named grid."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from robustray.tasks.data.images import ImageData
from robustray.tasks.lab.serial import SerialLab
from robustray.tasks.lab.store import Store
from robustray.tasks.statistics import proportion
from robustray.tasks.studies.transfer import reduce
from robustray.tasks.studies.transfer.costs import UNKNOWN, plan
from robustray.tasks.studies.transfer.findings import findings
from robustray.tasks.studies.transfer.kinds import FIXED, FULL, RANDOM, STANDARD
from robustray.tasks.studies.transfer.metric import mean_per_class
from robustray.tasks.studies.transfer.results import Results
from robustray.tasks.studies.transfer.study import STUDY, examples
from robustray.tasks.studies.transfer.worlds import open_worlds
from robustray.tasks.study import RunTables, Size
from robustray.tune_configs.transfers import transfer_sources
from tests.tasks.transfer_rows import DIGITS, QUICK, transfers


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


@pytest.mark.parametrize(
    ("robust", "null", "warned"),
    [
        ([8, 8, 8], [5, 5, 5], False),  # ahead, and the null holds
        ([8, 8, 8], [3, 7, 9], True),  # ahead, and other seeds may be as well
        ([8, 8, 8], [7, 7, 7], True),  # ahead, as other seeds are
        ([3, 7, 9], [3, 7, 9], False),  # not ahead
    ],
)
def test_a_gain_beside_a_null_that_is_not_shown_is_told(robust: list[int], null: list[int], warned: bool) -> None:
    settings = QUICK
    right = {source.name: null if source.replica else robust for source in settings.all_sources()}
    frame = transfers(right | {STANDARD: [5, 5, 5], RANDOM: [2, 2, 2]}, shared=False, target=settings.targets[0].name)
    flags = np.arange(9) < 5
    weaker = np.arange(9) < 4
    found = findings(
        Results(
            settings=settings,
            targets=settings.targets,
            transfers=frame,
            probes=pd.DataFrame(
                [
                    {"source": name, "seed": seed, "clean": flags, "robust": weaker if name == STANDARD else flags}
                    for name in right
                    for seed in (0, 1, 2)
                ]
            ),
            num_source_classes=6,
            classes={each.name: ("a", "b", "c") for each in settings.targets},
            num_few={each.name: 9 for each in settings.targets},
            examples={},
        )
    )
    told = [warning.partition(":")[0] for warning in found.warnings if "it may be the seeds" in warning]
    assert told == ([FIXED, FULL] if warned else [])
    assert found.answer.count("as fixed features") == found.answer.count("when fine-tuned") == 2, "of robust and null"
    assert (found.claims[0].verdict == "supported") is (min(robust) > 5)


def test_sources_of_all_classes_are_tested_on_the_same_images_in_every_chain(tmp_path: Path) -> None:
    """So the intervals of their own accuracy are over seeds and images together; here seeds do not differ."""
    settings = replace(DIGITS, target=("digits:train",), target_test=("digits:test",), num_seeds=2)
    lab = SerialLab(store=Store(str(tmp_path)))
    same = {
        number: open_worlds(replace(settings, num_source_classes=number), lab, [0])[0].same_classes
        for number in (0, 6, 10)
    }
    assert same == {0: True, 6: False, 10: True}
    flags = np.arange(40) < 30
    names = [source.name for source in settings.all_sources()]
    results = Results(
        settings=settings,
        targets=settings.targets,
        transfers=transfers({name: [5, 6] for name in names}, target=settings.targets[0].name),
        probes=pd.DataFrame(
            [{"source": name, "seed": seed, "clean": flags, "robust": flags} for name in names for seed in (0, 1)]
        ),
        num_source_classes=10,
        same_classes=True,
        classes={each.name: ("a", "b") for each in settings.targets},
        num_few={each.name: 9 for each in settings.targets},
        examples={},
    )
    for together, interval in (
        (results, proportion(flags).interval),
        (replace(results, same_classes=False), (0.75,) * 2),
    ):
        row = together.sources.iloc[0]
        assert (row.clean_lo, row.clean_hi) == pytest.approx(interval)
        (table,) = [each for each in findings(together).tables if each.name == "sources"]
        assert ("draws anew" in table.caption) is not together.same_classes


def test_pictures_of_a_class_stand_at_its_name_where_others_have_too_few() -> None:
    """Class b has one image and is left out; the rows of a and c keep their names."""
    images = np.arange(9, dtype=np.uint8).repeat(16).reshape(9, 1, 4, 4)
    labels = np.array([0, 0, 0, 0, 1, 2, 2, 2, 2])
    data = ImageData(name="t", images=images, labels=labels, classes=("a", "b", "c"))
    found = examples(replace(QUICK, num_examples=2), data)
    assert {name: set(labels[each[:, 0, 0, 0]]) for name, each in found.items()} == {"a": {0}, "c": {2}}


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


def test_a_plan_knows_how_many_images_the_papers_targets_have() -> None:
    """Test images of all, latents of all of them; of a folder neither is known, and a share of it is held out."""
    for name, learnt, tested in (("cifar10", 50_000, 10_000), ("photos", 0.7 * UNKNOWN, 0.3 * UNKNOWN)):
        settings = replace(QUICK, target=(name,), per_class=0, num_seeds=1)
        parts = {part.step: part for part in plan(settings)}
        assert parts["latents"].items == len(settings.all_sources()) * (learnt + tested)


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
