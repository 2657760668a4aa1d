"""What a run says in the terminal, at its start and at its end, and the same as one JSON document."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from robustray.tasks.cost import Work
from robustray.tasks.report.claims import MARKS
from robustray.tasks.report.comparison import ComparisonFacts
from robustray.tasks.report.facts import RunFacts
from robustray.tasks.report.numbers import format_estimate, format_value
from robustray.tasks.report.tables import Column, columns_of
from robustray.tasks.study import Claim, Description, Findings, PaperFigure, Table

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table as Grid
    from rich.text import Text

MAX_ROWS = 12
"""Rows of the study's table that the terminal shows; the page has them all."""
WIDE = 120
"""Columns from which the terminal has room for the paper's figures beside ours; the page always shows them."""
COLORS = {"supported": "green", "contradicted": "red", "undecided": "yellow"}


def print_start(
    *, study: str, size: str, store: str, workers: int | None, devices: str, work: Work | None, console: Console
) -> None:
    """Two lines: what runs where, and how much work it is. workers: 0 in this process; None as many as fit."""
    from rich.text import Text

    where = {0: "in this process", 1: "1 worker", None: "as many workers as fit"}.get(workers, f"{workers} workers")
    console.print(Text.assemble((study, "bold"), f" ({size}) · {where} · {devices} · store {store}"))
    if work is not None:
        console.print(Text(work.words, style="dim"))


def print_end(
    findings: Findings,
    facts: RunFacts,
    *,
    page: str | Path,
    tables: Mapping[str, str],
    next_command: str | None,
    console: Console,
) -> None:
    """The answer, the claims, the study's first table, where everything lies, and what one would type next."""
    from rich.text import Text

    console.print()
    console.print(Text(findings.answer, style="bold"))
    if findings.claims:
        console.print(_claims(findings.claims, with_paper=console.width >= WIDE))
    if findings.descriptions:
        console.print(_descriptions(findings.descriptions, with_paper=console.width >= WIDE))
    lines = [("report", str(page)), *((f"table {name}", path) for name, path in tables.items())]
    lines += [("files", folder) for folder in _folders(findings, str(page))]
    lines += [("next", next_command)] if next_command else []
    first = _first_table(findings)
    _print_rest(
        first,
        _fitting(first, console.width) if first else None,
        (*findings.warnings, *facts.warnings),
        lines,
        console,
        facts.notes,
    )


def _folders(findings: Findings, page: str) -> list[str]:
    """Where the files lie that the run leaves to be taken away, with their number."""
    beside = page.removesuffix(page.rpartition("/")[2])
    counts = Counter(document.path.partition("/")[0] for document in findings.documents)
    return [f"{beside}{folder}/ ({count})" for folder, count in counts.items()]


def print_comparison(
    findings: Findings, facts: ComparisonFacts, *, page: str, tables: Mapping[str, str], console: Console
) -> None:
    """Two runs side by side: the answer, what differs, the first table, and where everything lies."""
    from rich.text import Text

    console.print(Text(findings.answer, style="bold"))
    console.print()
    for side in facts.sides:
        console.print(Text.assemble((f"{side.label}  ", "bold"), side.run), soft_wrap=True)
    console.print()
    if facts.differences:
        grid = _grid()
        for head in ("kind", "what differs", "A", "B"):
            grid.add_column(head, overflow="fold")
        for found in facts.differences:
            grid.add_row(*map(Text, (found.kind, found.name, found.a, found.b)))
        console.print(grid)
    if facts.same:
        console.print(Text(f"equal in both: {', '.join(facts.same)}", style="dim"))
    lines = [("report", page), *((f"table {name}", path) for name, path in tables.items())]
    first = _first_table(findings)
    rows = _fitting(first, console.width) if first else None
    _print_rest(first, rows, (*facts.warnings, *findings.warnings), lines, console)


def _first_table(findings: Findings) -> Table | None:
    return next((table for table in findings.tables if table.on_page and len(table.frame)), None)


def _print_rest(
    table: Table | None,
    rows: Grid | None,
    warnings: Sequence[str],
    lines: Sequence[tuple[str, str]],
    console: Console,
    notes: Sequence[str] = (),
) -> None:
    """The first table, the warnings and notes, and what one may copy."""
    from rich.text import Text

    if table is not None and rows is not None:
        console.print()
        console.print(Text(table.title, style="bold"))
        console.print(rows)
        shown = [(MAX_ROWS, len(table.frame), "rows"), (len(rows.columns), len(columns_of(table)), "columns")]
        fewer = [f"{few} of {all_of_them:,} {what}" for few, all_of_them, what in shown if few < all_of_them]
        if fewer:
            console.print(Text(f"{', '.join(fewer)}; all are on the page", style="dim"))
    console.print()
    for warning in warnings:
        console.print(Text(f"warning: {warning}", style="yellow"))
    for note in notes:
        console.print(Text(f"note: {note}", style="dim"))
    # Paths and commands stay on one line whatever the width, so that they can be copied.
    width = max(len(label) for label, _ in lines)
    for label, words in lines:
        console.print(Text.assemble((f"{label:<{width}}  ", "dim"), words), soft_wrap=True)


