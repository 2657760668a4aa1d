"""`robustray prune`: remove from a store what no run refers to."""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import dataclass
from typing import Annotated

from robustray.distributed.commands.parsing import Switch, gather, optional, parse, typed_as
from robustray.tasks.errors import InputError
from robustray.tasks.kit.words import plural

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 24 * 3600.0}


@dataclass(frozen=True, kw_only=True)
class Flags:
    """Remove the finished blocks (pieces) that no run of the store refers to: those of runs whose folders you deleted,
    and those of evaluate(store=...). Runs, models and agents stay. A study may compute meanwhile."""

    store: Annotated[str | None, optional("FOLDER")] = None
    """Folder or URL; ./runs if not given."""
    older_than: Annotated[str, optional("AGE")] = "30d"
    """Only what was written longer ago: 30d, 12h, 0s."""
    dry_run: Switch = False
    """Say what would be removed, and remove nothing."""
    json: Switch = False
    """Print one JSON document."""


def main(argv: list[str]) -> int:
    """Remove what no run refers to."""
    flags = parse(Flags, gather(argv, Flags), prog=f"{typed_as()} prune", default=Flags())
    older_than_s = age(flags.older_than)
    from robustray.tasks.lab.pruning import prune
    from robustray.tasks.lab.store import Store

    store = Store(flags.store or "runs")
    found = prune(store, older_than_s=older_than_s, dry_run=flags.dry_run)
    if flags.json:
        print(json.dumps({"store": store.url, "dry_run": flags.dry_run, **dataclasses.asdict(found)}))
        return 0
    did = "would be removed" if flags.dry_run else "removed"
    print(f"{store.url}: {plural(found.pieces, 'piece')} {did}, {megabytes(found.bytes)}")
    runs = plural(found.runs, "run")
    print(f"kept: {found.kept:,} of {runs}, and {found.young:,} of no run, younger than {flags.older_than}")
    return 0


def age(words: str) -> float:
    """Seconds of `30d`, `12h`, `5m`, `0s`. Raises: InputError."""
    found = re.fullmatch(r"(?P<number>\d+(\.\d+)?)(?P<unit>[smhd])", words)
    if found is None:
        raise InputError(f"--older-than {words}: give a number with s, m, h or d, as in 30d")
    return float(found["number"]) * _UNITS[found["unit"]]


def megabytes(number: int) -> str:
    """Bytes in the unit that a person reads: 12.3 MB."""
    return f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{number / 1e6:.1f} MB"
