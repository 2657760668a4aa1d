"""`robustray compare A B`: two finished runs of one study side by side."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from robustray.distributed.commands.parsing import (
    Switch,
    again,
    as_typed,
    gather,
    optional,
    parse,
    split_names,
    typed_as,
)
from robustray.distributed.commands.run import print_document
from robustray.tasks.errors import InputError

if TYPE_CHECKING:
    from robustray.tasks.lab.runs import Run


@dataclass(frozen=True, kw_only=True)
class Flags:
    """Show what differs between two finished runs of one study, in settings and, image by image, in results.

    A and B are runs of the store (the end of a name is enough) or folders of runs. Nothing is computed again."""

    store: Annotated[str | None, optional("FOLDER")] = None
    """Folder or URL; ./runs if not given."""
    json: Switch = False
    """Print one JSON document."""


def main(argv: list[str]) -> int:
    """Compare two runs: a page in the store, and a table here."""
    names, words = split_names(argv, Flags)
    flags = parse(Flags, gather(words, Flags), prog=f"{typed_as()} compare A B", default=Flags())
    if len(names) != 2:
        raise InputError(f"compare needs two runs, got {len(names)}; `{again('status', store=flags.store)}` lists them")
    from robustray.tasks.comparison import compare_runs

    try:
        a, b = (find(name, flags.store) for name in names)
        found = compare_runs(a, b, command=f"{typed_as()} compare {shlex.join(argv)}")
    except InputError as error:
        raise InputError(as_typed(str(error), flags.store)) from error
    if flags.json:
        print_document(found.document)
        return 0
    from rich.console import Console

    from robustray.tasks.report.terminal import print_comparison

    print_comparison(found.findings, found.facts, page=found.page, tables=found.tables, console=Console())
    return 0


def find(name: str, url: str | None) -> Run:
    """A run by its folder, or by its name in the store. Raises: InputError."""
    from robustray.tasks.lab import runs
    from robustray.tasks.lab.store import Store

    folder = Path(name).expanduser().resolve()
    if not (folder / "run.json").is_file():
        if "/" in name.rstrip("/"):
            raise InputError(f"{name} is no folder of a run: it has no run.json")
        return runs.load(Store(url or "runs"), name.rstrip("/"))
    run = runs.load(Store(str(folder.parent)), folder.name)
    if run.id != folder.name:
        raise InputError(f"{name} is the run {run.id} under another name: call its folder {run.id} again")
    return run
