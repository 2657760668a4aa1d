"""How strong each corruption is at severities 1 to 5. Imports nothing.

The parameters are those of the benchmarks' own generators, which the two tables are named after; pixels are in [0, 1].
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

Table = Literal["imagenet-c", "cifar10-c"]
TABLES: tuple[Table, ...] = ("imagenet-c", "cifar10-c")
SEVERITIES = (1, 2, 3, 4, 5)

PARAMETERS: Mapping[str, Mapping[Table, tuple[float, ...]]] = {
    "gaussian-noise": {"imagenet-c": (0.08, 0.12, 0.18, 0.26, 0.38), "cifar10-c": (0.04, 0.06, 0.08, 0.09, 0.10)},
    "brightness": {"imagenet-c": (0.1, 0.2, 0.3, 0.4, 0.5), "cifar10-c": (0.05, 0.1, 0.15, 0.2, 0.3)},
    "contrast": {"imagenet-c": (0.4, 0.3, 0.2, 0.1, 0.05), "cifar10-c": (0.75, 0.5, 0.4, 0.3, 0.15)},
}
"""Corruption -> table -> parameter by severity: standard deviation; what is added to the value (of hue, saturation,
value); factor of the distance from the mean."""
CORRUPTIONS = tuple(PARAMETERS)
