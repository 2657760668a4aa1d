"""Small settings for the named grids of studies."""

from collections.abc import Mapping
from typing import Any

TINY: Mapping[str, Mapping[str, Any]] = {
    "attack-eps": {"num_images": 40, "num_steps": 3},
    "background-correlation": {"epochs": 1, "num_fixed": 90},
    "patch-size": {"epochs": 1, "design_steps": 3},
    "transfer-sources": {"epochs": 2, "tune_epochs": 1},
    "feature-students": {"num_images": 100, "epochs": 1, "student_epochs": 1, "match_steps": 2, "perturb_steps": 2},
    "gaussian-steps": {"num_steps": 5, "batch_size": 32},
    "label-workers": {"test_data": "scenes:test,n=100,classes=18,multi=0.5", "num_resamples": 200},
    "inversion-eps": {"epochs": 1, "num_targets": 10, "inversion_steps": 3, "head_images": 40},
    "generation-eps": {"epochs": 1, "per_class": 2, "generate_steps": 3},
    "gradient-samples": {"num_repeats": 3, "truth_blocks": 2, "landscape_steps": 32},
    "replication-answers": {"num_studies": 3, "num_images": 200, "num_candidates": 1_200},
}
"""Grid -> settings that make a run of it take a second or two. What its cells read must not depend on them."""

ONE_RUN = (
    "feature-students",
    "generation-eps",
    "gaussian-steps",
    "gradient-samples",
    "inversion-eps",
    "label-workers",
    "replication-answers",
)
"""Grids in which one run gives what any cell reads."""
