"""The pool: long-lived actors that get the next block when they are free.

There is one thread and there are no callbacks: `work_until` hands out work, waits for the first answer, processes it,
and repeats. `places.py` decides which actors exist, and `quarantine.py` what happens to the blocks of a dead one. Ray
restarts the actors; this module hands out their blocks again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import ray
import ray.exceptions

from robustray.distributed import quarantine
from robustray.distributed.actor import DEATHS, why_it_died
from robustray.distributed.groups import Actor, Group, Task
from robustray.distributed.metrics import PoolMetrics
from robustray.distributed.places import QUANTUM_S, Places
from robustray.tasks.errors import WorkFailed
from robustray.tasks.lab.executor import Listener
from robustray.tasks.lab.jobs import Job, Receipt
from robustray.tasks.lab.protocol import Reference
from robustray.tasks.lab.store import Store

QUEUE_DEPTH = 2
"""Blocks on an actor: one that runs, one that waits (measured: 8 are no faster)."""
PING_EVERY_S = 0.25
STARTS = 3
"""Number of failed starts in a row after which no further start is tried."""
QUIET_S = 30.0
"""Seconds without a worker after which the user is shown what the run is waiting for."""


class Pool:
    """An `Executor` on Ray actors.

    `cpus` and `gpus` are what the pool may take in all; `max_actors` caps the number of actors (None: resources do).
    With `use_gpus` off, the GPU shares in `Needs` are ignored, because the run uses CPUs. `worker_path` is the
    PYTHONPATH of actors in a Ray that was not started here; a Ray that was started here has it already.
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
        worker_path: str = "",
    ) -> None:
        self.places = Places(
            store_url=store.url,
            cpus=cpus,
            gpus=gpus,
            use_gpus=use_gpus,
            max_actors=max_actors,
            quantum_s=quantum_s,
            worker_path=worker_path,
        )
        self._payload = payload
        self._message = message
        self._objects: dict[str, Any] = {}
        self._last_up = time.monotonic()
        self._metrics = PoolMetrics()
        self._some_step_stopped = False
        """Since the queues were last looked through: doing that after every answer would be quadratic in the blocks."""

    @property
    def groups(self) -> Sequence[Group]:
        """One group for each kind of `Needs` that was asked for."""
        return list(self.places.groups.values())

    # -- the executor's four verbs -------------------------------------------------------------------------------------

    def submit(self, jobs: Sequence[Job], listener: Listener) -> None:
        """Queue jobs. Raises: InputError when one needs more than there is: it would wait for ever."""
        groups = [self.places.group_for(job) for job in jobs]
        for job, group in zip(jobs, groups, strict=True):
            group.waiting.append(Task(job, listener))
        self._some_step_stopped |= listener.stopped
        self.hand_out()

    def work_until(self, finished: Callable[[], bool]) -> None:
        self._last_up = time.monotonic()
        while not finished():
            self.hand_out()
            answers = self.wait()
            for actor, group, answer in answers:
                self.settle(actor, group, answer)
            self._say_if_quiet()

    def forget(self, content_hashes: Sequence[str]) -> None:
        """Let go of payloads, here and in the actors that have them: then they leave Ray's object store."""
        for name in content_hashes:
            self._objects.pop(name, None)
        for group in self.groups:
            for actor in group.actors:
                if held := actor.holds.intersection(content_hashes):
                    actor.holds -= held
                    actor.handle.forget.remote(sorted(held))

    def close(self) -> None:
        self.places.close()

    # -- what they are made of -----------------------------------------------------------------------------------------

    def hand_out(self) -> None:
        """Give every actor that may have more its next block."""
        if self._some_step_stopped:
            self._some_step_stopped = False
            for group in self.groups:
                group.drop_stopped()
        self.places.fill()
        for group in self.groups:
            self._feed(group)

    def wait(self) -> list[tuple[Actor, Group, Any]]:
        """Wait for the first answers, at most a second."""
        asked: dict[Any, tuple[Actor, Group]] = {}
        for group in self.groups:
            for actor in group.actors:
                if actor.ping is None and not actor.up and time.monotonic() >= actor.ping_at:
                    actor.ping = actor.handle.ping.remote()
                if actor.ping is not None:
                    asked[actor.ping] = (actor, group)
                asked.update(dict.fromkeys(actor.in_flight, (actor, group)))
        if not asked:
            time.sleep(PING_EVERY_S)
            return []
        recovering = any(not actor.up for group in self.groups for actor in group.actors)
        ready, rest = ray.wait(list(asked), num_returns=1, timeout=PING_EVERY_S if recovering else 1.0)
        more, _ = ray.wait(rest, num_returns=len(rest), timeout=0) if rest and ready else ([], rest)
        return [(*asked[answer], answer) for answer in (*ready, *more)]

    def settle(self, actor: Actor, group: Group, answer: Any) -> None:
        """Take an answer: a ping's, or that of a block, which is done, failed, too large, or died with its actor."""
        if answer == actor.ping:
            self._settle_ping(actor, group)
            return
        if answer not in actor.in_flight:  # an answer before this one said that the actor will not come back
            return
        task = actor.in_flight.pop(answer)
        try:
            receipt: Receipt = ray.get(answer)
        except DEATHS as error:
            if actor.up:
                self._metrics.count("workers_died", task.job.step)
                actor.down_at = time.monotonic()
            actor.up = False
            actor.ping_at = time.monotonic() + PING_EVERY_S
            quarantine.died(group, actor, task, why_it_died(error))
        except ray.exceptions.RayError as error:  # the job could not even be unpacked, or an object was lost
            text = str(error).strip()
            self._metrics.count("blocks_failed", task.job.step)
            task.listener.failed(task.job, Receipt(outcome="error", message=text.splitlines()[-1], traceback=text))
        else:
            self._metrics.count("blocks_done" if receipt.outcome == "done" else "blocks_failed", task.job.step)
            if receipt.outcome == "done":
                self._metrics.count("items_done", task.job.step, task.job.num_items)
                task.listener.done(task.job, receipt)
            elif receipt.outcome == "error":
                task.listener.failed(task.job, receipt)
            else:
                quarantine.divide(group, task, f"out of memory ({receipt.message})", final=task.alone)
        self._some_step_stopped |= task.listener.stopped

    def _feed(self, group: Group) -> None:
        free = [actor for actor in group.actors if actor.up and not actor.retiring]
        quarantine.hand_out_suspects(group, free, self._send)
        # First one block for each, then a second where so many wait that it can't make another actor idle at the end.
        for depth in range(1, QUEUE_DEPTH + 1):
            for actor in free:
                enough = depth == 1 or len(group.waiting) >= len(group.actors)
                if not actor.quarantine and len(actor.in_flight) < depth and group.waiting and enough:
                    self._send(actor, group.waiting.popleft())

    def _send(self, actor: Actor, task: Task) -> None:
        for ref in task.job.refs.values():
            if ref.content_hash not in self._objects:
                self._objects[ref.content_hash] = ray.put(self._payload(ref))
        payloads = {ref.content_hash: self._objects[ref.content_hash] for ref in task.job.refs.values()}
        actor.holds |= payloads.keys()
        actor.in_flight[actor.handle.run.remote(task.job, payloads)] = task

    def _settle_ping(self, actor: Actor, group: Group) -> None:
        try:
            actor.up = ray.get(actor.ping)
            if not actor.started:
                actor.started = time.monotonic()
            elif actor.down_at:
                self._metrics.count("worker_restarts", "")
            actor.down_at = 0.0
            actor.failed_starts = 0
        except ray.exceptions.ActorUnavailableError:
            actor.ping_at = time.monotonic() + PING_EVERY_S
        except ray.exceptions.RayError as error:  # it did not start, or will not come back: another takes its place
            for task in actor.in_flight.values():
                quarantine.died(group, actor, task, why_it_died(error))
                self._some_step_stopped |= task.listener.stopped
            actor.in_flight.clear()
            self.places.end(actor)
            if actor.failed_starts + 1 >= STARTS:
                raise WorkFailed(f"workers don't start: {why_it_died(error)}") from error
            if group.has_work:
                self.places.start(group).failed_starts = actor.failed_starts + 1
        finally:
            actor.ping = None

    def _say_if_quiet(self) -> None:
        """A line now and then while no worker is up. That one is unavailable is an answer too, but no progress."""
        now = time.monotonic()
        if any(actor.up for group in self.groups for actor in group.actors):
            self._last_up = now
        elif now - self._last_up > QUIET_S:
            self._last_up = now
            costs = [self.places.cost(group.needs) for group in self.groups]
            wants = ", ".join(f"{cpus:g} CPU(s) + {gpus:g} GPU(s)" for cpus, gpus in costs)
            self._message(
                f"waiting for workers ({wants} each); is the cluster busy, or has it lost its nodes? `ray status` tells"
            )
