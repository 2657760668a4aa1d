"""Grids on Ray Tune: each cell that is not finished is a trial, a lab of one process over the shared store.

Tune only places trials and shows them. What is finished and what failed is asked of the store, never of Tune: a
restored experiment keeps the names of a search space, not its values, and a killed driver loses what was reported last
(ray 2.60). So every command starts a Tuner of its own over the cells that are left, and Tune's files (TensorBoard,
results as JSON) are scratch on this machine, beside other caches.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import math
import os
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robustray.distributed.start import ray_is_up, search_path, start_ray
from robustray.distributed.trackers import Tracking
from robustray.distributed.tuning import load_grid
from robustray.tasks.errors import InputError, WorkFailed
from robustray.tasks.grids import cells
from robustray.tasks.grids.best import judging_cells, split_seeds
from robustray.tasks.grids.findings import Standing, cells_frame
from robustray.tasks.grids.settings import SEED, Cell, Grid
from robustray.tasks.lab.base import BlockLab
from robustray.tasks.lab.checkpoints import Interval
from robustray.tasks.lab.executor import ProgressLike, Silent
from robustray.tasks.lab.long_jobs import WATCHED
from robustray.tasks.lab.serial import SerialLab
from robustray.tasks.lab.store import Store
from robustray.tasks.study import Size

if TYPE_CHECKING:
    from robustray.tasks.lab.jobs import Job
    from robustray.tasks.lab.long_jobs import LongJob

EVERY_S = 1.0
"""Between two reports of a trial: each waits for the driver."""
SYNC_S = 10
"""Between two copies of Tune's files out of its session."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A grid and everything that its trials get to know. These are plain values, so that a trial reads the grid by its
    name again."""

    name: str
    size: Size
    store: str
    device: str
    data_root: str | None
    command: str
    checkpoint_every: Interval | None
    runners: int = 0
    """Env runners beside each trial, which collect the streams of its agent."""
    asha: bool = False
    """Trainings are compared while they run, and most of them stopped early."""
    tracking: Tracking = field(default_factory=Tracking)
    """Where trials are shown besides."""
    path: str = ""
    """PYTHONPATH of the driver, for the user's own modules."""
    cwd: str = ""
    """Where the command was typed."""

    @property
    def folder(self) -> str:
        """Folder in the store with tables, page and failures. A grid that was edited has the same folder."""
        return f"grids/{self.name.replace(':', '.')}-{self.size}"

    def lab(self, store: Store, progress: ProgressLike | None = None) -> BlockLab:
        """Open a lab of this process."""
        return TrialLab(
            runners=self.runners,
            store=store,
            progress=progress,
            device=self.device,
            data_root=self.data_root,
            checkpoint_every=self.checkpoint_every,
        )


class TrialLab(SerialLab):
    """A lab of one process, whose agents may have env runners in others. Raises: see `SerialLab`."""

    def __init__(self, *, runners: int, **options: Any) -> None:
        super().__init__(**options)
        self._runners = runners

    def place(self, job: LongJob) -> Job:
        """See `BlockLab.place`: an agent of several streams by RLlib, where there are runners."""
        from robustray.tasks.policy_gradients.jobs import LearnJob

        if not isinstance(job, LearnJob) or (runners := min(self._runners, job.spec.settings.num_streams)) < 2:
            return super().place(job)
        from robustray.distributed.rllib.job import in_rllib

        return in_rllib(job, runners=runners)


class MessagesOnly(Silent):
    """Passes on what a person should know, and no step: a line for each cell that is finished would be one too many."""

    def __init__(self, progress: ProgressLike) -> None:
        self._progress = progress

    def message(self, text: str) -> None:
        self._progress.message(text)


def look(plan: Plan, grid: Grid, progress: ProgressLike) -> list[cells.Looked]:
    """What the store has of each cell. The settings of every cell are checked and their data opened. Nothing is
    written. Raises: InputError."""
    with contextlib.closing(plan.lab(Store(plan.store), MessagesOnly(progress))) as lab:
        return [cells.look(grid, cell, lab, plan.command) for cell in grid.cells]


