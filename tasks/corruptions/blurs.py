"""Blurs: out of focus, behind frosted glass, in motion, and while zooming."""

from __future__ import annotations

import functools
import warnings

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustray.tasks.corruptions import operators
from robustray.tasks.corruptions.draws import Draws

FEW = 3
"""Up to so many products of two lines are faster than Fourier transforms."""


def defocus_blur(images: Tensor, draws: Draws, radius: float, softness: float) -> Tensor:
    """Mean over a disk with a soft edge; the image is mirrored at its border pixels."""
    kernel, lines = _disk(radius, softness)
    if len(lines) > FEW:  # one by one: how many are transformed at once shows in the last bit
        return torch.cat([_filtered(image, torch.from_numpy(kernel).to(images)) for image in images.split(1)])
    total = torch.zeros_like(images)
    for strength, line in lines:
        rows, columns = (operators.line(side, line) for side in images.shape[-2:])
        total += strength * operators.applied(rows, images, columns)
    return total


def _filtered(images: Tensor, kernel: Tensor) -> Tensor:
    """By Fourier transform."""
    reach = len(kernel) // 2
    rows, columns = (_mirrored(side, reach).to(images.device) for side in images.shape[-2:])
    padded = images[:, :, rows][..., columns]
    size = tuple(padded.shape[-2:])
    spectrum = torch.fft.rfft2(padded) * torch.fft.rfft2(kernel, s=size)
    return torch.fft.irfft2(spectrum, s=size)[..., 2 * reach :, 2 * reach :]


