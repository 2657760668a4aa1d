"""The page of an audit: what `robustray audit` leaves in the store."""

from __future__ import annotations

from dataclasses import dataclass

from robustray.tasks.audit.results import Audit, shown_figure
from robustray.tasks.lab.keys import digest
from robustray.tasks.lab.runs import now
from robustray.tasks.lab.store import Store
from robustray.tasks.outputs import write_tables, writing_into
from robustray.tasks.report.numbers import size_words
from robustray.tasks.report.page import fill
from robustray.tasks.study import Findings, Table

FOLDER = "audits"
"""Folder of the pages in a store."""


@dataclass(frozen=True, kw_only=True)
class AuditFacts:
    """What the page says beside its tables."""

    model: str
    subject: str
    command: str
    date: str
    lines: tuple[str, ...]


def write_page(audit: Audit, store: Store, *, command: str) -> tuple[str, dict[str, str]]:
    """Write `audits/HASH/index.html` with its tables. Returns the path of the page, and table -> path."""
    findings = as_findings(audit)
    asked = digest([audit.model, audit.data, audit.norm, audit.eps, audit.n, audit.seed], length=12)
    write = writing_into(store, f"{FOLDER}/{asked}")
    tables = write_tables(write, findings)
    facts = AuditFacts(
        model=audit.model,
        subject=f"{audit.n} images of {audit.data}, {size_words(audit.norm, audit.eps)}, seed {audit.seed}",
        command=command,
        date=now(),
        lines=audit.lines,
    )
    page = fill(
        "audit.html.j2",
        findings,
        tables={name: f"tables/{name}.parquet" for name in tables},
        warnings=audit.lines,
        facts=facts,
        evidence=(),
    )
    return write("index.html", page.encode()), tables


def as_findings(audit: Audit) -> Findings:
    """The audit as tables of a page."""
    import pandas as pd

    frame = audit.to_frame()[["check", "verdict", "figure", "rule", "layer", "what"]]
    frame["figure"] = [shown_figure(each) for each in audit.findings]
    frame = frame.rename(columns={"rule": "speaks against it", "what": "the figure is"})
    tables = [
        Table(
            name="checks",
            title="Checks",
            caption="Each check with its figure and the rule it is held against, which was fixed before. A layer is "
            "named where it can be known.",
            frame=frame,
            lead=True,
        )
    ]
    if audit.operations:
        tables.append(
            Table(
                name="operations",
                title="Operations that gradients do not see through",
                caption="What tracing found between the images and the logits, and in which layer. Comparisons, clamps "
                "and resizing are listed as well: they are no fault by themselves.",
                frame=pd.DataFrame([vars(each) for each in audit.operations]),
            )
        )
    return Findings(answer=audit.answer, tables=tuple(tables))