def standings(plan: Plan, grid: Grid, looked: Sequence[cells.Looked], tried: Sequence[str]) -> list[Standing]:
    """How each cell ended. tried: keys of the cells that were started; the process of one without result and reason has
    died."""
    store = Store(plan.store)
    found = []
    for cell, each in zip(grid.cells, looked, strict=True):
        error, waits = "", ""
        if each.outcomes is None and plan.asha:
            waits = cells.stopped(store, plan.folder, each.key) or ""
            if not waits and each.key not in tried and cells.failure(store, plan.folder, each.key) is None:
                waits = "not chosen"
        if each.outcomes is None and not waits:
            error = cells.failure(store, plan.folder, each.key) or "its process died (killed, or out of memory)"
            if each.key in tried:
                cells.keep_failure(store, plan.folder, each.key, error)
        found.append(
            Standing(
                cell=cell,
                outcomes=each.outcomes,
                found_in=each.found_in,
                error=error,
                waits=waits,
                computed=each.key in tried and each.outcomes is not None,
                unrepeatable=each.unrepeatable,
            )
        )
    return found


def next_round(
    plan: Plan, grid: Grid, looked: Sequence[cells.Looked], *, failed_too: bool, tried: Sequence[str] = ()
) -> dict[str, int]:
    """Key -> place of the cells to run next: those that are not finished, have not failed before (or failed_too), and
    have not been tried by this command.

    With ASHA, first the choosing seed's, but for what was stopped before; then, of the seeds that judge, those of the
    best levels.
    """
    store = Store(plan.store)
    left = {
        each.key: place
        for place, each in enumerate(looked)
        if each.outcomes is None
        and each.key not in tried
        and (failed_too or cells.failure(store, plan.folder, each.key) is None)
    }
    if not plan.asha:
        return left
    seeds = split_seeds(grid, asha=True)
    choosing = {
        key: place
        for key, place in left.items()
        if grid.cells[place].levels[SEED] in seeds.choose and cells.stopped(store, plan.folder, key) is None
    }
    if choosing:
        return choosing
    known = [Standing(cell=c, outcomes=each.outcomes) for c, each in zip(grid.cells, looked, strict=True)]
    judging = judging_cells(cells_frame(grid, known), grid, grid.outcomes[0], seeds)
    return {key: place for key, place in left.items() if place in judging}


def counted(plan: Plan, looked: Sequence[cells.Looked], left: Mapping[str, int]) -> str:
    """`"3 finished, 1 failed before, 8 to run"`; with ASHA, also how many wait for what these choose."""
    store = Store(plan.store)
    finished = sum(each.outcomes is not None for each in looked)
    failed = sum(
        each.outcomes is None and each.key not in left and cells.failure(store, plan.folder, each.key) is not None
        for each in looked
    )
    running = sum(each.key in left for each in looked)
    rest = len(looked) - finished - failed - running
    return f"{finished} finished, {failed} failed before, {running} to run" + (f", {rest} wait" if plan.asha else "")


# -- the trials --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Share:
    """The resources of one trial, and how many trials run at once."""

    cpus: float
    gpus: float
    at_once: int | None
    runners: int = 0
    """Env runners beside it, with a CPU each."""
    address: str | None
    dashboard: bool

    @property
    def room(self) -> int:
        """CPUs for all trials at once, or for one where no number is given. They are Ray's, and may be more than the
        machine's: runners of environments that wait need no core each."""
        return max(1, math.ceil((self.at_once or 1) * (self.cpus + self.runners)))


@contextlib.contextmanager
def a_ray(share: Share, say: Callable[[str], None]) -> Iterator[None]:
    """A Ray with room for a trial: that of this process, a cluster, or one of our own, which ends with the command.

    Raises: InputError when no node could ever hold a trial.
    """
    ours = not ray_is_up()
    if ours and share.address is None:
        here = {"CPU": float(os.cpu_count() or 1), "GPU": float(_gpus_here() if share.gpus else 0)}
        check_room(replace(share, runners=0), [here])  # our own Ray gets as many CPUs as the runners want
    import ray

    if ours:
        url = start_ray(address=share.address, workers=share.room, dashboard=share.dashboard)
        if share.dashboard:
            say(f"Ray's dashboard: http://{url}" if url else "Ray's dashboard did not start; the trials do without")
    try:
        check_room(share, [node["Resources"] for node in ray.nodes() if node["Alive"]])
        yield
    finally:
        if ours:
            ray.shutdown()


