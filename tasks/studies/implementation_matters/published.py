"""The arms in words, and what the paper prints of them."""

from __future__ import annotations

from collections.abc import Sequence

from robustray.tasks.published.table import Published
from robustray.tasks.studies.implementation_matters.reduce import CONTRASTS
from robustray.tasks.studies.implementation_matters.settings import CORNERS

WORDS = {
    "ppo": "PPO",
    "ppo-m": "PPO-M (without optimisations)",
    "trpo+": "TRPO+ (with optimisations)",
    "trpo": "TRPO",
    "ppo-noclip": "PPO-NoClip (other settings, too)",
    "ppo-unclipped": "PPO, only the clipping off",
    "trpo+scheduled": "TRPO+, its bound on the KL moving",
}

PUBLISHED = Published(
    cells={
        ("Hopper", "ppo"): "2513 [2391, 2632]",
        ("Hopper", "ppo-m"): "2142 [2008, 2279]",
        ("Hopper", "trpo"): "2043 [1948, 2136]",
        ("Hopper", "trpo+"): "2466 [2381, 2549]",
        ("Hopper", "ppo-noclip"): "2371 [2316, 2424]",
        ("Hopper", "AAI"): "99",
        ("Hopper", "ACLI"): "421",
        ("Walker2d", "ppo"): "3292 [3157, 3426]",
        ("Walker2d", "ppo-m"): "2735 [2602, 2866]",
        ("Walker2d", "trpo"): "2791 [2709, 2873]",
        ("Walker2d", "trpo+"): "3050 [2976, 3126]",
        ("Walker2d", "ppo-noclip"): "2867 [2701, 3024]",
        ("Walker2d", "AAI"): "242",
        ("Walker2d", "ACLI"): "557",
        ("Humanoid", "ppo"): "806 [785, 827]",
        ("Humanoid", "ppo-m"): "674 [656, 695]",
        ("Humanoid", "trpo"): "586 [576, 596]",
        ("Humanoid", "trpo+"): "1030 [979, 1083]",
        ("Humanoid", "ppo-noclip"): "831 [798, 869]",
        ("Humanoid", "AAI"): "224",
        ("Humanoid", "ACLI"): "444",
    },
    scale="version 2 of the environments, a million steps, at least 80 agents each",
    source="arXiv:2005.12729, tables 2 and 3",
    unit="",
)


CAVEAT = (
    "The paper's numbers are of version 2 of the environments, ours of version 5: another reward in an episode's last "
    "step, for Walker2d another model, for Humanoid other observations and costs. They stand beside ours for their "
    "order and size, and can't be compared one by one"
)


def published_contrasts(environments: Sequence[str]) -> dict[tuple[str, str], float | None]:
    """(environment, contrast) -> what the paper's means give for it."""
    return {
        (environment, contrast): PUBLISHED.contrast(
            {(environment.partition("-v")[0], arm): w for arm, w in zip(CORNERS, weights, strict=True) if w}
        )
        for environment in environments
        for contrast, weights in CONTRASTS.items()
    }
