"""How like another picture a picture is, by its pixels. No network is used here."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, ones_like
from torch.nn import functional

from robustray.tasks.errors import InputError

HALF_LEVEL = 1 / 510
WINDOW = 7
"""Side of the squares in which structure is compared."""
LEAST_SIDE = WINDOW // 2 + 1
"""The shortest side of an image that can be reflected so far."""
STABLE = (0.01**2, 0.03**2)
"""C1 and C2 of the structural similarity, for pixels in [0, 1]."""


def psnr(a: Tensor, b: Tensor, where: Tensor | None = None) -> NDArray[np.float64]:
    """Peak signal-to-noise ratio (b,) in dB of pixels in [0, 1]: -10 log10 of the mean squared difference.

    where: (b, 1 or c, h, w) of 0 and 1, the pixels that count. A root mean square below half of one of 256 grey levels
    counts as that: 54.2 dB, instead of infinity for equal pixels.
    """
    squares = _mean((a - b).double().square(), where)
    return -10 * np.log10(np.maximum(squares, HALF_LEVEL**2))


def ssim(a: Tensor, b: Tensor, where: Tensor | None = None) -> NDArray[np.float64]:
    """Structural similarity (b,), 1 for equal images and less for others (Wang et al., IEEE TIP 13 (2004) 600-612).

    Means, biased variances and covariance over squares of side 7 around every pixel, reflected at the border; the mean
    over channels and the pixels that count (`where`, as of `psnr`).

    Raises: InputError for images whose sides are below `LEAST_SIDE`.
    """
    if min(a.shape[2:]) < LEAST_SIDE:
        raise InputError(f"structural similarity needs sides of at least {LEAST_SIDE} pixels, got {tuple(a.shape[2:])}")

    def around(values: Tensor) -> Tensor:
        return functional.avg_pool2d(functional.pad(values, (WINDOW // 2,) * 4, mode="reflect"), WINDOW, stride=1)

    x, y = a.double(), b.double()
    mean_x, mean_y = around(x), around(y)
    var_x, var_y = around(x * x) - mean_x**2, around(y * y) - mean_y**2
    both = around(x * y) - mean_x * mean_y
    alike = (2 * mean_x * mean_y + STABLE[0]) * (2 * both + STABLE[1])
    return _mean(alike / ((mean_x**2 + mean_y**2 + STABLE[0]) * (var_x + var_y + STABLE[1])), where)


def _mean(values: Tensor, where: Tensor | None) -> NDArray[np.float64]:
    weights = ones_like(values) if where is None else where.to(values.dtype).expand_as(values)
    return ((values * weights).flatten(1).sum(1) / weights.flatten(1).sum(1)).numpy()
