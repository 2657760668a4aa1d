"""Make the golden arrays of stable-baselines3: `PYTHONPATH=. python benchmarks/parity/golden.py`.

Its environment is that of benchmarks/parity/peers.txt. Written are its rollout buffer after `collect_rollouts`, and its
parameters before and after one `train()`. Patched at run time are the precision (float64 where it stores or casts to
float32; actions alone stay float32) and the random numbers of the update (those that `update` of ours draws). Nothing
of it is copied: what is written are float64 arrays.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import sb3_contrib
import stable_baselines3
import torch
from stable_baselines3.common import policies
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.distributions import DiagGaussianDistribution
from stable_baselines3.common.vec_env import DummyVecEnv

from robustray.tasks.lab import seeds
from tests.golden import sb3_cases as cases

GOLDEN = Path(__file__).resolve().parents[2] / "tests" / "golden"
LIMIT = 40


class Walk(gymnasium.Env[Any, Any]):
    """A random walk that actions push; episodes end by chance, or after `LIMIT` steps."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (cases.NUM_INPUTS,), np.float64)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (cases.NUM_ACTIONS,), np.float32)

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.at, self.steps = self.np_random.normal(size=cases.NUM_INPUTS), 0
        return self.at, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.at = 0.9 * self.at + 0.5 * self.np_random.normal(size=cases.NUM_INPUTS)
        self.at[: cases.NUM_ACTIONS] += 0.3 * action
        self.steps += 1
        reward = float(self.at.sum() - np.square(action).sum())
        ended, cut = bool(self.np_random.random() < 0.015), self.steps == LIMIT
        self.seen.append({"reward": reward, "terminated": ended, "truncated": cut, "next": self.at})
        return self.at, reward, ended, cut, {}


class Buffer(RolloutBuffer):
    """A buffer that stores float64, except for actions."""

    def reset(self) -> None:
        super().reset()
        for name in ("rewards", "returns", "values", "log_probs", "advantages", "episode_starts"):
            setattr(self, name, getattr(self, name).astype(np.float64))


class Rounded(DiagGaussianDistribution):
    """Draws what float32 can hold: the buffer hands actions out in it."""

    def sample(self) -> torch.Tensor:
        return super().sample().float().double()


class Silent(BaseCallback):
    def _on_step(self) -> bool:
        return True


def collected(name: str) -> tuple[Any, Walk]:
    """A model whose buffer is full."""
    settings, walk = cases.CASES[name], Walk()
    venv = DummyVecEnv([lambda: walk])
    venv.buf_rews = np.zeros(1)
    common: dict[str, Any] = {
        "n_steps": cases.NUM_STEPS,
        "rollout_buffer_class": Buffer,
        "policy_kwargs": {"net_arch": list(cases.HIDDEN)},
        "seed": 1,
        "device": "cpu",
    }
    model: Any
    if settings.step == "ppo":
        model = stable_baselines3.PPO("MlpPolicy", venv, n_epochs=cases.EPOCHS, **common)
    else:
        more = {"n_critic_updates": cases.EPOCHS, "target_kl": settings.max_kl}
        model = sb3_contrib.TRPO("MlpPolicy", venv, **more, **common)
    model.policy.action_dist = Rounded(cases.NUM_ACTIONS)
    with torch.no_grad():  # its initial policy hardly depends on the observation: a harder case
        for parameter in model.policy.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    _, callback = model._setup_learn(cases.NUM_STEPS, Silent())
    model.collect_rollouts(model.env, callback, model.rollout_buffer, cases.NUM_STEPS)
    return model, walk


def flat(model: Any) -> dict[str, Any]:
    """Parameters in the order of ours."""
    net, policy = model.policy.mlp_extractor, model.policy
    found = {}
    for name, layers, head, free in (
        ("policy", net.policy_net, policy.action_net, [policy.log_std]),
        ("value", net.value_net, policy.value_net, []),
    ):
        linear = [layer for layer in layers if isinstance(layer, torch.nn.Linear)] + [head]
        tensors = [tensor for layer in linear for tensor in (layer.weight, layer.bias)] + free
        found[name] = np.concatenate([tensor.detach().numpy().reshape(-1).copy() for tensor in tensors])
    return found


def with_random(step: str) -> None:
    """The permutations of an update, and where conjugate gradients start, are those of ours."""
    purpose = "policy minibatches" if step == "ppo" else "value minibatches"
    rng = seeds.stream(cases.SEED, purpose, 0)
    whole = [step == "trpo"]  # TRPO asks for all rows once, in any order, before it asks for minibatches

    def permutation(count: int) -> Any:
        if whole[0]:
            whole[0] = False
            return np.arange(count)
        return rng.permutation(count)

    def noise(like: torch.Tensor) -> torch.Tensor:
        ours = seeds.stream(cases.SEED, "Fisher states", 0).standard_normal(len(like))
        return torch.from_numpy(np.roll(ours, cases.NUM_ACTIONS))  # log_std comes first there

    np.random.permutation = permutation  # type: ignore[assignment]
    torch.randn_like = noise  # type: ignore[assignment]


def make(name: str) -> dict[str, Any]:
    permutation, randn_like = np.random.permutation, torch.randn_like
    model, walk = collected(name)
    buffer = model.rollout_buffer
    names = ("observations", "actions", "values", "log_probs", "advantages", "returns")
    found = {key: getattr(buffer, key)[:, 0].copy() for key in names}
    for key in ("reward", "terminated", "truncated", "next"):
        found[key] = np.asarray([step[key] for step in walk.seen], np.float64)
    found |= {f"{key}-before": value for key, value in flat(model).items()}
    with_random(cases.CASES[name].step)
    model.train()
    np.random.permutation, torch.randn_like = permutation, randn_like
    found |= {f"{key}-after": value for key, value in flat(model).items()}
    return {f"{name}/{key}": np.asarray(value, np.float64) for key, value in found.items()}


if __name__ == "__main__":
    torch.set_default_dtype(torch.float64)
    policies.preprocess_obs = lambda obs, *args, **kwargs: obs
    arrays: dict[str, Any] = {}
    for each in cases.CASES:
        arrays |= make(each)
    np.savez_compressed(GOLDEN / "sb3.npz", **arrays)
    versions = {"stable-baselines3": stable_baselines3.__version__, "sb3-contrib": sb3_contrib.__version__}
    (GOLDEN / "sb3.json").write_text(json.dumps(versions | {"torch": torch.__version__}, indent=1) + "\n")
