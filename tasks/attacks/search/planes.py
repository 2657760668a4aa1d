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
    slope *= -offset.sign()[:, None]
    toward = slope.sign()
    # 1 - x upwards, x downwards (on a CPU `where` takes eight times as long)
    room = ((slope > 0).to(x.dtype) - x).abs_()
    slope.abs_()
    # `reach`: the level at which a coordinate meets the box; until then it contributes gain * level
    if norm == "l2":
        gain, reach, unit = slope * slope, room / slope.clamp_min(1e-30), slope
    else:
        gain, reach, unit = slope, room, torch.ones_like(slope[:, :1])
    level = _level(gain, reach, wanted)
    return torch.minimum(level[:, None] * unit, room).mul_(toward)


def _level(gain: Tensor, reach: Tensor, wanted: Tensor) -> Tensor:
    """(rows,): the solution of sum_i gain_i min(level, reach_i) = wanted, or beyond every reach if there is none."""
    level, slopes = torch.zeros_like(wanted), torch.full_like(wanted, -1.0)
    rows = torch.arange(len(wanted), device=wanted.device)
    for _ in range(MAX_ROUNDS):
        at = level[rows, None]
        slope = (gain * (reach > at)).sum(1)
        # Once no further coordinate meets the box, the last step was exact: such a row stays as it is.
        moves = (slope > 0) & (slope != slopes[rows])
        num_moves = int(moves.sum())
        if num_moves == 0:
            break
        if 2 * num_moves < len(rows):  # after two or three rounds few are left
            gain, reach, wanted, rows = gain[moves], reach[moves], wanted[moves], rows[moves]
            at, slope, moves = at[moves], slope[moves], moves[moves]
        short = (wanted - (gain * torch.minimum(reach, at)).sum(1)).clamp_min(0)
        level[rows] += torch.where(moves, short / torch.where(slope > 0, slope, 1), 0.0)
        slopes[rows] = slope
    return level
