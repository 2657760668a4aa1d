"""Write the tables of the documentation from their records: `python scripts/render_docs.py [--check]`.

A page says where a table comes from in a comment, and everything up to the next `<!-- end -->` is rendered:

    <!-- sweep: docs/results/attack-sweep-small/tables/worst-case.csv linf -->
    <!-- grid: docs/results/robust-training-small/tables/grid-linf.csv -->
    <!-- twins: docs/results/robust-training-small/models -->
    <!-- engine: benchmarks/records/engine.json -->
    <!-- training: benchmarks/records/training.json speed -->
    <!-- attacks: benchmarks/records/attacks.json speed -->
    <!-- wilson: 100 1000 10000 -->
    <!-- coverage: benchmarks/records/coverage.json -->

`--check` changes nothing and exits with 1 where a page and its records disagree.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.trainings import records as training_records  # noqa: E402
from benchmarks.trainings import tables as training_tables  # noqa: E402
from benchmarks.versus import records as attack_records  # noqa: E402
from benchmarks.versus import tables as attack_tables  # noqa: E402
from robustray.tasks.report.numbers import (  # noqa: E402
    format_estimate,
    format_interval,
    format_value,
    size_words,
)
from robustray.tasks.statistics import wilson  # noqa: E402
from robustray.tasks.training.weights import about_weights  # noqa: E402

MARK = re.compile(
    r"(<!-- (?P<kind>[a-z]+): (?P<words>[^>]+?) -->\n)(?P<table>.*?)(<!-- end -->)",
    re.DOTALL,
)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    stale = []
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        before = page.read_text()
        after = MARK.sub(render, before)
        if after != before:
            stale.append(str(page.relative_to(ROOT)))
            if not check:
                page.write_text(after)
    print("\n".join(stale) or "every table is that of its records")
    return 1 if check and stale else 0


def render(found: re.Match[str]) -> str:
    """A mark with its table rendered anew."""
    start, kind, words, _, end = found.groups("")
    return start + RENDER[kind](*words.split()) + end


def sweep(path: str, norm: str) -> str:
    """Rows: models. Columns: sizes. Cells: worst-case accuracy in percent with its 95 % interval."""
    table = pd.read_csv(ROOT / path).query("norm == @norm")
    sizes = sorted(table.eps.unique())
    heads = ["clean" if eps == 0 else format_value(eps, "eps") for eps in sizes]
    lines = [f"| model | {' | '.join(heads)} |", "|---|" + "---|" * len(sizes)]
    for model, rows in table.groupby("model", sort=False):
        cells = []
        for eps in sizes:
            row = rows[rows.eps == eps].iloc[0]
            cells.append(format_estimate(row.robust_accuracy, (row.lo, row.hi), "percent").replace(" %", ""))
        lines.append(f"| `{model}` | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def grid(path: str) -> str:
    """Rows: sizes tested at. Columns: what was trained against, in percent with its 95 % interval; then the published.

    From the table `grid-NORM` of a run of robust-training.
    """
    table = pd.read_csv(ROOT / path)
    ours = [name for name in table.columns if f"{name} lo" in table.columns]
    published = [name for name in table.columns if name.startswith("published, ")]
    lines = [f"| tested at | {' | '.join([*ours, *published])} |", "|---|" + "---|" * len([*ours, *published])]
    for row in table.to_dict("records"):
        cells = [
            format_estimate(row[name], (row[f"{name} lo"], row[f"{name} hi"]), "percent").replace(" %", "")
            for name in ours
        ]
        cells += [format_value(row[name]) for name in published]
        size = "clean" if row["eps_test"] == 0 else format_value(row["eps_test"], "eps")
        lines.append(f"| {size} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def twins(folder: str) -> str:
    """Rows: trained networks, from the headers of their weights. Held-out accuracies in percent with 95 % intervals."""
    rows = []
    for file in (ROOT / folder).glob("*.safetensors"):
        about = about_weights(file.read_bytes())
        spec, last = about["spec"], about["curve"][-1]
        against = size_words(spec["norm"], spec["eps"]) if spec["eps"] else "nothing"
        cells = [against, str(spec["seed"]), f"`run:{file.name.partition('-')[0]}`"]
        for name in ("clean_accuracy", "robust_accuracy"):
            if name in last:
                lo, hi = wilson(round(last[name] * spec["validation"]), spec["validation"])
                interval = format_estimate(last[name], (float(lo), float(hi)), "percent")
                cells.append(interval.replace(" %", ""))
            else:
                cells.append("")
        rows.append(((spec["eps"] > 0, spec["norm"], spec["seed"]), cells))
    lines = ["| trained against | seed | weights | clean | PGD-10 |", "|---|---|---|---|---|"]
    return "\n".join([*lines, *(f"| {' | '.join(cells)} |" for _, cells in sorted(rows))]) + "\n"


def attacks(path: str, what: str) -> str:
    """Our attacks beside those of other libraries: "speed" or "strength"."""
    return {"speed": attack_tables.speeds, "strength": attack_tables.strength}[what](
        attack_records.load(ROOT / path)[1]
    )


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


def engine(path: str) -> str:
    """Rows: what was measured. Columns: cases. Cells: median and range over rounds."""
    document = json.loads((ROOT / path).read_text())
    records = document["records"]
    cases = list(dict.fromkeys(record["case"] for record in records))
    lines = [f"| | {' | '.join(cases)} |", "|---|" + "---|" * len(cases)]
    for what, unit in dict.fromkeys((record["what"], record["unit"]) for record in records):
        cells = []
        for case in cases:
            values = [r["value"] for r in records if (r["what"], r["case"]) == (what, case)]
            middle = statistics.median(values)
            cells.append(f"{show(middle)} ({show(min(values))}–{show(max(values))})")
        lines.append(f"| {what}, {unit} | {' | '.join(cells)} |")
    rounds = len([r for r in records if r["case"] == cases[0]]) // len(dict.fromkeys(r["what"] for r in records))
    loads = [record["foreign_load"] for record in records]
    machine = document["machine"]
    lines.append("")
    lines.append(
        f"Median (range) of {rounds} rounds; {machine['items']:,} items; {machine['cpus']} CPUs, Python "
        f"{machine['python']}; other processes used {statistics.median(loads):.2f} CPUs (at most {max(loads):.2f})."
    )
    return "\n".join(lines) + "\n"


def training(path: str, part: str) -> str:
    """part: "speed", ours against the loops of others; "quality", low precision against fp32."""
    document = training_records.load(ROOT / path)
    if part == "speed":
        return training_tables.speed(document.speed)
    return training_tables.quality(document.quality)


def show(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def stages(path: str) -> str:
    """Rows: model and size, where something stood before the first stage. Columns: what the stages left, of all n."""
    table = pd.read_csv(ROOT / path)
    names = list(dict.fromkeys(table.stage))
    lines = [
        f"| model | size | correct | {' | '.join(f'after {name}' for name in names)} |",
        "|---" * (3 + len(names)) + "|",
    ]
    for (model, norm, eps), rows in table.groupby(["model", "norm", "eps"], sort=False):
        left = [
            f"{row.standing:,}" if row.attacked else ""
            for row in rows.set_index("stage").loc[names].itertuples(index=False)
        ]
        size = f"{NORMS[norm]} {format_value(eps, 'eps')}"
        lines.append(f"| `{model}` | {size} | {rows.attacked.iloc[0]:,} | {' | '.join(left)} |")
    return "\n".join(lines) + "\n"


def transfer(path: str, norm: str) -> str:
    """Rows: sources. Columns: targets. Cells: share of fooled images in percent with its 95 % interval."""
    table = pd.read_csv(ROOT / path).query("norm == @norm")
    names = list(dict.fromkeys(table.source))
    lines = [f"| made on | {' | '.join(f'`{name}`' for name in names)} |", "|---" * (1 + len(names)) + "|"]
    for source, rows in table.groupby("source", sort=False):
        seen = rows.set_index("target").loc[names]
        cells = [format_estimate(row.rate, (row.lo, row.hi), "percent").replace(" %", "") for row in seen.itertuples()]
        lines.append(f"| `{source}` | {' | '.join(cells)} |")
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


NORMS = {"linf": "ℓ∞", "l2": "ℓ2"}

RENDER: dict[str, Callable[..., str]] = {
    "sweep": sweep,
    "stages": stages,
    "transfer": transfer,
    "grid": grid,
    "twins": twins,
    "engine": engine,
    "training": training,
    "attacks": attacks,
    "wilson": wilson_widths,
    "coverage": coverage,
}

if __name__ == "__main__":
    sys.exit(main())
