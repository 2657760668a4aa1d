"""The nearest point of a hyperplane within [0, 1]^d: the step of FAB (arXiv:1907.02044 section 3.1)."""

from __future__ import annotations

import torch
from torch import Tensor

from robustray.tasks.attacks.settings import Norm

MAX_ROUNDS = 100
"""Of Newton's method below; 5 to 10 are usual. Stopping early leaves a point a little short of the plane."""


def step_to_plane(norm: Norm, x: Tensor, normal: Tensor, offset: Tensor) -> Tensor:
    """delta (rows, d): x + delta is the point nearest to x (rows, d) in [0, 1]^d with <normal, delta> = -offset.

    offset: (rows,), by how much <normal, x> is too large for the plane. Where the box does not reach the plane: to the
    corner nearest to it. Where the normal is zero: no step. Nothing mixes rows.

    With t the signs of the wanted change, coordinate i moves by t_i * min(level * u_i, room_i), where room_i is its
    distance to the box along t_i and u_i is 1 (linf) or |normal_i| (l2): the optimality condition of both norms.
    The level solves sum_i |normal_i| min(level * u_i, room_i) = |offset|. Its left side is concave and piecewise
    linear, so Newton's method from 0 rises monotonically and ends exactly; sorting the rooms would cost as much as the
    model.
    """
    largest = normal.abs().amax(1, keepdim=True)
    slope = normal / torch.where(largest > 0, largest, 1)
    # finite for the smallest normals too: far beyond any room, so these go to the corner
    wanted = (offset.abs() / torch.where(largest > 0, largest, 1)[:, 0]).clamp_max(1e30)
    toward = -offset.sign()[:, None] * slope.sign()
    slope = slope.abs()
    room = torch.where(toward > 0, 1 - x, torch.where(toward < 0, x, 0.0))
    if norm == "l2":
        gain, reach = slope * slope, room / torch.where(slope > 0, slope, 1)
    else:
        gain, reach = slope, room
    # level at which a coordinate meets the box: `reach`; its contribution until then: gain * level
    gain = torch.where(toward != 0, gain, 0.0)
    level = torch.zeros_like(wanted)
    rate = torch.full_like(wanted, -1.0)
    for _ in range(MAX_ROUNDS):
        free = (gain * (reach > level[:, None])).sum(1)
        # once no further coordinate meets the box, the last step was exact: a row that has ended stays as it is
        moves = (free > 0) & (free != rate)
        if not moves.any():
            break
        filled = (gain * torch.minimum(reach, level[:, None])).sum(1)
        level = torch.where(moves, level + ((wanted - filled) / torch.where(free > 0, free, 1)).clamp_min(0), level)
        rate = free
    return toward * torch.minimum(level[:, None] * (slope if norm == "l2" else 1.0), room)
