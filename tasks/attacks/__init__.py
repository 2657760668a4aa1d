"""Attacks: frozen dataclasses that are called on a model, images and labels.

Importing this loads neither torch nor pandas. Objectives are in `robustray.tasks.attacks.objective`, the functions that
a lab maps over images in `robustray.tasks.attacks.blocks`.
"""

from robustray.tasks.attacks.adaptive import Adaptive
from robustray.tasks.attacks.autoattack import AutoAttack, FastCascade
from robustray.tasks.attacks.catalogue import ATTACKS
from robustray.tasks.attacks.family import RSFGSM, ApgdCE, ApgdDLR, ApgdT, Fab, FabT, Square
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
    "ApgdT",
    "Attack",
    "AutoAttack",
    "Fab",
    "FabT",
    "FastCascade",
    "FreePGD",
    "RandomNoise",
    "Square",
]
