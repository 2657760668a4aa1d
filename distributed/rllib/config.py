"""The algorithms' configuration: every field of `PolicyGradient` is an attribute, so that each can be searched over."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from robustray.tasks.errors import InputError
from robustray.tasks.policy_gradients.settings import AgentSpec, PolicyGradient, Step
from robustray.tasks.words import nearest

if TYPE_CHECKING:
    from typing import Self

FIELDS = tuple(field.name for field in dataclasses.fields(PolicyGradient) if field.name != "step")
OWN = {"agent_seed": 0, "iterations": 488, "horizon": None, "heldout_every": None, "stream_deadline_s": None}
"""Attributes beside those of `PolicyGradient`, and their defaults. `stream_deadline_s`: how long a runner may take for
one stream before it is ended and the stream given to another; None: as long as it likes."""
_DICTIONARIES = ("model", "optimizer")
"""Arguments that RLlib passes to `training` whenever it reads a configuration from a dictionary. They have no effect
here."""


class PolicyGradientConfig(AlgorithmConfig):
    """The configuration that both algorithms share."""

    step: ClassVar[Step] = "ppo"
    agent_seed: int
    hidden: tuple[int, ...]
    activation: str
    stream_deadline_s: float | None
    # Declared by RLlib with the types of their defaults only.
    env_runner_cls: Any
    custom_evaluation_function: Any
    merge_env_runner_states: Any

    def __init__(self, algo_class: Any = None) -> None:
        super().__init__(algo_class=algo_class)
        from robustray.distributed.rllib.evaluation import evaluate_episodes
        from robustray.distributed.rllib.runner import StreamEnvRunner

        defaults = PolicyGradient(step=self.step)
        for name in FIELDS:
            setattr(self, name, getattr(defaults, name))
        for name, default in OWN.items():
            setattr(self, name, default)
        self.env_runner_cls = StreamEnvRunner
        self.num_env_runners = 0
        self.num_learners = 0
        self.custom_evaluation_function = evaluate_episodes
        # Filters belong to the agent; RLlib's own state exchange would only cost time.
        self._dont_auto_sync_env_runner_states = True
        self.broadcast_env_runner_states = False
        self.merge_env_runner_states = False

    def training(self, *, settings: PolicyGradient | None = None, **fields: Any) -> Self:
        """Fields of `PolicyGradient` by name, or a whole `settings` first; and `agent_seed`, `iterations`, `horizon`,
        `heldout_every`, `stream_deadline_s`.

        RLlib's own training options (gamma, lr, train_batch_size ...) have no effect here and are refused.

        Raises: InputError for a name that is none of these.
        """
        if settings is not None:
            if settings.step != self.step:
                raise InputError(f"settings for step={settings.step!r} need {settings.step.upper()}Config")
            fields = {name: getattr(settings, name) for name in FIELDS} | fields
        super().training(**{name: fields.pop(name) for name in _DICTIONARIES if name in fields})
        for name, value in fields.items():
            if name not in FIELDS and name not in OWN:
                raise InputError(f"training(): there is no {name!r} here{nearest(name, (*FIELDS, *OWN))}")
            setattr(self, name, value)
        return self

    @property
    def agent_settings(self) -> PolicyGradient:
        """Raises: InputError for a value that cannot be used."""
        return PolicyGradient(step=self.step, **{name: getattr(self, name) for name in FIELDS})

    @property
    def agent_spec(self) -> AgentSpec:
        """Raises: InputError."""
        own: dict[str, Any] = {name: getattr(self, name) for name in ("iterations", "horizon", "heldout_every")}
        return AgentSpec(environment=self.environment_name, settings=self.agent_settings, seed=self.agent_seed, **own)

    @property
    def environment_name(self) -> str:
        """Name of the environment as `open_environment` takes it. Raises: InputError."""
        env: Any = self.env
        if isinstance(env, type):
            if env.__module__ == "__main__":
                raise InputError(f"environment {env.__qualname__} stands in __main__: move it to a module")
            return f"{env.__module__}:{env.__qualname__}"
        if not isinstance(env, str):
            raise InputError(f"environment({env!r}): give a Gymnasium id, 'my_pkg.my_mod:Name-v0' or a class")
        return env

    def validate(self) -> None:
        """Raises: InputError for settings that cannot be used, and for names that nothing reads."""
        super().validate()
        more = set(vars(self)) - set(vars(type(self)())) - {"class"}  # RLlib writes the class along
        unknown = sorted(name for name in more if not name.startswith("__"))  # Tune its files
        if unknown:
            raise InputError(f"there is no setting {unknown[0]!r}{nearest(unknown[0], (*FIELDS, *OWN))}")
        if self.num_learners:
            raise InputError(
                f"num_learners={self.num_learners}: one local learner only (0): several would change the numbers, and "
                "an exchange per minibatch costs more than these networks' minibatches"
            )
        if self.num_envs_per_env_runner != 1:
            raise InputError(
                f"num_envs_per_env_runner={self.num_envs_per_env_runner}: inference in batches changes the last bits; "
                "set num_streams for more data per update, and num_env_runners for more processes"
            )
        if self.seed is not None:
            raise InputError(f"seed={self.seed}: RLlib's seeds every generator of the process; give agent_seed")
        if self.evaluation_duration_unit != "episodes":
            raise InputError("evaluation_duration_unit must be 'episodes': agents are evaluated on whole ones")
        if self.env is not None:
            _ = self.agent_spec

    def get_default_learner_class(self) -> Any:
        from robustray.distributed.rllib.learner import PolicyGradientLearner

        return PolicyGradientLearner

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        from robustray.distributed.rllib.module import PolicyGradientModule

        return RLModuleSpec(module_class=PolicyGradientModule)

    @property
    def _model_config_auto_includes(self) -> dict[str, Any]:
        return super()._model_config_auto_includes | {
            "hidden": tuple(self.hidden),
            "activation": self.activation,
        }


class PPOConfig(PolicyGradientConfig):
    """PPO, PPO-M, PPO-NoClip: `PPOConfig().training(settings=preset("ppo-m", "Hopper"))`."""

    def __init__(self, algo_class: Any = None) -> None:
        from robustray.distributed.rllib.algorithm import PPO

        super().__init__(algo_class=algo_class or PPO)


class TRPOConfig(PolicyGradientConfig):
    """TRPO and TRPO+."""

    step: ClassVar[Step] = "trpo"

    def __init__(self, algo_class: Any = None) -> None:
        from robustray.distributed.rllib.algorithm import TRPO

        super().__init__(algo_class=algo_class or TRPO)
