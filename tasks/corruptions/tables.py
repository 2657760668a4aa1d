"""Which corruptions there are, and how strong each is at severities 1 to 5. Imports nothing.

The parameters are those of the benchmarks' own generators (Hendrycks and Dietterich, arXiv:1903.12261), which the two
tables are named after: ImageNet-C for images of about 224 pixels, CIFAR-10-C for about 32.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

Table = Literal["imagenet-c", "cifar10-c"]
TABLES: tuple[Table, ...] = ("imagenet-c", "cifar10-c")
SEVERITIES = (1, 2, 3, 4, 5)

Parameters = tuple[float, ...]


def _single(*values: float) -> tuple[Parameters, ...]:
    return tuple((value,) for value in values)


_BENCHMARK: Mapping[str, Mapping[Table, tuple[Parameters, ...]]] = {
    # standard deviation
    "gaussian-noise": {
        "imagenet-c": _single(0.08, 0.12, 0.18, 0.26, 0.38),
        "cifar10-c": _single(0.04, 0.06, 0.08, 0.09, 0.10),
    },
    # photons of a white pixel
    "shot-noise": {
        "imagenet-c": _single(60, 25, 12, 5, 3),
        "cifar10-c": _single(500, 250, 100, 75, 50),
    },
    # share of the entries that become 0 or 1
    "impulse-noise": {
        "imagenet-c": _single(0.03, 0.06, 0.09, 0.17, 0.27),
        "cifar10-c": _single(0.01, 0.02, 0.03, 0.05, 0.07),
    },
    # radius of the disk; standard deviation of the blur that softens its edge
    "defocus-blur": {
        "imagenet-c": ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
        "cifar10-c": ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
    },
    # standard deviation of the blur before and after; how far a pixel is taken from; rounds
    "glass-blur": {
        "imagenet-c": ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
        "cifar10-c": ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
    },
    # radius (2 radius + 1 positions along the line); standard deviation of their weights
    "motion-blur": {
        "imagenet-c": ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
        "cifar10-c": ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
    },
    # factors from 1 up to this one, in steps of that one
    "zoom-blur": {
        "imagenet-c": ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
        "cifar10-c": ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
    },
    # mean and deviation of the flakes; zoom; threshold; radius and deviation of their motion; weight of the image
    "snow": {
        "imagenet-c": (
            (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
            (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
            (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
            (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
            (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
        ),
        "cifar10-c": (
            (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
            (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
            (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
        ),
    },
    # strength; by how much each finer step of the fractal is weaker
    "fog": {
        "imagenet-c": ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
        "cifar10-c": ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
    },
    # what is added to the value (of hue, saturation, value)
    "brightness": {
        "imagenet-c": _single(0.1, 0.2, 0.3, 0.4, 0.5),
        "cifar10-c": _single(0.05, 0.1, 0.15, 0.2, 0.3),
    },
    # factor of the distance from the mean
    "contrast": {
        "imagenet-c": _single(0.4, 0.3, 0.2, 0.1, 0.05),
        "cifar10-c": _single(0.75, 0.5, 0.4, 0.3, 0.15),
    },
    # in pixels: factor and smoothness of the displacement; how far the three points of the affine map move
    "elastic-transform": {
        "imagenet-c": tuple(
            (244 * alpha, 244 * sigma, 244 * affine)
            for alpha, sigma, affine in (
                (2, 0.7, 0.1),
                (2, 0.08, 0.2),
                (0.05, 0.01, 0.02),
                (0.07, 0.01, 0.02),
                (0.12, 0.01, 0.02),
            )
        ),
        "cifar10-c": tuple(
            (32 * alpha, 32 * sigma, 32 * affine)
            for alpha, sigma, affine in (
                (0, 0, 0.08),
                (0.05, 0.2, 0.07),
                (0.08, 0.06, 0.06),
                (0.1, 0.04, 0.05),
                (0.1, 0.03, 0.03),
            )
        ),
    },
    # side of the small image, as a share
    "pixelate": {
        "imagenet-c": _single(0.6, 0.5, 0.4, 0.3, 0.25),
        "cifar10-c": _single(0.95, 0.9, 0.85, 0.75, 0.65),
    },
    # quality
    "jpeg-compression": {
        "imagenet-c": _single(25, 18, 15, 10, 7),
        "cifar10-c": _single(80, 65, 58, 50, 40),
    },
}
CORRUPTIONS = tuple(_BENCHMARK)
"""The 14 of the benchmarks' 15 that need no photographs. Whatever is called a mean over corruptions is over these."""

FROST = "procedural-frost"
"""Stands in for the fifteenth, frost, whose definition is a set of photographs; in no mean, for it is another one."""

PARAMETERS: Mapping[str, Mapping[Table, tuple[Parameters, ...]]] = {
    **_BENCHMARK,
    # weight of the image; weight of the frost
    FROST: {
        "imagenet-c": ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)),
        "cifar10-c": ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),
    },
}
"""Corruption -> table -> parameters by severity; what they mean stands beside them, lengths are in pixels."""

ALL = tuple(PARAMETERS)
"""Everything that `corrupt` does: `CORRUPTIONS` and `FROST`."""
