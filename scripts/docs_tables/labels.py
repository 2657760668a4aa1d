"""Tables of the labels study."""

from __future__ import annotations

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


TABLES = {"models": models}
