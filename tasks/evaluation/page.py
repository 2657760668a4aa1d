"""An evaluation as a page with its tables: what `robustray evaluate` writes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from robustray.tasks.corruptions.drawn import accuracy_map, accuracy_table, corruption_errors
from robustray.tasks.corruptions.settings import Corrupting
from robustray.tasks.corruptions.sheet import contact_sheet
from robustray.tasks.data.reference import DataRef
from robustray.tasks.evaluation.results import Evaluation
from robustray.tasks.kit.compose import compose
from robustray.tasks.kit.frames import shown
from robustray.tasks.kit.words import listed
from robustray.tasks.lab.keys import digest
from robustray.tasks.lab.runs import now
from robustray.tasks.lab.store import Store
from robustray.tasks.outputs import write_drawings, write_tables, writing_into
from robustray.tasks.report.evaluation import EvaluationFacts, render_evaluation
from robustray.tasks.report.numbers import format_estimate, size_words
from robustray.tasks.study import Findings, Table

FOLDER = "evaluations"
"""Folder of the pages in a store."""


@dataclass(frozen=True, kw_only=True)
class Written:
    """What was written about an evaluation."""

    findings: Findings
    page: str
    tables: Mapping[str, str]
    """Name -> path of its Parquet file."""
    document: Mapping[str, Any]
    """The `--json` document."""


def write_page(found: Evaluation, ref: DataRef, corrupting: Corrupting, store: Store, *, command: str) -> Written:
    """Write the page and its tables into the store, as `evaluations/MODEL-DATA-HASH/`. ref: the data it was made on."""
    findings = findings_of(found, ref, corrupting)
    # one folder for one question: asked again, its page is written again
    asked = digest([command.partition(" evaluate ")[2], found.seed, ref.content_hash], length=8)
    name = re.sub(r"[^a-z0-9]+", "-", f"{found.model} {found.data}".lower()).strip("-")[:80]
    write = writing_into(store, f"{FOLDER}/{name}-{asked}")
    tables = write_tables(write, findings)
    write_drawings(write, findings)
    facts = EvaluationFacts(
        model=found.model,
        data=found.data,
        content_hash=ref.content_hash,
        seed=found.seed,
        command=command,
        date=now(),
        tables={table: f"tables/{table}.parquet" for table in tables},
    )
    page = write("index.html", render_evaluation(findings, facts).encode())
    document = {
        "model": found.model,
        "data": found.data,
        "n": found.n,
        "seed": found.seed,
        "accuracy": found.to_frame().to_dict("records"),
        "corruptions": found.corrupted.to_frame().to_dict("records") if found.corrupted else [],
        "against": list(found.against),
        "warnings": list(found.warnings),
        "tables": tables,
        "report": page,
    }
    return Written(findings=findings, page=page, tables=tables, document=document)


def findings_of(found: Evaluation, ref: DataRef, corrupting: Corrupting) -> Findings:
    """The parts of the page: the map first, then tables, then a picture of what was done to the images."""
    corrupted = found.corrupted
    name = f"{found.model}, {found.data}"
    return compose(
        answer(found),
        (*found.against, *found.warnings),
        [] if corrupted is None else corruption_errors(corrupted, name),
        None if corrupted is None else accuracy_map(corrupted, name="corruptions", what=name),
        accuracies(found),
        None if corrupted is None else accuracy_table({(): corrupted}),
        None if corrupted is None else contact_sheet(ref.fetch(), corrupting, seed=found.seed),
    )


def answer(found: Evaluation) -> str:
    """Clean accuracy, the worst case of each threat model, and the mean over corruptions, in a sentence."""

    def parts() -> Iterator[str]:
        for worst in found.worst:
            words = format_estimate(worst.robust.value, worst.robust.interval, "percent")
            yield f"{words} under {listed(worst.attacks)} at {size_words(worst.norm, worst.eps)}"
        if found.corrupted is not None and found.corrupted.mean is not None:
            mean = found.corrupted.mean
            words = format_estimate(mean.value, mean.interval, "percent")
            yield f"{words} when they are corrupted ({found.corrupted.mean_words} and their severities)"

    clean = format_estimate(found.clean.value, found.clean.interval, "percent")
    rest = listed(parts())
    return f"{found.model} classifies {clean} of {found.n:,} images of {found.data} correctly{rest and f'; {rest}'}."


def accuracies(found: Evaluation) -> Table:
    """One row for each number but those of corruptions."""
    return Table(
        name="accuracy",
        title="Accuracy as the images are, and under attacks",
        caption=f"n = {found.n:,} images, seed {found.seed}; 95 % Wilson intervals. In the worst case an image counts "
        "only if it survives every attack of its norm, of this size or smaller.",
        frame=found.to_frame(),
        formats={"eps": "eps", **shown("accuracy", "percent")},
    )
