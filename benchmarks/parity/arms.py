"""The four arms: a seed in, the mean return of late episodes out."""

from __future__ import annotations

import time
from importlib import metadata
from typing import Any

import numpy as np

from benchmarks.parity.records import FROM, STEPS, TO, Training
from robustray.tasks.policy_gradients.loop import train_agent
from robustray.tasks.policy_gradients.presets import like_sb3_ppo, like_sb3_trpo
from robustray.tasks.policy_gradients.settings import AgentSpec

PACKAGES = ("gymnasium", "mujoco", "numpy", "sb3-contrib", "stable-baselines3", "torch")


def train(arm: str, seed: int, environment: str) -> Training:
    """One training in this process."""
    began = time.process_time()
    episodes = theirs(arm, seed, environment) if arm.startswith("sb3") else ours(arm, seed, environment)
    late = [total for step, total in episodes if FROM < step <= TO]
    return Training(
        arm=arm,
        seed=seed,
        environment=environment,
        outcome=round(float(np.mean(late)), 4),
        episodes=len(late),
        steps=STEPS,
        cpu=round(time.process_time() - began, 1),
        versions={name: metadata.version(name) for name in PACKAGES},
    )


def ours(arm: str, seed: int, environment: str) -> list[tuple[int, float]]:
    """(environment steps at its end, raw return) of each episode."""
    settings = {"ppo": like_sb3_ppo, "trpo": like_sb3_trpo}[arm]()
    updates = -(-STEPS // settings.steps_per_update)
    training = train_agent(AgentSpec(environment=environment, settings=settings, seed=seed, iterations=updates))
    return [
        (row["update"] * settings.steps_per_update + row["step"] + 1, row["episode_return"])
        for row in training.episodes
    ]


def theirs(arm: str, seed: int, environment: str) -> list[tuple[int, float]]:
    """The same by stable-baselines3; raw, because `Monitor` lies inside `VecNormalize`."""
    import gymnasium
    import sb3_contrib
    import stable_baselines3
    import torch
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.monitor import Monitor
    from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

    torch.set_num_threads(1)
    found: list[tuple[int, float]] = []

    class Note(BaseCallback):
        def _on_step(self) -> bool:
            found.extend(
                (self.num_timesteps, float(info["episode"]["r"])) for info in self.locals["infos"] if "episode" in info
            )
            return True

    env = VecNormalize(DummyVecEnv([lambda: Monitor(gymnasium.make(environment))]))
    algorithm: Any = stable_baselines3.PPO if arm == "sb3 ppo" else sb3_contrib.TRPO
    algorithm("MlpPolicy", env, seed=seed, device="cpu").learn(STEPS, callback=Note())
    env.close()
    return found
