"""The renderer that designs: facets into pixels in plain torch, colours differentiable by the texture.

For each view and facet, the pixels in the facet's box are tried; of all facets that cover a pixel's centre the nearest
one is kept (a depth buffer, by the smallest of whole numbers made of depth and facet: the same in any order). Texture
coordinates are interpolated as perspective wants it, in double precision. What faces away is not drawn.
"""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from robustray.tasks.render.cameras import DAY, Cameras, Light
from robustray.tasks.render.meshes import Mesh

_DEPTH_STEPS, _FACET_BITS = 2.0**26, 20
_FACETS_AT_ONCE = 2_000_000
"""Facets times views that are projected together: bounds memory, changes nothing."""


class Surface(NamedTuple):
    """What each pixel of some views shows; zeros where it shows no facet."""

    uv: Tensor
    """(batch, height, width, 2) float32."""
    shade: Tensor
    """(batch, 3, height, width) float32: factors for the texture's colours."""
    depth: Tensor
    """(batch, height, width) float32: along the line of sight."""
    mask: Tensor
    """(batch, 1, height, width) float32: 1 where there is a facet."""


class Geometry:
    """A mesh as tensors, for several calls."""

    def __init__(self, mesh: Mesh) -> None:
        self.corners = torch.from_numpy(mesh.corners)
        self.uvs = torch.from_numpy(mesh.uvs)
        self.normals = torch.from_numpy(mesh.normals)

    @cached_property
    def points(self) -> Tensor:
        return self.corners.reshape(-1, 3)


def rasterise(geometry: Geometry, cameras: Cameras, side: int, *, light: Light = DAY) -> Surface:
    """Views of `side` x `side` pixels, one for each camera."""
    views, at_once = len(cameras.eye), max(1, _FACETS_AT_ONCE // len(geometry.corners))
    parts = [_some(geometry, cameras.some(i, i + at_once), side, light) for i in range(0, views, at_once)]
    return Surface(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))


def textured(textures: Tensor, surface: Surface) -> Tensor:
    """Colours (batch, 3, height, width) of the surface with the textures (1 or batch, 3, rows, columns), bilinear; 0
    where there is no facet. Row 0 of a texture is v = 1."""
    grid = torch.stack([2 * surface.uv[..., 0] - 1, 1 - 2 * surface.uv[..., 1]], dim=3).to(textures.device)
    colours = functional.grid_sample(
        textures.expand(len(grid), -1, -1, -1), grid, mode="bilinear", padding_mode="border", align_corners=False
    )
    return colours * (surface.shade * surface.mask).to(textures.device)


def reduced(colours: Tensor, mask: Tensor, factor: int) -> tuple[Tensor, Tensor]:
    """Weighted colours and masks in [0, 1] of images `factor` times smaller: means over factor x factor pixels."""
    return functional.avg_pool2d(colours, factor), functional.avg_pool2d(mask, factor)


# --- Pixels -----------------------------------------------------------------------------------------------------------


def _some(geometry: Geometry, cameras: Cameras, side: int, light: Light) -> Surface:
    views = len(cameras.eye)
    places, depth = cameras.seen(geometry.points)
    places, depth = (places * side).view(views, -1, 3, 2), depth.view(views, -1, 3)
    pixel, facet, weights, deep = _covered(places, depth, side)
    order = (deep * _DEPTH_STEPS).round().long() << _FACET_BITS | facet
    nearest = torch.full((views * side * side,), torch.iinfo(torch.int64).max)
    nearest.scatter_reduce_(0, pixel, order, "amin")
    won = nearest[pixel] == order
    pixel, facet, weights, deep = pixel[won], facet[won], weights[won], deep[won]

    def filled(values: Tensor) -> Tensor:
        image = torch.zeros(views * side * side, values.shape[1])
        image[pixel] = values.float()
        return image.view(views, side, side, -1)

    shade = light.shade(geometry.normals)[facet]
    return Surface(
        uv=filled((weights[:, :, None] * geometry.uvs[facet]).sum(1)),
        shade=filled(shade).permute(0, 3, 1, 2).contiguous(),
        depth=filled(deep[:, None])[..., 0],
        mask=filled(torch.ones(len(pixel), 1)).permute(0, 3, 1, 2).contiguous(),
    )


def _covered(places: Tensor, depth: Tensor, side: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Every pair of a pixel and a facet that covers its centre: pixel (p,), facet (p,), perspective weights of the
    facet's corners (p, 3), depth (p,)."""
    view, facet = torch.nonzero(_area(*places.unbind(2)) < 0, as_tuple=True)  # y points down: seen from outside
    places, depth = places[view, facet], depth[view, facet]
    first = (places.amin(1) - 0.5).ceil().clamp(min=0).long()
    last = (places.amax(1) - 0.5).floor().clamp(max=side - 1).long()
    size = (last - first + 1).clamp(min=0)
    count = size.prod(1)
    which = torch.repeat_interleave(torch.arange(len(count)), count)
    within = torch.arange(len(which)) - (count.cumsum(0) - count)[which]
    column = first[which, 0] + within % size[which, 0]
    row = first[which, 1] + within // size[which, 0]
    centre = torch.stack([column, row], dim=1) + 0.5
    a, b, c = places[which].unbind(1)
    parts = torch.stack([_area(centre, b, c), _area(a, centre, c), _area(a, b, centre)], dim=1)
    parts = parts / parts.sum(1, keepdim=True)
    inside = (parts >= -1e-9).all(1)  # edges belong to both neighbours: no gaps between them
    which, parts = which[inside], parts[inside]
    by_depth = parts / depth[which]
    deep = 1 / by_depth.sum(1)
    pixel = (view[which] * side + row[inside]) * side + column[inside]
    return pixel, facet[which], by_depth * deep[:, None], deep


def _area(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Twice the signed area of triangles in the plane."""
    first, second = b - a, c - a
    return first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0]
