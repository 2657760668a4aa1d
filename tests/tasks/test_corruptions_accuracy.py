"""Accuracy under corruptions: means by hand, and the same numbers from `evaluate` and from the sweep."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import robustray
from robustray.tasks.corruptions.accuracy import Corrupted, from_rows
from robustray.tasks.corruptions.drawn import accuracy_map, accuracy_table, corruption_errors
from robustray.tasks.corruptions.settings import Corrupting, Corruption, named, table_for
from robustray.tasks.corruptions.tables import CORRUPTIONS, FROST
from robustray.tasks.errors import InputError
from robustray.tasks.lab.serial import SerialLab
from robustray.tasks.lab.store import Store
from robustray.tasks.statistics import mean_interval, proportion
from robustray.tasks.studies.attack_sweep.settings import SIZES, estimate
from robustray.tasks.studies.attack_sweep.study import STUDY

RIGHT = {
    ("fog", 1): np.array([True, True, True, False]),
    ("fog", 3): np.array([True, True, False, False]),
    ("contrast", 1): np.array([True, True, True, True]),
    ("contrast", 3): np.array([True, False, False, False]),
    (FROST, 1): np.array([False, False, False, False]),
    (FROST, 3): np.array([False, False, False, False]),
}
FOUND = Corrupted(table="cifar10-c", correct=RIGHT)


def test_means_by_hand() -> None:
    assert FOUND.names == ("fog", "contrast", FROST) and FOUND.severities == (1, 3) and FOUND.n == 4
    assert FOUND.at("fog", 3) == proportion([True, True, False, False])
    assert FOUND.over(["fog"], [1, 3]).value == 5 / 8
    shares = [1, 3 / 4, 2 / 4, 1 / 4]
    assert FOUND.mean is not None and FOUND.mean.value == mean_interval(shares).value == 10 / 16
    assert FOUND.mean.lo == pytest.approx(max(0, mean_interval(shares).lo)) and FOUND.mean.hi == 1
    assert FOUND.error is not None and FOUND.error.value == 6 / 16 and FOUND.error.lo == 0


def test_the_frost_is_in_no_mean_and_nothing_is_called_mce() -> None:
    assert FOUND.counted == ("fog", "contrast") and FOUND.mean_words == "mean over 2 of 14 corruptions"
    every = Corrupted(table="cifar10-c", correct={(name, 1): RIGHT["fog", 1] for name in (*CORRUPTIONS, FROST)})
    assert every.mean_words == "mean over the 14 corruptions"
    frost = Corrupted(table="cifar10-c", correct={(FROST, 1): RIGHT["fog", 1]})
    assert frost.mean is None and frost.error is None and not list(corruption_errors(frost, "m"))
    assert "error" not in frost.as_text() and "mCE" not in every.as_text()
    table = accuracy_table({(): frost})
    assert len(table.frame) == 1 and "last row" not in table.caption, "there is no mean to speak of"
    assert f"{FROST} is in no mean" in table.caption


def test_table_text_and_map_show_every_cell() -> None:
    table = accuracy_table({("d", "m"): FOUND}, ("data", "model"))
    assert table.frame.corruption.tolist() == ["fog", "contrast", FROST, "mean over 2 of 14 corruptions"]
    row = table.frame.set_index("corruption").loc["fog"]
    assert (row["severity_1"], row["severity_3"], row["mean"], row["n"]) == (0.75, 0.5, 0.625, 4)
    assert row["severity_3_lo"] == FOUND.at("fog", 3).lo
    assert "procedural-frost is in no mean" in table.caption
    assert "75.0  50.0  62.5 %" in FOUND.as_text()
    frame = FOUND.to_frame()
    assert len(frame) == 3 * 3 + 1 and frame.accuracy.iloc[-1] == 10 / 16
    drawn = accuracy_map(FOUND, name="corruptions", what="m, d")
    assert "62.5" in drawn.svg and "mean over 2 of 14" in drawn.svg and "n = 4" in drawn.caption


def test_an_image_that_was_given_up_is_left_out_of_all_cells() -> None:
    cells = [Corruption(name="fog", severity=severity, table="cifar10-c") for severity in (1, 2)]
    whole = pd.DataFrame({"index": [0, 1, 2], "correct": [True, False, True]})
    found = from_rows({cells[0]: whole, cells[1]: whole.iloc[[2, 0]]})
    assert [each.tolist() for each in found.correct.values()] == [[True, True], [True, True]]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"corruptions": ("fgo",)}, "did you mean 'fog'"),
        ({"corruptions": ("frost",)}, "procedural-frost is a computed one"),
        ({"corruptions": ("all", "fog")}, "all names fog already"),
        ({"corruptions": ("fog", "fog")}, "names one twice"),
        ({"severities": (0,)}, "must be 1 to 5, got 0"),
        ({"severities": (1, 6)}, "must be 1 to 5, got 6"),
        ({"severities": ()}, "at least one is needed"),
        ({"table": "imagenet"}, "did you mean 'imagenet-c'"),
    ],
)
def test_settings_that_are_refused(given: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        Corrupting(**given)


def test_all_are_fourteen_and_the_size_chooses_the_table() -> None:
    assert named(("all", FROST)) == (*CORRUPTIONS, FROST)
    assert [table_for("auto", side, 300) for side in (32, 99, 100)] == ["cifar10-c", "cifar10-c", "imagenet-c"]
    cells = Corrupting(corruptions=("all",), severities=(2, 4)).cells(224, 224)
    assert len(cells) == 28 and {cell.table for cell in cells} == {"imagenet-c"}


def test_evaluate_says_what_the_sweep_says(tmp_path: Path) -> None:
    """The same images, noise and verdicts, image by image; a block that is kept is not computed again."""
    store, names = str(tmp_path), ("gaussian-noise", "glass-blur", FROST)
    settings = replace(
        SIZES["quick"],
        models=("digits:mlp",),
        attacks=("fgsm",),
        norms=("linf",),
        eps_linf=(0.1,),
        num_images=50,
        num_examples=0,
        num_transfer=0,
        corruptions=names,
        severities=(1, 5),
        seed=3,
        block=16,
    )
    found = STUDY.run(settings, SerialLab(store=Store(store)))
    frame = next(t.frame for t in found.tables if t.name == "corruptions").set_index("corruption")
    assert any(figure.name == "corruptions-digits-test-digits-mlp" for figure in found.figures)
    assert any("mean over 2 of 14 corruptions" in each.words for each in found.descriptions)
    once, again = (
        robustray.evaluate(
            *("digits:mlp", "digits:test"), corruptions=names, severities=(1, 5), seed=3, num_images=50, store=store
        )
        for _ in range(2)
    )
    assert once.corrupted is not None and again.corrupted is not None and once.examples.empty
    for name in names:
        assert frame.loc[name, "severity_5"] == once.corrupted.at(name, 5).value
        for severity in (1, 5):
            np.testing.assert_array_equal(
                again.corrupted.correct[name, severity], once.corrupted.correct[name, severity]
            )
    assert str(once.corrupted.mean_words) in str(once) and "gaussian-noise" in once._repr_html_()


def test_kept_blocks_answer_in_place_of_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from robustray.tasks.evaluation import corrupting

    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(100, 3))
    data = torch.rand(30, 1, 10, 10), torch.randint(3, (30,))
    given: dict[str, Any] = {"corruptions": "fog", "severities": (1, 2), "store": tmp_path, "progress": False}
    before = robustray.evaluate(model, data, **given)
    monkeypatch.setattr(corrupting, "predicted", None)
    after = robustray.evaluate(model, data, **given)
    assert str(after) == str(before)
    with pytest.raises(TypeError):
        robustray.evaluate(model, data, **{**given, "seed": 1})


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "no attack was given"),
        ({"corruptions": "fgo"}, "did you mean 'fog'"),
        ({"corruptions": "fog", "severities": (6,)}, "must be 1 to 5"),
        ({"corruptions": "fog", "table": "cifar"}, "did you mean 'cifar10-c'"),
        ({"corruptions": "fog"}, "4x4 are too small to be corrupted"),
    ],
)
def test_what_evaluate_refuses(given: dict[str, Any], says: str) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    with pytest.raises(InputError, match=says):
        robustray.evaluate(model, (torch.rand(6, 1, 4, 4), torch.randint(3, (6,))), progress=False, **given)


def test_the_estimate_counts_the_cells() -> None:
    plain, asked = SIZES["small"], replace(SIZES["small"], corruptions=("all",))
    more = sum(estimate(asked).counts.values()) - sum(estimate(plain).counts.values())
    assert more == 5 * 10_000 * 14 * 5
    assert replace(plain, severities=(1,)).idle().keys() >= {"severities"} and "severities" not in asked.idle()
