"""Running filters of observations and rewards: moments that merge, snapshots that freeze.

A rollout filters with a private copy of a snapshot, which its own steps go on updating, and returns the moments of its
own steps alone; who keeps the snapshot merges those in the order of the streams. So what is filtered how depends on
seeds and the order of streams, and never on where a rollout ran.

Source: arXiv 2005.12729, Algorithm 1 and its released code: sample variance S / (n - 1), mean**2 at n = 1, and 1e-8
added to every standard deviation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robustray.tasks.policy_gradients.settings import PolicyGradient

Floats = NDArray[np.float64]

TINY = 1e-8


@dataclass(frozen=True, kw_only=True, eq=False)
class Moments:
    """Count, mean and summed squared deviation of a stream of vectors (width,), per coordinate, in float64."""

    count: int
    mean: Floats
    squares: Floats

    @staticmethod
    def none(width: int) -> Moments:
        return Moments(count=0, mean=np.zeros(width), squares=np.zeros(width))

    @staticmethod
    def of(rows: Floats) -> Moments:
        """Moments of rows (count, width)."""
        if not len(rows):
            return Moments.none(rows.shape[1])
        mean = rows.mean(axis=0)
        return Moments(count=len(rows), mean=mean, squares=np.square(rows - mean).sum(axis=0))

    def merged(self, other: Moments) -> Moments:
        """Moments of the concatenated stream (Chan, Golub and LeVeque 1979)."""
        if not self.count or not other.count:
            return other if not self.count else self
        count = self.count + other.count
        apart = other.mean - self.mean
        return Moments(
            count=count,
            mean=self.mean + apart * (other.count / count),
            squares=self.squares + other.squares + np.square(apart) * (self.count * other.count / count),
        )

    @property
    def std(self) -> Floats:
        """Standard deviation; |mean| after one row, as in the reference; 0 before."""
        if self.count > 1:
            return np.sqrt(self.squares / (self.count - 1))
        return np.abs(self.mean)


@dataclass(frozen=True, kw_only=True, eq=False)
class Snapshot:
    """What the filters of an agent know at the start of an update."""

    observations: Moments
    """Moments of raw observations: of every one that the environment gave, those of resets and ends included."""
    rewards: Moments
    """Width 1: of the discounted sums for "returns", of raw rewards for "rewards"."""
    discounted: Floats
    """(streams,): the discounted sums at the end of the last update; they count where they never restart."""

    @staticmethod
    def start(width: int, num_streams: int) -> Snapshot:
        return Snapshot(observations=Moments.none(width), rewards=Moments.none(1), discounted=np.zeros(num_streams))


class ObservationFilter:
    """Standardises and clips raw observations (width,); a frozen one learns nothing.

    Off, it passes observations on, as float32.
    """

    def __init__(self, settings: PolicyGradient, moments: Moments, *, frozen: bool = False) -> None:
        self.on = settings.normalise_observations
        self.clip = settings.observation_clip
        self.frozen = frozen
        self._count = moments.count
        self._mean, self._squares = moments.mean.copy(), moments.squares.copy()
        self._scale = 1 / (moments.std + TINY)

    def __call__(self, observation: Floats) -> NDArray[np.float32]:
        if self.on and not self.frozen:
            self._push(observation)
        return self.look(observation)

    def look(self, observation: Floats) -> NDArray[np.float32]:
        """The same, and nothing is learned."""
        if not self.on:
            return observation.astype(np.float32)
        filtered = (observation - self._mean) * self._scale
        if self.clip is not None:
            np.maximum(filtered, -self.clip, out=filtered)
            np.minimum(filtered, self.clip, out=filtered)
        return filtered.astype(np.float32)

    def _push(self, observation: Floats) -> None:
        self._count += 1
        before = observation - self._mean
        self._mean += before / self._count
        self._squares += before * (observation - self._mean)
        std = np.sqrt(self._squares / (self._count - 1)) if self._count > 1 else np.abs(self._mean)
        self._scale = 1 / (std + TINY)


class RewardFilter:
    """Scales and clips raw rewards of one stream; a frozen one learns nothing, but keeps its discounted sum."""

    def __init__(
        self, settings: PolicyGradient, moments: Moments, *, discounted: float = 0.0, frozen: bool = False
    ) -> None:
        self.mode = settings.reward_filter
        self.clip = settings.reward_clip if settings.reward_clip is not None else math.inf
        self.frozen = frozen
        self.discount = settings.discount
        self.restarts = settings.return_restarts == "every_reset"
        self.discounted = discounted
        self.seen: list[float] = []
        """What was pushed."""
        self._count, self._mean, self._squares = moments.count, float(moments.mean[0]), float(moments.squares[0])

    def reset(self) -> None:
        """The environment was reset."""
        if self.restarts:
            self.discounted = 0.0

    def __call__(self, reward: float) -> float:
        if self.mode == "none":
            return reward
        self.discounted = self.discount * self.discounted + reward
        if not self.frozen:
            self._push(self.discounted if self.mode == "returns" else reward)
        std = math.sqrt(self._squares / (self._count - 1)) if self._count > 1 else abs(self._mean)
        scale = std + TINY
        filtered = reward / scale if self.mode == "returns" else (reward - self._mean) / scale + self._mean
        return max(-self.clip, min(self.clip, filtered))

    def _push(self, value: float) -> None:
        self.seen.append(value)
        self._count += 1
        before = value - self._mean
        self._mean += before / self._count
        self._squares += before * (value - self._mean)
