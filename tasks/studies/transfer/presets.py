"""The twelve targets of the paper by name: their images, how many classes they have and what they are judged by.

arXiv:2007.08489, Table 1 and the loaders released with it: mean per-class accuracy for five of them, whose classes
differ in size, accuracy for the others.
"""

from __future__ import annotations

from typing import NamedTuple

from robustray.tasks.studies.transfer.kinds import MetricName


class Preset(NamedTuple):
    """A target by name."""

    train: str
    """Names of data, which are looked for under the data root."""
    test: str
    num_classes: int
    metric: MetricName = "accuracy"


PRESETS: dict[str, Preset] = {
    "aircraft": Preset("aircraft:train", "aircraft:test", 100, "per-class"),
    "birdsnap": Preset("birdsnap:train", "birdsnap:test", 500),
    "caltech101": Preset("caltech101:train", "caltech101:test", 101, "per-class"),
    "caltech256": Preset("caltech256:train", "caltech256:test", 257, "per-class"),
    "cars": Preset("cars:train", "cars:test", 196),
    "cifar10": Preset("cifar10:train", "cifar10:test", 10),
    "cifar100": Preset("cifar100:train", "cifar100:test", 100),
    "dtd": Preset("dtd:train", "dtd:test", 47),
    "flowers": Preset("flowers:train", "flowers:test", 102, "per-class"),
    "food": Preset("food:train", "food:test", 101),
    "pets": Preset("pets:train", "pets:test", 37, "per-class"),
    "sun397": Preset("sun397:train", "sun397:test", 397),
}
