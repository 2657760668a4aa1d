"""What the arrays of benchmarks/parity/golden.py belong to: sizes, and settings that differ from the presets'."""

from __future__ import annotations

from typing import Any

from robustray.tasks.policy_gradients.environments import EnvironmentShape
from robustray.tasks.policy_gradients.presets import like_sb3_ppo, like_sb3_trpo
from robustray.tasks.policy_gradients.settings import AgentSpec, PolicyGradient

NUM_STEPS, NUM_INPUTS, NUM_ACTIONS, HIDDEN, EPOCHS, SEED = 512, 5, 3, (8, 6), 3, 7
SMALL: dict[str, Any] = {
    "hidden": HIDDEN,
    "steps_per_stream": NUM_STEPS,
    "policy_epochs": EPOCHS,
    "value_epochs": EPOCHS,
    "continue_streams": False,
}
"""What an update is given is the buffer, so where streams begin does not matter."""
CASES: dict[str, PolicyGradient] = {
    "ppo": like_sb3_ppo(**SMALL, num_minibatches=8),
    "trpo": like_sb3_trpo(**SMALL, num_minibatches=4),
    "trpo-far": like_sb3_trpo(**SMALL, num_minibatches=4, max_kl=20.0),
}
"""Minibatches of 64 and 128, as in the presets."""
SHAPE = EnvironmentShape(num_inputs=NUM_INPUTS, num_actions=NUM_ACTIONS, discrete=False)


def spec(name: str) -> AgentSpec:
    return AgentSpec(environment="of benchmarks/parity/golden.py", settings=CASES[name], seed=SEED)
