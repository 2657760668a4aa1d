"""One cell of a grid: whether it is finished, and how it is run. The store knows; nothing else is asked."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from robustray.tasks.errors import InputError, WorkFailed
from robustray.tasks.execution import Request, Result, execute, find_finished
from robustray.tasks.grids.settings import CLEAN_ACCURACY, LATE_RETURN, ROBUST_ACCURACY, Cell, Grid, Read
from robustray.tasks.lab import keys
from robustray.tasks.lab.base import BlockLab
from robustray.tasks.lab.store import Store
from robustray.tasks.policy_gradients.settings import AgentSpec
from robustray.tasks.study import load_study, scale_of
from robustray.tasks.training.settings import TrainSpec

if TYPE_CHECKING:
    from robustray.tasks.lab.protocol import Reference
    from robustray.tasks.policy_gradients.jobs import Learned

LATE_SHARE = 0.25
"""Share of an agent's updates, the last ones, whose episodes make its outcome."""


@dataclass(frozen=True, kw_only=True)
class Looked:
    """What the store says of a cell."""

    key: str
    """Hash of the cell's content and code. A failure is stored under this name, and no longer counts once either
    changes."""
    outcomes: Mapping[str, float] | None
    """None: not finished."""
    found_in: str = ""
    """The cell's run, its agent's key, or the name of its weights."""
    unrepeatable: tuple[str, ...] = ()
    """What in it gives other numbers for the same seed."""


def look(grid: Grid, cell: Cell, lab: BlockLab, command: str) -> Looked:
    """Check the cell's settings, and see what is finished; nothing is computed or written.

    Raises: InputError for settings that cannot be used, naming the cell.
    """
    try:
        if isinstance(cell.settings, AgentSpec):
            return _look_at_agent(cell.settings, lab)
        if isinstance(cell.settings, TrainSpec):
            return _look_at_training(cell.settings, lab)
        identity, result = find_finished(request_of(grid, cell, command), lab)
        key = keys.digest([identity.study, identity.hash8, identity.code])
        if result is None:
            return Looked(key=key, outcomes=None)
        outcomes, unrepeatable = _read(result, cell.reads), tuple(result.run.unrepeatable)
        return Looked(key=key, outcomes=outcomes, found_in=result.run.id, unrepeatable=unrepeatable)
    except InputError as error:
        raise InputError(f"cell {cell.words}: {error}") from error


def run(
    grid: Grid, cell: Cell, *, store: Store, make_lab: Callable[[Store], BlockLab], command: str
) -> Mapping[str, float]:
    """Run a cell, or find it finished. Returns its outcomes. Raises: InputError, WorkFailed."""
    if isinstance(cell.settings, AgentSpec):
        with contextlib.closing(make_lab(store)) as lab:
            return _outcomes_of(lab.learn([cell.settings]).result()[0])
    if isinstance(cell.settings, TrainSpec):
        with contextlib.closing(make_lab(store)) as lab:
            return _held_out(lab.train([cell.settings]).result()[0])
    result = execute(request_of(grid, cell, command), store=store, make_lab=make_lab)
    if result.num_failed:
        raise WorkFailed(f"{result.num_failed} item(s) of {result.run.id} were given up")
    return _read(result, cell.reads)


def request_of(grid: Grid, cell: Cell, command: str) -> Request:
    """The run that a cell is. Raises: InputError for settings that are not the study's."""
    assert grid.study is not None
    study = load_study(grid.study)
    if not isinstance(cell.settings, study.outline.settings):
        raise InputError(f"settings of {grid.study} are not {type(cell.settings).__name__}")
    size = scale_of(study.outline, cell.settings)
    return Request(study=study, settings=cell.settings, size=size, command=command, options={})


def _read(result: Result, reads: Mapping[str, Read]) -> dict[str, float]:
    import pandas as pd

    from robustray.tasks.kit.frames import at

    found = {}
    for name, read in reads.items():
        try:
            data = result.run.store.read(f"{result.run.id}/tables/{read.table}.parquet")
        except FileNotFoundError as error:
            raise InputError(f"outcome {name}: {result.run.id} has no table {read.table!r}") from error
        frame = pd.read_parquet(io.BytesIO(data))
        if unknown := [column for column in (read.column, *read.row) if column not in frame]:
            raise InputError(f"outcome {name}: table {read.table} has no column {unknown[0]!r}")
        rows = at(frame, **read.row)
        if len(rows) != 1:
            raise InputError(f"outcome {name}: {len(rows)} rows of table {read.table} have {dict(read.row)}")
        found[name] = float(rows[read.column].iloc[0])
    return found


