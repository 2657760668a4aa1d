"""Who trains: each is a function that makes one more iteration and says how many environment steps that was.

All at 2,048 steps, 10 epochs of 32 minibatches, two networks of 2 x 64 tanh, in this process on one thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np

from benchmarks.rllib_speed.records import PPO, RAW, RLLIB, SB3, TRPO

STEPS = 2048
Iteration = Callable[[], int]


def our_config(environment: str, algorithm: str, *, seed: int = 0, **switches: Any) -> Any:
    """Our configuration: the paper's preset."""
    from robustray.distributed.rllib import PPOConfig, TRPOConfig
    from robustray.tasks.policy_gradients.presets import preset

    config: Any = PPOConfig() if algorithm == "ppo" else TRPOConfig()
    settings = preset(algorithm, environment, **switches)
    return config.environment(environment).training(settings=settings, iterations=100_000, agent_seed=seed)


def ours(environment: str, algorithm: str) -> Iteration:
    """`Algorithm.train()` with every measure and check on."""
    built = our_config(environment, algorithm).build_algo()

    def iteration() -> int:
        built.train()
        return STEPS

    return iteration


def sb3(environment: str) -> Iteration:
    """PPO of stable-baselines3 with `VecNormalize`, and defaults otherwise, which are these sizes."""
    import stable_baselines3
    from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

    env = VecNormalize(DummyVecEnv([lambda: gymnasium.make(environment)]))
    model = stable_baselines3.PPO("MlpPolicy", env, seed=0, device="cpu")

    def iteration() -> int:
        model.learn(STEPS, reset_num_timesteps=False, log_interval=None)  # type: ignore[arg-type]
        return STEPS

    return iteration


def stock_config(environment: str) -> Any:
    """RLlib's own PPO with its local runner and without any normalisation."""
    from ray.rllib.algorithms.ppo import PPOConfig
    from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig

    config: Any = PPOConfig().environment(environment).env_runners(num_env_runners=0)
    config = config.training(train_batch_size=STEPS, minibatch_size=64, num_epochs=10, lr=3e-4, lambda_=0.95)
    model = DefaultModelConfig(
        fcnet_hiddens=[64, 64], fcnet_activation="tanh", vf_share_layers=False, free_log_std=True
    )
    return config.rl_module(model_config=model).learners(num_learners=0)


def rllib(environment: str) -> Iteration:
    """RLlib's own PPO, as `stock_config` describes it."""
    built = stock_config(environment).build_algo()

    def iteration() -> int:
        built.train()
        return STEPS

    return iteration


def raw(environment: str) -> Iteration:
    """The simulator by itself, with random controls and a reset every 50 steps: no learner can be faster."""
    import mujoco

    env: Any = gymnasium.make(environment).unwrapped
    controls = np.random.default_rng(0).uniform(-1, 1, size=(STEPS, env.model.nu))

    def iteration() -> int:
        for t, control in enumerate(controls):
            if t % 50 == 0:
                mujoco.mj_resetData(env.model, env.data)
            env.data.ctrl[:] = control
            mujoco.mj_step(env.model, env.data, nstep=env.frame_skip)
        return STEPS

    return iteration


CONTENDERS: dict[str, Callable[[str], Iteration]] = {
    PPO: lambda environment: ours(environment, "ppo"),
    TRPO: lambda environment: ours(environment, "trpo"),
    SB3: sb3,
    RLLIB: rllib,
    RAW: raw,
}
REPEATS = {PPO: 3, TRPO: 3, SB3: 1, RLLIB: 1, RAW: 3}
"""Iterations in a round: about a second each."""
