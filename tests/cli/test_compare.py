"""`robustray compare A B`, through its real entry point."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

TYPED = "/opt/venv/bin/python -m robustray"
SECOND = (
    "run attack-sweep --workers 0 --num-images 40 --norm linf --eps-linf 0.1 0.3 --attack pgd --num-examples 1 "
    "--model digits:mlp --json"
)
"""As the run of the fixture `original`, with another attack."""


@pytest.fixture
def pair(cli: Any, runs: Path, original: Any) -> tuple[str, str]:
    """Ids of two finished runs in `./runs`."""
    outcome = cli(SECOND)
    assert outcome.code == 0, outcome.err
    return original.run, json.loads(outcome.out)["run"]


def test_compare_says_what_differs_and_writes_a_page(cli: Any, runs: Path, pair: tuple[str, str]) -> None:
    a, b = pair
    outcome = cli(f"compare {a} {b[-8:]}")  # the end of a name is enough
    assert outcome.code == 0 and outcome.err == ""
    for words in ("fgsm", "pgd", "n = 40 paired images", "difference", "equal in both"):
        assert words in outcome.out, words
    (page,) = (runs / "compare").glob("*/index.html")
    assert str(page) in outcome.out
    text = page.read_text()
    assert f"../../{a}/report.html" in text and f"{TYPED} compare {a} {b[-8:]}" in text and "<svg" in text
    assert (page.parent / "tables" / "differences.csv").is_file()
    # The page's folder is not taken for a run, and does not hide one.
    listed = json.loads(cli("status --json").out)["runs"]
    assert [row["run"] for row in listed] == [a, b]
    assert cli(f"resume {b[-8:]}").code == 0


def test_json_is_one_document(cli: Any, runs: Path, pair: tuple[str, str]) -> None:
    a, b = pair
    outcome = cli(f"compare {a} {b} --json --store runs")
    assert outcome.code == 0 and outcome.out.count("\n") == 1
    document = json.loads(outcome.out)
    assert document["runs"] == {"A": a, "B": b} and Path(document["report"]).is_file()
    assert {d["name"] for d in document["differences"]} == {"attacks"}
    clean, *attacked = document["cells"]["differences"]
    assert clean["difference"] == 0 and len(attacked) == 2
    assert all(row["difference"] <= 0 and row["n"] == 40 for row in attacked), "PGD breaks what FGSM breaks, and more"


def test_folders_of_runs_may_be_given(cli: Any, runs: Path, pair: tuple[str, str]) -> None:
    a, b = pair
    elsewhere = runs.rename(runs.parent / "moved")
    outcome = cli(f"compare {elsewhere / a} moved/{b}/ --json")
    assert outcome.code == 0 and json.loads(outcome.out)["report"].startswith(str(elsewhere))
    (elsewhere / b).rename(elsewhere / "one-with-another-name")
    outcome = cli(f"compare moved/{a} moved/one-with-another-name")
    assert outcome.code == 2 and "under another name" in outcome.err


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("compare", "two runs, got 0"),
        ("compare {a}", "two runs, got 1"),
        ("compare {a} {b} {a}", "two runs, got 3"),
        ("compare {a} {a}", "given twice"),
        ("compare {a} runs/{a}", "given twice"),
        ("compare {a} nothing", "no run 'nothing'"),
        ("compare {a} some/folder", "no folder of a run"),
        ("compare {a} {b} --stor runs", "--store"),
    ],
)
def test_bad_input_is_one_line(line: str, says: str, cli: Any, runs: Path, original: Any) -> None:
    outcome = cli(line.format(a=original.run, b="attack-sweep-20260101-000000-00000000"))
    assert outcome.code == 2 and outcome.out == ""
    assert outcome.err.count("\n") == 1 and says in outcome.err
    assert not (runs / "compare").exists()


def test_an_unfinished_run_is_refused_with_what_to_type(cli: Any, runs: Path, pair: tuple[str, str]) -> None:
    a, b = pair
    file = runs / b / "run.json"
    file.write_text(file.read_text().replace('"finished"', '"interrupted"'))
    store = runs.rename(runs.parent / "a store")
    outcome = cli(f"compare {a} {b} --store {shlex.quote(store.name)}")
    assert outcome.code == 2 and "interrupted, not finished" in outcome.err
    assert f"`{TYPED} resume {b} --store 'a store'`" in outcome.err


def test_runs_without_a_common_cell_are_refused(cli: Any, runs: Path, original: Any) -> None:
    other = json.loads(cli(SECOND.replace("0.1 0.3", "0.2")).out)["run"]
    outcome = cli(f"compare {original.run} {other}")
    assert outcome.code == 2 and "share no cell" in outcome.err and outcome.err.count("\n") == 1


def test_help_explains(cli: Any) -> None:
    outcome = cli("compare --help")
    assert outcome.code == 0 and "--store" in outcome.out and "image by image" in outcome.out
