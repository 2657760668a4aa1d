"""`robustray import`: public data sets and weights, converted to what is read here. Nothing is downloaded."""

from __future__ import annotations

import importlib
from pathlib import Path

from robustray.distributed.commands.parsing import again, as_typed, gather, parse, typed_as
from robustray.tasks.errors import InputError
from robustray.tasks.importers import IMPORTERS
from robustray.tasks.words import nearest


def main(argv: list[str]) -> int:
    """Import one thing."""
    if argv and argv[0] in ("-h", "--help"):
        usages = "\n  ".join(usage for _, usage in IMPORTERS.values())
        print(f"usage: {typed_as()} import KIND SOURCE [flags]\n\n  {usages}")
        return 0
    kind = argv[0] if argv else ""
    if kind not in IMPORTERS:
        asked = f"there is no import of {kind!r}" if kind else "import: nothing is named"
        raise InputError(f"{asked}{nearest(kind, IMPORTERS)}")
    module, usage = IMPORTERS[kind]
    importer = importlib.import_module(module)
    source = argv[1] if len(argv) > 1 and not argv[1].startswith("-") else None
    words = gather(argv[2:] if source else argv[1:], importer.Flags)
    flags = parse(importer.Flags, words, prog=f"{typed_as()} import {kind} SOURCE", default=importer.Flags())
    if source is None:
        raise InputError(f"import {kind} from where? {usage}")
    path = Path(source).expanduser()
    if not path.exists():
        raise InputError(f"import {kind}: there is no {path}")
    written = importer.run(path, flags)
    for line in written.lines:
        print(as_typed(line))
    print(f"next: {again(written.next)}")
    return 0
