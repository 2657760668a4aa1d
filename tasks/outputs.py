"""What a run leaves in its folder: tables, figures, the page, and on it the facts about the run itself."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from robustray.tasks.lab.runs import Run
from robustray.tasks.study import Document, Findings, Outline
from robustray.tasks.typed import spell_like

if TYPE_CHECKING:
    from robustray.tasks.lab.store import Store
    from robustray.tasks.report.facts import RunFacts


def write_tables(write: Callable[[str, bytes], str], findings: Findings) -> dict[str, str]:
    """Parquet for programs and CSV for people (of short tables). Returns table name -> path of its Parquet file.

    write: takes a name and its content, returns the path, as `Run.write` does.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    paths = {}
    for table in findings.tables:
        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_pandas(table.frame, preserve_index=False), buffer, compression="zstd")
        paths[table.name] = write(f"tables/{table.name}.parquet", buffer.getvalue())
        if table.on_page or table.csv:
            write(f"tables/{table.name}.csv", table.frame.to_csv(index=False).encode())
    return paths


def write_drawings(write: Callable[[str, bytes], str], findings: Findings) -> None:
    """Figures as SVG and pictures as PNG, in the folder `figures`. write: as of `write_tables`."""
    for figure in findings.figures:
        write(f"figures/{figure.name}.svg", figure.svg.encode())
    for picture in findings.pictures:
        write(f"figures/{picture.name}.png", picture.png)


def writing_into(store: Store, folder: str) -> Callable[[str, bytes], str]:
    """What writes a file by its name in `folder` of the store and returns its path, as `Run.write` does."""

    def write(name: str, content: bytes) -> str:
        store.write(f"{folder}/{name}", content)
        return store.path(f"{folder}/{name}")

    return write


def write_report(run: Run, findings: Findings, facts: RunFacts) -> dict[str, Any]:
    """Figures, pictures and the page, whose warnings spell commands like the page's own. Returns the document."""
    from robustray.tasks.report.page import render_page
    from robustray.tasks.report.terminal import json_document

    def spelt(warnings: Sequence[str]) -> tuple[str, ...]:
        return tuple(spell_like(words, facts.command) for words in warnings)

    shown = dataclasses.replace(findings, warnings=spelt(findings.warnings))
    about = dataclasses.replace(facts, warnings=spelt(facts.warnings), notes=spelt(facts.notes))

    write_drawings(run.write, findings)
    for document in findings.documents:
        run.write(document.path, _bytes_of(document))
    page = run.write("report.html", render_page(shown, about).encode())
    full = {name: run.path(path) for name, path in facts.tables.items()}
    return json_document(findings, facts, page, full)


def _bytes_of(document: Document) -> bytes:
    if isinstance(document.content, bytes):
        return document.content
    return (json.dumps(document.content, indent=1, allow_nan=False) + "\n").encode()


def document_of(run: Run) -> dict[str, Any]:
    """The `--json` document of a run that has found something, with the paths at which its store is now."""
    document = run.file.document
    tables = {name: run.path(f"tables/{name}.parquet") for name in document["tables"]}
    return {**document, "tables": tables, "report": run.path("report.html")}


def facts_of(outline: Outline, run: Run, tables: Mapping[str, str]) -> RunFacts:
    """What the page says about the run itself."""
    from robustray.tasks.report.facts import RunFacts, StepFacts

    steps = tuple(
        StepFacts(
            name=name,
            items=count.items,
            blocks=count.blocks,
            computed_blocks=count.computed_blocks,
            reused_blocks=count.reused_blocks,
            old_blocks=count.old_blocks,
            retried=count.retried,
            failed_items=count.failed_items,
            seconds=round(count.seconds, 2) if count.computed_items else None,
            items_per_second=count.computed_items / count.seconds if count.seconds else None,
        )
        for name, count in run.counts.items()
    )
    return RunFacts(
        study=outline.name,
        question=outline.question,
        paper=outline.paper,
        size=run.file.identity.size,  # type: ignore[arg-type]  # the command line gives one of the four
        run=run.id,
        command=run.file.command,
        seed=run.file.identity.seed,
        date=run.file.created,
        status="finished with items given up" if run.failures else "finished",
        settings=without_types(run.file.identity.settings),
        hashes=run.file.hashes,
        versions=run.file.environment["versions"],
        hardware=run.file.environment["hardware"],
        steps=steps,
        warnings=tuple(_warnings(run)),
        unrepeatable=tuple(run.unrepeatable),
        notes=tuple(_notes(run)),
        tables={name: f"tables/{name}.parquet" for name in tables},
        wall_seconds=run.wall_seconds,
    )


def without_types(settings: Any) -> Any:
    """Plain settings without the names of their classes."""
    if isinstance(settings, dict):
        return {key: without_types(value) for key, value in settings.items() if key != "type"}
    return settings


def unrepeatable_words(what: str) -> str:
    """The warning about something that does not repeat itself."""
    return (
        f"{what} gives other numbers for the same seed: what rests on it cannot be repeated. Its numbers hold for what "
        "was computed once and is kept in this store."
    )


def _warnings(run: Run) -> list[str]:
    found = [unrepeatable_words(what) for what in run.unrepeatable]
    for failure in run.failures:
        found.append(
            f"{failure['step']}: item {failure['item']} is missing ({failure['reason']}); "
            f"`robustray resume {run.id} --failed` tries it again."
        )
    return found


def _notes(run: Run) -> list[str]:
    done = run.file.environment.get("photographs", {})  # runs of earlier versions have none
    found = [f"{name}: {'; '.join(notes)}." for name, notes in done.items()]
    for name, count in run.counts.items():
        if count.old_blocks:
            found.append(
                f"{name}: {count.old_blocks} of {count.blocks} blocks were read from the store although code that they "
                f"depend on has changed since, under the same declared version. `--fresh {name}` computes them again."
            )
    return found
