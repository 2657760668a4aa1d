"""The pool: long-lived actors that get the next block when they are free, and what happens when one dies.

Facts behind it (docs/design/engine.md): everything queued on a dead actor fails with it, and the error doesn't say
which call was running. So a block whose actor died is a *suspect*: it runs again alone, on an actor that has nothing
else. Only a failure there counts; then the block is halved, in the same quarantine, until the item that kills its
worker stands alone. Healthy blocks go on meanwhile. Ray restarts the actors; re-issuing is ours, because Ray can't tell
a poison item from bad luck and would crash the actor for ever.

One thread, no callbacks: `work_until` hands out work, waits for the first answer, settles it, and looks again.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray
import ray.exceptions

from robustray.tasks.errors import InputError, WorkFailed
from robustray.tasks.lab.base import Listener
from robustray.tasks.lab.jobs import Job, Receipt, Worker
from robustray.tasks.lab.protocol import Needs, Reference
from robustray.tasks.lab.store import Store

QUEUE_DEPTH = 2
"""Blocks on an actor: one that runs, one that waits (measured: 8 are no faster)."""
STRIKES = 2
"""Times that an item which can't be divided may kill its worker before it is given up: once may be bad luck."""
QUANTUM_S = 10.0
"""How long an actor stays, at least, when another group waits for its place: starting one costs 2 to 5 s."""
PING_EVERY_S = 0.25
RETURN_S = 15.0
"""How long suspects wait for the return of the actor in quarantine that one of them killed (measured: 2 s)."""
STARTS = 3
"""Failed starts in a row after which actors are taken not to start at all."""
QUIET_S = 30.0
"""Time without any answer after which the user is told what is waited for."""


_DEATHS = (
    ray.exceptions.RayActorError,
    ray.exceptions.OutOfMemoryError,  # Ray's memory monitor ended the actor; this is no RayActorError
    ray.exceptions.NodeDiedError,
    ray.exceptions.WorkerCrashedError,
)
"""What is raised for a call whose actor is gone, whichever call killed it."""


class BlockActor:
    """A `Worker` in a process of its own. Its methods only forward; the worker is tested without Ray."""

    def __init__(self, store_url: str, name: str) -> None:
        self._payloads: dict[str, Any] = {}
        self._worker = Worker(store=Store(store_url), payload=self._payload, name=name)

    def _payload(self, ref: Reference) -> Any:
        return ray.get(self._payloads[ref.content_hash])

    @ray.method
    def ping(self) -> bool:
        return True

    @ray.method
    def run(self, job: Job, payloads: Mapping[str, Any]) -> Receipt:
        """Run a job; `payloads` are object references by content hash: arrays in shared memory, read when needed."""
        self._payloads.update(payloads)
        return self._worker.run(job)


@dataclass(eq=False)
class _Task:
    job: Job
    listener: Listener
    strikes: int = 0
    alone: bool = False
    """It was a suspect when it was sent: nothing else ran, or waited, on its actor."""


@dataclass(eq=False)
class _Actor:
    handle: Any
    name: str
    started: float = 0.0
    """When it answered for the first time."""
    up: bool = False
    """It has answered since it started or its last call failed."""
    ping: Any = None
    ping_at: float = 0.0
    failed_starts: int = 0
    down_at: float = 0.0
    """When its last call failed."""
    in_flight: dict[Any, _Task] = field(default_factory=dict)
    quarantine: bool = False
    """It gets suspects only, one at a time."""
    retiring: bool = False
    """It gets nothing more, since another group waits for its place."""


@dataclass(eq=False)
class _Group:
    """The actors of one kind of `Needs`, and the work that waits for them."""

    needs: Needs
    waiting: deque[_Task] = field(default_factory=deque)
    suspects: deque[_Task] = field(default_factory=deque)
    actors: list[_Actor] = field(default_factory=list)
    served_at: float = 0.0
    """When it last had an actor; who waits longest comes first."""

    @property
    def has_work(self) -> bool:
        return bool(self.waiting or self.suspects)

    @property
    def in_flight(self) -> int:
        return sum(len(actor.in_flight) for actor in self.actors)


