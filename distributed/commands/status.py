"""`robustray status`: the runs of a store."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated

from robustray.distributed.commands.parsing import Switch, again, as_typed, gather, optional, parse, typed_as
from robustray.tasks.study import STUDIES


@dataclass(frozen=True, kw_only=True)
class Flags:
    """The runs of a store, newest last."""

    store: Annotated[str | None, optional("FOLDER")] = None
    """Folder or URL; ./runs if not given."""
    json: Switch = False
    """Print one JSON document."""


def main(argv: list[str]) -> int:
    flags = parse(Flags, gather(argv, Flags), prog=f"{typed_as()} status", default=Flags())
    from robustray.tasks.lab.runs import all_runs
    from robustray.tasks.lab.store import Store

    store = Store(flags.store or "runs")
    runs = all_runs(store)
    if flags.json:
        rows = [
            {
                "run": run.id,
                "study": run.file.identity.study,
                "size": run.file.identity.size,
                "status": run.file.status,
                "updated": run.file.updated,
                "seconds": run.file.wall_seconds,
                "failed_items": len(run.failures),
                "error": run.file.error,
                "report": run.path("report.html") if run.file.document else None,
            }
            for run in runs
        ]
        print(json.dumps({"store": store.url, "runs": rows}, indent=1))
        return 0
    first = f"run {next(iter(STUDIES))} --size quick"
    if not runs:
        print(f"no runs in {store.url}; start one: {again(first, store=flags.store)}")
        return 0
    width = max(len(run.id) for run in runs)
    for run in runs:
        failed = f", {len(run.failures)} items given up" if run.failures else ""
        error = f": {as_typed(run.file.error, flags.store)}" if run.file.error else ""
        size, status = run.file.identity.size, run.file.status
        print(f"{run.id:<{width}}  {size:<6}  {status:<11}  {run.file.updated}{failed}{error}")
    unfinished = [run for run in runs if run.file.status != "finished"]
    last = unfinished[-1] if unfinished else runs[-1]
    verb = "resume" if unfinished else "report"
    retry = " --failed" if last.failures else ""
    print(f"\nnext: {again(f'{verb} {last.id}{retry}', store=flags.store)}")
    return 0
