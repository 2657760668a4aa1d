"""What died in the recorded runs of `scripts/chaos.py`, and whether a table differed."""

from __future__ import annotations

import json

import pandas as pd

from scripts.docs_tables import ROOT

JOBS = {
    "sweep": "an attack sweep",
    "training": "a robust training",
    "agents": "a grid of agents",
    "replication": "a replication study",
}
VICTIMS = ("worker", "node", "driver")


def chaos(path: str) -> str:
    """A row for each job, and one for all: runs, kills of each kind, commands typed, tables compared and differing."""
    runs = pd.DataFrame(map(json.loads, (ROOT / path).read_text().splitlines()))
    for victim in VICTIMS:
        runs[victim] = [killed.get(victim, 0) for killed in runs.killed]
    runs["tables_that_differ"] = runs.tables_that_differ.str.len()
    columns = [*VICTIMS, "commands_typed", "tables_compared", "tables_that_differ"]
    heads = [
        "job",
        "runs",
        *(f"{victim}s killed" for victim in VICTIMS),
        *(name.replace("_", " ") for name in columns[3:]),
    ]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    parts = [(JOBS[str(job)], part) for job, part in runs.groupby("job", sort=False)]
    for words, part in [*parts, ("**all**", runs)]:
        lines.append(f"| {' | '.join(map(str, [words, len(part), *part[columns].sum()]))} |")
    return "\n".join(lines) + "\n"


TABLES = {"chaos": chaos}