def json_document(findings: Findings, facts: RunFacts, report_path: str, tables: Mapping[str, str]) -> dict[str, Any]:
    """The document that `--json` prints. Only JSON values: a number that is not finite becomes null."""
    return {
        "run": facts.run,
        "answer": findings.answer,
        "claims": [_plain_claim(claim) for claim in findings.claims],
        "descriptions": [_plain_description(each) for each in findings.descriptions],
        "tables": dict(tables),
        "report": str(report_path),
    }


def _plain_claim(claim: Claim) -> dict[str, Any]:
    judged = {"kind": claim.kind, "test": claim.test, "verdict": claim.verdict, "agrees": claim.agrees}
    return _plain(claim) | judged | {"paper": _plain_paper(claim)}


def _plain_description(description: Description) -> dict[str, Any]:
    return _plain(description) | {"measured": description.measured, "paper": _plain_paper(description)}


def _plain(said: Claim | Description) -> dict[str, Any]:
    return {
        "words": said.words,
        "estimate": _finite(said.estimate),
        "interval": [_finite(end) for end in said.interval] if said.interval else None,
        "unit": said.unit,
        "n": int(said.n),
    }


def _plain_paper(said: Claim | Description) -> dict[str, Any] | None:
    return None if said.paper is None else dataclasses.asdict(said.paper)


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None


def _claims(claims: Sequence[Claim], *, with_paper: bool) -> Grid:
    from rich.text import Text

    grid = _said("claim", "verdict", with_paper)
    for claim in sorted(claims, key=lambda claim: claim.kind == "check"):
        words = f"Check: {claim.words}" if claim.kind == "check" else claim.words
        verdict = Text(f"{MARKS[claim.verdict]} {claim.verdict}", style=COLORS[claim.verdict], no_wrap=True)
        grid.add_row(Text(words), *_numbers(claim), verdict, *_beside(claim.paper, with_paper))
    return grid


def _descriptions(descriptions: Sequence[Description], *, with_paper: bool) -> Grid:
    from rich.text import Text

    grid = _said("described", None, with_paper)
    for each in descriptions:
        grid.add_row(Text(each.words), *_numbers(each), *_beside(each.paper, with_paper))
    return grid


def _said(first: str, judged: str | None, with_paper: bool) -> Grid:
    grid = _grid()
    for head in (first, "this run", "n", judged, "the paper" if with_paper else None):
        if head is not None:
            justify: Literal["left", "right"] = "right" if head == "n" else "left"
            grid.add_column(head, justify=justify, no_wrap=head in ("this run", "n", judged))
    return grid


def _numbers(said: Claim | Description) -> tuple[Text, Text]:
    from rich.text import Text

    return Text(format_estimate(said.estimate, said.interval, said.unit), no_wrap=True), Text(format_value(said.n))


def _beside(paper: PaperFigure | None, with_paper: bool) -> list[Text]:
    from rich.text import Text

    return [Text(f"{paper.figure} ({paper.scale})" if paper else "–")] if with_paper else []


def _fitting(table: Table, width: int) -> Grid:
    """The first rows, and as many columns from the left as have room, since what matters is there."""
    from rich.text import Text

    grid, kept, used = _grid(), [], 0
    for column in columns_of(table):
        cells = [_cell(column, i) for i in range(min(MAX_ROWS, len(table.frame)))]
        needed = max(map(len, [*column.head.split(), *cells]))
        used += needed + 3  # the space between columns
        if used - 3 > width:
            break
        right = column.numeric and not column.intervals
        grid.add_column(Text(column.head), justify="right" if right else "left", width=needed)
        kept.append(cells)
    for row in zip(*kept, strict=True):
        grid.add_row(*map(Text, row))
    return grid


def _cell(column: Column, row: int) -> str:
    interval = column.intervals[row] if column.intervals else ""
    return column.words[row] + (f" {interval}" if interval else "")


def _grid() -> Grid:
    from rich import box
    from rich.table import Table as Grid

    return Grid(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="dim")
