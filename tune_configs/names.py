"""The named grids (docs/grids.md). Imports none of them."""

from collections.abc import Mapping

GRIDS: Mapping[str, tuple[str, str]] = {
    "attack-eps": (
        "robustray.tune_configs.attacks:attack_eps",
        "robust accuracy by model and size of the perturbation, over seeds of the attack",
    ),
    "robust-training-eps": (
        "robustray.tune_configs.trainings:robust_training_eps",
        "accuracy, clean and under attack, by the size trained at, over trainings",
    ),
    "code-level-2x4": (
        "robustray.tune_configs.agents:code_level_2x4",
        "PPO's return with each of four code-level optimisations on and off, all 16 combinations",
    ),
    "five-algorithms": (
        "robustray.tune_configs.agents:five_algorithms",
        "return of PPO, PPO-M, PPO-NoClip, TRPO and TRPO+ with the paper's settings",
    ),
}
"""Name -> (function, one line for `robustray list`). Listing imports none."""
