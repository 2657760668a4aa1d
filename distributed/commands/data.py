"""`robustray data NAME`: a page that shows a data set, and a table with what is known of every image."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Annotated

from robustray.distributed.commands.parsing import Switch, as_typed, gather, optional, parse, split_names, typed_as
from robustray.distributed.commands.run import data_root, open_store, print_document
from robustray.tasks.corruptions.settings import Corrupting
from robustray.tasks.errors import InputError
from robustray.tasks.study import refuse_idle


@dataclass(frozen=True, kw_only=True)
class Flags(Corrupting):
    """Write a page that shows a data set: a contact sheet, single images, and a table with a row for every image.

    NAME is what --data takes: scenes:test,multi=0.3, cifar10:test, ./photos,size=224. With --corruptions all the first
    image is also shown under every common corruption."""

    store: Annotated[str | None, optional("FOLDER")] = None
    """Folder or URL; ./runs if not given. The page goes into its folder data."""
    data_root: Annotated[str | None, optional("FOLDER")] = None
    """Where CIFAR is looked for; ROBUSTRAY_DATA if not given."""
    json: Switch = False
    """Print one JSON document."""


def main(argv: list[str]) -> int:
    """Show one data set."""
    names, words = split_names(argv, Flags)
    flags = parse(Flags, gather(words, Flags), prog=f"{typed_as()} data NAME", default=Flags())
    if len(names) != 1:
        raise InputError(f"data needs the name of one data set, got {len(names)}: data scenes:test,multi=0.3")
    refuse_idle(flags, Flags())
    from robustray.tasks.data.reference import open_data
    from robustray.tasks.dataset_page import look

    store = open_store(flags.store, None)
    store.create()
    try:
        ref = open_data(names[0], data_root=data_root(flags.data_root))
        found = look(ref, store, command=f"{typed_as()} data {shlex.join(argv)}", corrupting=flags)
    except InputError as error:
        store.abandon()
        raise InputError(as_typed(str(error), flags.store)) from error
    if flags.json:
        print_document(found.document)
        return 0
    print(found.findings.answer)
    for note in found.document["notes"]:
        print(f"  {note}")
    print(f"report        {found.page}")
    for name, path in found.tables.items():
        print(f"table {name:<7} {path}")
    return 0
