"""Small agents that the tests of RLlib and of workers train."""

from __future__ import annotations

from typing import Any

from robustray.tasks.policy_gradients.settings import AgentSpec, PolicyGradient
from tests.tasks.rl_environments import HERE

SMALL: dict[str, Any] = {"steps_per_stream": 64, "num_minibatches": 4, "hidden": (8,)}


def spec_of(step: Any, num_streams: int, goes_on: bool = False, **changed: Any) -> AgentSpec:
    more: dict[str, Any] = {"kl_schedule": "linear", "max_kl_final": 0.1} if step == "trpo" else {}
    more |= {"continue_streams": True, "bootstrap": "correct"} if goes_on else {}
    settings = PolicyGradient(step=step, num_streams=num_streams, **SMALL, **more)
    fields: dict[str, Any] = {"environment": f"{HERE}:Target", "iterations": 4, "heldout_every": 2, "seed": 3}
    return AgentSpec(settings=settings, **{**fields, **changed})
