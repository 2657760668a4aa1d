"""Tables about the intervals themselves."""

from __future__ import annotations

import json

from robustray.tasks.report.numbers import format_estimate, format_interval, format_value
from robustray.tasks.statistics import wilson
from scripts.docs_tables import ROOT


def wilson_widths(*counts: str) -> str:
    """Rows: numbers of images. Columns: accuracies. Cells: the 95 % Wilson interval in percent."""
    shares = (0.5, 0.3, 0.1, 0.01, 0.0)
    lines = [
        f"| images | {' | '.join(format_value(share, 'percent') for share in shares)} |",
        "|---|" + "---|" * len(shares),
    ]
    for n in map(int, counts):
        ends = [wilson(round(share * n), n) for share in shares]
        cells = [format_interval(float(lo), float(hi), "percent") for lo, hi in ends]
        lines.append(f"| {n:,} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def coverage(path: str) -> str:
    """Rows: situations and methods. Cells: share of 95 % intervals that held the truth, with its interval; width."""
    lines = ["| situation | method | covers, % | median width |", "|---|---|---|---|"]
    for row in json.loads((ROOT / path).read_text())["rows"]:
        lo, hi = wilson(row["covered"], row["repetitions"])
        share = format_estimate(row["covered"] / row["repetitions"], (float(lo), float(hi)), "percent")
        lines.append(
            f"| {row['situation']} | {row['method']} | {share.replace(' %', '')} | {row['median_width']:.3f} |"
        )
    return "\n".join(lines) + "\n"


TABLES = {"wilson": wilson_widths, "coverage": coverage}
