"""Attacks: frozen dataclasses that are called on a model, images and labels.

Importing this loads neither torch nor pandas. Objectives are in `robustray.tasks.attacks.objective`, the functions that
a lab maps over images in `robustray.tasks.attacks.blocks`.
"""

from robustray.tasks.attacks.adaptive import Adaptive
from robustray.tasks.attacks.autoattack import AutoAttack, FastCascade, MaltCascade
from robustray.tasks.attacks.autoattack_rand import AutoAttackRand
from robustray.tasks.attacks.catalogue import ATTACKS
from robustray.tasks.attacks.family import RSFGSM, ApgdCE, ApgdDLR, ApgdMargin, ApgdT, Fab, FabT, Malt, Square
from robustray.tasks.attacks.free import FreePGD
from robustray.tasks.attacks.nes import NES
from robustray.tasks.attacks.settings import FGSM, PGD, Attack, RandomNoise

__all__ = [
    "ATTACKS",
    "FGSM",
    "NES",
    "PGD",
    "RSFGSM",
    "Adaptive",
    "ApgdCE",
    "ApgdDLR",
    "ApgdMargin",
    "ApgdT",
    "Attack",
    "AutoAttack",
    "AutoAttackRand",
    "Fab",
    "FabT",
    "FastCascade",
    "FreePGD",
    "Malt",
    "MaltCascade",
    "RandomNoise",
    "Square",
]
