"""Attacks by name. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from robustray.tasks.attacks.adaptive import Adaptive
from robustray.tasks.attacks.autoattack import AutoAttack, FastCascade, MaltCascade
from robustray.tasks.attacks.autoattack_rand import AutoAttackRand
from robustray.tasks.attacks.family import RSFGSM, ApgdCE, ApgdDLR, ApgdMargin, ApgdT, Fab, FabT, Malt, Square
from robustray.tasks.attacks.nes import NES
from robustray.tasks.attacks.settings import FGSM, PGD, Attack, RandomNoise

ATTACKS: Mapping[str, Callable[..., Attack]] = {
    "pgd": PGD,
    "fgsm": FGSM,
    "noise": RandomNoise,
    "rs-fgsm": RSFGSM,
    "apgd-ce": ApgdCE,
    "apgd-dlr": ApgdDLR,
    "apgd-margin": ApgdMargin,
    "apgd-t": ApgdT,
    "malt": Malt,
    "fab": Fab,
    "fab-t": FabT,
    "square": Square,
    "nes": NES,
    "autoattack": AutoAttack,
    "fast-cascade": FastCascade,
    "malt-cascade": MaltCascade,
    "autoattack-rand": AutoAttackRand,
    "adaptive": Adaptive,
}
"""Name on the command line -> class; each is made with `norm` and `eps` alone, and takes `precision`."""
