"""An exported agent acts as `agent.act` does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from robustray.tasks.errors import InputError
from robustray.tasks.policy_gradients.agent import Agent
from robustray.tasks.policy_gradients.export import load_policy, save_policy
from robustray.tasks.policy_gradients.loop import train_agent
from robustray.tasks.policy_gradients.settings import AgentSpec, PolicyGradient
from tests.tasks.rl_environments import HERE

CASES: list[tuple[str, dict[str, Any]]] = [
    ("Target", {}),
    ("Target", {"clip_actions": False, "normalise_observations": False, "activation": "relu"}),
    ("Choice", {"observation_clip": None}),
    ("Matrix", {"observation_clip": 0.5}),
]


@pytest.mark.parametrize(("environment", "changed"), CASES)
def test_it_acts_as_the_agent_does(tmp_path: Path, environment: str, changed: dict[str, Any]) -> None:
    settings = PolicyGradient(steps_per_stream=64, num_minibatches=4, hidden=(8,), policy_lr=0.05, **changed)
    spec = AgentSpec(environment=f"{HERE}:{environment}", settings=settings, iterations=3)
    agent = Agent(train_agent(spec).state)
    save_policy(agent, tmp_path / "policy.safetensors")
    shape = (4, 4) if environment == "Matrix" else (1,)
    seen = np.random.default_rng(0).uniform(-300, 300, size=(50, *shape))
    wanted = np.stack([agent.act(each) for each in seen])
    with torch.no_grad():
        found = load_policy(tmp_path / "policy.safetensors")(torch.from_numpy(seen)).numpy()
    assert found.shape == wanted.shape and len(np.unique(wanted)) > 1
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_what_is_no_policy_is_refused(tmp_path: Path) -> None:
    (tmp_path / "torn.safetensors").write_bytes(b"{}")
    for name in ("torn.safetensors", "absent.safetensors"):
        with pytest.raises(InputError, match="save_policy writes one"):
            load_policy(tmp_path / name)
