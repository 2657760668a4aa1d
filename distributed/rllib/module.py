"""The networks as RLlib sees them: a policy and a value network that share nothing."""

from __future__ import annotations

from typing import Any

import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis import InferenceOnlyAPI, ValueFunctionAPI
from ray.rllib.core.rl_module.torch import TorchRLModule

from robustray.tasks.policy_gradients.environments import EnvironmentShape, shape_of
from robustray.tasks.policy_gradients.settings import PolicyGradient
from robustray.tasks.policy_gradients.state import AgentState, policy_layout, value_layout
from robustray.tasks.policy_gradients.torch_nets import Network


class PolicyGradientModule(TorchRLModule, ValueFunctionAPI, InferenceOnlyAPI):
    """`model_config`: hidden, activation. Its observations are filtered, flat ones."""

    model_config: Any
    observation_space: Any
    action_space: Any

    def setup(self) -> None:
        settings = PolicyGradient(hidden=self.model_config["hidden"], activation=self.model_config["activation"])
        self.policy = Network(policy_layout(settings, self.shape))
        self.value = Network(value_layout(settings, self.shape))

    @property
    def shape(self) -> EnvironmentShape:
        return shape_of("of this module", self.observation_space, self.action_space)

    def share(self, state: AgentState) -> None:
        """Become a view of an agent's parameters: what the learner changes, RLlib sees."""
        self.policy.share_flat(state.policy)
        self.value.share_flat(state.value)

    def get_non_inference_attributes(self) -> list[str]:
        return ["value"]

    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        del kwargs
        outputs = self.policy(batch[Columns.OBS])
        if self.policy.free is not None:
            outputs = torch.cat([outputs, self.policy.free.expand_as(outputs)], dim=-1)
        return {Columns.ACTION_DIST_INPUTS: outputs}

    def compute_values(self, batch: dict[str, Any], embeddings: Any = None) -> torch.Tensor:
        del embeddings
        return self.value(batch[Columns.OBS])[..., 0]
