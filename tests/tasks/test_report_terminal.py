"""The terminal's view: start, end, two runs side by side, progress, and the JSON document."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from robustray.tasks.cost import Part, Work
from robustray.tasks.report.comparison import ComparisonFacts, Difference, Side
from robustray.tasks.report.facts import RunFacts
from robustray.tasks.report.progress import BarProgress, LineProgress, SilentProgress, make_progress
from robustray.tasks.report.terminal import MAX_ROWS, json_document, print_comparison, print_end, print_start
from robustray.tasks.study import Claim, Findings, Table
from tests.tasks.report_example import HOSTILE, example_facts, example_findings, hostile_facts, hostile_findings


@pytest.fixture(scope="module")
def findings() -> Findings:
    return example_findings()


@pytest.fixture(scope="module")
def facts() -> RunFacts:
    return example_facts()


def console(width: int = 120) -> Console:
    return Console(file=io.StringIO(), width=width, force_terminal=False, color_system=None)


def printed(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_start_takes_two_lines() -> None:
    out = console(200)
    work = Work(
        counts={"passes of single images": 2_000_000, "images": 10_000}, note="PGD dominates: 12 min on 2 cores."
    )
    print_start(
        study="attack-sweep", size="small", store="./runs", workers=2, devices="2 CPU cores", work=work, console=out
    )
    lines = printed(out).splitlines()
    assert len(lines) == 2
    assert lines[0] == "attack-sweep (small) · 2 workers · 2 CPU cores · store ./runs"
    assert "2,000,000" in lines[1] and "10,000 images" in lines[1] and "12 min" in lines[1]


@pytest.mark.parametrize(
    ("workers", "words"), [(0, "in this process"), (1, "1 worker"), (2, "2 workers"), (None, "as many workers as fit")]
)
def test_start_says_how_many_work(workers: int | None, words: str) -> None:
    out = console(200)
    print_start(study="x", size="small", store="./runs", workers=workers, devices="cpu", work=None, console=out)
    assert printed(out).strip() == f"x (small) · {words} · cpu · store ./runs"


def test_end_says_answer_claims_table_paths_and_next_command(findings: Findings, facts: RunFacts) -> None:
    out = console(140)
    page = "/some/long/" + "folder/" * 30 + "report.html"
    print_end(
        findings,
        facts,
        page=page,
        tables={"cost": "runs/x/cost.parquet"},
        next_command="robustray report X",
        console=out,
    )
    text = printed(out)
    assert findings.answer in text
    assert "0.0 % [0.0, 0.04]" in text and "✗ contradicted" in text and "53.49 %" in text
    assert "0.5/255" in text and "61.2 [60.2, 62.2]" in text
    assert f"{MAX_ROWS} of {len(findings.tables[0].frame)} rows" in text
    assert any(line.endswith(page) for line in text.splitlines()), "a path is never broken"
    assert text.rstrip().endswith("robustray report X")


def test_hostile_names_in_the_terminal() -> None:
    out = console(4000)
    print_end(
        hostile_findings(), hostile_facts(), page=HOSTILE, tables={HOSTILE: HOSTILE}, next_command=None, console=out
    )
    assert printed(out).count("[bold]") >= 8, "markup in a name is shown, not obeyed"


def test_json_document_is_json(findings: Findings, facts: RunFacts) -> None:
    document = json_document(findings, facts, "runs/x/report.html", {"cost": "runs/x/cost.parquet"})
    assert list(document) == ["run", "answer", "claims", "descriptions", "tables", "report"]
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert document["run"] == facts.run and document["tables"] == {"cost": "runs/x/cost.parquet"}
    claim = document["claims"][0]
    assert (claim["estimate"], claim["interval"], claim["verdict"], claim["n"]) == (
        0.0,
        [0.0, 0.00038],
        "supported",
        10_000,
    )
    assert claim["paper"]["figure"] == "0.00 %" and document["claims"][2]["paper"] is None
    odd = json_document(hostile_findings(), hostile_facts(), "r", {})["claims"]
    assert odd[0]["estimate"] is None and odd[0]["interval"] == [None, None]
    json.dumps(odd, allow_nan=False)


def test_json_document_takes_numpy_numbers(facts: RunFacts) -> None:
    half: Any = np.float32(0.5)
    three: Any = np.int64(3)
    claim = Claim(words="w", estimate=half, interval=(half, half), n=three, test="t", verdict="supported")
    document = json_document(Findings(answer="a", claims=(claim,)), facts, "r", {})
    (plain,) = json.loads(json.dumps(document, allow_nan=False))["claims"]
    assert (plain["estimate"], plain["interval"], plain["n"]) == (0.5, [0.5, 0.5], 3)


@pytest.mark.parametrize("width", [60, 80, 200])
def test_a_comparison_keeps_what_matters_at_any_width(width: int) -> None:
    """Columns that have no room are left out from the right; a cell is never cut."""
    frame = pd.DataFrame({"model": ["some:network"] * 20, "difference": -0.031, "lo": -0.052, "hi": -0.012, "n": 1000})
    frame = frame.assign(**{f"further{i}": i for i in range(8)})
    table = Table(
        name="differences",
        title="Differences",
        caption="c",
        frame=frame,
        formats={"difference": "points", "interval:difference": "lo,hi"},
    )
    side = Side(label="A", run="run-A" * 9, answer="a", size="quick", date="2026-01-01", command="c", link=None)
    facts = ComparisonFacts(
        study="s",
        question="q",
        sides=(side, replace(side, label="B")),
        kinds=("setting", "code"),
        differences=(Difference(kind="setting", name="num_steps", a="20", b=HOSTILE),),
        command="c",
        date="2026-01-01",
        warnings=("other weights",),
    )
    out = console(width)
    page = "/some/long/" + "folder/" * 30 + "index.html"
    print_comparison(Findings(answer="The answer.", tables=(table,)), facts, page=page, tables={"t": "p"}, console=out)
    text = printed(out)
    for words in ("The answer.", "num_steps", "equal in both: code", "warning: other weights", f"report   {page}\n"):
        assert words in text, words
    rows = [line for line in text.splitlines() if "some:network" in line]
    assert len(rows) == MAX_ROWS and all("−3.1 [−5.2, −1.2]" in row and len(row) <= width for row in rows)
    assert f"{MAX_ROWS} of {MAX_ROWS + 8} rows" in text and ("further7" in text) == (width == 200)


# Progress


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_lines_come_every_few_seconds_and_at_the_end_of_a_step() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = LineProgress(stream, every=5, clock=clock)
    progress.start("attack", 100, 20)
    for second in range(1, 9):
        clock.now = second
        progress.advance("attack", 10, 1.0)
    clock.now = 8.5
    progress.finish("attack")
    progress.close()
    progress.close()
    assert stream.getvalue().splitlines() == [
        "attack: 70/100 · 10.0/s · 20 from the store · whole run: at least 3 s left",
        "attack: 100/100 · 10.0/s · 20 from the store",
    ]


def test_the_pace_is_that_of_the_last_minute() -> None:
    """900 cheap images in 90 s, then one costly image each 10 s."""
    stream, clock = io.StringIO(), Clock()
    progress = LineProgress(stream, every=10, clock=clock)
    progress.start("attack", 930, 0)
    for second in range(1, 91):
        clock.now = second
        progress.advance("attack", 10, 1.0)
    for second in range(100, 400, 10):
        clock.now = second
        progress.advance("attack", 1, 10.0)
    progress.finish("attack")
    lines = stream.getvalue().splitlines()
    assert "attack: 800/930 · 10.0/s · whole run: at least 15 s left" in lines
    assert any(line.startswith("attack: 920/930 · 0.1/s ·") for line in lines)
    assert lines[-1] == "attack: 930/930 · 2.4/s"


def test_blocks_rarer_than_a_minute_have_a_pace() -> None:
    clock = Clock()
    progress = LineProgress(io.StringIO(), clock=clock)
    progress.start("train", 5, 0)
    for clock.now in (100, 200, 400):
        progress.advance("train", 1, 100.0)
    assert progress.tallies["train"].words == "3/5 · 0.3/min"


def test_many_handles_of_one_step_add_up() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = LineProgress(stream, clock=clock)
    for _ in range(300):
        progress.start("attack", 10, 0)
    clock.now = 3
    for _ in range(300):
        progress.advance("attack", 10, 0.01)
        progress.finish("attack")
    assert stream.getvalue() == "attack: 3,000/3,000 · 1,000.0/s\n"


def test_handles_one_after_the_other_are_no_noise() -> None:
    stream = io.StringIO()
    progress = LineProgress(stream, clock=Clock())
    for _ in range(300):
        progress.start("attack", 10, 10)
        progress.finish("attack")
    progress.close()
    assert stream.getvalue().splitlines() == [
        "attack: 10/10 · 10 from the store",
        "attack: 3,000/3,000 · 3,000 from the store",
    ]


def test_a_step_found_in_the_store_is_one_line_without_a_rate() -> None:
    stream = io.StringIO()
    progress = LineProgress(stream, clock=Clock())
    progress.start("clean", 50, 50)
    progress.finish("clean")
    progress.start("nothing", 0, 0)
    progress.finish("nothing")
    assert stream.getvalue().splitlines() == ["clean: 50/50 · 50 from the store", "nothing: 0/0"]


def test_bars_show_each_step_once() -> None:
    stream = io.StringIO()
    progress = BarProgress(stream, clock=Clock())
    progress.start("[bold]attack", 10, 2)
    progress.start("[bold]attack", 10, 0)
    progress.advance("[bold]attack", 3, 1.0)
    progress.message("[red]a retry")
    progress.finish("[bold]attack")
    progress.finish("[bold]attack")
    progress.close()
    progress.close()
    text = stream.getvalue()
    assert "[bold]attack" in text and "5/20" in text and "[red]a retry" in text


@pytest.mark.parametrize("kind", [LineProgress, BarProgress])
def test_a_plan_tells_the_time_of_steps_that_have_not_begun(kind: type[LineProgress] | type[BarProgress]) -> None:
    """Ten of a hundred clean images in a second; the attack, not asked for yet, costs ten times as much."""
    stream, clock = io.StringIO(), Clock()
    progress = kind(stream, clock=clock)
    parts = (Part(step="clean", items=100, cost=1.0), Part(step="attack", items=100, cost=10.0))
    progress.expect(parts, 1)
    progress.start("clean", 100, 0)
    clock.now = 6
    progress.advance("clean", 60, 6.0)
    progress.close()
    assert "about 2 min left" in stream.getvalue()  # 104 s
    assert progress.left is not None and not progress.left.at_least
    assert progress.left.seconds == pytest.approx(104)


def test_the_kind_of_progress_follows_the_stream() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    assert isinstance(make_progress(io.StringIO()), LineProgress)
    assert isinstance(make_progress(Terminal()), BarProgress)
    assert isinstance(make_progress(Terminal(), silent=True), SilentProgress)


def test_a_step_that_ends_more_often_than_it_began_is_our_mistake() -> None:
    progress = LineProgress(io.StringIO())
    progress.start("a", 1, 0)
    progress.finish("a")
    with pytest.raises(AssertionError):
        progress.finish("a")
