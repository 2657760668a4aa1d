"""`lab.learn`: each agent is one job on one worker, and its states are stored by the content of its spec. Built on
`lab/long_jobs.py`.

What only watches is not in an agent's key: two studies that want other milestones, or other held-out updates, share it.
What is missing of either is made from the nearest earlier state in the store.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from robustray.tasks.errors import InputError
from robustray.tasks.lab import keys
from robustray.tasks.lab.base import BlockLab
from robustray.tasks.lab.checkpoints import Checkpoints, Interval
from robustray.tasks.lab.code import PIECE, code_hash
from robustray.tasks.lab.jobs import Job, Receipt, Worker
from robustray.tasks.lab.long_jobs import Diary, Kept, LongHandle, plan
from robustray.tasks.lab.protocol import Needs, Reference
from robustray.tasks.lab.store import Store
from robustray.tasks.policy_gradients import files
from robustray.tasks.policy_gradients.agent import AgentRef
from robustray.tasks.policy_gradients.environments import (
    environment_modules,
    is_repeatable,
    library_versions,
    open_environment,
)
from robustray.tasks.policy_gradients.settings import AgentSpec

if TYPE_CHECKING:
    import pandas as pd

    from robustray.tasks.policy_gradients.loop import Advance, Training
    from robustray.tasks.policy_gradients.update import Row

STEP = "learn"
VERSION = 1
"""Raise when the same spec would give other weights by intent."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is not there yet, and the updates that must run for it."""

    first: int
    """The state to start from; 0 is the untrained agent."""
    last: int
    """Updates that are done at the end."""
    states: tuple[int, ...]
    held_out: frozenset[int]
    """Updates whose rows are to have held-out measures: those that have them already, too."""


