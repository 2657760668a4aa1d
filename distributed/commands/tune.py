"""`robustray tune GRID`."""

from __future__ import annotations

import dataclasses
import inspect
import os
import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from robustray.distributed.commands.parsing import Switch, again, gather, optional, parse, typed_as
from robustray.distributed.commands.run import Where, checkpoint_interval, data_root, open_store, print_document
from robustray.distributed.start import check_ray_folder, check_workers, one_document, ray_is_up, start_ray
from robustray.distributed.trackers import Tracking
from robustray.distributed.tuning import grid_function, grid_names, load_grid
from robustray.tasks.errors import InputError
from robustray.tasks.grids.settings import Grid
from robustray.tasks.kit.words import plural
from robustray.tasks.study import Size

HELP = """usage: robustray tune GRID [flags]      (tune GRID --help lists the flags, and says what to expect)

A grid is a list of complete settings, its cells. Each cell that is not finished runs as a trial of Ray Tune: a lab of
one process, over the store that all share. What is finished is never computed again: edit a grid, and its new cells
run; kill this command, and the same command goes on; a cell that failed waits for --failed.
At the end stand a table of cells, main effects with intervals over seeds, and a page, in STORE/grids/.

  robustray tune attack-eps                          the quick form, under a minute of CPU time
  robustray tune attack-eps --size small --workers 2
  robustray tune my_mod:my_grid                      a function of yours (docs/grids.md)

grids:"""


@dataclass(frozen=True, kw_only=True)
class Flags(Where):
    """Run the cells of a grid."""

    size: Size = "quick"
    """quick: under a minute of CPU time; small: two CPU cores; paper: the paper's scale."""
    asha: Switch = False
    """Stop most trainings early (asynchronous successive halving), and train the best ones with the other seeds; for
    grids of trainings. Without it, the same command runs all to their end."""
    failed: Switch = False
    """Try again the cells that failed before."""
    workers: Annotated[int | None, optional("NUMBER")] = None
    """Trials that run at once; as many as there is room for if not given."""
    cpus_per_trial: float = 1.0
    """CPUs that a trial reserves."""
    gpus_per_trial: Annotated[float | None, optional("NUMBER")] = None
    """GPUs that a trial reserves, 0.5 for two on one; 1 on the device cuda, else 0."""
    runners_per_trial: int = 0
    """Env runners beside each trial, with a CPU each: they collect an agent's streams at once. For slow environments;
    the numbers are the same with any number of them."""
    dashboard: Switch = False
    """Start Ray's dashboard, on this machine only."""
    wandb: Annotated[str, optional("PROJECT")] = ""
    """Show the trials in Weights & Biases: offline files, which `wandb sync` sends; needs `pip install wandb`."""
    mlflow: Annotated[str, optional("URI")] = ""
    """Show the trials in MLflow: sqlite:///FILE or the address of a server; needs `pip install mlflow`."""


def main(argv: list[str]) -> int:
    """Run a grid."""
    name, flags = read_command(argv)
    address = flags.address or os.environ.get("RAY_ADDRESS") or None
    check_flags(flags, address)
    from robustray.distributed.lab import decide_device
    from robustray.distributed.trials import Plan

    grid = load_grid(name, flags.size)
    check_runners(flags.runners_per_trial, grid)
    check_asha(flags, grid)
    tracking = Tracking(wandb=flags.wandb, mlflow=flags.mlflow)
    tracking.check()
    store = open_store(flags.store, address)
    with one_document(flags.json):
        if address:
            start_ray(address=address, workers=flags.workers)
        elif not ray_is_up():
            check_ray_folder()
        device = decide_device(flags.device, address)
        plan = Plan(
            name=name,
            size=flags.size,
            store=store.url,
            device=device,
            data_root=data_root(flags.data_root),
            command=f"{typed_as()} tune {shlex.join(argv)}",
            checkpoint_every=checkpoint_interval(flags.checkpoint_every),
            runners=flags.runners_per_trial,
            asha=flags.asha,
            tracking=tracking,
        )
        return_code, document = carry_out(plan, grid, flags, address)
    if flags.json:
        print_document(document)
    return return_code


def read_command(argv: Sequence[str]) -> tuple[str, Flags]:
    """The grid's name and the flags. Raises: InputError. Ends the process for `--help`."""
    if not argv or argv[0].startswith("-"):
        if not argv or argv[0] not in ("-h", "--help"):
            first = next(iter(grid_names()))
            raise InputError(f"tune which grid? Name it first ({', '.join(grid_names())}): `{typed_as()} tune {first}`")
        width = max(map(len, grid_names()))
        lines = [f"  {name:<{width}}  {about}" for name, about in grid_names().items()]
        print("\n".join([HELP, *lines]).replace("robustray tune", f"{typed_as()} tune"))
        raise SystemExit(0)
    documented = type("Documented", (Flags,), {"__doc__": _about(argv[0])})
    kind: Any = dataclasses.dataclass(frozen=True, kw_only=True)(documented)
    words = gather(argv[1:], Flags)
    flags: Any = parse(kind, words, prog=f"{typed_as()} tune {argv[0]}", default=kind())
    return argv[0], flags


def _about(name: str) -> str:
    """A grid's docstring, whose lines tyro would join: each command, the sentences after them, and what to expect in
    paragraphs of their own. A line that begins with a small letter goes on with a command's."""
    words = inspect.getdoc(grid_function(name)) or ""
    words = re.sub(r"(?m)^(robustray tune .*)\n(?=[A-Z])", r"\1\n\n", words)
    words = re.sub(r"(?m)(?<!\n)\n(?=robustray tune|expected)", "\n\n", words)
    return words.replace("robustray tune", f"{typed_as()} tune")


