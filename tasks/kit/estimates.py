"""How many images a run is about and what its steps cost, before any are opened. Imports nothing heavy: settings
modules call it.

Costs of studies with networks are counted in passes of `cost.NetworkPass`: an image forward and backward.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from robustray.tasks.cost import Part
from robustray.tasks.training.settings import TrainSpec
from robustray.tasks.training.work import training_passes

AUDITED = 500
"""Passes of single images that the cheap checks of a network's audit take, about."""
LOOK = 0.5
"""An image that is only looked at, forward and in fp32, with what a row costs besides."""

KNOWN: Mapping[str, int] = {
    "digits:train": 1_442,
    "digits:test": 355,
    "cifar10:train": 50_000,
    "cifar10:test": 10_000,
    "cifar100:train": 50_000,
    "cifar100:test": 10_000,
}
"""Sizes of data sets that are the same wherever they are."""
CLASSES: Mapping[str, int] = {"cifar100": 100, "scenes": 9}
"""Number of classes of data sets that have not 10."""
DRAWN: Mapping[str, Mapping[str, int]] = {
    "scenes": {"train": 3_600, "test": 1_800},
    "textures": {"train": 2_000, "test": 1_000},
}
"""Number of procedural images where the name gives none."""

HEAVIER: Mapping[str, float] = {
    "small:s": 1.0,
    "cifar:resnet20": 2.8,
    "cifar:resnet18-w16": 2.8,
    "cifar:resnet18": 84.0,
}
"""What a pass of a network takes beside one of network "S", measured on one core (images a second: 3,500, 1,220, 1,290,
42)."""


def num_images(names: Iterable[str], *, otherwise: int, given: int = 0) -> tuple[dict[str, int], str]:
    """Images of each data set, and a remark on those of which that is not known: they count as `otherwise`.

    given: how many of each the settings ask for; 0 for all of them. The remark is empty, or a sentence with a space
    behind it: `"photos taken as 10,000 images. "`.
    """
    names = tuple(names)
    unknown = [name for name in names if not given and count_of(name) is None]
    remark = f"{', '.join(unknown)} taken as {otherwise:,} images. " if unknown else ""
    return {name: given or count_of(name) or otherwise for name in names}, remark


def count_of(name: str) -> int | None:
    """Images of a data set by name; None where that is not known before it is opened."""
    kind, _, rest = name.partition(":")
    if kind not in DRAWN:
        return KNOWN.get(name)
    return _number_in(name, "n") or DRAWN[kind].get(rest.partition(",")[0])


def side_of(name: str) -> int:
    """Pixels of a side, where the name of a data set says it; else 0."""
    return _number_in(name, "size")


def num_classes(name: str) -> int:
    """Classes of a data set by name; 10 where that is not known before it is opened."""
    return _number_in(name, "classes") or CLASSES.get(name.partition(":")[0], 10)


def _number_in(name: str, option: str) -> int:
    """Of a data set's name, "scenes:train,n=1800,size=16"; 0 where it does not say one."""
    for given in name.split(",")[1:]:
        key, _, value = given.partition("=")
        if key == option and value.isdecimal():
            return int(value)
    return 0


def training_part(trainings: Sequence[tuple[TrainSpec, int]], *, step: str = "train", unit: str = "") -> Part:
    """Trainings, each with the number of its images. unit: the network whose passes are counted, where some train
    another one; what is not known of that counts alike."""
    passes = sum(training_passes(spec, count) * _heavier(spec.model, unit) for spec, count in trainings)
    return Part(step=step, items=len(trainings), cost=passes / max(1, len(trainings)))


def _heavier(model: str, unit: str) -> float:
    """Passes of `unit` that one of `model` takes; 1 where that is not known."""
    return HEAVIER[model] / HEAVIER[unit] if model in HEAVIER and unit in HEAVIER else 1.0
