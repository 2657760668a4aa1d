"""One stream of steps: a pure function of weights, filter snapshot and (seed, purpose, update, stream); and of the
episode that it goes on with, where streams do.

One environment and one row of inference per stream. A batch of rows would differ from single rows in the last bits, and
numbers would depend on how streams are spread over processes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustray.tasks.lab import seeds
from robustray.tasks.policy_gradients.environments import Environment
from robustray.tasks.policy_gradients.episodes import OpenEpisode, refuse_endless, take_up
from robustray.tasks.policy_gradients.filters import Moments, ObservationFilter, RewardFilter, Snapshot
from robustray.tasks.policy_gradients.mlp import forward_one
from robustray.tasks.policy_gradients.settings import AgentSpec
from robustray.tasks.policy_gradients.state import policy_layout

Array = NDArray[Any]
TRAINING, HELD_OUT = "rollout", "held-out rollout"
"""Purposes; each has seeds of its own."""
_CHUNK = 256
"""Raw observations that are in memory at once for their moments."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Rollout:
    """Steps t = 0 .. T-1 of one stream."""

    stream: int
    update: int
    observations: NDArray[np.float32]
    """(T, num_inputs), filtered: what the policy saw."""
    actions: Array
    """(T, num_actions) float32 as drawn, not clipped; or (T,) int64 indices."""
    rewards: NDArray[np.float64]
    """(T,), filtered."""
    raw_rewards: NDArray[np.float64]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    next_steps: NDArray[np.int64]
    """Steps t after which the stream was cut without an end: truncated ones, and the last."""
    next_observations: NDArray[np.float32]
    """(len(next_steps), num_inputs): what followed them, filtered."""
    observation_moments: Moments
    """Moments of this rollout's raw observations alone; empty when the filter was frozen."""
    reward_moments: Moments
    discounted: float
    """The reward filter's discounted sum at the end."""
    episode_ends: NDArray[np.int64]
    """Steps t at which an episode ended; the one that the stream cuts is in none of these."""
    episode_lengths: NDArray[np.int64]
    episode_returns: NDArray[np.float64]
    """Undiscounted, of raw rewards."""
    open_episode: OpenEpisode | None = None
    """The episode that the next update continues, where streams continue."""


def rollout(
    environment: Environment,
    spec: AgentSpec,
    policy: NDArray[np.float32],
    filters: Snapshot,
    *,
    update: int,
    stream: int,
    purpose: str = TRAINING,
    learn: bool = True,
    num_steps: int | None = None,
    episode: OpenEpisode | None = None,
) -> Rollout:
    """Reset, then `num_steps` steps (None: as many as the settings say); at the end of an episode reset and go on.

    purpose: names the seeds; give every use of rollouts another word. learn: off, the snapshot is frozen and no moments
    return; where nothing is known yet (before the first update) the private copy learns all the same. episode: with
    `settings.continue_streams`, the episode that a stream which learns continues instead of the first reset; every
    reset then has another seed, and every stream another environment.

    Raises: EnvironmentFailed.
    """
    settings, head = spec.settings, environment.shape.head
    layout = policy_layout(settings, environment.shape)
    layers, free, relu = layout.layers(policy), layout.free(policy), settings.activation == "relu"
    num_steps = num_steps or settings.steps_per_stream
    observe = ObservationFilter(settings, filters.observations, frozen=not learn and filters.observations.count > 0)
    scale = RewardFilter(
        settings,
        filters.rewards,
        discounted=float(filters.discounted[stream]) if learn else 0.0,
        frozen=not learn and filters.rewards.count > 0,
    )
    raw = _Gathered(environment.shape.num_inputs)
    noise = head.noise(seeds.stream(spec.seed, f"{purpose} noise", update, stream), num_steps)
    resets = seeds.stream(spec.seed, f"{purpose} resets", update, stream)
    reset_seed: int | None = int(resets.integers(2**31 - 1))
    goes_on = learn and settings.continue_streams

    observations = np.empty((num_steps, environment.shape.num_inputs), dtype=np.float32)
    actions = np.empty((num_steps, *head.action_shape), dtype=head.action_dtype)
    rewards, raw_rewards = np.empty(num_steps), np.empty(num_steps)
    terminated, truncated = np.zeros(num_steps, dtype=bool), np.zeros(num_steps, dtype=bool)
    next_steps, next_observations = [], []
    ends, lengths, returns = [], [], []
    length, total = 0, 0.0

    if goes_on:
        environment = environment.of_stream(stream)
    if goes_on and episode is not None:
        take_up(environment, episode)
        seen, length, total = episode.observation, len(episode.actions), episode.episode_return
        observation = observe.look(seen)  # the moments have it from the last update
    else:
        seen = environment.reset(seed=reset_seed)
        raw.add(seen)
        scale.reset()
        observation = observe(seen)
    for t in range(num_steps):
        observations[t] = observation
        action = head.act(forward_one(layers, observation, relu=relu), free, noise[t])
        actions[t] = action
        seen, reward, ended, cut = environment.step(action)
        raw.add(seen)
        observation = observe(seen)
        raw_rewards[t], rewards[t] = reward, scale(reward)
        length, total = length + 1, total + reward
        if not ended and (cut or t == num_steps - 1):
            next_steps.append(t)
            next_observations.append(observation)
        if ended or cut:
            terminated[t], truncated[t] = ended, cut
            ends.append(t)
            lengths.append(length)
            returns.append(total)
            length, total = 0, 0.0
            if t < num_steps - 1:
                reset_seed = int(resets.integers(2**31 - 1)) if goes_on else None
                seen = environment.reset(seed=reset_seed)
                raw.add(seen)
                scale.reset()
                observation = observe(seen)
    open_episode = None
    if goes_on and length:
        if ends or episode is None:
            first = ends[-1] + 1 if ends else 0
            open_episode = OpenEpisode(
                seed=reset_seed or 0, actions=actions[first:].copy(), observation=seen, episode_return=total
            )
        else:
            open_episode = episode.then(actions, seen, total)
        refuse_endless(environment, open_episode)
        environment.left_at = open_episode
    none = Moments.none(environment.shape.num_inputs)
    return Rollout(
        stream=stream,
        update=update,
        observations=observations,
        actions=actions,
        rewards=rewards,
        raw_rewards=raw_rewards,
        terminated=terminated,
        truncated=truncated,
        next_steps=np.asarray(next_steps, dtype=np.int64),
        next_observations=np.asarray(next_observations, dtype=np.float32).reshape(-1, environment.shape.num_inputs),
        observation_moments=raw.moments() if learn and observe.on else none,
        reward_moments=Moments.of(np.asarray(scale.seen if learn else []).reshape(-1, 1)),
        discounted=scale.discounted,
        episode_ends=np.asarray(ends, dtype=np.int64),
        episode_lengths=np.asarray(lengths, dtype=np.int64),
        episode_returns=np.asarray(returns, dtype=np.float64),
        open_episode=open_episode,
    )


class _Gathered:
    """Moments of raw observations, gathered a chunk at a time."""

    def __init__(self, width: int) -> None:
        self._rows = np.empty((_CHUNK, width))
        self._num_rows = 0
        self._moments = Moments.none(width)

    def add(self, row: NDArray[np.float64]) -> None:
        if self._num_rows == _CHUNK:
            self._close()
        self._rows[self._num_rows] = row
        self._num_rows += 1

    def moments(self) -> Moments:
        self._close()
        return self._moments

    def _close(self) -> None:
        self._moments = self._moments.merged(Moments.of(self._rows[: self._num_rows]))
        self._num_rows = 0