def check_flags(flags: Flags, address: str | None) -> None:
    """Check what can be checked of the flags alone. Raises: InputError."""
    if flags.workers == 0:
        raise InputError("--workers 0: a grid runs in trials of Ray Tune; give 1 or more, or run a cell with `run`")
    check_workers(flags.workers, address)
    if not 0 < flags.cpus_per_trial < float("inf"):
        raise InputError(f"--cpus-per-trial {flags.cpus_per_trial:g}: give a number above 0")
    if flags.gpus_per_trial is not None and not 0 <= flags.gpus_per_trial < float("inf"):
        raise InputError(f"--gpus-per-trial {flags.gpus_per_trial:g}: give 0 or more")
    if flags.dashboard and address:
        raise InputError(f"--dashboard: the cluster {address} has its own; leave one of both out")


def check_runners(runners: int, grid: Grid) -> None:
    """Raises: InputError for a number of env runners that makes nothing faster."""
    given = f"--runners-per-trial {runners}"
    if runners < 0 or runners == 1:
        raise InputError(f"{given}: give 0, or 2 and more; a single one is no faster than its trial")
    if runners and grid.kind != "agent":
        cells = f"runs of {grid.study}" if grid.study is not None else "trainings"
        raise InputError(f"{given}: env runners are for grids of agents; the cells here are {cells}")
    streams = max((cell.settings.settings.num_streams for cell in grid.cells if grid.kind == "agent"), default=0)
    if runners > streams:
        raise InputError(
            f"{given}: the agents of this grid have at most {plural(streams, 'stream')}, and a runner collects one at "
            "a time; give no more than that, or set num_streams in the cells"
        )


def check_asha(flags: Flags, grid: Grid) -> None:
    """Raises: InputError for a grid that can't be stopped early, or has no seed left to judge what is chosen."""
    if not flags.asha:
        return
    if grid.halving is None:
        raise InputError("--asha: this grid does not say when its cells may be stopped early: leave it out")
    from robustray.tasks.grids.best import split_seeds

    seeds = split_seeds(grid, asha=True)
    if not seeds.choose or not seeds.judge:
        raise InputError("--asha: one seed chooses and others judge: the grid needs two seeds or more")


def carry_out(plan: Any, grid: Any, flags: Flags, address: str | None) -> tuple[int, dict[str, Any]]:
    """Run what is left of a grid, show it; the exit code and the document."""
    from rich.console import Console

    from robustray.distributed import trials
    from robustray.tasks.grids import findings
    from robustray.tasks.lab.runs import now
    from robustray.tasks.lab.store import Store
    from robustray.tasks.report.progress import make_progress
    from robustray.tasks.report.terminal import print_end

    console = Console(stderr=flags.json)
    progress = make_progress()
    store = Store(plan.store)
    looked = trials.look(plan, grid, progress)
    left = trials.next_round(plan, grid, looked, failed_too=flags.failed)
    heading = (
        f"{plan.name} ({plan.size}) · {plural(len(looked), 'cell')}: {trials.counted(plan, looked, left)} · "
        f"{plan.device} · store {store.url}"
    )
    tried: list[str] = []
    if not left:
        console.print(heading, highlight=False, markup=False, soft_wrap=True)
    else:
        share = trials.Share(
            cpus=flags.cpus_per_trial,
            gpus=(1.0 if plan.device == "cuda" else 0.0) if flags.gpus_per_trial is None else flags.gpus_per_trial,
            at_once=flags.workers,
            runners=flags.runners_per_trial,
            address=address,
            dashboard=flags.dashboard,
        )
        with trials.a_ray(share, progress.message):
            folder = trials.scratch(plan)
            for line in (heading, f"TensorBoard files: {folder}", *plan.tracking.where(trials.wandb_folder(plan))):
                console.print(line, highlight=False, markup=False, soft_wrap=True)
            store.create()
            while left:  # once; with --asha, again for the seeds that judge what the first round has chosen
                files = folder / "judges" if tried else folder
                trials.run_trials(plan, share, grid, left, folder=files, halving=plan.asha and not tried)
                tried += left
                looked = trials.look(plan, grid, progress)
                left = trials.next_round(plan, grid, looked, failed_too=flags.failed, tried=tried)
    ended = trials.standings(plan, grid, looked, tried)
    found = findings.find(grid, ended, asha=plan.asha)
    facts = findings.facts_of(
        grid,
        ended,
        name=plan.name,
        size=plan.size,
        run=plan.folder,
        command=plan.command,
        device=plan.device,
        date=now(),
    )
    document = findings.publish(store, plan.folder, found, facts)
    failed = sum(each.failed for each in ended)
    counts = {"cells": len(ended), "computed": sum(each.computed for each in ended), "failed": failed}
    print_end(found, facts, page=document["report"], tables=document["tables"], next_command=None, console=console)
    if failed:
        retry = again(f"tune {shlex.quote(plan.name)} --size {plan.size} --failed", store=flags.store)
        print(
            f"robustray: failed: {failed} cell(s) are missing from the tables; `{retry}` tries them again; "
            f"tracebacks: {store.path(plan.folder)}/failed/",
            file=sys.stderr,
        )
    return (1 if failed else 0), {**document, "counts": counts}
