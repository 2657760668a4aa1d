"""An agent as one plain PyTorch module, for use without robustray's loop: filter, network and action rule in one.

from robustray.tasks.policy_gradients.export import load_policy, save_policy

save_policy(load_agent("KEY", store="runs"), "hopper.safetensors")
action = load_policy("hopper.safetensors")(torch.from_numpy(observation)[None])[0]
"""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from robustray.tasks.errors import InputError
from robustray.tasks.policy_gradients.agent import Agent
from robustray.tasks.policy_gradients.environments import EnvironmentShape
from robustray.tasks.policy_gradients.filters import TINY
from robustray.tasks.policy_gradients.mlp import Layout
from robustray.tasks.policy_gradients.state import policy_layout
from robustray.tasks.policy_gradients.torch_nets import Network

_ABOUT = "robustray-policy"


class Policy(nn.Module):
    """Raw observations (batch, ...) -> the deterministic actions of `Agent.act`: (batch, *action_shape) float32, or
    (batch,) choices as the environment counts them. The filter is frozen and part of it."""

    mean: Tensor
    scale: Tensor
    low: Tensor
    high: Tensor

    def __init__(self, layout: Layout, shape: EnvironmentShape, *, observation_clip: float | None) -> None:
        super().__init__()
        self.network = Network(layout)
        self.shape, self.observation_clip = shape, observation_clip
        width = 0 if shape.discrete else shape.num_actions
        self.register_buffer("mean", torch.zeros(shape.num_inputs, dtype=torch.float64))
        self.register_buffer("scale", torch.ones(shape.num_inputs, dtype=torch.float64))
        self.register_buffer("low", torch.full((width,), -math.inf))
        self.register_buffer("high", torch.full((width,), math.inf))

    def forward(self, observations: Tensor) -> Tensor:
        seen = (observations.reshape(len(observations), -1).double() - self.mean) * self.scale
        if self.observation_clip is not None:
            seen = seen.clamp(-self.observation_clip, self.observation_clip)
        outputs = self.network(seen.float())
        if self.shape.discrete:
            return outputs.argmax(dim=1) + self.shape.first_choice
        return outputs.clamp(self.low, self.high).reshape(-1, *self.shape.action_shape)


def policy_of(agent: Agent) -> Policy:
    """An untrained agent first fills its filter, as `agent.filters` says."""
    state = agent.state
    settings, shape = state.spec.settings, state.shape
    on = settings.normalise_observations
    made = Policy(policy_layout(settings, shape), shape, observation_clip=settings.observation_clip if on else None)
    made.network.load_flat(state.policy)
    if on:
        moments = agent.filters.observations
        made.mean.copy_(torch.from_numpy(moments.mean))
        made.scale.copy_(torch.from_numpy(1 / (moments.std + TINY)))
    if settings.clip_actions and not shape.discrete:
        made.low.copy_(torch.tensor([-math.inf if x is None else x for x in shape.low]))
        made.high.copy_(torch.tensor([math.inf if x is None else x for x in shape.high]))
    return made.eval()


def save_policy(agent: Agent, path: str | Path) -> None:
    """One safetensors file: the tensors, and what the module is as JSON in its header. Nothing is pickled."""
    from safetensors.torch import save_file

    made = policy_of(agent)
    about = {
        "layout": dataclasses.asdict(made.network.layout),
        "shape": dataclasses.asdict(made.shape),
        "observation_clip": made.observation_clip,
        "environment": agent.state.spec.environment,
    }
    save_file(made.state_dict(), str(path), metadata={_ABOUT: json.dumps(about, sort_keys=True)})


def load_policy(path: str | Path) -> Policy:
    """Raises: InputError when it is no file of `save_policy`."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            about: dict[str, Any] = json.loads(file.metadata()[_ABOUT])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a mapping
        layout = Layout(**{**about["layout"], "sizes": tuple(about["layout"]["sizes"])})
        made = Policy(layout, EnvironmentShape(**about["shape"]), observation_clip=about["observation_clip"])
        made.load_state_dict(tensors)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"policy {path}: {str(error).strip().splitlines()[0]}; save_policy writes one") from error
    return made.eval()
