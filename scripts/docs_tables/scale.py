"""The engine at a million items and pieces, from benchmarks/records/engine-scale.json."""

from __future__ import annotations

import json
from statistics import median

import pandas as pd

from scripts.docs_tables import ROOT

LAB = "robustray, 2 workers"


def scale(path: str, part: str) -> str:
    """part: "items", "attack" or "store"; where there is an aim, it stands below."""
    document = json.loads((ROOT / path).read_text())
    rows = pd.DataFrame(document["records"])
    rows = rows[rows.part == part]
    lines = {"items": _items, "attack": _attack, "store": _store}[part](rows)
    machine = document["machine"]
    versions = f"{machine['cpus']} CPUs, Python {machine['python']}, Ray {machine['ray']}"
    loads = rows.foreign_load
    others = f"other processes used {median(loads):.2f} CPUs (at most {max(loads):.2f})"
    lines += ["", f"Median (range) of up to {rows['round'].nunique()} rounds; {versions}; {others}."]
    return "\n".join(lines) + "\n"


def _items(rows: pd.DataFrame) -> list[str]:
    whats = ["items per second", "driver's memory above its start", "resume, all blocks there"]
    lines = [
        "| items | by | items per second | driver's memory above its start, MiB | resume, s |",
        "|---|---|---|---|---|",
    ]
    for (case, size), part in rows.groupby(["case", "size"], sort=False):
        cells = [spread(part[part.what == what].value) for what in whats]
        lines.append(f"| {size:,} | {case} | {' | '.join(cells)} |")
    lines.append("| **aim** | | 5 × Ray Data | at most 200 | at most 2 |")
    lines += ["", f"Two actors of the lab against Ray Data, medians: {_times_ray_data(rows)}."]
    return lines


def _times_ray_data(rows: pd.DataFrame) -> str:
    speeds = rows[rows.what == "items per second"].groupby(["case", "size"], sort=False).value.median()
    ours = speeds["2 actors", rows[rows.case == "2 actors"]["size"].max()]
    peers = {case: value for (case, _), value in speeds.items() if case.startswith("Ray Data")}
    return ", ".join(f"**{ours / value:.1f} ×** with {case.rpartition(', ')[2]}" for case, value in peers.items())


def _attack(rows: pd.DataFrame) -> list[str]:
    speeds = rows.pivot(index="round", columns="case", values="value")
    plain = [case for case in speeds if case not in (LAB,) and not case.startswith("Ray Data")]
    best = speeds[plain].max(axis=1)
    lines = ["| by | images per second | of the best without a lab, round by round |", "|---|---|---|"]
    for case in dict.fromkeys(rows.case):
        bold = "**" if case == LAB else ""
        share = spread(100 * speeds[case] / best)
        lines.append(f"| {case} | {spread(speeds[case])} | {bold}{share} %{bold} |")
    lines.append("| **aim** | | 95 % (accepted: 90 %) |")
    return lines


def _store(rows: pd.DataFrame) -> list[str]:
    cases = list(dict.fromkeys(zip(rows.case, rows["size"], strict=True)))
    heads = [f"{case}: {size:,} pieces" for case, size in cases]
    lines = [f"| | {' | '.join(heads)} |", "|---" * (1 + len(heads)) + "|"]
    for what, unit in dict.fromkeys(zip(rows.what, rows.unit, strict=True)):
        cells = []
        for case, size in cases:
            cells.append(spread(rows[(rows.case == case) & (rows["size"] == size) & (rows.what == what)].value))
        lines.append(f"| {what}, {unit} | {' | '.join(cells)} |")
    return lines


def spread(values: pd.Series) -> str:
    """Median (range); "–" where nothing was measured."""
    if not len(values):
        return "–"
    return f"{_number(values.median())} ({_number(values.min())}–{_number(values.max())})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


TABLES = {"scale": scale}
