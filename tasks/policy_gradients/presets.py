"""The five algorithms of arXiv 2005.12729 on its three environments, as its released configurations have them.

`preset("ppo-m", "Hopper-v5")` is what the paper ran: "minimal" algorithms there still normalise observations and use
tanh. `variant="strict"` takes those away as well. Imports nothing heavy.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from robustray.tasks.checks import check_choice
from robustray.tasks.errors import InputError
from robustray.tasks.policy_gradients.settings import PolicyGradient

Algorithm = Literal["ppo", "ppo-m", "ppo-noclip", "trpo", "trpo+"]
Variant = Literal["paper_code", "strict"]

ALGORITHMS: tuple[Algorithm, ...] = ("ppo", "ppo-m", "ppo-noclip", "trpo", "trpo+")
ENVIRONMENTS = ("Hopper", "Walker2d", "Humanoid")
VARIANTS: tuple[Variant, ...] = ("paper_code", "strict")
STRICT = ("ppo-m", "trpo")
"""The algorithms that are meant to have no code-level optimisation."""

_MINIMAL: Mapping[str, Any] = {
    "reward_filter": "none",
    "init": "xavier",
    "anneal_lr": False,
    "reward_clip": None,
    "observation_clip": None,
}
_FAMILY: Mapping[str, Mapping[str, Any]] = {
    "ppo": {},
    "ppo-m": _MINIMAL,
    "ppo-noclip": {"ratio_clip": None, "reward_filter": "rewards"},
    "trpo": {"step": "trpo", **_MINIMAL},
    "trpo+": {"step": "trpo", "anneal_lr": False},
}
"""What a row of the paper's Table 1 has in common over environments, besides the defaults of `PolicyGradient`."""

_BY_ENVIRONMENT: Mapping[tuple[str, str], Mapping[str, Any]] = {
    ("Hopper", "ppo"): {"policy_lr": 3e-4, "value_lr": 2.5e-4},
    ("Hopper", "ppo-m"): {"policy_lr": 1.7e-4, "value_lr": 4e-4},
    ("Hopper", "ppo-noclip"): {
        "policy_lr": 6e-5,
        "value_lr": 4e-4,
        "entropy_bonus": -0.005,
        "gae_lambda": 0.925,
        "reward_clip": 2.5,
        "gradient_clip": 4.0,
    },
    ("Hopper", "trpo"): {"max_kl": 0.13, "value_lr": 2e-4},
    ("Hopper", "trpo+"): {"max_kl": 0.04, "max_kl_final": 0.07, "value_lr": 2e-4},
    ("Walker2d", "ppo"): {"policy_lr": 4e-4, "value_lr": 3e-4, "value_clip": 0.2},
    ("Walker2d", "ppo-m"): {"policy_lr": 1e-4, "value_lr": 2e-4},
    ("Walker2d", "ppo-noclip"): {
        "policy_lr": 7.25e-5,
        "value_lr": 6e-4,
        "entropy_bonus": -0.01,
        "gae_lambda": 0.85,
        "reward_clip": 30.0,
        "observation_clip": None,
        "gradient_clip": 0.1,
    },
    ("Walker2d", "trpo"): {"max_kl": 0.04, "value_lr": 3e-4},
    ("Walker2d", "trpo+"): {"max_kl": 0.07, "max_kl_final": 0.04, "value_lr": 1e-4},
    ("Humanoid", "ppo"): {"policy_lr": 1.5e-4, "value_lr": 1e-4, "value_clip": 0.2},
    ("Humanoid", "ppo-m"): {"policy_lr": 9e-5, "value_lr": 4e-4},
    ("Humanoid", "ppo-noclip"): {
        "policy_lr": 2e-5,
        "value_lr": 5e-5,
        "value_clip": 0.2,
        "reward_filter": "returns",
        "init": "xavier",
        "anneal_lr": False,
        "entropy_bonus": 0.005,
        "gae_lambda": 0.85,
        "gradient_clip": 0.5,
    },
    ("Humanoid", "trpo"): {"max_kl": 0.07, "value_lr": 3e-4},
    ("Humanoid", "trpo+"): {
        "max_kl": 0.1,
        "max_kl_final": 0.05,
        "value_lr": 5e-5,
        "value_clip": 0.2,
        "init": "xavier",
        "gae_lambda": 0.85,
    },
}


_LIKE_SB3: Mapping[str, Any] = {
    "continue_streams": True,
    "anneal_lr": False,
    "bootstrap": "correct",
    "value_on_terminals": True,
    "clip_actions": True,
}


def like_sb3_ppo(**changed: Any) -> PolicyGradient:
    """What stable-baselines3 2.9.2 does as `PPO("MlpPolicy", VecNormalize(...))` with its default arguments; an update
    from the same steps gives the same parameters (benchmarks/parity/golden.py). What
    differs still: docs/design/policy-gradient-peers.md.

    Raises: InputError for a field that does not exist.
    """
    return _changed(
        {
            **_LIKE_SB3,
            "step": "ppo",
            "value_step": "joint",
            "value_weight": 0.5,
            "gradient_clip": 0.5,
            "policy_lr": 3e-4,
            "value_lr": 3e-4,
        },
        changed,
    )


def like_sb3_trpo(**changed: Any) -> PolicyGradient:
    """The same for `TRPO` of sb3-contrib 2.9.2. Raises: InputError for a field that does not exist."""
    return _changed(
        {
            **_LIKE_SB3,
            "step": "trpo",
            "max_kl": 0.01,
            "value_lr": 1e-3,
            "num_minibatches": 16,
            "fisher_share": 1.0,
            "cg_steps": 15,
            "cg_start_noise": 1e-4,
            "cg_tolerance": 1e-10,
            "damping": 0.1,
            "line_search_shrink": 0.8,
            "line_search_share": 0.0,
            "kl_direction": "new_old",
            "kl_per_action": True,
        },
        changed,
    )


def preset(algorithm: str, environment: str, variant: Variant = "paper_code", **changed: Any) -> PolicyGradient:
    """The paper's settings for an algorithm ("ppo-m") on an environment ("Hopper-v5" or "Hopper"), with some fields
    changed: `preset("ppo", "Hopper", ratio_clip=None)` is PPO without its clipping and with nothing else changed.

    The settings were tuned by the paper's authors for version 2 of the environments and 488 updates.

    Raises: InputError for a name that is not in the paper's tables, or a field that does not exist.
    """
    check_choice("algorithm", algorithm, ALGORITHMS)
    name = environment.partition("-v")[0]
    check_choice("environment", name, ENVIRONMENTS)
    check_choice("variant", variant, VARIANTS)
    fields = {"clip_actions": False, **_FAMILY[algorithm], **_BY_ENVIRONMENT[name, algorithm]}
    if variant == "strict":
        if algorithm not in STRICT:
            raise InputError(f"variant='strict' is for {' and '.join(STRICT)}; {algorithm} is made of the switches")
        fields |= {"normalise_observations": False, "activation": "relu"}
    return _changed(fields, changed)


def _changed(fields: Mapping[str, Any], changed: Mapping[str, Any]) -> PolicyGradient:
    unknown = set(changed) - {each.name for each in dataclasses.fields(PolicyGradient)}
    if unknown:
        raise InputError(f"settings have no field {sorted(unknown)[0]!r}")
    return PolicyGradient(**{**fields, **changed})
