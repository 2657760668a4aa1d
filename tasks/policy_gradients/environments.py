"""Environments by name, reduced to what a policy needs: flat observations, a kind of action, and errors that say where
they happened.

Any Gymnasium environment with Box observations and Box or Discrete actions; nothing else about it is assumed.
"""

from __future__ import annotations

import importlib
import math
import os
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete
from numpy.typing import NDArray

from robustray.tasks.errors import InputError
from robustray.tasks.lab import seeds
from robustray.tasks.policy_gradients.drawing import (
    came_from_mujoco,
    clear_away,
    drawing_needs,
    draws_by_gl,
    has_gl,
)
from robustray.tasks.policy_gradients.heads import Categorical, Gaussian, Head

_VERSIONED = re.compile(r"-v\d+$")
_FRAMES_PER_SECOND = 30.0
PACKAGES = ("gymnasium", "mujoco")
"""Their versions belong to an agent: Hopper is another environment under mujoco 4.0.0 than under 3.3.7 (measured)."""


class EnvironmentFailed(RuntimeError):
    """An environment raised, or gave numbers that are not finite. Names environment, step and seed."""


@dataclass(frozen=True, kw_only=True)
class EnvironmentShape:
    """What networks, filters and actions have to know. Survives JSON: `EnvironmentShape(**asdict(shape))`."""

    num_inputs: int
    """Numbers in an observation, flattened."""
    num_actions: int
    """Numbers in an action, or choices where `discrete`."""
    discrete: bool
    action_shape: tuple[int, ...] = ()
    low: tuple[float | None, ...] = ()
    """Per number of an action, its bounds; None where there is none."""
    high: tuple[float | None, ...] = ()
    first_choice: int = 0

    def __post_init__(self) -> None:
        for name in ("action_shape", "low", "high"):
            object.__setattr__(self, name, tuple(getattr(self, name)))

    @property
    def head(self) -> Head:
        return Categorical(self.num_actions) if self.discrete else Gaussian(self.num_actions)

    def fits(self, other: EnvironmentShape) -> bool:
        """Can a policy for one act in the other?"""
        mine, theirs = ((s.num_inputs, s.num_actions, s.discrete) for s in (self, other))
        return mine == theirs

    def action_rule(self, *, clip: bool) -> Callable[[NDArray[Any]], Any]:
        """The function from the output of a head to the action that the environment takes."""
        first, shape = self.first_choice, self.action_shape
        if self.discrete:
            return lambda action: first + int(action)
        if clip:
            low = np.asarray([-np.inf if x is None else x for x in self.low], np.float32)
            high = np.asarray([np.inf if x is None else x for x in self.high], np.float32)
            return lambda action: np.minimum(np.maximum(action, low), high).reshape(shape)
        if len(shape) == 1:
            return lambda action: action
        return lambda action: action.reshape(shape)


class Environment:
    """One environment: resets and steps with flat arrays, and raises `EnvironmentFailed` only."""

    def __init__(self, name: str, env: gymnasium.Env[Any, Any], *, clip_actions: bool) -> None:
        """`env` belongs to it from now on. Raises: InputError for spaces that no policy here can use."""
        self.name = name
        self.shape = shape_of(name, env.observation_space, env.action_space)
        self.spaces = (env.observation_space, env.action_space)
        self.left_at: Any = None
        """Where a rollout left it, if nothing has reset it since: an `OpenEpisode`."""
        self.steps = 0
        """Since the last reset with a seed."""
        self._env = env
        self._seed = 0
        self._clip_actions = clip_actions
        self._of_streams: dict[int, Environment] = {}
        self._to_action = self.shape.action_rule(clip=clip_actions)

    def reset(self, seed: int | None = None) -> NDArray[np.float64]:
        """The first observation (num_inputs,). With a seed, all that follows depends on it and on the actions."""
        self.left_at = None
        if seed is not None:
            self._seed, self.steps = seed, 0
        try:
            observation, _ = self._env.reset(seed=seed)
        except Exception as error:
            raise EnvironmentFailed(f"{self._where()}: reset raised {_short(error)}") from error
        return self._checked(observation, "the observation of a reset")

    def step(self, action: NDArray[Any]) -> tuple[NDArray[np.float64], float, bool, bool]:
        """(observation (num_inputs,), raw reward, terminated, truncated)"""
        self.steps += 1
        try:
            observation, reward, terminated, truncated, _ = self._env.step(self._to_action(action))
        except Exception as error:
            raise EnvironmentFailed(f"{self._where()}: step raised {_short(error)}") from error
        reward = float(reward)
        if not math.isfinite(reward):
            raise EnvironmentFailed(f"{self._where()}: the reward is {reward}")
        return self._checked(observation, "the observation"), reward, bool(terminated), bool(truncated)

    @property
    def frames_per_second(self) -> float:
        """Steps in a second of what it simulates, where it says so."""
        return float(self._env.metadata.get("render_fps") or _FRAMES_PER_SECOND)

    def frame(self) -> NDArray[np.uint8]:
        """A picture (height, width, 3) of the present state, if the environment was opened with `drawn=True`.

        Raises: InputError, with what is needed, where it cannot be drawn.
        """
        failed = ""
        drawn: Any = None
        try:
            drawn = self._env.render()
        except Exception as error:
            failed = _short(error).rstrip(".")
            clear_away(error)
        if failed:
            raise InputError(f"environment {self.name}: it cannot be drawn: {failed}{drawing_needs(self._env)}")
        frame: NDArray[Any] = np.asarray(drawn)
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
            raise InputError(
                f"environment {self.name}: render() gives {frame.dtype} {frame.shape}, not bytes (height, width, 3)"
            )
        return frame

    def of_stream(self, stream: int) -> Environment:
        """One more of the same name, which this stream has for itself. Made when first asked for, closed with this one.

        Raises: InputError.
        """
        if stream not in self._of_streams:
            self._of_streams[stream] = open_environment(self.name, clip_actions=self._clip_actions)
        return self._of_streams[stream]

    def close(self) -> None:
        for each in self._of_streams.values():
            each.close()
        self._env.close()

    def _checked(self, observation: Any, what: str) -> NDArray[np.float64]:
        flat = np.asarray(observation, dtype=np.float64).reshape(-1)
        if len(flat) != self.shape.num_inputs:
            raise EnvironmentFailed(
                f"{self._where()}: {what} has {len(flat)} numbers, its space says {self.shape.num_inputs}"
            )
        # The sum of squares is cheap; it is also infinite for numbers that are finite but huge.
        if not math.isfinite(flat.dot(flat)) and not np.isfinite(flat).all():
            raise EnvironmentFailed(f"{self._where()}: {what} is not finite")
        return flat

    def _where(self) -> str:
        return f"environment {self.name}, step {self.steps} after the reset with seed {self._seed}"


