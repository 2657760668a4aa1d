"""The learner: a whole batch in, value fit and policy step inside, by the functions of `tasks/policy_gradients/`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.core.learner.training_data import TrainingData

from robustray.tasks.errors import InputError
from robustray.tasks.policy_gradients.rollout import Rollout
from robustray.tasks.policy_gradients.state import AgentState
from robustray.tasks.policy_gradients.update import Row, update

AGENT = "agent"


@dataclasses.dataclass
class RolloutData(TrainingData):
    """The rollouts of one update, and held-out ones."""

    rollouts: list[Rollout] = dataclasses.field(default_factory=list)
    held_out: list[Rollout] = dataclasses.field(default_factory=list)

    def validate(self) -> None:
        if not self.rollouts:
            raise ValueError("an update needs rollouts")

    def solve_refs(self) -> None:
        """Return the references as they are: the batch is in this process already."""

    def shard(self, num_shards: int, len_lookback_buffer: int | None = None, **kwargs: Any) -> Any:
        raise InputError("one learner takes the whole batch; num_learners=0")


class PolicyGradientLearner(TorchLearner):
    """Owns the `AgentState`; the RLModule's parameters are views of it.

    There is no torch optimizer: the state has its own, and schedules are functions of `updates_done`.
    """

    config: Any
    agent: AgentState
    row: Row
    """Measurements of the last update."""

    def build(self) -> None:
        super().build()
        module: Any = self.module[DEFAULT_MODULE_ID]
        self.agent = AgentState.start(self.config.agent_spec, module.shape)
        module.share(self.agent)

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        del module_id, config

    def compute_loss_for_module(self, **kwargs: Any) -> Any:
        raise NotImplementedError("losses and their gradients are inside `update`: see tasks/policy_gradients/steps.py")

    def update(self, *args: Any, training_data: Any = None, timesteps: Any = None, **kwargs: Any) -> Any:
        """One update on a `RolloutData`. Raises: AgentDiverged."""
        assert isinstance(training_data, RolloutData) and not args
        self.before_gradient_based_update(timesteps=timesteps or {})
        training_data.validate()
        self._weights_seq_no += 1
        self.row = update(self.agent, training_data.rollouts, training_data.held_out)
        for name, value in self.row.items():
            self.metrics.log_value((DEFAULT_MODULE_ID, name), value, reduce="item")  # raw: RLlib would smooth
        self.after_gradient_based_update(timesteps=timesteps or {})
        return self.metrics.reduce()

    def take(self, state: AgentState) -> None:
        """Become another state of the same spec."""
        self.agent.load(state.arrays(), state.record())

    def get_state(self, components: Any = None, *, not_components: Any = None, **kwargs: Any) -> dict[str, Any]:
        state = super().get_state(components, not_components=not_components, **kwargs)
        if self._check_component(AGENT, components, not_components):
            arrays = {name: array.copy() for name, array in self.agent.arrays().items()}
            state[AGENT] = {"arrays": arrays, "record": self.agent.record()}
        return state

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Set the state even if it is older than the present one. RLlib's own method would keep newer weights beside
        older moments."""
        super().set_state(dict(state))
        if AGENT in state:
            self.agent.load(state[AGENT]["arrays"], state[AGENT]["record"])
