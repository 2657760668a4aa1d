"""Attacks by name. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from robustray.tasks.attacks.adaptive import Adaptive
from robustray.tasks.attacks.autoattack import AutoAttack, FastCascade
from robustray.tasks.attacks.family import RSFGSM, ApgdCE, ApgdDLR, ApgdT, Fab, FabT, Square
from robustray.tasks.attacks.nes import NES
from robustray.tasks.attacks.settings import FGSM, PGD, Attack, RandomNoise

ATTACKS: Mapping[str, Callable[..., Attack]] = {
    "pgd": PGD,
    "fgsm": FGSM,
    "noise": RandomNoise,
    "rs-fgsm": RSFGSM,
    "apgd-ce": ApgdCE,
    "apgd-dlr": ApgdDLR,
    "apgd-t": ApgdT,
    "fab": Fab,
    "fab-t": FabT,
    "square": Square,
    "nes": NES,
    "autoattack": AutoAttack,
    "fast-cascade": FastCascade,
    "adaptive": Adaptive,
}
"""Name on the command line -> class; each is made with `norm` and `eps` alone, and takes `precision`."""
