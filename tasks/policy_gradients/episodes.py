"""Episodes that go on from one update to the next: written down as a seed and actions, taken up by acting them again.

The state of a simulator can't be asked for in general. But all that an environment does follows from the seed of a
reset and the actions since, and both can be stored anywhere. So an open episode can move to any process and survives
any kill. Where an environment is still at that place, it simply continues.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustray.tasks.policy_gradients.environments import Environment, EnvironmentFailed

MAX_OPEN_STEPS = 100_000
"""An open episode that is longer than this is refused, because it is stored and continued as a whole."""


@dataclass(frozen=True, kw_only=True, eq=False)
class OpenEpisode:
    """An episode that has not ended yet, after `len(actions)` steps."""

    seed: int
    """Seed of its reset."""
    actions: NDArray[Any]
    """(steps, ...) as the policy drew them, before they are clipped."""
    observation: NDArray[np.float64]
    """(num_inputs,) raw: what followed the last of them."""
    episode_return: float
    """Undiscounted, of raw rewards, so far."""

    def same(self, other: OpenEpisode) -> bool:
        """Whether two episodes are the same, by the seed and the bits of all actions: the rest follows from these."""
        return (
            self.seed == other.seed
            and self.actions.shape == other.actions.shape
            and self.actions.tobytes() == other.actions.tobytes()
        )

    def then(self, actions: NDArray[Any], observation: NDArray[np.float64], total: float) -> OpenEpisode:
        """After more actions."""
        return OpenEpisode(
            seed=self.seed,
            actions=np.concatenate([self.actions, actions]),
            observation=observation,
            episode_return=total,
        )


def take_up(environment: Environment, episode: OpenEpisode) -> None:
    """Bring `environment` to where `episode` is: it stays if it is there, else it is reset and acts again.

    Raises: EnvironmentFailed where it arrives elsewhere: its episodes don't follow from seed and actions.
    """
    left: OpenEpisode | None = environment.left_at
    if left is not None and environment.steps == len(left.actions) and left.same(episode):
        return
    seen, over = environment.reset(seed=episode.seed), False
    for action in episode.actions:
        seen, _, terminated, truncated = environment.step(action)
        over = over or terminated or truncated
    if over or seen.tobytes() != episode.observation.tobytes():
        raise EnvironmentFailed(
            f"environment {environment.name}: an episode that was to go on after {len(episode.actions)} steps came to "
            f"another place with the same seed {episode.seed} and the same actions, so it cannot be taken up; train "
            "with continue_streams=False"
        )


def refuse_endless(environment: Environment, episode: OpenEpisode) -> None:
    """Raises: EnvironmentFailed."""
    if len(episode.actions) > MAX_OPEN_STEPS:
        raise EnvironmentFailed(
            f"environment {environment.name}: an episode has not ended after {MAX_OPEN_STEPS:,} steps; streams that go "
            "on keep it as a whole: register it with max_episode_steps, or train with continue_streams=False"
        )
