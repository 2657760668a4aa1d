"""Digital: brightness, contrast, elastic deformation, coarse pixels and JPEG."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from robustray.tasks.corruptions import operators
from robustray.tasks.corruptions.draws import Draws


def brightness(images: Tensor, draws: Draws, added: float) -> Tensor:
    """`added` to the value (the largest channel) at equal hue and saturation; black becomes grey."""
    value = images.amax(dim=1, keepdim=True)
    raised = (value + added).clamp(0, 1)
    return torch.where(value > 0, images * (raised / value.clamp_min(1e-12)), raised)


def contrast(images: Tensor, draws: Draws, factor: float) -> Tensor:
    """Every channel drawn to its own mean over the image."""
    mean = images.mean(dim=(2, 3), keepdim=True)
    return mean + factor * (images - mean)


def elastic_transform(images: Tensor, draws: Draws, alpha: float, sigma: float, affine: float) -> Tensor:
    """A random affine map of the image (mirrored at its border pixels), then a smooth random displacement (mirrored
    at its border); both interpolate linearly."""
    height, width = images.shape[-2:]
    axes = (torch.arange(side, device=images.device, dtype=torch.float32) for side in (width, height))
    across, down = (each.expand(len(images), -1, -1) for each in torch.meshgrid(*axes, indexing="xy"))
    turned = _affine(draws, height, width, affine).to(images)
    x, y = (turned[:, k, :1, None] * across + turned[:, k, 1:2, None] * down + turned[:, k, 2:, None] for k in (0, 1))
    scale = torch.tensor((2 / (width - 1), 2 / (height - 1))).to(images)
    moved = grid_sample(images, torch.stack((x, y), dim=-1) * scale - 1, padding_mode="reflection", align_corners=True)
    if not alpha:
        return moved
    smooth = (operators.gaussian(side, sigma, mode="reflect", truncate=3.0) for side in (height, width))
    rows, columns = smooth
    shift = alpha * operators.applied(rows, draws.within(-1, 1, (2, height, width), stream=1), columns)
    place = torch.stack((across + shift[:, 0], down + shift[:, 1]), dim=-1) + 0.5
    scale = torch.tensor((2 / width, 2 / height)).to(images)
    return grid_sample(moved, place * scale - 1, padding_mode="reflection", align_corners=False)


def _affine(draws: Draws, height: int, width: int, reach: float) -> Tensor:
    """(batch, 2, 3) float64: from a place (x, y, 1) of the new image to the one of the old that it shows.

    Three points about the middle each move by up to `reach` pixels along x and y.
    """
    middle = torch.tensor((height // 2, width // 2), dtype=torch.float64)
    apart = min(height, width) // 3
    old = middle + apart * torch.tensor(((1, 1), (1, -1), (-1, -1)), dtype=torch.float64)
    new = old + draws.within(-reach, reach, (3, 2)).cpu().to(torch.float64)
    places = torch.cat((new, torch.ones_like(new[..., :1])), dim=-1)
    return torch.linalg.solve(places, old.expand_as(new)).transpose(1, 2)


def pixelate(images: Tensor, draws: Draws, share: float) -> Tensor:
    """Shrunk by box means to `share` of the side and enlarged again by repetition, in 8 bits."""
    height, width = images.shape[-2:]
    small = (int(height * share), int(width * share))
    means = (images * 255).round_()
    across, down = operators.members(width, small[1]).to(images), operators.members(height, small[0]).to(images)
    means = ((means @ across.T) / across.sum(dim=1)).add_(0.5).floor_()
    means = (torch.matmul(down, means) / down.sum(dim=1, keepdim=True)).add_(0.5).floor_()
    rows, columns = (
        ((torch.arange(side, device=images.device) + 0.5) * few / side).to(torch.int64)
        for side, few in zip((height, width), small, strict=True)
    )
    return means[:, :, rows][..., columns] / 255


def jpeg_compression(images: Tensor, draws: Draws, quality: float) -> Tensor:
    """Encoded and decoded as JPEG of `quality`, chroma at half resolution."""
    import cv2

    # OpenCV has blue first; its pixels are those of Pillow, to the bit, in a quarter of the time
    coded = (images.flip(1).cpu() * 255).round().to(torch.uint8).movedim(1, -1).contiguous().numpy()
    how, colour = [cv2.IMWRITE_JPEG_QUALITY, int(quality)], images.shape[1] == 3
    decoded: list[Any] = [
        cv2.imdecode(cv2.imencode(".jpg", image, how)[1], cv2.IMREAD_COLOR if colour else cv2.IMREAD_GRAYSCALE)
        for image in coded
    ]
    found = torch.from_numpy(np.stack(decoded)).view(len(images), *images.shape[2:], -1)
    return found.movedim(-1, 1).flip(1).to(images) / 255
