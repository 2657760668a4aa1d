"""What a study found, where Python shows it: as text at a prompt, as HTML in a notebook."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from robustray.tasks.report.claims import MARKS
from robustray.tasks.report.numbers import format_estimate
from robustray.tasks.report.tables import columns_of

if TYPE_CHECKING:
    from robustray.tasks.study import Claim, Description, Findings, Table

MAX_ROWS = 12
"""Rows of a table in a notebook; the page of the run has them all."""


def as_text(findings: Findings) -> str:
    """The answer, and a line for each claim and description."""
    lines = [findings.answer]
    lines += [f"  {MARKS[claim.verdict]} {claim.verdict:<12}  {_line(claim)}" for claim in _claims(findings)]
    lines += [f"    {'':<12}  {_line(each)}" for each in findings.descriptions]
    lines += [f"  warning: {warning}" for warning in findings.warnings]
    return "\n".join(lines)


def as_html(findings: Findings) -> str:
    """The answer, warnings, claims, descriptions, the main figure and the first table. Everything is escaped."""
    from robustray.tasks.report.page import environment

    table = next((table for table in findings.tables if table.on_page and len(table.frame)), None)
    figure = findings.figures[0] if findings.figures else None
    return (
        environment()
        .get_template("notebook.html.j2")
        .render(
            findings=findings,
            claims=[(claim, _numbers(claim)) for claim in _claims(findings)],
            marks=MARKS,
            descriptions=[(each, _numbers(each)) for each in findings.descriptions],
            figure=figure,
            # as an image, so that neither its style nor its ids meet those of the notebook
            svg=base64.b64encode(figure.svg.encode()).decode() if figure else "",
            table=table and _rows(table),
        )
    )


def _claims(findings: Findings) -> list[Claim]:
    """Checks of the experiment stand behind the paper's claims."""
    return sorted(findings.claims, key=lambda claim: claim.kind == "check")


def _line(said: Claim | Description) -> str:
    check = "Check: " if getattr(said, "kind", "") == "check" else ""
    return f"{check}{said.words.removesuffix('.')}: {_numbers(said)}, n = {said.n:,}"


def _numbers(said: Claim | Description) -> str:
    return format_estimate(said.estimate, said.interval, said.unit)


def _rows(table: Table) -> dict[str, Any]:
    """Heads and cells of the first rows, an interval in the cell of its estimate."""
    columns = columns_of(table)
    count = min(MAX_ROWS, len(table.frame))
    cells = [
        [f"{column.words[i]} {column.intervals[i]}" if column.intervals else column.words[i] for column in columns]
        for i in range(count)
    ]
    sides = ["right" if column.numeric else "left" for column in columns]
    return {
        "title": table.title,
        "heads": list(zip((column.head for column in columns), sides, strict=True)),
        "rows": [list(zip(row, sides, strict=True)) for row in cells],
        "left": len(table.frame) - count,
    }
