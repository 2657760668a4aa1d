"""From a study and its settings to a run: open or continue it, walk through the study, write what it found.

The command line and `robustray.run` both come through here; neither knows what a study computes.
"""

from __future__ import annotations

import dataclasses
import io
import platform
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Any

from robustray.tasks.errors import InputError, WorkFailed
from robustray.tasks.lab import keys, runs
from robustray.tasks.lab.base import BlockLab
from robustray.tasks.lab.code import code_hash, settings_modules
from robustray.tasks.lab.jobs import find_function
from robustray.tasks.lab.runs import Run, RunIdentity
from robustray.tasks.lab.store import Store
from robustray.tasks.study import Findings, Opened, Study
from robustray.tasks.typed import spell_like
from robustray.tasks.words import nearest

if TYPE_CHECKING:
    from robustray.tasks.report.facts import RunFacts

PACKAGES = ("robustray", "torch", "torchvision", "numpy", "pandas", "pyarrow", "ray")


@dataclass(frozen=True, kw_only=True)
class Request:
    """A run, wanted."""

    study: Study
    settings: Any
    size: str
    """quick, small, paper; "custom" once a setting differs from them."""
    command: str
    """What the user typed, or would."""
    options: Mapping[str, Any]
    """Where and how to compute; no result depends on it. `resume` needs it."""
    fresh: tuple[str, ...] = ()
    """Steps to compute again. Raises: InputError for one that the study does not have."""

    def __post_init__(self) -> None:
        for step in self.fresh:
            if step not in self.study.steps:
                name = self.study.outline.name
                raise InputError(f"--fresh {step}: {name} has no such step{nearest(step, self.study.steps)}")


@dataclass(frozen=True, kw_only=True)
class Result:
    """A finished run."""

    run: Run
    document: Mapping[str, Any]
    """The `--json` document."""
    findings: Findings | None
    """None when the run was finished before and is only shown again."""
    facts: RunFacts | None
    num_failed: int
    """Items that were given up; the command exits with 1 when there are any."""


def execute(
    request: Request,
    *,
    store: Store,
    make_lab: Callable[[Store], BlockLab],
    resume: Run | None = None,
    retry_failed: bool = False,
    rewalk: bool = False,
    on_start: Callable[[Run, BlockLab], None] | None = None,
) -> Result:
    """Find the run that this request continues, or open one, and walk through the study.

    The study's door comes before the store is made: bad input leaves nothing behind.

    A finished run of the same content and code is returned as it is, unless `rewalk`. `make_lab` gives a lab over the
    store; it is closed here, whatever happens. `resume` names the run instead of looking for it.

    Raises: InputError before anything is written; WorkFailed after the run was marked as failed; KeyboardInterrupt
    after it was marked as interrupted.
    """
    lab = make_lab(store)
    try:
        opened = request.study.door(request.settings, lab)
        identity = identify(request, opened, lab)
        lab.prepare_store()
        run = resume or _find(store, identity, list(request.fresh))
        if run is None:
            run = runs.create(store, identity, command=request.command, options=dict(request.options))
            run.file.fresh = list(request.fresh)
        elif run.file.status == "finished" and not rewalk and run.file.identity.code == identity.code:
            return Result(run=run, document=document_of(run), findings=None, facts=None, num_failed=len(run.failures))
        else:
            run.file.attempts += 1
            run.file.identity = identity
        try:
            if retry_failed:
                run.forget_failures()
            lab.journal = run
            lab.fresh = frozenset(run.file.fresh)
            run.file.hashes = {what: ref.content_hash for what, ref in opened.refs.items()} | {"code": identity.code}
            run.file.environment = {"versions": versions(), "hardware": {**hardware(lab.device), **opened.decided}}
            run.save("running")
            if on_start is not None:
                on_start(run, lab)
            return _walk(request, run, lab, opened)
        except KeyboardInterrupt:
            run.save("interrupted")
            raise
    finally:
        lab.close()


def _walk(request: Request, run: Run, lab: BlockLab, opened: Opened) -> Result:
    try:
        findings = request.study.run(request.settings, lab)
    except WorkFailed as error:
        run.file.error = str(error)
        run.save("failed")
        raise
    except Exception as error:
        log = run.log(traceback.format_exc())
        run.file.error = f"{type(error).__name__}: {error}"
        run.save("failed")
        raise WorkFailed(f"{run.file.error} (traceback in {log})") from error
    findings = dataclasses.replace(findings, warnings=(*opened.warnings, *findings.warnings))
    tables = write_tables(run.write, findings)
    facts = facts_of(request, run, tables)
    document = write_report(run, findings, facts)
    run.file.document = document
    if findings.figures:
        main = findings.figures[0]
        run.file.figure = {"name": main.name, "title": main.title, "caption": main.caption, "alt": main.alt}
    run.file.error = ""
    run.save("failed" if run.failures else "finished")
    return Result(run=run, document=document, findings=findings, facts=facts, num_failed=len(run.failures))


