"""`robustray resume RUN`: go on with a run."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from robustray.distributed.commands.parsing import gather, parse, typed_as
from robustray.distributed.commands.run import Where, carry_out, open_store
from robustray.tasks.errors import InputError

if TYPE_CHECKING:
    from robustray.tasks.execution import Request
    from robustray.tasks.lab.runs import Run


@dataclass(frozen=True, kw_only=True)
class ResumeFlags(Where):
    """Continue a run with the settings it was started with."""

    failed: bool = False
    """Try again the items that were given up."""


def main(argv: list[str]) -> int:
    """Continue a run. Flags that are not given are those the run was started with."""
    names, words = split_names(argv)
    flags = parse(ResumeFlags, gather(words, ResumeFlags), prog=f"{typed_as()} resume RUN", default=ResumeFlags())
    if len(names) != 1:
        raise InputError(f"resume which run? `{typed_as()} status` lists them")
    run, where = find_run(names[0], flags)
    if run.file.status == "finished" and not run.failures:
        print(f"{run.id} is finished; nothing is left to do. Its page: {run.file.document.get('report')}")
        return 0
    if run.failures and not flags.failed:
        print(f"{len(run.failures)} items were given up and stay out; --failed tries them again")
    return carry_out(request_of(run), where, resume=run, retry_failed=flags.failed, rewalk=True)


def split_names(argv: list[str]) -> tuple[list[str], list[str]]:
    """Names of runs come first, then flags."""
    first = next((i for i, word in enumerate(argv) if word.startswith("-")), len(argv))
    return argv[:first], argv[first:]


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
    from pydantic import TypeAdapter, ValidationError

    from robustray.tasks.execution import Request
    from robustray.tasks.study import load_study

    identity = run.file.identity
    study = load_study(identity.study)
    settings = {key: value for key, value in identity.settings.items() if key != "type"}
    known = {field.name for field in dataclasses.fields(study.outline.settings)}
    try:
        if unknown := set(settings) - known:
            raise InputError(f"{run.id}: this version does not know its settings {', '.join(sorted(unknown))}")
        read = TypeAdapter(study.outline.settings).validate_python(settings)
    except ValidationError as error:
        raise InputError(f"{run.id}: its settings are no longer valid: {error.errors()[0]['msg']}") from error
    return Request(
        study=study,
        settings=read,
        size=identity.size,
        command=run.file.command,
        options=run.file.options,
        fresh=tuple(run.file.fresh),
    )
