"""The comparisons as Markdown, for the terminal and the documentation. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.versus.records import LAST, LINES, QUIET, Comparison, Record, compare
from robustray.tasks.statistics import paired_difference, proportion

HEAD = (
    "model", "norm", "", "times as fast as", "ratio", "by", "at most", "aim", "accepted", "", "robust accuracy",
    "images/s",
)  # fmt: skip
SHARES = ("bound", "sharded")
"""Kinds whose ratio is a share."""


def speeds(records: Sequence[Record]) -> str:
    """One table for each line, then how it was measured."""
    records = [record for record in records if record.kind != "strength"]
    comparisons, parts = compare(records), []
    for line in LINES:
        rows = [comparison for comparison in comparisons if comparison.line is line]
        if rows:
            parts.append(f"**{line.words}**\n\n" + _table(HEAD, [_speed(row) for row in rows]))
    if comparisons:
        rounds = sorted({c.rounds for c in comparisons})
        loads = [record.foreign_load for record in records]
        parts.append(
            f"Medians of {_span(rounds)} rounds (smallest and largest ratio within a round in brackets). "
            f"`by`: wall time, or CPU time of the process where others used more than {QUIET:g} CPUs "
            f"(at most {max(loads):.2f}). `at most`: the ratio if a gradient step took no longer than its convolutions "
            "alone."
        )
    return "\n\n".join(parts or ["Not measured yet."]) + "\n"


def strength(records: Sequence[Record]) -> str:
    """Robust accuracies with 95 % intervals, and how much ours is above each of the others on the same images."""
    rows = []
    mine = [record for record in records if record.kind == "strength"]
    for cell in dict.fromkeys(record.cell for record in mine):
        here = {(record.contender, record.precision): record for record in mine if record.cell == cell}
        ours = here[LAST, "fp32"]
        for (name, precision), record in here.items():
            left = proportion(record.stand)
            above = "" if record is ours else _points(paired_difference(ours.stand, record.stand))
            attack = f"{name}, {precision}"
            rows.append((f"`{cell.model}`", _norm(cell.norm), attack, str(record.images), _points(left), above))
    if not rows:
        return "Not measured yet.\n"
    head = ("model", "norm", "attack", "n", "robust accuracy, %", "ours (last iterate, fp32) minus this, points")
    return _table(head, rows) + "\n"


def _speed(row: Comparison) -> tuple[str, ...]:
    share = row.cell.kind in SHARES

    def ratio(value: float) -> str:
        return f"{100 * value:.0f} %" if share else f"{value:.2f}" if value < 10 else f"{value:.1f}"

    same = "" if share else f"{row.accuracy:.1f} % / {row.rival_accuracy:.1f} %"
    return (
        f"`{row.cell.model}`",
        _norm(row.cell.norm),
        row.precision,
        row.rival,
        f"{ratio(row.ratio)} ({ratio(row.low)}–{ratio(row.high)})",
        row.by,
        "" if row.ceiling is None else ratio(row.ceiling),
        "" if row.aim is None else ratio(row.aim),
        "" if row.aim is None else ratio(row.line.accepted * row.aim),
        row.verdict,
        same,
        f"{row.rate:.3g}" if row.rate < 1000 else f"{row.rate:.0f}",
    )


def _points(estimate: Any) -> str:
    """12.3 [10.1, 14.6]"""
    return f"{100 * estimate.value:.1f} [{100 * estimate.lo:.1f}, {100 * estimate.hi:.1f}]"


def _norm(norm: str) -> str:
    return {"linf": "ℓ∞ 8/255", "l2": "ℓ2 0.5"}[norm]


def _span(numbers: Sequence[int]) -> str:
    return f"{numbers[0]}" if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])
