"""Which runner gets which stream, by a simulated Ray: runners die, answer late or hang; no stream is taken twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import ray.exceptions

from robustray.distributed.rllib import collecting
from robustray.tasks.policy_gradients.environments import EnvironmentFailed
from robustray.tasks.policy_gradients.settings import AgentSpec, PolicyGradient


class Simulated:
    """Runners 1..n, and as much of Ray as the collector uses. An answer takes a second, or what `takes` says of
    (runner, stream, held out); `dies` and `errors` likewise."""

    def __init__(self, num_runners: int, comes_back_after: float | None = 5.0) -> None:
        self.now = 0.0
        self.healthy = {runner: True for runner in range(1, num_runners + 1)}
        self.gone_since: dict[int, float] = {}
        self.comes_back_after = comes_back_after
        self.takes: Callable[[int, int, bool], float] = lambda runner, stream, held_out: 1.0
        self.dies: Callable[[int, int, bool], bool] = lambda runner, stream, held_out: False
        self.errors: Callable[[int, int, bool], bool] = lambda runner, stream, held_out: False
        self.asked: list[tuple[int, int, bool]] = []
        self.killed: list[int] = []
        self.exceptions = ray.exceptions
        self._worker_manager = self

    # --- the group and its manager ------------------------------------------------------------------------------------

    def num_remote_env_runners(self) -> int:
        return len(self.healthy)

    def healthy_env_runner_ids(self) -> list[int]:
        return [runner for runner, healthy in self.healthy.items() if healthy]

    def probe_unhealthy_env_runners(self) -> None:
        for runner, since in list(self.gone_since.items()):
            if self.comes_back_after is not None and self.now - since >= self.comes_back_after:
                self.healthy[runner] = True
                del self.gone_since[runner]

    def set_actor_state(self, runner: int, healthy: bool) -> None:
        self.healthy[runner] = healthy
        self.gone_since[runner] = self.now

    def actors(self) -> dict[int, Any]:
        return {runner: Handle(self, runner) for runner in self.healthy}

    # --- Ray and time -------------------------------------------------------------------------------------------------

    def put(self, value: Any) -> Any:
        return value

    def wait(self, answers: list[Any], num_returns: int, timeout: float) -> tuple[list[Any], list[Any]]:
        assert num_returns == 1
        first = min(answers, key=lambda answer: answer.at)
        if first.at > self.now + timeout:
            self.now += timeout
            return [], answers
        self.now = max(self.now, first.at)
        return [first], [answer for answer in answers if answer is not first]

    def get(self, answer: Any) -> Any:
        if self.dies(*answer.task):
            raise ray.exceptions.RayActorError
        return "environment x, step 7: bad" if self.errors(*answer.task) else answer

    def kill(self, handle: Any, *, no_restart: bool) -> None:
        assert not no_restart
        self.killed.append(handle.runner)

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Handle:
    def __init__(self, simulated: Simulated, runner: int) -> None:
        self.simulated, self.runner, self.collect = simulated, runner, self

    def remote(self, stream: int, update: int, sent: Any, held_out: bool) -> Answer:
        task = (self.runner, stream, held_out)
        self.simulated.asked.append(task)
        return Answer(task, self.simulated.now + self.simulated.takes(*task))


class Answer:
    def __init__(self, task: tuple[int, int, bool], at: float) -> None:
        self.task, self.at = task, at


class State:
    updates_done, policy, filters, open_episodes = 3, None, None, ()
    spec = AgentSpec(environment="x", settings=PolicyGradient(num_streams=5))


def collect(
    simulated: Simulated, monkeypatch: pytest.MonkeyPatch, *, held_out: bool = False, deadline_s: float | None = None
) -> list[list[int]]:
    """Streams of the results, training's and held-out ones."""
    monkeypatch.setattr(collecting, "ray", simulated)
    monkeypatch.setattr(collecting, "time", simulated)
    state: Any = State()
    found: Any = collecting.RemoteCollector(simulated, deadline_s=deadline_s)(state, held_out=held_out)
    for kind, answers in zip((False, True), found, strict=True):
        assert all(answer.task[2] == kind for answer in answers)
    return [[answer.task[1] for answer in answers] for answers in found]


STREAMS = [0, 1, 2, 3, 4]


@pytest.mark.parametrize("num_runners", [1, 2, 3, 4, 5, 6, 25])
@pytest.mark.parametrize("held_out", [False, True])
def test_every_stream_once_and_in_order(num_runners: int, held_out: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    simulated = Simulated(num_runners)
    assert collect(simulated, monkeypatch, held_out=held_out) == [STREAMS, STREAMS if held_out else []]
    assert len(simulated.asked) == 5 * (1 + held_out)
    assert simulated.now == pytest.approx(-(-len(simulated.asked) // num_runners)), "nobody waits for nothing"


def test_the_stream_of_a_dead_runner_goes_to_another(monkeypatch: pytest.MonkeyPatch) -> None:
    simulated = Simulated(2, comes_back_after=None)
    simulated.dies = lambda runner, stream, held_out: runner == 1
    assert collect(simulated, monkeypatch) == [STREAMS, []]
    assert len(simulated.asked) == 6 and [task[1] for task in simulated.asked].count(0) == 2


def test_the_only_runner_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    simulated = Simulated(1)
    simulated.dies = lambda runner, stream, held_out: len(simulated.asked) == 3
    assert collect(simulated, monkeypatch) == [STREAMS, []]
    assert simulated.now >= 5


def test_when_all_are_gone_for_good_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    simulated = Simulated(3, comes_back_after=None)
    simulated.dies = lambda runner, stream, held_out: True
    with pytest.raises(RuntimeError, match="all env runners are gone for 120 s"):
        collect(simulated, monkeypatch)
    assert len(simulated.asked) == 3


def test_one_that_hangs_is_ended_and_its_stream_given_out_again(monkeypatch: pytest.MonkeyPatch) -> None:
    simulated = Simulated(2)
    simulated.takes = lambda runner, stream, held_out: 1e9 if len(simulated.asked) == 2 else 1.0
    assert collect(simulated, monkeypatch, deadline_s=10.0) == [STREAMS, []]
    assert simulated.killed == [2] and len(simulated.asked) == 6


def test_without_a_deadline_slow_ones_are_waited_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    simulated = Simulated(5)
    simulated.takes = lambda runner, stream, held_out: 300.0
    assert collect(simulated, monkeypatch) == [STREAMS, []]
    assert not simulated.killed and len(simulated.asked) == 5
    assert sum("waits for 5 of 5 rollouts" in line for line in caplog.messages) in (4, 5)


def test_an_error_of_the_environment_is_raised_here(monkeypatch: pytest.MonkeyPatch) -> None:
    simulated = Simulated(2)
    simulated.errors = lambda runner, stream, held_out: stream == 1
    with pytest.raises(EnvironmentFailed, match="step 7: bad"):
        collect(simulated, monkeypatch)