# -- agents ------------------------------------------------------------------------------------------------------------


def _look_at_agent(spec: AgentSpec, lab: BlockLab) -> Looked:
    from robustray.tasks.policy_gradients.environments import open_environment
    from robustray.tasks.policy_gradients.jobs import learn_jobs

    (job,) = learn_jobs([spec])
    key = keys.digest([job.key, job.code])
    if job.kept(lab.store, lab.progress.message) == "missing":
        open_environment(spec.environment, clip_actions=spec.settings.clip_actions).close()
        return Looked(key=key, outcomes=None)
    (learned,) = lab.learn([spec]).result()
    unrepeatable = () if learned.repeatable else (f"environment {spec.environment}",)
    return Looked(key=key, outcomes=_outcomes_of(learned), found_in=learned.key, unrepeatable=unrepeatable)


def _outcomes_of(learned: Learned) -> dict[str, float]:
    """NaN where no episode ended so late."""
    first = min((1 - LATE_SHARE) * learned.spec.iterations, learned.spec.iterations - 1)  # of three updates, the last
    late = learned.episodes[learned.episodes["update"] >= first]
    return {LATE_RETURN: float(late["episode_return"].mean())}


# -- trainings ---------------------------------------------------------------------------------------------------------


def _look_at_training(spec: TrainSpec, lab: BlockLab) -> Looked:
    from robustray.tasks.lab.checkpoints import Interval
    from robustray.tasks.training.doors import check_training
    from robustray.tasks.training.handle import training_job

    job = training_job(lab, spec, Interval())
    key = keys.digest([job.key, job.code])
    if job.kept(lab.store, lab.progress.message) == "missing":
        check_training(job.spec, *map(lab.load, job.refs.values()))
        return Looked(key=key, outcomes=None)
    outcomes = _held_out(lab.train([spec]).result()[0])
    return Looked(key=key, outcomes=outcomes, found_in=f"run:{job.key}")


def _held_out(model: Reference) -> dict[str, float]:
    from robustray.tasks.training.learnt import learnt

    last = learnt(model)[-1]  # the last epoch is always checked
    return {name: float(last[name]) for name in (CLEAN_ACCURACY, ROBUST_ACCURACY) if name in last}


# -- failures, kept beside the grid's tables ---------------------------------------------------------------------------


def keep_failure(store: Store, folder: str, key: str, error: str) -> None:
    """The cell is not tried again by the same command, until its content or code changes."""
    store.write(f"{folder}/failed/{key}.json", json.dumps({"error": error}).encode())


def failure(store: Store, folder: str, key: str) -> str | None:
    """Why a cell failed before."""
    try:
        kept: Any = json.loads(store.read(f"{folder}/failed/{key}.json"))
    except FileNotFoundError:
        return None
    return str(kept["error"])


def forget_failure(store: Store, folder: str, key: str) -> None:
    """`--failed`, or the cell has finished after all."""
    store.delete(f"{folder}/failed/{key}.json")


# -- trainings that were stopped early, kept beside them ---------------------------------------------------------------


def keep_stopped(store: Store, folder: str, key: str, *, epoch: int, of: int) -> None:
    """A scheduler has stopped the cell after this epoch. Its weights are not published: nothing takes it for finished,
    and its last checkpoint stays for whoever wants it to go on."""
    store.write(f"{folder}/stopped/{key}.json", json.dumps({"epoch": epoch, "of": of}).encode())


def stopped(store: Store, folder: str, key: str) -> str | None:
    """`"stopped at epoch 3 of 8"`, if it was."""
    try:
        kept: Any = json.loads(store.read(f"{folder}/stopped/{key}.json"))
    except FileNotFoundError:
        return None
    return f"stopped at epoch {int(kept['epoch'])} of {int(kept['of'])}"


def forget_stopped(store: Store, folder: str, key: str) -> None:
    """The cell is run on."""
    store.delete(f"{folder}/stopped/{key}.json")
