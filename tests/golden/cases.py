"""Inputs of the golden arrays, from seeds: what the original implementation and ours are both given. Float64."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustray.tasks.policy_gradients.heads import Gaussian
from robustray.tasks.policy_gradients.mlp import Layout, forward

Array = NDArray[np.float64]
NUM_STEPS, NUM_INPUTS, NUM_ACTIONS, HIDDEN = 2000, 5, 3, (8, 6)
"""2,000 steps in 32 minibatches: sizes are uneven."""
POLICY = Layout(sizes=(NUM_INPUTS, *HIDDEN, NUM_ACTIONS), activation="tanh", extra=NUM_ACTIONS)
VALUE = Layout(sizes=(NUM_INPUTS, *HIDDEN, 1), activation="tanh")
ADAM: dict[str, Any] = {"lr": 3e-3, "eps": 1e-5}
DISCOUNT, LAMBDA = 0.99, 0.95
NUM_MINIBATCHES, EPOCHS = 32, 3

PPO: dict[str, dict[str, Any]] = {
    "ppo": {"clip": 0.2, "entropy_bonus": 0.0, "gradient_clip": None},
    "noclip": {"clip": None, "entropy_bonus": -0.005, "gradient_clip": 0.5},
}
TRPO: dict[str, dict[str, Any]] = {
    "trpo-full": {"max_kl": 0.04, "tries": 10},
    "trpo-half": {"max_kl": 1.5, "tries": 10},
    "trpo-rejected": {"max_kl": 30.0, "tries": 1},
}
"""The scales that are accepted: 1, 1/2, none."""
FISHER_SHARE, DAMPING, CG_STEPS = 0.1, 0.1, 10
CLIP = 2.0
RESET_AT = (0, 11, 12)


def steps() -> dict[str, Any]:
    """One batch: observations, actions drawn from the policy, their log probabilities, rewards, ends, values."""
    rng = np.random.default_rng(2005)
    policy, value = (rng.normal(size=layout.num_parameters) * 0.4 for layout in (POLICY, VALUE))
    seen = rng.normal(size=(NUM_STEPS, NUM_INPUTS))
    free = POLICY.free(policy)
    outputs = forward(POLICY.layers(policy), seen, relu=False)[-1]
    actions = outputs + np.exp(free) * rng.normal(size=outputs.shape)
    done = rng.random(NUM_STEPS) < 0.03
    done[-1] = False
    return {
        "policy": policy,
        "value": value,
        "observations": seen,
        "actions": actions,
        "log_probs": Gaussian(NUM_ACTIONS).log_prob(outputs, free, actions),
        "rewards": rng.normal(size=NUM_STEPS) + seen[:, 0],
        "done": done,
        "values": forward(VALUE.layers(value), seen, relu=False)[-1][:, 0],
    }


def stream() -> tuple[Array, Array]:
    """Raw observations and rewards of 20 steps; the filters are reset before steps `RESET_AT`."""
    rng = np.random.default_rng(1811)
    return rng.normal(3, 2, size=(20, NUM_INPUTS)), rng.normal(1, 2, size=20)
