#!/usr/bin/env bash
# TRPO's `target_kl` in sb3-contrib bounds the mean KL of one action dimension, not the KL of the policy.
#
# Seen with sb3-contrib and stable-baselines3 2.9.2 (torch 2.14.1, gymnasium 1.2.2, Linux x86-64, Python 3.11). For Box
# actions the policy is a diagonal Gaussian; its KL is the sum of those of its dimensions. stable_baselines3's
# `kl_divergence` gives (batch, dimensions), and TRPO takes the mean over both. With d action dimensions a step that
# should stay within target_kl = 0.01 nats (arXiv:1502.05477) may move the policy by d * 0.01: three times as far on
# Hopper, seventeen times on Humanoid; `train/kl_divergence_loss` is too small by the same factor. So results at equal
# `target_kl` are not those of other implementations, and the same number means another trust region in every task.
# (`MultiCategorical` actions are summed.)
#
# robustray sums over dimensions; `kl_per_action` of its preset `like_sb3_trpo` takes this mean instead
# (docs/design/policy-gradient-peers.md).
# Fails if the behaviour changes.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check \
  torch==2.14.1 numpy==2.4.6 gymnasium==1.2.2 stable-baselines3==2.9.2 sb3-contrib==2.9.2
"$place/venv/bin/python" - <<'PYTHON'
import gymnasium as gym
import numpy as np
import torch
from gymnasium.spaces import Box
from sb3_contrib import TRPO
from sb3_contrib import __version__ as version

DIMENSIONS, TARGET = 8, 0.01


class Aim(gym.Env):
    """Reward is high where the action is 1 in every dimension."""

    observation_space = Box(-1, 1, (2,), np.float32)
    action_space = Box(-5, 5, (DIMENSIONS,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return np.ones(2, np.float32), {}

    def step(self, action):
        self.steps += 1
        return np.ones(2, np.float32), -float(np.square(action - 1).sum()), False, self.steps == 50, {}


print("sb3-contrib", version)
model = TRPO("MlpPolicy", Aim(), n_steps=1000, batch_size=1000, target_kl=TARGET, seed=0, device="cpu")
before = model.policy.state_dict()
before = {name: tensor.clone() for name, tensor in before.items()}
model.learn(1000)  # one update


def gaussian(weights):
    model.policy.load_state_dict(weights)
    normal = model.policy.get_distribution(torch.ones(1, 2)).distribution
    return torch.distributions.Independent(torch.distributions.Normal(normal.mean, normal.stddev), 1)


after = {name: tensor.clone() for name, tensor in model.policy.state_dict().items()}
with torch.no_grad():
    kl = float(torch.distributions.kl_divergence(gaussian(after), gaussian(before)).mean())
logged = model.logger.name_to_value["train/kl_divergence_loss"]
print(f"target_kl {TARGET}; logged {logged:.4f}; KL of the policy before and after the update {kl:.4f} nats")
assert logged <= TARGET * 1.5
assert kl > 3 * TARGET and abs(kl / logged - DIMENSIONS) < 0.2 * DIMENSIONS, "the behaviour has changed"
PYTHON