def _gpus_here() -> int:
    import torch

    return torch.cuda.device_count()


def check_room(share: Share, nodes: Sequence[Mapping[str, float]]) -> None:
    """Refuse a request that no node can satisfy, for which Tune would wait for ever. nodes: the resources of each node.

    Raises: InputError naming the flag that mends it.
    """
    if any(node.get("CPU", 0) >= share.cpus and node.get("GPU", 0) >= share.gpus for node in nodes):
        cpus = sum(node.get("CPU", 0) for node in nodes)
        if cpus >= share.cpus + share.runners:
            return
        raise InputError(
            f"a trial wants {share.cpus:g} CPUs and one for each of {share.runners} env runners, there are {cpus:g} in "
            "all: it would wait for ever; give a smaller --runners-per-trial"
        )
    most_cpus, most_gpus = (max((node.get(kind, 0) for node in nodes), default=0) for kind in ("CPU", "GPU"))
    flag = "--cpus-per-trial" if most_cpus < share.cpus else "--gpus-per-trial"
    raise InputError(
        f"a trial wants {share.cpus:g} CPUs and {share.gpus:g} GPUs, the largest node has {most_cpus:g} and "
        f"{most_gpus:g}: it would wait for ever; give a smaller {flag}"
    )


def run_trials(
    plan: Plan, share: Share, grid: Grid, left: Mapping[str, int], *, folder: Path, halving: bool = False
) -> None:
    """Run the cells that are left: key -> place in the grid. folder: for Tune's files, emptied first. halving: stop
    trainings early.

    The reason why a cell failed is written to the store; the other cells continue.
    """
    for key in left:
        cells.forget_failure(Store(plan.store), plan.folder, key)
        cells.forget_stopped(Store(plan.store), plan.folder, key)
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"  # Ctrl-C is ours: the cells' own checkpoints are in the store
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"  # its CSV keeps the columns of the first report for good
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"  # the new one takes no table but its own
    from ray import tune
    from ray.tune.logger import JsonLoggerCallback, TBXLoggerCallback

    from robustray.distributed.trial_table import TrialTable

    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # fifty lines for a cell that fails; its reason is kept
    shutil.rmtree(folder, ignore_errors=True)
    told = replace(plan, path=search_path(), cwd=os.getcwd())
    bundles = [{"CPU": share.cpus, "GPU": share.gpus}, *[{"CPU": 1.0}] * share.runners]
    trainable = tune.with_resources(tune.with_parameters(_trial, plan=told), tune.PlacementGroupFactory(bundles))
    scheduler = None
    if halving:
        from robustray.distributed.halving import HalvingScheduler

        scheduler = HalvingScheduler(grid, lambda config: _place_and_key(config)[0], Stopped(plan.store, plan.folder))
    tune.Tuner(
        trainable,
        param_space={
            "cell": tune.grid_search([f"{place}-{key}" for key, place in left.items()]),
            "levels": tune.sample_from(lambda config: dict(grid.cells[_place_and_key(config)[0]].levels)),
        },
        tune_config=tune.TuneConfig(
            scheduler=scheduler,
            max_concurrent_trials=share.at_once,
            reuse_actors=True,  # a process imports torch once, not once a cell
            trial_name_creator=lambda trial: _file_name(grid.cells[_place_and_key(trial.config)[0]]),
            trial_dirname_creator=lambda trial: _place_and_key(trial.config)[1],
        ),
        run_config=tune.RunConfig(
            name=folder.name,
            storage_path=str(folder.parent),
            callbacks=[
                TBXLoggerCallback(),
                JsonLoggerCallback(),
                *plan.tracking.callbacks(plan.folder.rpartition("/")[2], wandb_folder(plan)),
            ],
            sync_config=tune.SyncConfig(sync_period=SYNC_S),
            progress_reporter=TrialTable(lambda config: grid.cells[_place_and_key(config)[0]].words, grid.outcomes),
            verbose=1,
        ),
    ).fit()


