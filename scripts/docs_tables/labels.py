"""Tables of the labels study."""

from __future__ import annotations

import json

import pandas as pd

from robustray.tasks.report.numbers import format_estimate
from scripts.docs_tables import ROOT

MULTI = "several objects"


def models(path: str, *names: str) -> str:
    """Rows: models. Columns: what counts as right. Cells: accuracy on images with several objects, in percent."""
    table = pd.read_csv(ROOT / path).query("slice == @MULTI")
    measures = list(dict.fromkeys(table.measure))
    lines = [f"| model | {' | '.join(measures)} | n |", "|---" * (2 + len(measures)) + "|"]
    for name in names:
        own = table[table.model == name].set_index("measure")
        cells = [
            format_estimate(own.accuracy[each], (own.lo[each], own.hi[each]), "percent").replace(" %", "")
            for each in measures
        ]
        lines.append(f"| `{name}` | {' | '.join(cells)} | {own.n.iloc[0]:,} |")
    return "\n".join(lines) + "\n"


def annotators(path: str) -> str:
    """Rows: scenes, headlines and estimates. Columns: bias, coverage and median width of the interval."""
    record = json.loads((ROOT / path).read_text())
    lines = [
        "| scenes | share | estimate | bias, points | covered | median width, points |",
        "|---|---|---|---|---|---|",
    ]
    for row in sorted(record["rows"], key=lambda row: (row["scenes"], list(record["truth"]).index(row["share"]))):
        bias = f"{100 * row['bias']:+.2f} ± {100 * row['bias_error']:.2f}".replace("-", "−")
        covered = f"{row['covered']} of {row['studies']}"
        cells = [f"{row['scenes']:,}", row["share"], row["estimate"], bias, covered, f"{100 * row['median_width']:.1f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def crowds(path: str) -> str:
    """Rows: what was timed. Columns: CPU seconds of ours and of the other side, and memory."""
    record = json.loads((ROOT / path).read_text())
    lines = ["| what | ours, CPU s | beside it, CPU s | ratio | ours, peak GB |", "|---" * 5 + "|"]
    workers = record["workers"]
    for model in ("dawid-skene", "one-coin"):
        own, kit = workers[model]["ours"], workers[model]["crowd_kit"]
        cells = [f"{own['seconds']:.2f}", f"{kit['seconds']:.1f}", f"{workers[model]['ratio']:.0f} ×"]
        lines.append(
            f"| {model}, {workers['steps']} EM steps; crowd-kit | {' | '.join(cells)} | {own['peak_gb']:.2f} |"
        )
    plain = record["aggregation"]
    lines.append(
        f"| objects and six measures, {plain['models']} models; pandas and Python | {plain['ours_seconds']:.2f} | "
        f"{plain['plain_seconds']:.1f} | {plain['ratio']:.0f} × | |"
    )
    resampled = record["bootstrap"]
    what = (
        f"{resampled['estimates']:,} estimates, {resampled['resamples']:,} resamples of {resampled['images']:,} images"
    )
    lines.append(f"| {what} | {resampled['seconds']:.2f} | | | |")
    return "\n".join(lines) + "\n"


TABLES = {"models": models, "annotators": annotators, "crowds": crowds}
