"""From a study and its settings to a run: open or continue it, walk through the study, write what it found.

The command line and `robustray.run` both come through here; neither knows what a study computes.
"""

from __future__ import annotations

import dataclasses
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from robustray.tasks.environment import hardware, versions
from robustray.tasks.errors import InputError, WorkFailed
from robustray.tasks.lab import keys, runs
from robustray.tasks.lab.base import BlockLab
from robustray.tasks.lab.code import code_hash, is_own, settings_roots
from robustray.tasks.lab.driver import check_undriven, driving
from robustray.tasks.lab.runs import Run, RunIdentity
from robustray.tasks.lab.store import Store
from robustray.tasks.outputs import document_of, facts_of, write_report, write_tables
from robustray.tasks.study import Findings, Opened, Study
from robustray.tasks.training.by_name import trains_itself
from robustray.tasks.words import nearest

if TYPE_CHECKING:
    from robustray.tasks.report.facts import RunFacts


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a command asks for: a study with its settings, and how it was typed."""

    study: Study
    settings: Any
    size: str
    """As `study.scale_of` says; "custom" for settings of no size."""
    command: str
    """What the user typed, or would."""
    options: Mapping[str, Any]
    """Where and how to compute; no result depends on it. `resume` needs it."""
    fresh: tuple[str, ...] = ()
    """Steps to compute again. Raises: InputError for one that the study does not have."""

    def __post_init__(self) -> None:
        check_steps(self.study, self.fresh)


def check_steps(study: Study, fresh: Sequence[str]) -> None:
    """Raises: InputError for a step that the study does not have."""
    for step in fresh:
        if step not in study.steps:
            raise InputError(f"--fresh {step}: {study.outline.name} has no such step{nearest(step, study.steps)}")


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
    anyway: bool = False,
) -> Result:
    """Find the run that this request continues, or open one, and walk through the study.

    The study's door comes before the store is made: bad input leaves nothing behind.

    A finished run of the same content and code is returned as it is, unless `rewalk`, or the door finds that something
    it wrote elsewhere is gone. `make_lab` gives a lab over the
    store; it is closed here, whatever happens. `resume` names the run instead of looking for it. `anyway`: also where
    another living process computes this run.

    Raises: InputError before anything is written (also when another process computes this run), or by the study, and
    WorkFailed, both after the run was marked as failed; KeyboardInterrupt after it was marked as interrupted.
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
        elif (
            run.file.status == "finished"
            and not (rewalk or opened.incomplete)
            and run.file.identity.code == identity.code
        ):
            return Result(run=run, document=document_of(run), findings=None, facts=None, num_failed=len(run.failures))
        else:
            if not anyway:
                check_undriven(store, run.id, say=run.note)
            run.file.attempts += 1
            run.file.identity = identity
        with driving(store, run.id, since=runs.now()):
            return _drive(request, run, lab, opened, identity, retry_failed=retry_failed, on_start=on_start)
    finally:
        lab.close()


def _drive(
    request: Request,
    run: Run,
    lab: BlockLab,
    opened: Opened,
    identity: RunIdentity,
    *,
    retry_failed: bool,
    on_start: Callable[[Run, BlockLab], None] | None,
) -> Result:
    """Walk through the study as the one driver of `run`."""
    from robustray.tasks.data.reference import photograph_notes

    try:
        if retry_failed:
            run.forget_failures()
        lab.journal = run
        lab.fresh = frozenset(run.file.fresh)
        lab.declared, lab.partial = request.study.declared, request.study.partial
        run.file.hashes = {what: ref.content_hash for what, ref in opened.refs.items()} | {"code": identity.code}
        run.file.environment = {
            "versions": versions(),
            "hardware": {**hardware(lab.device), **opened.decided},
            "photographs": photograph_notes(opened.refs.values(), lab.load),
        }
        run.save("running")
        if on_start is not None:
            on_start(run, lab)
        return _walk(request, run, lab, opened)
    except KeyboardInterrupt:
        run.save("interrupted")
        raise


def find_finished(request: Request, lab: BlockLab) -> tuple[RunIdentity, Result | None]:
    """What `execute` would return as it is: a finished run of the same content and code. Nothing is written.

    Raises: InputError by the study's door.
    """
    opened = request.study.door(request.settings, lab)
    identity = identify(request, opened, lab)
    run = runs.find(lab.store, identity.study, identity.hash8)
    if run is None or run.file.status != "finished" or opened.incomplete or run.file.identity.code != identity.code:
        return identity, None
    return identity, Result(run=run, document=document_of(run), findings=None, facts=None, num_failed=len(run.failures))


def _walk(request: Request, run: Run, lab: BlockLab, opened: Opened) -> Result:
    try:
        findings = request.study.run(request.settings, lab)
    except (WorkFailed, InputError) as error:  # input whose fault shows only in results: no log would explain more
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
    facts = facts_of(request.study.outline, run, tables)
    document = write_report(run, findings, facts)
    run.file.document = document
    if findings.figures:
        main = findings.figures[0]
        run.file.figure = {"name": main.name, "title": main.title, "caption": main.caption, "alt": main.alt}
    run.file.error = ""
    run.save("failed" if run.failures else "finished")
    return Result(run=run, document=document, findings=findings, facts=facts, num_failed=len(run.failures))


def identify(request: Request, opened: Opened, lab: BlockLab) -> RunIdentity:
    """What makes this request the same run as another one: content only, no place and no number of workers.

    A model that trains itself is in the settings by its name. Its weights are no part of this: where they are not there
    yet, the run makes them, and stays the same run when it goes on with them.
    """
    refs = {what: ref for what, ref in opened.refs.items() if not trains_itself(ref.name)}
    named = {*opened.modules, *(root for ref in refs.values() for root in ref.modules)}
    own = sorted(filter(is_own, named))
    settings = keys.plain(request.settings)
    content = {
        "study": request.study.outline.name,
        "settings": settings,
        "device": lab.device,
        "decided": opened.decided,
        "versions": {function.qualified_name: function.version for function in request.study.functions},
        "content": {what: ref.content_hash for what, ref in refs.items()},
        "own modules": code_hash(own) if own else "",
    }
    run = request.study.run
    roots = {f"{run.__module__}:{run.__qualname__}", *request.study.roots, *named}
    return RunIdentity(
        study=request.study.outline.name,
        size=request.size,
        settings=settings,
        seed=int(settings.get("seed", 0)),
        hash8=keys.digest(content, length=8),
        code=code_hash(roots | settings_roots(request.settings)),
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
