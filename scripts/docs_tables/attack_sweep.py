"""Tables of the attack sweep, from those of its runs."""

from __future__ import annotations

import pandas as pd

from robustray.tasks.report.numbers import format_estimate, format_value, size_words
from scripts.docs_tables import ROOT


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


def stages(path: str) -> str:
    """One row for each model and size at which an image was unbroken before the first stage; one column for each stage:
    what it left, of all n."""
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
        size = size_words(str(norm), eps)
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


TABLES = {"sweep": sweep, "stages": stages, "transfer": transfer}