class Pool:
    """An `Executor` on Ray actors.

    `cpus` and `gpus` are what the pool may take in all; `max_actors` caps the number of actors (None: resources do).
    With `use_gpus` off the GPU shares in `Needs` are ignored: the run was decided to be on CPUs.
    """

    def __init__(
        self,
        *,
        store: Store,
        payload: Callable[[Reference], Any],
        message: Callable[[str], None],
        cpus: float,
        gpus: float = 0.0,
        use_gpus: bool = False,
        max_actors: int | None = None,
        quantum_s: float = QUANTUM_S,
    ) -> None:
        self._store = store
        self._payload = payload
        self._message = message
        self._cpus, self._gpus, self._use_gpus = cpus, gpus, use_gpus
        self._max_actors = max_actors
        self._quantum_s = quantum_s
        self._groups: dict[Needs, _Group] = {}
        self._objects: dict[str, Any] = {}
        self._names = itertools.count(1)
        self._last_answer = time.monotonic()

    # -- the executor's three verbs ------------------------------------------------------------------------------------

    def submit(self, jobs: Sequence[Job], listener: Listener) -> None:
        """Queue jobs. Raises: InputError when one needs more than there is: it would wait for ever."""
        for job in jobs:
            cpus, gpus = self._cost(job.needs)
            if cpus > self._cpus or gpus > self._gpus:
                have = f"{self._cpus:g} CPUs and {self._gpus:g} GPUs"
                raise InputError(f"{job.label} needs {cpus:g} CPUs and {gpus:g} GPUs, but there are {have}")
            group = self._groups.setdefault(job.needs, _Group(needs=job.needs))
            group.waiting.append(_Task(job, listener))
        self._hand_out()

    def work_until(self, finished: Callable[[], bool]) -> None:
        self._last_answer = time.monotonic()
        while not finished():
            self._hand_out()
            answers = self._wait()
            for actor, group, answer in answers:
                self._settle(actor, group, answer)
            self._say_if_quiet(bool(answers))

    def close(self) -> None:
        for group in self._groups.values():
            for actor in group.actors:
                ray.kill(actor.handle)
            group.actors.clear()
            group.waiting.clear()
            group.suspects.clear()

    # -- handing out ---------------------------------------------------------------------------------------------------

    def _hand_out(self) -> None:
        for group in self._groups.values():
            _drop_stopped(group)
        self._place_actors()
        for group in self._groups.values():
            self._feed(group)

    def _feed(self, group: _Group) -> None:
        free = [actor for actor in group.actors if actor.up and not actor.retiring]
        for actor in group.actors:  # its node may be gone for good: suspects don't wait for it
            if actor.quarantine and not actor.up and time.monotonic() - actor.down_at > RETURN_S:
                actor.quarantine = False
        if group.suspects and free and not any(actor.quarantine for actor in group.actors):
            min(free, key=lambda actor: len(actor.in_flight)).quarantine = True
        for actor in free:
            if actor.quarantine and not group.suspects and not actor.in_flight:
                actor.quarantine = False
            elif actor.quarantine and group.suspects and not actor.in_flight:
                task = group.suspects.popleft()
                task.alone = True
                self._send(actor, task)
        # First one block for each, then a second where so many wait that it can't make another actor idle at the end.
        for depth in range(1, QUEUE_DEPTH + 1):
            for actor in free:
                enough = depth == 1 or len(group.waiting) >= len(group.actors)
                if not actor.quarantine and len(actor.in_flight) < depth and group.waiting and enough:
                    self._send(actor, group.waiting.popleft())

    def _send(self, actor: _Actor, task: _Task) -> None:
        for ref in task.job.refs.values():
            if ref.content_hash not in self._objects:
                self._objects[ref.content_hash] = ray.put(self._payload(ref))
        payloads = {ref.content_hash: self._objects[ref.content_hash] for ref in task.job.refs.values()}
        actor.in_flight[actor.handle.run.remote(task.job, payloads)] = task

    # -- places --------------------------------------------------------------------------------------------------------

    def _cost(self, needs: Needs) -> tuple[float, float]:
        return float(needs.threads), needs.gpus if self._use_gpus else 0.0

    def _room_for(self, needs: Needs, without: Iterable[_Actor] = ()) -> bool:
        """Is there room for one more actor, once the actors `without` are gone?"""
        gone = set(map(id, without))
        cpus, gpus = self._cost(needs)
        actors = 1
        for group in self._groups.values():
            staying = sum(id(actor) not in gone for actor in group.actors)
            group_cpus, group_gpus = self._cost(group.needs)
            cpus, gpus, actors = cpus + staying * group_cpus, gpus + staying * group_gpus, actors + staying
        fits = cpus <= self._cpus + 1e-9 and gpus <= self._gpus + 1e-9
        return fits and (self._max_actors is None or actors <= self._max_actors)

    def _place_actors(self) -> None:
        """Groups without an actor come first; while one of them waits for room, no other group grows."""
        self._end_retired()
        starving = [group for group in self._groups.values() if group.has_work and not group.actors]
        for group in sorted(starving, key=lambda g: g.served_at):
            if not self._make_room(group.needs, idle_only=False):
                return
            self._start(group)
        growing = [group for group in self._groups.values() if group.has_work]
        while growing:
            group = min(growing, key=lambda g: len(g.actors))
            wanted = len(group.waiting) + len(group.suspects) + group.in_flight
            if len(group.actors) < wanted and self._make_room(group.needs, idle_only=True):
                self._start(group)
            else:
                growing.remove(group)

    def _make_room(self, needs: Needs, *, idle_only: bool) -> bool:
        """End idle actors of other groups, and mark busy ones to end after their block. True when there is room now."""
        others = [(actor, group) for group in self._groups.values() if group.needs != needs for actor in group.actors]
        idle = [actor for actor, group in others if not actor.in_flight and not group.has_work]
        ended: list[_Actor] = []
        while not self._room_for(needs, ended) and idle:
            ended.append(idle.pop())
        if self._room_for(needs, ended):
            for actor in ended:
                self._end(actor)
            return True
        if not idle_only:
            leaving = [*ended, *(actor for actor, _ in others if actor.retiring)]
            ripe = [a for a, _ in others if not a.retiring and self._served_enough(a)]
            for actor in sorted(ripe, key=lambda a: -a.started):
                if self._room_for(needs, leaving):
                    break
                actor.retiring = True
                leaving.append(actor)
            self._end_retired()
            return self._room_for(needs)
        return False

    def _served_enough(self, actor: _Actor) -> bool:
        return actor.started > 0 and time.monotonic() - actor.started >= self._quantum_s

    def _end_retired(self) -> None:
        for group in self._groups.values():
            for actor in [a for a in group.actors if a.retiring and not a.in_flight]:
                self._end(actor)

    def _start(self, group: _Group) -> None:
        cpus, gpus = self._cost(group.needs)
        name = f"worker-{next(self._names)}"
        remote = ray.remote(BlockActor).options(num_cpus=cpus, num_gpus=gpus, max_restarts=-1, max_task_retries=0)
        actor = _Actor(handle=remote.remote(self._store.url, name), name=name)
        actor.ping = actor.handle.ping.remote()
        group.actors.append(actor)

    def _end(self, actor: _Actor) -> None:
        ray.kill(actor.handle)
        for group in self._groups.values():
            if actor in group.actors:
                group.actors.remove(actor)
                group.served_at = time.monotonic()

    # -- answers -------------------------------------------------------------------------------------------------------

    def _wait(self) -> list[tuple[_Actor, _Group, Any]]:
        """Wait for the first answers, at most a second."""
        asked: dict[Any, tuple[_Actor, _Group]] = {}
        for group in self._groups.values():
            for actor in group.actors:
                if actor.ping is None and not actor.up and time.monotonic() >= actor.ping_at:
                    actor.ping = actor.handle.ping.remote()
                if actor.ping is not None:
                    asked[actor.ping] = (actor, group)
                asked.update(dict.fromkeys(actor.in_flight, (actor, group)))
        if not asked:
            time.sleep(PING_EVERY_S)
            return []
        recovering = any(not actor.up for group in self._groups.values() for actor in group.actors)
        ready, rest = ray.wait(list(asked), num_returns=1, timeout=PING_EVERY_S if recovering else 1.0)
        more, _ = ray.wait(rest, num_returns=len(rest), timeout=0) if rest and ready else ([], rest)
        return [(*asked[answer], answer) for answer in (*ready, *more)]

    def _settle(self, actor: _Actor, group: _Group, answer: Any) -> None:
        if answer == actor.ping:
            self._settle_ping(actor, group)
            return
        if answer not in actor.in_flight:  # an answer before this one said that the actor will not come back
            return
        task = actor.in_flight.pop(answer)
        try:
            receipt: Receipt = ray.get(answer)
        except _DEATHS as error:
            if actor.up:
                actor.down_at = time.monotonic()
            actor.up = False
            actor.ping_at = time.monotonic() + PING_EVERY_S
            self._settle_death(actor, group, task, _reason(error))
        except ray.exceptions.RayError as error:  # the job could not even be unpacked, or an object was lost
            text = str(error).strip()
            task.listener.failed(task.job, Receipt(outcome="error", message=text.splitlines()[-1], traceback=text))
        else:
            if receipt.outcome == "done":
                task.listener.done(task.job, receipt)
            elif receipt.outcome == "error":
                task.listener.failed(task.job, receipt)
            else:
                self._divide(group, task, f"out of memory ({receipt.message})", final=task.alone)

    def _settle_ping(self, actor: _Actor, group: _Group) -> None:
        try:
            actor.up = ray.get(actor.ping)
            if not actor.started:
                actor.started = time.monotonic()
            actor.failed_starts = 0
        except ray.exceptions.ActorUnavailableError:
            actor.ping_at = time.monotonic() + PING_EVERY_S
        except ray.exceptions.RayError as error:  # it did not start, or will not come back: another takes its place
            for task in actor.in_flight.values():
                self._settle_death(actor, group, task, _reason(error))
            actor.in_flight.clear()
            self._end(actor)
            if actor.failed_starts + 1 >= STARTS:
                raise WorkFailed(f"workers don't start: {_reason(error)}") from error
            if group.has_work:
                self._start(group)
                group.actors[-1].failed_starts = actor.failed_starts + 1
        finally:
            actor.ping = None

    def _settle_death(self, actor: _Actor, group: _Group, task: _Task, reason: str) -> None:
        if not task.alone:
            task.listener.retried(task.job, f"{actor.name} died ({reason})")
            group.suspects.append(task)
            return
        task.strikes += 1
        self._divide(group, task, f"killed {actor.name} ({reason})", final=task.strikes >= STRIKES)

    def _divide(self, group: _Group, task: _Task, reason: str, *, final: bool) -> None:
        """Put the halves of a bad job into quarantine; give up what can't be divided when the verdict is final."""
        halves = task.job.halves()
        if halves:
            task.listener.retried(task.job, f"{reason}; in halves")
            task.listener.split(len(halves))
            # At the end: blocks that were only queued beside the bad one come first and are out of it.
            group.suspects.extend(_Task(half, task.listener) for half in halves)
        elif final:
            task.listener.poisoned(task.job, reason)
        else:
            task.listener.retried(task.job, reason)
            group.suspects.append(task)

    def _say_if_quiet(self, answered: bool) -> None:
        now = time.monotonic()
        if answered:
            self._last_answer = now
        elif now - self._last_answer > QUIET_S and not any(a.up for g in self._groups.values() for a in g.actors):
            self._last_answer = now
            wants = ", ".join(
                f"{g.needs.threads} CPU(s) + {self._cost(g.needs)[1]:g} GPU(s)" for g in self._groups.values()
            )
            self._message(f"waiting for workers to start ({wants} each); is the cluster busy? `ray status` tells")


def _drop_stopped(group: _Group) -> None:
    """Take the jobs of failed steps out of the queues."""
    for queue in (group.waiting, group.suspects):
        dropped = [task for task in queue if task.listener.stopped]
        if dropped:
            kept = [task for task in queue if not task.listener.stopped]
            queue.clear()
            queue.extend(kept)
            for task in dropped:
                task.listener.dropped([task.job])


def _reason(error: BaseException) -> str:
    """Ray's paragraph in a few words."""
    text = str(error).lower()
    if "out of memory" in text or "memory usage threshold" in text or "memory pressure" in text:
        return "the machine ran out of memory"
    if "creation task failed" in text or "constructor" in text:
        return str(error).strip().splitlines()[-1]
    if "node" in text and ("died" in text or "dead" in text):
        return "its node is gone"
    return "its process ended"