@dataclass(frozen=True)
class Stopped:
    """Writes down which cells were stopped early: in the driver, which decides it."""

    store: str
    folder: str

    def __call__(self, key: str, epoch: int, of: int) -> None:
        cells.keep_stopped(Store(self.store), self.folder, key, epoch=epoch, of=of)


def _trial(config: Mapping[str, Any], plan: Plan) -> None:
    """Run one cell, in the process of its trial."""
    sys.path[:0] = [folder for folder in plan.path.split(os.pathsep) if folder not in sys.path]
    if os.path.isdir(plan.cwd):
        os.chdir(plan.cwd)  # Tune moved into the trial's folder; settings may name files of the user's
    place, key = _place_and_key(config)
    store = Store(plan.store)
    teller = Teller(key, every_row=plan.asha)
    teller.tell()  # at once: Tune's table and TensorBoard show the trial, and a memoised one reports something, too
    watched = WATCHED.set(teller.row)
    try:
        grid = load_grid(plan.name, plan.size)
        cell = grid.cells[place] if place < len(grid.cells) else None
        with contextlib.closing(plan.lab(store)) as lab:
            if cell is None or cells.look(grid, cell, lab, plan.command).key != key:
                raise InputError("the grid, or the code of its cells, was edited while it ran; type the command again")
        outcomes = cells.run(
            grid, cell, store=store, make_lab=lambda opened: plan.lab(opened, teller), command=plan.command
        )
    except Exception as error:
        known = isinstance(error, InputError | WorkFailed)
        cells.keep_failure(store, plan.folder, key, str(error) if known else f"{type(error).__name__}: {error}")
        store.write(f"{plan.folder}/failed/{key}.log", traceback.format_exc().encode())
        raise
    finally:
        WATCHED.reset(watched)
    teller.tell(outcomes)


def _place_and_key(config: Mapping[str, Any]) -> tuple[int, str]:
    """Read a cell's place and key from the one parameter of its trial, which is short enough for a column of Tune's
    table."""
    place, _, key = config["cell"].partition("-")
    return int(place), key


class Teller(Silent):
    """Reports a trial's progress to Tune: items done of those known so far, and the newest row of a curve; once a
    second at most.

    Names that Tune uses itself (`done`, `training_iteration`) are left out.
    """

    def __init__(self, key: str, *, every_row: bool = False) -> None:
        """every_row: report each row of a curve when it comes, for one who decides by them."""
        self._key, self._every_row = key, every_row
        self._items = self._of = 0
        self._curve: dict[str, float] = {}
        self._told = 0.0

    def start(self, step: str, total: int, done: int) -> None:
        self._of += total
        self._items += done

    def advance(self, step: str, n: int, seconds: float) -> None:
        self._items += n
        self._soon()

    def row(self, row: Mapping[str, Any]) -> None:
        """A new row of a training's curve."""
        self._curve = {f"curve/{name}": float(v) for name, v in row.items() if isinstance(v, int | float)}
        if self._every_row:
            self.tell()  # does not return where the training is stopped
        else:
            self._soon()

    def _soon(self) -> None:
        if time.monotonic() - self._told > EVERY_S:
            self.tell()

    def tell(self, outcomes: Mapping[str, float] | None = None) -> None:
        """Report now, whenever the last report was."""
        from ray import tune

        self._told = time.monotonic()
        tune.report(
            {"cell": self._key, "items": self._items, "items_known": self._of, **self._curve, **(outcomes or {})}
        )


def scratch(plan: Plan) -> Path:
    """Tune's files of this grid in this store, on this machine only."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    where = hashlib.sha256(Store(plan.store).url.encode()).hexdigest()[:8]
    return cache / "robustray" / "tune" / f"{plan.folder.rpartition('/')[2]}-{where}"


def wandb_folder(plan: Plan) -> Path:
    """Offline files of W&B: beside those of Tune, which the next command empties, and in none of them."""
    return scratch(plan).parent.with_name("wandb") / scratch(plan).name


def _file_name(cell: Cell) -> str:
    """Name of a trial's files, short enough for Tune's table."""
    return "".join(c if c.isalnum() or c in "-+=.,_" else "_" for c in cell.words.replace(", ", ","))
