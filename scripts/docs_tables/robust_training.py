"""Tables of robust training, from those of its runs and from the headers of the weights it trained."""

from __future__ import annotations

import pandas as pd

from robustray.tasks.lab import arrays
from robustray.tasks.report.numbers import format_estimate, format_value, size_words
from robustray.tasks.statistics import wilson
from scripts.docs_tables import ROOT


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
        about = arrays.about(file.read_bytes())
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


TABLES = {"grid": grid, "twins": twins}
