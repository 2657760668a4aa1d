"""What takes part in a run: networks (sources), what they are used for (targets), and how (modes)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Literal, NamedTuple

STANDARD, RANDOM = "standard", "random weights"
FIXED, FULL, DRIFTING = "fixed features", "fine-tuning", "drifting features"
OTHERS = "others"
"""The target that consists of the classes that the sources have not learnt."""
MetricName = Literal["accuracy", "per-class"]
METRICS: Mapping[MetricName, str] = {"accuracy": "accuracy", "per-class": "mean per-class accuracy"}
"""What a target is judged by, and how the page calls it."""


class Source(NamedTuple):
    """A network that is transferred, in every chain."""

    name: str
    eps: float
    """At which it is trained; 0 for standard training."""
    replica: int = 0
    """0, or the number, from 1 on, of a further standard source, which differs from the first in its seed only."""
    model: str = ""
    """The name of a network that exists; empty for one that is trained here."""

    @property
    def is_attacked(self) -> bool:
        """Whether what is made of it is attacked: the networks of the question, not those of its checks."""
        return not self.replica and self.name != RANDOM


class Target(NamedTuple):
    """What sources are transferred to, and how much of it they see."""

    name: str
    """What tables call it."""
    images: str
    """What its images are called, without how many of them are used."""
    data: str
    """`OTHERS`, or a name of data."""
    per_class: int
    """Training images of each class; 0 for all."""
    side: int = 0
    """Pixels to which its images are shrunk before they are enlarged again; 0: they are not."""
    main: bool = True
    """Sources are fine-tuned on it and attacked; the others are for fixed features only."""
    metric: MetricName = "accuracy"
    """What it is judged by."""

    @property
    def measure(self) -> str:
        """The metric, as the page calls it."""
        return METRICS[self.metric]


def short_models(names: Sequence[str]) -> dict[str, str]:
    """Name of a model -> what tables call it: "small:s@weights/small_linf8.safetensors" is "small_linf8"; all keep
    their full names where two would be called the same."""
    return _told_apart(
        {name: PurePath(name.partition("@")[2] or name).name.removesuffix(".safetensors") for name in names}
    )


def short_data(names: Sequence[str]) -> dict[str, str]:
    """Name of data -> what tables call it: "./photos" is "photos", "textures:train,n=900" is "textures:train"; all keep
    their full names where two would be called the same."""
    return _told_apart({name: PurePath(name.partition(",")[0]).name or name for name in names})


def _told_apart(short: dict[str, str]) -> dict[str, str]:
    return short if len(set(short.values())) == len(short) else {name: name for name in short}