@dataclass(frozen=True, kw_only=True)
class LearnJob:
    """One agent."""

    spec: AgentSpec
    states: tuple[int, ...]
    """Updates before which its state is to be stored, over all requests."""
    held_out: frozenset[int]
    """Updates that are to be measured on held-out steps as well, over all who asked."""
    key: str
    code: str
    interval: Interval
    refs: Mapping[str, Reference]
    """None: an environment is made where it is needed."""
    step: str = STEP
    num_items: int = 1

    @property
    def needs(self) -> Needs:
        return Needs()

    @property
    def label(self) -> str:
        return f"{self.step} {self.spec.settings.step} in {self.spec.environment}, seed {self.spec.seed}"

    def halves(self) -> tuple[Job, ...]:
        return ()

    def alone(self) -> Job:
        return self

    # --- What is there ------------------------------------------------------------------------------------------------

    def kept(self, store: Store, say: Callable[[str], None]) -> Kept:
        for file in files.list_files(store, self.key):
            if files.read_file(store, file) is None:
                say(f"{self.label}: {file.name} is damaged; made again")
                store.delete(file.name)
        codes = {file.code for file in files.list_files(store, self.key)}
        for code in sorted(codes, key=lambda each: each != self.code):
            if self.wanted(store, code) is None:
                return "current" if code == self.code else "old"
        return "missing"

    def wanted(self, store: Store, code: str) -> Wanted | None:
        """What the store does not have by this code; None when it has all of it."""
        found = files.list_files(store, self.key)
        states = {file.update for file in found if file.kind == "state" and file.code == code}
        rows = self.rows(store, "curve", code)
        measured = _measured(rows)
        whole = len(rows) == self.spec.iterations and all(
            any(file.kind == kind and file.code == code for file in found) for kind in files.TABLES
        )
        lacking = [state for state in self.states if state not in states]
        updates = [
            update
            for update in range(self.spec.iterations)
            if not whole or (update in self.held_out and update not in measured)
        ]
        if not lacking and not updates:
            return None
        start = min([*lacking, *updates])
        return Wanted(
            first=max((state for state in states if state <= start), default=0),
            last=max([*lacking, *(update + 1 for update in updates)]),
            states=tuple(lacking),
            held_out=frozenset(measured | self.held_out),
        )

    def drop(self, store: Store) -> None:
        for file in files.list_files(store, self.key):
            store.delete(file.name)
        self._checkpoints(store, print).clear()

    # --- Making it ----------------------------------------------------------------------------------------------------

    def run(self, worker: Worker) -> Receipt:
        from robustray.tasks.policy_gradients.loop import LocalCollector, advance_with

        environment = open_environment(self.spec.environment, clip_actions=self.spec.settings.clip_actions)
        try:
            return self.learn(worker.store, advance_with(LocalCollector(environment)))
        finally:
            environment.close()

    def learn(self, store: Store, advance: Advance) -> Receipt:
        """Make what is not there, from the newest checkpoint or the nearest state. `Receipt.message` is what a person
        should know. Raises: EnvironmentFailed, AgentDiverged."""
        from robustray.tasks.policy_gradients.loop import train

        diary = Diary(label=self.label, key=self.key, store=store)
        checkpoints = self._checkpoints(store, diary.say)
        wanted = self.wanted(store, self.code)
        if wanted is not None:
            training = self._start(store, wanted, checkpoints)
            if not is_repeatable(self.spec.environment):
                training.state.repeatable = False
                diary.say("the environment gives other numbers for the same seed: nothing about it can be repeated")

            def after(training: Training) -> None:
                done = training.state.updates_done
                diary.row(training.curve, by="update")
                if done in wanted.states:
                    files.write_state(store, self.key, self.code, training.state)
                if checkpoints.due(done) or (done in wanted.states and done < wanted.last):
                    checkpoints.save(training)

            if training.state.updates_done in wanted.states:
                files.write_state(store, self.key, self.code, training.state)
            with diary:
                train(training, advance, until=wanted.last, after=after, held_out=wanted.held_out.__contains__)
            self._publish_tables(store, training)
        checkpoints.clear()
        (last,) = [f for f in self.state_files(store, self.code) if f.update == self.spec.iterations]
        return Receipt(outcome="done", rows=1, name=last.name, message=diary.words)

    def _start(self, store: Store, wanted: Wanted, checkpoints: Checkpoints) -> Training:
        """The newest checkpoint, if what it was watched for suffices; else the nearest state, with its rows."""
        from robustray.tasks.policy_gradients.loop import Training, begin

        training = begin(self.spec)
        checkpoints.restore(training)
        done = training.state.updates_done
        needed = {update for update in wanted.held_out if update < done}
        if wanted.first < done <= min(wanted.states, default=done) and needed <= _measured(training.curve):
            return training
        if not wanted.first:
            return begin(self.spec)
        file = next(file for file in self.state_files(store, self.code) if file.update == wanted.first)
        data = files.read_file(store, file)
        assert data is not None, "looked at by `kept`"
        state = files.state_of(data)
        state.spec = self.spec
        rows = {name: self.rows(store, name, self.code) for name in files.TABLES}
        before = {name: [row for row in found if row["update"] < wanted.first] for name, found in rows.items()}
        return Training(state=state, **before)

    def _publish_tables(self, store: Store, training: Training) -> None:
        """Rows of this run, and behind them those that an earlier one had."""
        done = training.state.updates_done
        for name in files.TABLES:
            mine: list[Row] = getattr(training, name)
            later = [row for row in self.rows(store, name, self.code) if row["update"] >= done]
            files.write_table(store, self.key, self.code, name, self.spec.iterations, [*mine, *later])

    def state_files(self, store: Store, code: str) -> list[files.AgentFile]:
        return [f for f in files.list_files(store, self.key) if f.kind == "state" and f.code == code]

    def rows(self, store: Store, kind: str, code: str) -> list[Row]:
        table = files.read_table(store, self.key, code, kind)
        return table.to_pylist() if table is not None else []

    def _checkpoints(self, store: Store, say: Callable[[str], None]) -> Checkpoints:
        return Checkpoints(store=store, key=self.key, code=self.code, interval=self.interval, say=say)


@dataclass(frozen=True, kw_only=True)
class Learned:
    """A trained agent, as `lab.learn` returns it."""

    spec: AgentSpec
    key: str
    states: Mapping[int, AgentRef]
    """Update -> the agent before it: the spec's milestones and the end."""
    curve: pd.DataFrame
    """One row per update; columns: docs/design/policy-gradients.md."""
    episodes: pd.DataFrame
    """One row per finished episode: update, stream, step, length, episode_return."""
    repeatable: bool
    """False where the environment was seen to give other numbers for the same seed: a report must not promise more."""
    clock: pd.DataFrame
    """One row per update: update, collect_seconds, learn_seconds. The only numbers that differ between machines."""

    @property
    def final(self) -> AgentRef:
        return self.states[self.spec.iterations]


