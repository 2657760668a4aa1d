"""`robustray resume RUN`: go on with a run."""

from __future__ import annotations

import dataclasses
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from robustray.distributed.commands.parsing import Switch, again, gather, parse, split_names, typed_as
from robustray.distributed.commands.recorded import recorded_settings
from robustray.distributed.commands.run import Where, carry_out, open_store, print_document
from robustray.tasks.errors import InputError

if TYPE_CHECKING:
    from robustray.tasks.execution import Request
    from robustray.tasks.lab.runs import Run


@dataclass(frozen=True, kw_only=True)
class ResumeFlags(Where):
    """Continue a run with the settings it was started with."""

    failed: Switch = False
    """Try again the items that were given up."""
    anyway: Switch = False
    """Go on although another process computes this run; without it that is an error that names the process."""


def main(argv: list[str]) -> int:
    """Continue a run. Flags that are not given are those the run was started with."""
    names, words = split_names(argv, ResumeFlags)
    flags = parse(ResumeFlags, gather(words, ResumeFlags), prog=f"{typed_as()} resume RUN", default=ResumeFlags())
    if len(names) != 1:
        raise InputError(f"resume which run? give one; `{again('status', store=flags.store)}` lists them")
    from robustray.tasks.outputs import document_of

    run, where = find_run(names[0], flags)
    if run.file.status == "finished" and not run.failures:
        document = document_of(run)
        if flags.json:
            print_document(document)
        else:
            print(f"{run.id} is finished; nothing is left to do. Its page: {document['report']}")
        return 0
    if run.failures and not flags.failed:
        print(f"{len(run.failures)} items were given up and stay out; --failed tries them again", file=sys.stderr)
    return carry_out(request_of(run), where, resume=run, retry_failed=flags.failed, rewalk=True, anyway=flags.anyway)


def find_run(name: str, flags: Where) -> tuple[Run, Any]:
    """The run, and where to compute: as it did, except for the flags that are given now."""
    from robustray.tasks.lab import runs

    store = open_store(flags.store, flags.address or os.environ.get("RAY_ADDRESS") or None)
    run = runs.load(store, name.rstrip("/").rpartition("/")[2])
    defaults = type(flags)()
    given = {f.name: getattr(flags, f.name) for f in dataclasses.fields(flags)}
    before = {
        key: value for key, value in run.file.options.items() if key in given and given[key] == getattr(defaults, key)
    }
    return run, dataclasses.replace(flags, **before)


def request_of(run: Run) -> Request:
    """The request that opened a run. Raises: InputError when its settings are no longer understood."""
    from robustray.tasks.execution import Request
    from robustray.tasks.study import load_study

    identity = run.file.identity
    study = load_study(identity.study)
    return Request(
        study=study,
        settings=recorded_settings(study.outline.settings, identity.settings, run.id),
        size=identity.size,
        command=run.file.command,
        options=run.file.options,
    )
