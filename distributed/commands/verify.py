"""`robustray verify RUN`: is what a run found still what its code computes?"""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from robustray.distributed.commands.parsing import again, gather, parse, split_names, typed_as
from robustray.distributed.commands.resume import find_run, request_of
from robustray.distributed.commands.run import Where, data_root, print_document
from robustray.distributed.start import one_document
from robustray.tasks.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table

    from robustray.tasks.lab.base import BlockLab
    from robustray.tasks.verification import Verification


@dataclass(frozen=True, kw_only=True)
class VerifyFlags(Where):
    """Compute a random share of a finished run's blocks again, and compare them row by row with those in the store.

    Nothing is written. The exit code is 1 where a row differs."""

    share: float = 0.01
    """Share of the blocks, at least one: 0.01, 1/20; 1 for all."""
    seed: int = 0
    """Which blocks are drawn."""


def main(argv: list[str]) -> int:
    """Compute some of a run again. Flags that are not given are those the run was started with."""
    names, words = split_names(argv, VerifyFlags)
    flags = parse(VerifyFlags, gather(words, VerifyFlags), prog=f"{typed_as()} verify RUN", default=VerifyFlags())
    if len(names) != 1:
        raise InputError(f"verify which run? give one; `{again('status', store=flags.store)}` lists them")
    if not 0 < flags.share <= 1:
        raise InputError(f"--share {flags.share:g}: more than 0 and at most 1 of the blocks can be computed again")
    if flags.seed < 0:
        raise InputError(f"--seed {flags.seed}: a seed is 0 or more")
    from robustray.distributed.lab import open_lab
    from robustray.tasks.report.progress import make_progress
    from robustray.tasks.verification import verify

    run, where = find_run(names[0], flags)
    address = where.address or os.environ.get("RAY_ADDRESS") or None
    with one_document(flags.json):
        lab: BlockLab = open_lab(
            store=run.store,
            workers=where.workers,
            address=address,
            device=where.device,
            data_root=data_root(where.data_root),
            progress=make_progress(),
        )
        found = verify(request_of(run), run, lab, share=flags.share, seed=flags.seed)
    if flags.json:
        print_document(document(found))
    else:
        show(found)
    return 1 if found.num_different else 0


def document(found: Verification) -> dict[str, object]:
    """What `--json` prints."""
    counts = {"blocks": found.num_blocks, "checked": found.num_checked, "different": found.num_different}
    return {**dataclasses.asdict(found), **counts, "at_most": found.at_most, "answer": found.answer}


def show(found: Verification) -> None:
    """The answer, what was checked of each step, and every difference."""
    from rich.console import Console

    console = Console()
    console.print(f"{found.run}: {found.answer}", soft_wrap=True, highlight=False, markup=False)
    grid = _grid("step", blocks="right", checked="right", rows="right")
    for step in found.steps:
        grid.add_row(step.step, f"{step.blocks:,}", f"{step.checked:,}", f"{step.rows:,}")
    console.print(grid)
    if found.differences:
        grid = _grid("step", items="left", column="left", rows="right", largest="right", code="left")
        for each in found.differences:
            items = f"{each.first} to {each.first + each.items - 1}"
            largest = "" if each.largest is None else f"{each.largest:.3g}"
            code = "the same" if each.same_code else "another"
            grid.add_row(each.step, items, each.column or "(the rows are others)", f"{each.rows:,}", largest, code)
        console.print("\nwhat differs:")
        console.print(grid)
    for name, num in found.not_checked.items():
        console.print(f"not computed again: {num:,} of {name} (read from the store)", highlight=False, markup=False)
    other = sum(step.other_code for step in found.steps)
    if other:
        console.print(
            f"{other:,} of the checked blocks were computed by other code than this version's", highlight=False
        )
    if found.code_changed:
        console.print("the study's code is another than when the run was finished", highlight=False)


def _grid(first: str, **columns: Literal["left", "right"]) -> Table:
    """An empty table: the first column, and others with the side on which they are aligned."""
    from rich.table import Table

    grid = Table(first, box=None, pad_edge=False, header_style="dim")
    for name, side in columns.items():
        grid.add_column(name, justify=side)
    return grid
