"""The doors of `evaluate`: what it is given, opened and checked before any attack."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from robustray.tasks.attacks.autoattack_rand import AutoAttackRand
from robustray.tasks.attacks.catalogue import ATTACKS
from robustray.tasks.attacks.settings import NORMS, Attack, Norm
from robustray.tasks.corruptions.settings import AUTO, Corrupting
from robustray.tasks.corruptions.tables import TABLES
from robustray.tasks.data.arrays import plain_array
from robustray.tasks.data.images import ImageData, checked
from robustray.tasks.errors import InputError
from robustray.tasks.kit import checks
from robustray.tasks.words import nearest

if TYPE_CHECKING:
    import torch

    from robustray.tasks.attacks.gradient.verdicts import Model
    from robustray.tasks.lab.serial import SerialLab

PROBED = 16
"""Images on which the model is tried first."""


@dataclass(frozen=True)
class Named:
    """An attack, and what it is called in the result."""

    name: str
    attack: Attack


def open_attacks(given: Any, norm: Norm, eps: float | Sequence[float] | None, *, needed: bool = True) -> list[Attack]:
    """needed: whether there must be one. Raises: InputError for a name that is unknown or lacks a size, and for what is
    no attack with norm and size."""
    found: list[Attack] = []
    for item in [given] if isinstance(given, str) or not isinstance(given, Iterable) else given:
        if isinstance(item, str):
            if item not in ATTACKS:
                raise InputError(
                    f"there is no attack {item!r}{nearest(item, ATTACKS)}, or an attack object of your own"
                )
            if eps is None:
                raise InputError(f"{item!r} needs a size: evaluate(..., {item!r}, norm={norm!r}, eps=8/255)")
            sizes = [eps] if isinstance(eps, int | float) or np.ndim(eps) == 0 else list(eps)
            found += [ATTACKS[item](norm=norm, eps=size) for size in sizes]
        else:
            found.append(_checked_attack(item))
    if needed and not found:
        raise InputError("no attack was given: evaluate(model, data, PGD(norm='linf', eps=8/255))")
    return found


def open_corruptions(given: str | Sequence[str], severities: Sequence[int], table: str) -> Corrupting:
    """Raises: InputError for a corruption, severity or table that there is not."""
    names = (given,) if isinstance(given, str) else tuple(given)
    checks.choices((*AUTO, *TABLES), table=table)
    return Corrupting(corruptions=names, severities=tuple(severities), table=cast("Any", table))


def _checked_attack(attack: Any) -> Attack:
    if isinstance(attack, type) or not callable(attack):
        raise InputError(f"{attack!r} is no attack: give an object such as PGD(norm='linf', eps=8/255), or a name")
    size = getattr(attack, "eps", None)
    if getattr(attack, "norm", None) not in NORMS or not isinstance(size, int | float):
        raise InputError(f"{attack!r} has no norm and eps: robust accuracy is stated for a threat model")
    if getattr(attack, "targeted", False):
        raise InputError(f"{attack!r} is targeted: robust accuracy is measured by untargeted attacks")
    return cast("Attack", attack)


def named(attacks: Sequence[Attack], names: Sequence[str] | None) -> list[Named]:
    """Name the attacks. Raises: InputError for names that are the same for several attacks of one threat model."""
    if names is not None and len(names) != len(attacks):
        raise InputError(f"names: {len(names)} for {len(attacks)} attacks (a name with several eps makes several)")
    short = list(names or [str(getattr(attack, "name", type(attack).__name__)) for attack in attacks])

    def keys() -> list[tuple[str, str, float]]:
        return [(name, attack.norm, attack.eps) for name, attack in zip(short, attacks, strict=True)]

    if names is None:  # two PGDs of one size are told apart by what was set
        short = [repr(a) if keys().count(k) > 1 else k[0] for a, k in zip(attacks, keys(), strict=True)]
    if twice := next((key for key in keys() if keys().count(key) > 1), None):
        raise InputError(f"two attacks are called {twice[0]!r}: leave one out, or give names=")
    return [Named(name, attack) for name, attack in zip(short, attacks, strict=True)]


def num_votes(chosen: Sequence[Named], wanted: Corrupting) -> int:
    """Draws of which the majority is a verdict; 0 where one answer is. Raises: InputError where others stand beside."""
    counts = {item.attack.num_draws if isinstance(item.attack, AutoAttackRand) else 0 for item in chosen}
    if counts <= {0}:
        return 0
    if len(counts) > 1:
        raise InputError(f"{AutoAttackRand.name} decides by votes of a model: evaluate it alone, with one num_draws")
    if wanted.corruptions:
        raise InputError(f"corruptions: with {AutoAttackRand.name} models may be random: leave them out")
    return counts.pop()


def open_lab(store: str | Path, data_root: str | Path | None, device: str) -> SerialLab:
    """Where names are opened. Raises: InputError for a device that is not there."""
    import torch

    from robustray.tasks.lab.serial import SerialLab
    from robustray.tasks.lab.store import Store

    has_gpu = torch.cuda.is_available()
    if device not in ("auto", "cpu", "cuda") or (device == "cuda" and not has_gpu):
        raise InputError(f"device {device!r}: give auto, cpu or cuda" + ("" if has_gpu else " (there is no GPU here)"))
    return SerialLab(
        store=Store(store),
        device="cuda" if device != "cpu" and has_gpu else "cpu",
        data_root=str(data_root or "") or os.environ.get("ROBUSTRAY_DATA") or None,
    )


def open_model(model: Model | str, lab: SerialLab) -> tuple[str, Model]:
    if not isinstance(model, str):
        if not callable(model):
            raise InputError(f"model must be a torch module or a name, got {type(model).__name__}")
        return getattr(model, "__name__", type(model).__name__), model
    return model, lab.load(lab.model(model))


def open_data(data: Any, lab: SerialLab) -> tuple[str, ImageData]:
    """Name and images. Classes of (images, labels) are not known yet. Raises: InputError."""
    if isinstance(data, str):
        return data, lab.load(lab.data(data))
    if isinstance(data, ImageData):
        return data.name, checked(data)
    if not isinstance(data, tuple | list) or len(data) != 2:
        raise InputError(
            f"data must be (images, labels), ImageData or a name, got {type(data).__name__}: "
            "put the batches of a loader together with torch.cat"
        )
    images, labels = plain_array(data[0], "images"), plain_array(data[1], "labels")
    if labels.dtype.kind not in "iu" or labels.ndim != 1:
        raise InputError(f"labels are {labels.dtype} {labels.shape}, expected whole numbers of shape (n,)")
    return "images", ImageData(
        name="images", images=np.ascontiguousarray(images), labels=labels.astype(np.int64), classes=()
    )


def device_of(model: Model, lab: SerialLab) -> torch.device:
    """Where the model is; a function is fed on the lab's device."""
    import torch

    parameter = next(model.parameters(), None) if isinstance(model, torch.nn.Module) else None
    return torch.device(lab.device) if parameter is None else parameter.device


def fitting(data: ImageData, model: Model, where: torch.device, *, known: bool) -> ImageData:
    """The images with as many classes as the model has outputs. known: the data say how many classes there are.

    Raises: InputError where model and images do not fit together.
    """
    from robustray.tasks.attacks.gradient.verdicts import FrozenModel
    from robustray.tasks.models.doors import check_model

    if not known:  # pixels first: NaN among them would be taken for the model's
        checked(with_classes(data, max(1, int(data.labels.max(initial=0)) + 1)))
    few = first_images(data, where)
    check_model(model, few, data.num_classes if known else None)  # attacks warn of a stochastic model
    if known:
        return data
    with FrozenModel(model) as view:
        return checked(with_classes(data, view.evaluate(few).logits.shape[1]))


def first_images(data: ImageData, where: torch.device) -> torch.Tensor:
    """Those on which the model is tried."""
    return data.batch(range(min(PROBED, len(data))))[0].to(where)


def with_classes(data: ImageData, count: int) -> ImageData:
    """`data` with classes "0", "1", ..."""
    return replace(data, classes=tuple(map(str, range(count))))
