"""PPO and TRPO of `tasks/policy_gradients/` as algorithms of RLlib's new API stack.

    from robustray.distributed.rllib import PPOConfig

    algorithm = PPOConfig().environment("Hopper-v5").training(policy_lr=3e-4, value_clip=None).build_algo()
    algorithm.train()

Settings are those of `PolicyGradient`, by the same names; weights are those of the plain loop, to the bit, whatever the
number of env runners.
"""

from robustray.distributed.rllib.algorithm import PPO, TRPO
from robustray.distributed.rllib.config import PPOConfig, TRPOConfig

__all__ = ["PPO", "TRPO", "PPOConfig", "TRPOConfig"]