@dataclass(kw_only=True)
class LearnHandle(LongHandle):
    """A request for trained agents."""

    specs: Sequence[AgentSpec]

    def result(self) -> list[Learned]:
        """One agent per spec, in their order. Environments that don't repeat themselves are reported to the journal.
        Raises: WorkFailed."""
        self.finish()
        found = [self._read(spec, job) for spec, job in zip(self.specs, self.jobs, strict=True)]
        for each in found:
            if not each.repeatable:
                self.lab.journal.cannot_repeat(f"environment {each.spec.environment}")
        return found

    def _read(self, spec: AgentSpec, job: LearnJob) -> Learned:
        store = self.lab.store
        codes = {file.code for file in files.list_files(store, job.key)}
        whole = [code for code in codes if job.wanted(store, code) is None]
        code = job.code if job.code in whole else sorted(whole)[0]
        states = {
            file.update: AgentRef(file=file, environment=spec.environment, store=store)
            for file in job.state_files(store, code)
            if file.update in spec.kept
        }
        tables = {name: files.read_table(store, job.key, code, name) for name in files.TABLES}
        frames = {name: table.to_pandas() for name, table in tables.items() if table is not None}
        last = states[spec.iterations]
        repeatable = last.build(last.fetch(), "cpu").state.repeatable
        return Learned(spec=spec, key=job.key, states=states, repeatable=repeatable, **frames)


def _measured(curve: Sequence[Row]) -> set[int]:
    """Updates that were measured on held-out steps."""
    return {row["update"] for row in curve if not math.isnan(row["heldout_kl"])}


def agent_key(spec: AgentSpec) -> str:
    """No step name in it, and nothing that only watches: two studies share an agent."""
    numerics = keys.numerics_class("cpu", Needs())
    return keys.digest({"agent": files.nameless(spec), "version": VERSION, "numerics": numerics})


def agent_code(environment: str) -> str:
    """CODE of an agent: that of the training and of the user's own environment, and the versions of the simulators.

    Raises: InputError for an environment in a module that does not exist.
    """
    try:
        code = code_hash([f"{__name__}:{LearnJob.__name__}", PIECE[1], *environment_modules(environment)])
    except ModuleNotFoundError as error:
        raise InputError(
            f"environment {environment}: {error}; it is imported from where Python finds modules"
        ) from error
    return keys.digest([code, library_versions()], length=12)


def learn_jobs(specs: Sequence[AgentSpec], *, interval: Interval | None = None) -> list[LearnJob]:
    """The job of each agent, in their order. Raises: InputError for an environment in a module that does not exist."""
    asked: dict[str, list[AgentSpec]] = {}
    for spec in specs:
        asked.setdefault(agent_key(spec), []).append(spec)
    return [
        LearnJob(
            spec=files.nameless(spec),
            states=tuple(sorted({state for each in asked[key] for state in each.kept})),
            held_out=frozenset(u for each in asked[key] for u in range(spec.iterations) if each.holds_out(u)),
            key=key,
            code=agent_code(spec.environment),
            interval=interval or Interval(),
            refs={},
        )
        for spec in specs
        for key in [agent_key(spec)]
    ]


def plan_learning(lab: BlockLab, specs: Sequence[AgentSpec], *, interval: Interval | None = None) -> LearnHandle:
    """Submit the agents that are not in the store.

    Raises: InputError, before anything starts, for an environment that cannot be made or used.
    """
    jobs = learn_jobs(specs, interval=interval)
    handle = LearnHandle(lab=lab, step=STEP, count=lab.journal.count(STEP), jobs=jobs, specs=list(specs))
    plan(handle, check=_check)
    return handle


def _check(job: Any) -> None:
    spec = job.spec
    open_environment(spec.environment, clip_actions=spec.settings.clip_actions).close()
    if spec.settings.continue_streams and not is_repeatable(spec.environment):
        raise InputError(
            f"environment {spec.environment}: it gives other numbers for the same seed, so no episode can be taken up "
            "again; continue_streams=False"
        )
