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
    "training-lr-augmentation": (
        "robustray.tune_configs.trainings:training_lr_augmentation",
        "held-out accuracy of adversarial trainings by learning rate and augmentation, over seeds; --asha",
    ),
    "training-eps-lr": (
        "robustray.tune_configs.trainings:training_eps_lr",
        "the same by the size trained at and the learning rate; --asha",
    ),
    "transfer-sources": (
        "robustray.tune_configs.transfers:transfer_sources",
        "accuracy on other tasks, as fixed features and fine-tuned, by the size that a source was trained at",
    ),
    "replication-answers": (
        "robustray.tune_configs.replications:replication_answers",
        "error of a replicated test set's gap by answers per image and estimator, over simulated studies",
    ),
    "background-correlation": (
        "robustray.tune_configs.scenes:background_correlation",
        "BG-gap by the correlation of backgrounds in training and by the number of scenes, over trainings",
    ),
    "patch-size": (
        "robustray.tune_configs.patches:patch_size",
        "accuracy with a designed patch by its side and the rotation it is designed for, over designs",
    ),
    "feature-students": (
        "robustray.tune_configs.features:feature_students",
        "accuracy of students of each set of features by learning rate and augmentation, over chains",
    ),
    "gaussian-steps": (
        "robustray.tune_configs.features:gaussian_steps",
        "what adversarial training of two Gaussians finds by the size trained at and the number of steps",
    ),
    "label-workers": (
        "robustray.tune_configs.labels:label_workers",
        "labels that are not the main object's by workers, threshold and precision of the search, over crowds",
    ),
    "inversion-eps": (
        "robustray.tune_configs.twins:inversion_eps",
        "how well inversions find their target by the size trained at and where they start, over trainings",
    ),
    "generation-eps": (
        "robustray.tune_configs.twins:generation_eps",
        "quality of generations by how far they move from their seed, of standard and robust twins",
    ),
    "gradient-samples": (
        "robustray.tune_configs.gradients:gradient_samples",
        "agreement of gradient estimates by steps behind them, algorithm and point of the training, over agents",
    ),
    "code-level-2x4": (
        "robustray.tune_configs.agents:code_level_2x4",
        "PPO's return with each of four code-level optimisations on and off, all 16 combinations",
    ),
    "five-algorithms": (
        "robustray.tune_configs.agents:five_algorithms",
        "return of PPO, PPO-M, PPO-NoClip, TRPO and TRPO+ with the paper's settings",
    ),
    "code-level-lrs": (
        "robustray.tune_configs.implementation_matters:code_level_lrs",
        "the 16 combinations of implementation-matters at every learning rate, agents that choose and that report",
    ),
    "step-by-optimisations": (
        "robustray.tune_configs.implementation_matters:step_by_optimisations",
        "PPO's and TRPO's step, each with and without code-level optimisations: agents of implementation-matters",
    ),
    "without-clipping": (
        "robustray.tune_configs.implementation_matters:without_clipping",
        "PPO without its clipping, with the paper's other settings and with nothing else changed",
    ),
    "kl-schedule": (
        "robustray.tune_configs.implementation_matters:kl_schedule",
        "TRPO+ with a trust region that changes over the training as it was meant to, and with one that stays",
    ),
}
"""Name -> (function, one line for `robustray list`). Listing imports none."""
