"""Tiny environments: one that is learned in seconds, one with matrices, and those that go wrong."""

from __future__ import annotations

import contextlib
import os
import time
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete

HERE = "tests.tasks.rl_environments"


class Target(gymnasium.Env[Any, Any]):
    """See a number in [-1, 1], answer with it: the reward is -(action - number)**2. Twenty steps, cut by a time limit
    or, from a coin of each step, ended."""

    observation_space: gymnasium.Space[Any] = Box(-np.inf, np.inf, (1,), np.float64)
    action_space: gymnasium.Space[Any] = Box(-2.0, 2.0, (1,), np.float32)
    ends = 0.05

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.steps = 0
        return self._look(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        reward = -float((action[0] - self.seen[0]) ** 2)
        return self._look(), reward, bool(self.np_random.random() < self.ends), self.steps >= 20, {}

    def _look(self) -> Any:
        self.seen = self.np_random.uniform(-1, 1, 1)
        return self.seen


class Drawn(Target):
    """Draws itself, by NumPy: its number as a grey."""

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 50}  # noqa: RUF012, as Gymnasium has it

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode

    def render(self) -> Any:
        assert self.render_mode == "rgb_array"
        return np.full((6, 8, 3), 255 * (self.seen[0] + 1) / 2, np.uint8)


class Choice(Target):
    """The same with three choices that start at 5: the reward is 1 for the sign of the number."""

    action_space = Discrete(3, start=np.int64(5))

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert 5 <= action <= 7
        self.steps += 1
        reward = float(action - 6 == np.sign(self.seen[0]))
        return self._look(), reward, False, self.steps >= 20, {}


class Matrix(gymnasium.Env[Any, Any]):
    """Observations (4, 4) of bytes, actions (4, 4)."""

    observation_space = Box(0, 255, (4, 4), np.uint8)
    action_space = Box(-1.0, 1.0, (4, 4), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return self._look(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert action.shape == (4, 4) and (np.abs(action) <= 1).all(), "presets act raw, this one is asked to clip"
        return self._look(), float(action.sum()), False, False, {}

    def _look(self) -> Any:
        return self.np_random.integers(0, 256, (4, 4), dtype=np.uint8)


class Breaks(Target):
    """Fine until step `breaks_at` of its life."""

    ends = 0.0
    breaks_at = 7
    lived = 0

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.lived += 1
        return super().step(action)


class NaNObservation(Breaks):
    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = super().step(action)
        return (
            (observation * np.nan if self.lived == self.breaks_at else observation),
            reward,
            terminated,
            truncated,
            info,
        )


class NaNReward(Breaks):
    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = super().step(action)
        return observation, (np.nan if self.lived == self.breaks_at else reward), terminated, truncated, info


class RaisesInStep(Breaks):
    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        if self.lived == self.breaks_at - 1:
            raise ZeroDivisionError("a joint came off")
        return super().step(action)


class RaisesInReset(Breaks):
    breaks_at = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        if self.lived >= self.breaks_at:
            raise OSError("no such arena")
        return super().reset(seed=seed, options=options)


class NaNObservationAt777(NaNObservation):
    breaks_at = 777


class NaNRewardAt777(NaNReward):
    breaks_at = 777


class RaisesAt777(RaisesInStep):
    breaks_at = 777


class RaisesInLateReset(RaisesInReset):
    """After 39 episodes of twenty steps."""

    breaks_at = 780


class WrongSize(Target):
    def _look(self) -> Any:
        self.seen = self.np_random.uniform(-1, 1, 2)
        return self.seen


class Words(Target):
    observation_space = gymnasium.spaces.Text(3)


class ManyAnswers(Target):
    action_space = gymnasium.spaces.MultiDiscrete([2, 2])


class Unrepeatable(Target):
    """Draws from the machine's own randomness."""

    def _look(self) -> Any:
        self.seen = np.frombuffer(os.urandom(8), np.uint64) / 2**64
        return self.seen


class Slow(Target):
    """Five milliseconds a step."""

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        time.sleep(0.005)
        return super().step(action)


class HangsOnce(Target):
    """The first process of all to take ten steps sleeps for ever, if ROBUSTRAY_TEST_HANGS names a file to mark it."""

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        path = os.environ.get("ROBUSTRAY_TEST_HANGS")
        if path and self.steps == 10:
            with contextlib.suppress(FileExistsError):  # another process was the first
                os.close(os.open(path, os.O_CREAT | os.O_EXCL))
                time.sleep(3600)
        return super().step(action)


gymnasium.register(id="RobustrayTarget-v0", entry_point=f"{HERE}:Target", max_episode_steps=8)
