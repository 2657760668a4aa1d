"""Two finished runs of one study: what differs between them, and what their results differ by.

Which results can be paired is the study's business (`Study.compare`); everything here holds for any study.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from robustray.tasks.errors import InputError
from robustray.tasks.lab.runs import Run, now
from robustray.tasks.outputs import without_types, write_tables
from robustray.tasks.report.comparison import ComparisonFacts, Difference, Side, render_comparison
from robustray.tasks.report.page import flat
from robustray.tasks.study import Findings, RunTables, Study, load_study

if TYPE_CHECKING:
    import pandas as pd

KINDS = ("setting", "data and weights", "code", "numerics", "version", "machine")
NUMERICS = ("device", "precision")
"""The facts about a run's hardware on which last bits depend."""
ABSENT = "–"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two runs, compared and written down."""

    findings: Findings
    facts: ComparisonFacts
    page: str
    tables: Mapping[str, str]
    """Name -> path of its Parquet file."""
    document: Mapping[str, Any]
    """The `--json` document."""


def compare_runs(a: Run, b: Run, *, command: str) -> Comparison:
    """Compare two runs and write page and tables into the store of the first one, as `compare/A--B/`.

    Raises: InputError, before anything is written, for two runs that cannot be compared.
    """
    study = _common_study(a, b)
    name = study.outline.name
    if study.compare is None:
        findings = Findings(answer=f"{name} has no paired comparison of results; this page shows what differs.")
    else:
        findings = study.compare(_tables_of(a, "A"), _tables_of(b, "B"))
    # Not among the runs: a run may be called by the end of its name, which this folder has as well.
    folder = f"compare/{a.id}--{b.id.removeprefix(f'{name}-')}"

    def write(file: str, data: bytes) -> str:
        a.store.write(f"{folder}/{file}", data)
        return a.store.path(f"{folder}/{file}")

    tables = write_tables(write, findings)
    facts = ComparisonFacts(
        study=name,
        question=study.outline.question,
        sides=(_side("A", a, a, folder), _side("B", b, a, folder)),
        kinds=KINDS,
        differences=tuple(differences(a, b)),
        command=command,
        date=now(),
        warnings=tuple(_warnings(a, b)),
        tables={table: f"tables/{table}.parquet" for table in tables},
    )
    for figure in findings.figures:
        write(f"figures/{figure.name}.svg", figure.svg.encode())
    page = write("index.html", render_comparison(findings, facts).encode())
    document = {
        "study": name,
        "runs": {"A": a.id, "B": b.id},
        "answer": findings.answer,
        "differences": [asdict(difference) for difference in facts.differences],
        "equal": list(facts.same),
        "warnings": [*facts.warnings, *findings.warnings],
        "cells": {table.name: _rows(table.frame) for table in findings.tables if table.on_page},
        "tables": tables,
        "report": page,
    }
    return Comparison(findings=findings, facts=facts, page=page, tables=tables, document=document)


def differences(a: Run, b: Run) -> Iterator[Difference]:
    """What is not the same in both runs, kind by kind in the order of `KINDS`.

    Where to compute (workers, address) is left out: no result depends on it.
    """
    for kind in KINDS:
        first, second = _facts(a, kind), _facts(b, kind)
        for name in dict.fromkeys((*first, *second)):
            if first.get(name) != second.get(name):
                yield Difference(kind=kind, name=name, a=first.get(name, ABSENT), b=second.get(name, ABSENT))


def _facts(run: Run, kind: str) -> dict[str, str]:
    file = run.file
    hardware = dict(flat(file.environment.get("hardware", {})))
    match kind:
        case "setting":
            return dict(flat(without_types(file.identity.settings)))
        case "data and weights":
            return {name: _short(value) for name, value in file.hashes.items() if name != "code"}
        case "code":
            return {"study and attacks": _short(file.identity.code)}
        case "numerics":
            return {name: hardware[name] for name in NUMERICS if name in hardware}
        case "version":
            return dict(flat(file.environment.get("versions", {})))
        case "machine":
            return {name: value for name, value in hardware.items() if name not in NUMERICS}
    raise AssertionError(kind)


def _short(digest: str) -> str:
    return f"{digest[:16]}…" if len(digest) > 16 else digest


def _common_study(a: Run, b: Run) -> Study:
    """Raises: InputError for two runs of which nothing can be said together."""
    if (a.store.url, a.id) == (b.store.url, b.id):
        raise InputError(f"{a.id} was given twice: a comparison needs two runs (`robustray status` lists them)")
    if a.file.identity.study != b.file.identity.study:
        raise InputError(
            f"{a.id} is a run of {a.file.identity.study}, {b.id} of {b.file.identity.study}: give two of one study"
        )
    for run in (a, b):
        given_up = run.file.status == "failed" and run.failures  # finished, but for single items
        if not run.file.document or not (run.file.status == "finished" or given_up):
            raise InputError(
                f"{run.id} is {run.file.status}, not finished: `robustray resume {run.id}` goes on with it"
            )
    return load_study(a.file.identity.study)


def _tables_of(run: Run, label: str) -> RunTables:
    def read(table: str, columns: Sequence[str]) -> pd.DataFrame:
        import pyarrow as pa
        import pyarrow.parquet as pq

        again = f"`robustray report {run.id}` writes it again"
        try:
            data = run.store.read(f"{run.id}/tables/{table}.parquet")
            return pq.read_table(io.BytesIO(data), columns=list(columns)).select(list(columns)).to_pandas()
        except FileNotFoundError as error:
            raise InputError(f"{run.id} has no table {table!r} any more: {again}") from error
        except (pa.ArrowException, KeyError) as error:
            raise InputError(f"{run.id}: its table {table!r} is damaged or of another version: {again}") from error

    return RunTables(
        label=label, settings=without_types(run.file.identity.settings), hashes=dict(run.file.hashes), read=read
    )


def _side(label: str, run: Run, first: Run, folder: str) -> Side:
    link = None
    if run.store.url == first.store.url:
        link = f"../../{run.id}/report.html"
    elif run.store.local and first.store.local:
        link = os.path.relpath(run.path("report.html"), first.store.path(folder))
    return Side(
        label=label,
        run=run.id,
        answer=run.file.document["answer"],
        size=run.file.identity.size,  # type: ignore[arg-type]  # one of the four, as it was written
        date=run.file.created,
        command=run.file.command,
        link=link,
    )


def _warnings(a: Run, b: Run) -> Iterator[str]:
    for name in sorted((set(a.file.hashes) & set(b.file.hashes)) - {"code"}):
        if a.file.hashes[name] != b.file.hashes[name]:
            yield f"{name}: the same name stands for other content in A and B (their hashes differ)."
    for label, run in (("A", a), ("B", b)):
        if run.failures:
            yield f"{label}: {len(run.failures)} items were given up in this run and are missing from its tables."


def _rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON values; a number that is not finite becomes null."""
    rows: list[dict[str, Any]] = frame.astype(object).where(frame.notna(), None).to_dict(orient="records")
    return [{k: None if v in (math.inf, -math.inf) else v for k, v in row.items()} for row in rows]