def open_environment(name: str, *, clip_actions: bool, drawn: bool = False) -> Environment:
    """ "Hopper-v5", "my_pkg.my_mod:Name-v0" (that module registers it) or "my_pkg.my_mod:ClassName".

    drawn: made with render_mode="rgb_array", for `frame`.

    Raises: InputError for a name that no environment has, or an environment that no policy here can use.
    """
    made = _made(name, drawn=drawn)
    if drawn and draws_by_gl(made) and not has_gl():
        made.close()
        raise InputError(f"environment {name}: it cannot be drawn{drawing_needs(made)}")
    return Environment(name, made, clip_actions=clip_actions)


def environment_modules(name: str) -> tuple[str, ...]:
    """The user's own modules behind a name."""
    module, colon, _ = name.partition(":")
    return (module,) if colon else ()


def library_versions() -> dict[str, str]:
    """Versions of the libraries that decide what an environment does."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def is_repeatable(name: str, *, num_steps: int = 50) -> bool:
    """Do two environments of this name give the same for the same seed and random actions?"""
    seen = []
    for _ in range(2):
        environment = open_environment(name, clip_actions=True)  # whatever the agent does: some take nothing else
        head, rng = environment.shape.head, seeds.stream(0, "is it repeatable")
        noise = head.noise(rng, num_steps)
        output, free = np.zeros(head.num_outputs, np.float32), np.zeros(head.num_free, np.float32)
        rows = [environment.reset(seed=0)]
        for each in noise:
            observation, reward, terminated, truncated = environment.step(head.act(output, free, each))
            rows += [observation, np.asarray([reward, terminated, truncated])]
            if terminated or truncated:
                rows.append(environment.reset())
        environment.close()
        seen.append(np.concatenate(rows))
    return len(seen[0]) == len(seen[1]) and bool((seen[0] == seen[1]).all())


def _made(name: str, *, drawn: bool) -> gymnasium.Env[Any, Any]:
    module, colon, attribute = name.partition(":")
    options: dict[str, Any] = {"render_mode": "rgb_array"} if drawn else {}
    try:
        if colon and not _VERSIONED.search(attribute):
            found = getattr(importlib.import_module(module), attribute, None)
            if not callable(found):
                raise InputError(f"environment {name}: {module} has no class {attribute}")
            made = found(**options)
            if not isinstance(made, gymnasium.Env):
                raise InputError(f"environment {name}: {attribute}() is no gymnasium.Env but {type(made).__name__}")
            return made
        with warnings.catch_warnings():
            if drawn:  # what it warns of, a class that can't be drawn, is said below
                warnings.simplefilter("ignore")
            return gymnasium.make(name, disable_env_checker=True, **options)
    except InputError:
        raise
    except Exception as error:
        hint = ""
        if drawn and isinstance(error, TypeError):
            hint = (
                '; to be drawn, its class takes render_mode="rgb_array", and render() returns bytes (height, width, 3)'
            )
        elif os.environ.get("MUJOCO_GL") and came_from_mujoco(error):
            hint = f" (MUJOCO_GL is {os.environ['MUJOCO_GL']!r}: egl needs libegl1, osmesa needs libosmesa6)"
        raise InputError(f"environment {name}: it cannot be made: {_short(error)}{hint}") from error


def shape_of(name: str, seen: gymnasium.Space[Any], done: gymnasium.Space[Any]) -> EnvironmentShape:
    """Shape of the spaces of observations and actions. Raises: InputError for spaces that no policy here can use."""
    if not isinstance(seen, Box):
        raise InputError(f"environment {name}: observations are {seen}; only Box is supported (flatten them yourself)")
    num_inputs = math.prod(seen.shape)
    if isinstance(done, Discrete):
        choices, first = int(done.n), int(done.start)
        return EnvironmentShape(num_inputs=num_inputs, num_actions=choices, discrete=True, first_choice=first)
    if not isinstance(done, Box):
        raise InputError(f"environment {name}: actions are {done}; only Box and Discrete are supported")
    low, high = ([x if math.isfinite(x) else None for x in each.reshape(-1).tolist()] for each in (done.low, done.high))
    return EnvironmentShape(
        num_inputs=num_inputs,
        num_actions=math.prod(done.shape),
        discrete=False,
        action_shape=done.shape,
        low=tuple(low),
        high=tuple(high),
    )


def _short(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
