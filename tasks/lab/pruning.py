"""Pieces that no run of a store refers to, and their removal: what `robustray prune` does.

A run writes the keys of a step into its `run.json` before it looks for the step's pieces, so that whatever a run uses,
or will use when it goes on, is found here. Nothing but pieces is removed: trained models and agents are named by
people, and arrays, checkpoints and the folders of runs stay as well.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass

from robustray.tasks.errors import InputError
from robustray.tasks.lab import pieces
from robustray.tasks.lab.store import Store

_READ_AGAIN_S = 1.0
"""While pieces are being removed, what the runs refer to is never known from longer ago."""


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """What was found and, unless it was only looked for, removed."""

    runs: int
    """Runs of the store; all of them stay."""
    kept: int
    """Pieces that a run refers to."""
    young: int
    """Pieces that no run refers to, written too recently to be removed."""
    pieces: int
    """Pieces that no run refers to and that are old enough."""
    bytes: int
    """Their size."""


def prune(
    store: Store, *, older_than_s: float, dry_run: bool = False, clock: Callable[[], float] = time.time
) -> Pruned:
    """Remove the pieces that no run refers to and that were written longer ago than `older_than_s` seconds.

    Other runs may begin meanwhile: what they refer to is read again every second. Of one that begins in the instant
    of a removal a piece may be gone, which it then computes again; no number changes.

    clock: seconds since 1970. Raises: InputError, with nothing removed, for what is no store, and for a run that cannot
    be read, since what it refers to is not known.
    """
    runs, used = referred(store)
    if not runs and "pieces" not in store.folders():
        raise InputError(
            f"--store {store.url}: no store of robustray is there (no runs, no pieces); give the folder that `run` had"
        )
    read_at = clock()
    kept = young = removed = size = 0
    for key in store.folders("pieces"):
        folder = pieces.folder(key)
        if key in used:
            kept += sum(pieces.named(key, name) is not None for name in store.list(folder))
            continue
        files = [file for file in store.files(folder) if pieces.named(key, file.name)]
        if clock() - read_at > _READ_AGAIN_S:
            used, read_at = used | referred(store)[1], clock()
        if key in used:
            kept += len(files)
            continue
        old = [file for file in files if clock() - file.written > older_than_s]
        young += len(files) - len(old)
        removed += len(old)
        size += sum(file.bytes for file in old)
        if not dry_run:
            for file in old:
                store.delete(f"{folder}/{file.name}")
            store.sweep(folder)
            store.remove_if_empty(folder)
    return Pruned(runs=runs, kept=kept, young=young, pieces=removed, bytes=size)


def referred(store: Store) -> tuple[int, set[str]]:
    """The number of runs in a store, and the keys of all their steps. Raises: InputError for one that can't be read."""
    runs = 0
    used: set[str] = set()
    for name in store.folders():
        try:
            content = store.read(f"{name}/run.json")
        except FileNotFoundError:  # pieces, models, ...
            continue
        try:
            for step_keys in json.loads(content)["step_keys"].values():
                used.update(map(str, step_keys))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{store.path(name)}/run.json cannot be read, so what this run refers to is not known and nothing was "
                "removed: mend the file, or delete its folder"
            ) from error
        runs += 1
    return runs, used