@functools.lru_cache(maxsize=32)
def _disk(radius: float, softness: float) -> tuple[NDArray[np.float32], list[tuple[float, tuple[float, ...]]]]:
    """The disk, (2 r + 1, 2 r + 1), r as small as its values allow; and the lines, with their strengths, whose
    products with themselves have it as their sum.

    Its edge is softened on the benchmark's grid of 17 or 21 places, mirrored at its border: where a disk reaches that
    border, its sum becomes a little more than 1, and the image brighter, as it does in the benchmark.
    """
    from scipy.ndimage import correlate1d

    reach, taps = (8, 3) if radius <= 8 else (int(radius), 5)
    line = np.arange(-reach, reach + 1)
    disk = (line**2 + line[:, None] ** 2 <= radius**2).astype(np.float64)
    disk /= disk.sum()
    edge = np.exp(-((np.arange(taps) - taps // 2) ** 2) / (2 * softness**2))
    for axis in (0, 1):
        disk = correlate1d(disk, edge / edge.sum(), axis=axis, mode="mirror")
    reached = np.abs(line)[disk.any(axis=0)].max()
    middle = slice(reach - reached, reach + reached + 1)
    disk = np.ascontiguousarray(disk[middle, middle])
    strengths, lines = np.linalg.eigh(disk)
    found = [(float(s), tuple(line)) for s, line in zip(strengths, lines.T.tolist(), strict=True) if abs(s) > 1e-7]
    return disk.astype(np.float32), found


def _mirrored(side: int, reach: int) -> Tensor:
    """Where the pixels of an axis come from that is mirrored at its first and last pixel, as often as it takes."""
    period = 2 * (side - 1)
    place = torch.arange(-reach, side + reach) % period
    return torch.minimum(place, period - place)


def glass_blur(images: Tensor, draws: Draws, sigma: float, distance: float, rounds: float) -> Tensor:
    """Blurred, rounded down to 8 bits, pixels copied from near by, and blurred again.

    The benchmark copies (its exchange of two array views is a copy) pixel by pixel from the lower right corner on, so
    that a pixel may be copied which is itself a copy already. Here all are found at once, with the same result.
    """
    _, channels, height, width = images.shape
    rows, columns = (operators.gaussian(side, sigma, mode="nearest", truncate=4.0) for side in (height, width))
    blurred = operators.applied(rows, images, columns)
    # by a hair more than the value itself: a plane of 200/255 stays one, however the filter was rounded
    coarse = (blurred * 255 + 1e-3).floor_() / 255
    source = None
    for each in range(int(rounds)):
        steps = (draws.uniform(2, height, width, stream=each) * (2 * int(distance))).to(torch.int64) - int(distance)
        found = copied(steps, int(distance))
        source = found if source is None else source.gather(1, found)
    assert source is not None
    moved = coarse.flatten(2).gather(2, source[:, None].expand(-1, channels, -1)).view_as(images)
    return operators.applied(rows, moved, columns)


def copied(steps: Tensor, distance: int) -> Tensor:
    """Where each pixel comes from when all are copied one after the other from the last one on: (batch, h × w) int64.

    steps: (batch, 2, height, width) int64, -distance to distance - 1, by which x and y of the pixel to copy differ.
    Pixels nearer to the border than `distance` stay, and so does row and column number `distance` itself.
    """
    batch, _, height, width = steps.shape
    here = torch.arange(height * width, device=steps.device).view(height, width)
    inner = torch.zeros(height, width, dtype=torch.bool, device=steps.device)
    inner[distance + 1 : height - distance + 1, distance + 1 : width - distance + 1] = True
    there = torch.where(inner, here + steps[:, 1] * width + steps[:, 0], here).flatten(1)
    if distance == 1:  # steps lead to earlier pixels only, which are still themselves
        return there
    # a pixel further on, if it is an inner one, was a copy by then: follow it to where it came from
    is_copy = (there > here.flatten()) & inner.flatten()[there]
    source, offset = there.clone(), torch.arange(batch, device=steps.device)[:, None] * (height * width)
    flat_there, flat_copy, flat = (there + offset).flatten(), is_copy.flatten(), (source + offset).flatten()
    waiting = flat_copy.nonzero().squeeze(1)
    while len(waiting):
        on = flat[waiting]
        flat[waiting] = flat_there[on]
        waiting = waiting[flat_copy[on]]
    return flat.view(batch, -1) - offset


def motion_blur(images: Tensor, draws: Draws, radius: float, sigma: float) -> Tensor:
    """Weighted mean along a line in a direction between -45 and 45 degrees, from the pixel on."""
    return smeared(images, draws.within(-45, 45, stream=0), int(radius), sigma)


def smeared(images: Tensor, degrees: Tensor, radius: int, sigma: float) -> Tensor:
    """Images (batch, channels, height, width) smeared in the direction `degrees` (batch,).

    As ImageMagick does it: 2 radius + 1 whole-pixel shifts with the weights of half a Gaussian; border pixels go on
    beyond the border. A line longer than the image ends there, and what is left of it has no weight.
    """
    height, width = images.shape[-2:]
    taps = 2 * radius + 1
    weights = torch.exp(-(torch.arange(taps, dtype=torch.float64) ** 2) / (2 * sigma**2))
    weights /= weights.sum()
    angle = torch.deg2rad(degrees.cpu().to(torch.float64))[:, None]
    along = torch.arange(taps, dtype=torch.float64)
    down, right = (torch.ceil(along * part - 0.5).to(torch.int64) for part in (angle.sin(), angle.cos()))
    inside = ((down.abs() < height) & (right.abs() < width)).cumprod(dim=1)
    down, right = down * inside, right * inside
    above, left = -int(down.min()), -int(right.min())
    borders = (left, int(right.max()), above, int(down.max()))
    padded = torch.nn.functional.pad(images, borders, mode="replicate")
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)
    share = (weights * inside).to(images)
    which = torch.arange(len(images), device=images.device)
    down, right = (down + above).to(images.device), (right + left).to(images.device)
    total = torch.zeros_like(images)
    for tap in range(taps):
        total.addcmul_(windows[which, :, down[:, tap], right[:, tap]], share[:, tap, None, None, None])
    return total


SMALL = 48 * 48
"""Pixels up to which zoom blur is one sparse matrix; beyond that it would take more memory than it saves time."""


def zoom_blur(images: Tensor, draws: Draws, largest: float, step: float) -> Tensor:
    """Mean of the image and of its middle, enlarged by 1, 1 + step, ... below `largest`."""
    height, width = images.shape[-2:]
    if height * width > SMALL:
        return _zooms(images, largest, step)
    pixels = images.reshape(-1, height * width).T.contiguous()
    return (_zooming(height, width, largest, step).to(images.device) @ pixels).T.reshape(images.shape)


def _zooms(images: Tensor, largest: float, step: float) -> Tensor:
    factors = [float(factor) for factor in np.arange(1, largest, step)]
    total = images.clone()
    for factor in factors:
        total += operators.zoomed(images, factor)
    return total / (len(factors) + 1)


@functools.lru_cache(maxsize=16)
def _zooming(height: int, width: int, largest: float, step: float) -> Tensor:
    """`_zooms` as a sparse matrix (pixels, pixels): what it makes of each single pixel."""
    single = torch.eye(height * width).view(-1, 1, height, width)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support")  # it says so of every such tensor
        return _zooms(single, largest, step).flatten(1).T.to_sparse_csr()