def identify(request: Request, opened: Opened, lab: BlockLab) -> RunIdentity:
    """What makes this request the same run as another one: content only, no place and no number of workers."""
    functions = [find_function(name) for name in request.study.functions]
    own = sorted({*opened.modules, *(m for ref in opened.refs.values() for m in ref.modules)})
    content = {
        "study": request.study.outline.name,
        "settings": request.settings,
        "device": lab.device,
        "decided": opened.decided,
        "versions": {function.qualified_name: function.version for function in functions},
        "content": {what: ref.content_hash for what, ref in opened.refs.items()},
        "own modules": code_hash(own) if own else "",
    }
    modules = {request.study.run.__module__, *(function.function.__module__ for function in functions), *own}
    modules |= settings_modules(request.settings)
    settings = keys.plain(request.settings)
    return RunIdentity(
        study=request.study.outline.name,
        size=request.size,
        settings=settings,
        seed=int(settings.get("seed", 0)),
        hash8=keys.digest(content, length=8),
        code=code_hash(modules),
    )


def _find(store: Store, identity: RunIdentity, fresh: list[str]) -> Run | None:
    """The run that the same command continues.

    Not a failed one: typed again, the command tries everything again. And with `--fresh` only an unfinished run that
    was opened with it.
    """
    run = runs.find(store, identity.study, identity.hash8)
    if run is None or run.file.status == "failed":
        return None
    if fresh and (run.file.status == "finished" or run.file.fresh != fresh):
        return None
    return run


# -- what is written ---------------------------------------------------------------------------------------------------


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
        if table.on_page:
            write(f"tables/{table.name}.csv", table.frame.to_csv(index=False).encode())
    return paths


def write_report(run: Run, findings: Findings, facts: RunFacts) -> dict[str, Any]:
    """Figures, pictures and the page, whose warnings spell commands like the page's own. Returns the document."""
    from robustray.tasks.report.page import render_page
    from robustray.tasks.report.terminal import json_document

    def spelt(warnings: Sequence[str]) -> tuple[str, ...]:
        return tuple(spell_like(words, facts.command) for words in warnings)

    shown = dataclasses.replace(findings, warnings=spelt(findings.warnings))
    about = dataclasses.replace(facts, warnings=spelt(facts.warnings))

    for figure in findings.figures:
        run.write(f"figures/{figure.name}.svg", figure.svg.encode())
    for picture in findings.pictures:
        run.write(f"figures/{picture.name}.png", picture.png)
    page = run.write("report.html", render_page(shown, about).encode())
    full = {name: run.path(path) for name, path in facts.tables.items()}
    return json_document(findings, facts, page, full)


def document_of(run: Run) -> dict[str, Any]:
    """The `--json` document of a run that has found something, with the paths at which its store is now."""
    document = run.file.document
    tables = {name: run.path(f"tables/{name}.parquet") for name in document["tables"]}
    return {**document, "tables": tables, "report": run.path("report.html")}


def facts_of(request: Request, run: Run, tables: Mapping[str, str]) -> RunFacts:
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
        study=request.study.outline.name,
        question=request.study.outline.question,
        paper=request.study.outline.paper,
        size=request.size,  # type: ignore[arg-type]  # the command line gives one of the four
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
        tables={name: f"tables/{name}.parquet" for name in tables},
        wall_seconds=run.file.wall_seconds,
    )


def without_types(settings: Any) -> Any:
    """Plain settings without the names of their classes."""
    if isinstance(settings, dict):
        return {key: without_types(value) for key, value in settings.items() if key != "type"}
    return settings


def _warnings(run: Run) -> list[str]:
    found = []
    for failure in run.failures:
        found.append(
            f"{failure['step']}: item {failure['item']} is missing ({failure['reason']}); "
            f"`robustray resume {run.id} --failed` tries it again."
        )
    for name, count in run.counts.items():
        if count.old_blocks:
            found.append(
                f"{name}: {count.old_blocks} of {count.blocks} blocks are old: computed before code that they depend "
                f"on changed, under the same declared version. `--fresh {name}` computes them again."
            )
    return found


def versions() -> dict[str, str]:
    """Python and the packages that results may depend on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    if found["robustray"] == "not installed":
        import robustray

        found["robustray"] = robustray.__version__
    return found


def hardware(device: str) -> dict[str, Any]:
    """What the driver's machine is; never its name."""
    import psutil
    import torch

    facts: dict[str, Any] = {
        "device": device,
        "cpu": _cpu_name(),
        "cpus": psutil.cpu_count(),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
    }
    if device == "cuda" and torch.cuda.is_available():
        facts["gpu"] = torch.cuda.get_device_name()
    return facts


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):  # not Linux, or a CPU without that line
        return platform.processor() or platform.machine()
