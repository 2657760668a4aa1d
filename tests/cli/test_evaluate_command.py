"""`robustray evaluate MODEL` and the pictures of `robustray data --corruptions`, through the real entry point."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from robustray.tasks.corruptions.tables import CORRUPTIONS

COMMAND = "evaluate digits:mlp --data digits:test --num-images 40 --severities 1 5"


def test_a_model_is_evaluated_under_everything_and_gets_a_page(cli: Any, tmp_path: Path) -> None:
    outcome = cli(f"{COMMAND} --corruptions all --attacks fgsm pgd --eps 0.1 0.2")
    assert outcome.code == 0
    for words in ("worst case of fgsm, pgd", "elastic-transform", "error, mean over the 14 corruptions"):
        assert words in outcome.out, words
    (page,) = (tmp_path / "runs" / "evaluations").glob("digits-mlp-digits-test-*/index.html")
    assert outcome.out.splitlines()[-1] == f"report {page}"
    text = page.read_text()
    for words in ("Accuracy by corruption and severity", "it is no mCE", f"{COMMAND} --corruptions all", "<img "):
        assert words in text, words
    table = pd.read_csv(page.parent / "tables" / "corruptions.csv")
    assert table.corruption.tolist() == [*CORRUPTIONS, "mean over the 14 corruptions"] and set(table["n"]) == {40}
    # The page's folder is not taken for a run.
    assert json.loads(cli("status --json").out)["runs"] == []


def test_names_may_follow_each_other_and_a_second_call_reads_the_store(cli: Any) -> None:
    once = json.loads(cli(f"{COMMAND} --corruption fog --corruptions contrast snow --json").out)
    again = cli(f"{COMMAND} --corruptions fog contrast snow --json")
    assert "240 from the store" in again.err
    assert json.loads(again.out)["corruptions"] == once["corruptions"]
    assert [row["corruption"] for row in once["corruptions"]][::3] == [
        *("fog", "contrast", "snow"),
        "mean over 3 of 14 corruptions",
    ]
    assert once["n"] == 40 and [row["kind"] for row in once["accuracy"]] == ["clean"]


def test_a_data_set_is_shown_under_corruptions(cli: Any, tmp_path: Path) -> None:
    outcome = cli("data scenes:test,n=18 --corruptions snow procedural-frost --severities 3")
    assert outcome.code == 0
    (page,) = (tmp_path / "runs" / "data").glob("*/index.html")
    assert "Under common corruptions" in page.read_text() and "procedural-frost" in page.read_text()
    assert (page.parent / "figures" / "corruptions-sheet.png").exists()
