"""Decides which actors exist: no more than the resources allow, none idle while others wait, and every kind of `Needs`
gets its turn.

One group of actors per `Needs`, of which shares of GPUs count only where GPUs are used. A group without an actor takes
the place of an idle actor of another group, or of a busy one after its block, if that one has been there for a while.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import ray

from robustray.distributed.actor import BlockActor
from robustray.distributed.groups import Actor, Group, GroupNeeds
from robustray.tasks.errors import InputError
from robustray.tasks.lab.jobs import Job
from robustray.tasks.lab.protocol import Needs

QUANTUM_S = 10.0
"""Seconds that an actor stays, at least, when another group waits for its place: starting one costs 2 to 5 s."""


class Places:
    """The groups of a pool, and the room they share.

    `cpus` and `gpus` are what all actors may take together; `max_actors` caps their number (None: resources do). With
    `use_gpus` off the GPU shares in `Needs` are ignored: the run was decided to be on CPUs.
    """

    def __init__(
        self,
        *,
        store_url: str,
        cpus: float,
        gpus: float,
        use_gpus: bool,
        max_actors: int | None,
        quantum_s: float,
        worker_path: str = "",
    ) -> None:
        self.groups: dict[Needs, Group] = {}
        self._store_url = store_url
        self._cpus, self._gpus, self._use_gpus = cpus, gpus, use_gpus
        self._max_actors = max_actors
        self._quantum_s = quantum_s
        self._how: dict[str, Any] = {"max_restarts": -1, "max_task_retries": 0}
        if worker_path:
            self._how["runtime_env"] = {"env_vars": {"PYTHONPATH": worker_path}}
        self._names = itertools.count(1)

    def group_for(self, job: Job) -> Group:
        """Raises: InputError when the job needs more than there is: it would wait for ever."""
        cpus, gpus = self.cost(job.needs)
        if cpus > self._cpus or gpus > self._gpus:
            have = f"{self._cpus:g} CPUs and {self._gpus:g} GPUs"
            raise InputError(
                f"{job.label} needs {cpus:g} CPUs and {gpus:g} GPUs, but there are {have}; let it need less (threads, "
                "ranks, its share of a GPU), or take a larger machine or cluster"
            )
        # On CPUs trainings, attacks and fits share their actors: a new one would first import everything again.
        needs = job.needs if self._use_gpus else replace(job.needs, gpus=0.0)
        return self.groups.setdefault(needs, Group(needs=needs))

    def cost(self, needs: Needs) -> tuple[float, float]:
        """(CPUs, GPUs) that one actor takes away from others, with the processes that its job starts."""
        processes = needs.processes if isinstance(needs, GroupNeeds) else 1
        return float(processes * needs.threads), processes * needs.gpus if self._use_gpus else 0.0

    def fill(self) -> None:
        """Start and end actors. Groups without one come first; while one of them waits for room, no other grows."""
        self._end_retired()
        starving = [group for group in self.groups.values() if group.has_work and not group.actors]
        for group in sorted(starving, key=lambda g: g.served_at):
            if not self._make_room(group.needs, idle_only=False):
                return
            self.start(group)
        growing = [group for group in self.groups.values() if group.has_work]
        while growing:
            group = min(growing, key=lambda g: len(g.actors))
            wanted = len(group.waiting) + len(group.suspects) + group.in_flight
            if len(group.actors) < wanted and self._make_room(group.needs, idle_only=True):
                self.start(group)
            else:
                growing.remove(group)

    def start(self, group: Group) -> Actor:
        """Start an actor. The caller knows that there is room."""
        cpus, gpus = (0.0, 0.0) if isinstance(group.needs, GroupNeeds) else self.cost(group.needs)
        name = f"worker-{next(self._names)}"
        remote = ray.remote(BlockActor).options(num_cpus=cpus, num_gpus=gpus, **self._how)
        actor = Actor(handle=remote.remote(self._store_url, name), name=name)
        actor.ping = actor.handle.ping.remote()
        group.actors.append(actor)
        return actor

    def end(self, actor: Actor) -> None:
        """End an actor that has nothing in flight."""
        ray.kill(actor.handle)
        for group in self.groups.values():
            if actor in group.actors:
                group.actors.remove(actor)
                group.served_at = time.monotonic()

    def close(self) -> None:
        """End all actors, busy or not, and forget all work."""
        for group in self.groups.values():
            for actor in group.actors:
                ray.kill(actor.handle)
            group.actors.clear()
            group.waiting.clear()
            group.suspects.clear()

    def _make_room(self, needs: Needs, *, idle_only: bool) -> bool:
        """End idle actors of other groups, and mark busy ones to end after their block. True when there is room now."""
        others = [(actor, group) for group in self.groups.values() if group.needs != needs for actor in group.actors]
        idle = [actor for actor, group in others if not actor.in_flight and not group.has_work]
        ended: list[Actor] = []
        while not self._room_for(needs, ended) and idle:
            ended.append(idle.pop())
        if self._room_for(needs, ended):
            for actor in ended:
                self.end(actor)
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

    def _room_for(self, needs: Needs, without: Iterable[Actor] = ()) -> bool:
        """Is there room for one more actor, once the actors `without` are gone?"""
        gone = set(map(id, without))
        cpus, gpus = self.cost(needs)
        actors = 1
        for group in self.groups.values():
            staying = sum(id(actor) not in gone for actor in group.actors)
            group_cpus, group_gpus = self.cost(group.needs)
            cpus, gpus, actors = cpus + staying * group_cpus, gpus + staying * group_gpus, actors + staying
        fits = cpus <= self._cpus + 1e-9 and gpus <= self._gpus + 1e-9
        return fits and (self._max_actors is None or actors <= self._max_actors)

    def _served_enough(self, actor: Actor) -> bool:
        return actor.started > 0 and time.monotonic() - actor.started >= self._quantum_s

    def _end_retired(self) -> None:
        for group in self.groups.values():
            for actor in [a for a in group.actors if a.retiring and not a.in_flight]:
                self.end(actor)
