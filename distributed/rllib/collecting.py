"""Rollouts from remote env runners: which runner gets which stream, and what becomes of those of a dead one.

A rollout is a pure function of what is sent, so a stream may go to any runner and may be asked for again: numbers don't
depend on it. A result is taken once per update and stream.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from typing import Any

import ray
import ray.exceptions

from robustray.distributed.rllib.runner import sent_of
from robustray.tasks.policy_gradients.environments import EnvironmentFailed
from robustray.tasks.policy_gradients.rollout import Rollout
from robustray.tasks.policy_gradients.state import AgentState

Task = tuple[int, bool]
"""(stream, whether its steps are held out)"""
PATIENCE_S = 120.0
"""Seconds without a single living runner after which the training ends."""
QUIET_S = 60.0
"""Time without any answer after which a line is logged."""

_LOG = logging.getLogger(__name__)


class RemoteCollector:
    """A `Collector` over the remote runners of an algorithm's `EnvRunnerGroup`."""

    def __init__(self, group: Any, *, deadline_s: float | None) -> None:
        self._group = group
        self._manager = group._worker_manager  # the only way to a runner's handle
        self._deadline_s = deadline_s

    def __call__(self, state: AgentState, *, held_out: bool) -> tuple[list[Rollout], list[Rollout]]:
        """Raises: EnvironmentFailed; RuntimeError when all runners are gone for good."""
        streams = range(state.spec.settings.num_streams)
        tasks = [(stream, False) for stream in streams] + [(stream, True) for stream in streams if held_out]
        found = self._collect(state.updates_done, tasks, ray.put(sent_of(state)))
        return [found[task] for task in tasks if not task[1]], [found[task] for task in tasks if task[1]]

    def _collect(self, update: int, tasks: list[Task], sent: Any) -> dict[Task, Rollout]:
        waiting, found = deque(tasks), dict[Task, Rollout]()
        busy: dict[Any, tuple[int, Task, float]] = {}
        answered_at = time.monotonic()
        while len(found) < len(tasks):
            taken = {runner for runner, _, _ in busy.values()}
            free = [runner for runner in self._group.healthy_env_runner_ids() if runner not in taken]
            if not busy and not free:
                free = wait_for_runners(self._group)
            now = time.monotonic()
            for runner in free[: len(waiting)]:
                task = _likeliest(waiting, runner, self._group.num_remote_env_runners())
                waiting.remove(task)
                busy[self._handle(runner).collect.remote(task[0], update, sent, task[1])] = (runner, task, now)
            ready, _ = ray.wait(list(busy), num_returns=1, timeout=0.5)
            for answer in ready:
                runner, task, _ = busy.pop(answer)
                answered_at = now
                try:
                    result = ray.get(answer)
                except (ray.exceptions.RayActorError, ray.exceptions.OutOfMemoryError):
                    lost(self._group, runner)
                    waiting.appendleft(task)
                    continue
                if isinstance(result, str):
                    raise EnvironmentFailed(result)
                found[task] = result
            self._end_late(busy, waiting)
            if now - answered_at > QUIET_S:
                answered_at = now
                _LOG.warning("update %d waits for %d of %d rollouts", update, len(tasks) - len(found), len(tasks))
        return found

    def _end_late(self, busy: dict[Any, tuple[int, Task, float]], waiting: deque[Task]) -> None:
        """End runners that are over their time; their streams go to others."""
        if self._deadline_s is None:
            return
        for answer, (runner, task, since) in list(busy.items()):
            if time.monotonic() - since > self._deadline_s:
                _LOG.warning("env runner %d took more than %g s and is started again", runner, self._deadline_s)
                ray.kill(self._handle(runner), no_restart=False)
                lost(self._group, runner)
                del busy[answer]
                waiting.append(task)

    def _handle(self, runner: int) -> Any:
        return self._manager.actors()[runner]


def lost(group: Any, runner: int) -> None:
    """A runner has died. RLlib asks it for signs of life before each update and takes it back."""
    group._worker_manager.set_actor_state(runner, healthy=False)


def wait_for_runners(group: Any) -> list[int]:
    """The runners that are alive, at least one. Raises: RuntimeError when there is none for `PATIENCE_S`."""
    began = time.monotonic()
    while not (runners := group.healthy_env_runner_ids()):
        if time.monotonic() - began > PATIENCE_S:
            raise RuntimeError(f"all env runners are gone for {PATIENCE_S:.0f} s; see their logs")
        group.probe_unhealthy_env_runners()
        time.sleep(0.2)
    return list(runners)


def _likeliest(waiting: deque[Task], runner: int, num_runners: int) -> Task:
    """The first task among the streams that this runner usually has. A stream that continues is in the middle of its
    episode there; any other runner first has to play the episode again up to that point."""
    return next((task for task in waiting if task[0] % num_runners == (runner - 1) % num_runners), waiting[0])
