"""Turns a name on the command line into an attack of a given norm and size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from robustray.tasks.attacks.autoattack import Cascade
from robustray.tasks.attacks.autoattack_rand import AutoAttackRand
from robustray.tasks.attacks.catalogue import ATTACKS
from robustray.tasks.attacks.settings import PGD, Norm, RandomNoise
from robustray.tasks.data.own import describe, load_function, looks_like_own
from robustray.tasks.errors import InputError
from robustray.tasks.lab.keys import plain
from robustray.tasks.sweeps.options import Options
from robustray.tasks.words import nearest

if TYPE_CHECKING:
    from robustray.tasks.attacks.settings import Attack

TRANSFER = "transfer"
"""The attack that tries on a model what was made on others."""


def named_stages(name: str, norm: Norm, eps: float, options: Options) -> tuple[tuple[str, Attack], ...]:
    """The stages of a cascade by name, in their order; any other attack is one stage, under its own name.

    Raises: InputError as `named_attack`, and for an own cascade two of whose stages have one name.
    """
    attack = named_attack(name, norm, eps, options)
    if not isinstance(attack, Cascade):
        return ((name, attack),)
    stages = tuple((stage.name, stage) for stage in attack.stages())
    if len(dict(stages)) < len(stages):
        raise InputError(f"--attack {name}: two of its stages have the same name: {[stage for stage, _ in stages]}")
    return stages


def named_attack(name: str, norm: Norm, eps: float, options: Options) -> Attack:
    """An attack of the catalogue with the sweep's options, or the user's own. For `transfer`, the attack on its source
    models.

    `my_pkg.my_mod:function` is called with `norm` and `eps` and returns a frozen dataclass that is called like PGD.

    Raises: InputError for an unknown name, or an own attack that does not fit.
    """
    if name in ("pgd", TRANSFER):
        return PGD(
            norm=norm,
            eps=eps,
            num_steps=options.num_steps,
            num_restarts=options.num_restarts,
            random_start=options.random_start,
            # See `attacks.transfer`; what a source gets wrong by itself has yet to fool the model.
            exit_rule="best_loss" if name == TRANSFER else options.exit_rule,
            attack_misclassified=name == TRANSFER,
            precision=options.precision,
        )
    if name == "noise":
        return RandomNoise(norm=norm, eps=eps, num_draws=options.num_draws, precision=options.precision)
    if name == AutoAttackRand.name:
        return AutoAttackRand(norm=norm, eps=eps)  # in fp32, whatever the hardware multiplies
    if name in ATTACKS:
        return ATTACKS[name](norm=norm, eps=eps, precision=options.precision)
    if not looks_like_own(name):
        raise InputError(f"there is no attack {name!r}{nearest(name, [*ATTACKS, TRANSFER])}, or my_pkg.my_mod:function")
    try:
        attack: Any = load_function(name)(norm=norm, eps=eps)
    except InputError:
        raise
    except Exception as error:  # the function is the user's: whatever it raises is theirs to read
        raise InputError(
            f"--attack {name}: called with norm={norm!r}, eps={eps:g} it fails: {describe(error)}"
        ) from error
    frozen = getattr(getattr(attack, "__dataclass_params__", None), "frozen", False)
    if isinstance(attack, type) or not frozen or not callable(attack):
        raise InputError(
            f"--attack {name}: must return a callable frozen dataclass (its fields are its key), got {attack!r}"
        )
    try:
        plain(attack)
    except InputError as error:
        raise InputError(f"--attack {name}: {error}: keep arrays and functions out of its fields") from error
    if getattr(attack, "norm", None) != norm or getattr(attack, "eps", None) != eps:
        raise InputError(f"--attack {name}: asked for norm={norm!r}, eps={eps:g}, it returned {attack!r}")
    return cast("Attack", attack)  # its call is checked by calling it
