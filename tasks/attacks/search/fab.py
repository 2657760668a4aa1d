"""FAB: the nearest point that is classified wrongly (Croce and Hein, arXiv:1907.02044).

Each step linearises the boundary with a target class at the iterate, goes to that plane from the iterate and from the
clean image and mixes the two, so that the iterate slides along the boundary towards the clean image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from robustray.tasks.attacks.objective import Margin
from robustray.tasks.attacks.objectives_dlr import Gap, ranked_targets
from robustray.tasks.attacks.result import AttackResult
from robustray.tasks.attacks.search.planes import step_to_plane
from robustray.tasks.attacks.search.rows import Search, State, pick

MAX_BIAS, OVERSHOOT, BACK = 0.1, 1.05, 0.9
"""alpha_max: largest weight of the step from the clean image. eta: how far beyond the plane. beta: after a success,
where on the way from the clean image to it one goes on."""
FINAL_STEPS = 3
"""Of the line search between the clean image and the nearest success."""


@dataclass(frozen=True, kw_only=True, eq=False)
class NearestResult(AttackResult):
    """What FAB returns."""

    boundary: Tensor
    """(b,) float32: distance of the nearest point found that is not classified as the label, also beyond eps; 0 where
    the clean image is not; inf where none was found."""


class FabTSearch(Search):
    """One row for each target. `x`: where the next plane is taken; `best`: the nearest point that seems wrong."""

    def __init__(self, *args: Any, num_targets: int | None, smallest: bool = False) -> None:
        """num_targets: None for all classes. smallest: go on after a success within eps, to the nearest there is."""
        super().__init__(*args)
        self.smallest = smallest
        self.targets = ranked_targets(self.record.clean_logits, self.problem.labels, num_targets)
        self.boundary = torch.where(self.record.success, 0.0, torch.inf)

    @property
    def group(self) -> int:
        return self.targets.shape[1]

    def start(self, items: Tensor, restart: Tensor) -> State:
        rows = self.rows(items)
        centre = self.problem.images[rows]
        # The first search begins at the clean image, later ones within half the ball.
        numbers = (restart[:, None] * 2**16 + torch.arange(self.group, device=items.device)).flatten()
        radius = torch.where(numbers >= 2**16, self.plan.eps / 2, 0.0)
        x = (centre + _wide(radius, centre) * self.random_direction(rows, numbers)).clamp_(0, 1)
        return {
            "x": self.fold(x),
            "best": self.fold(centre),
            "best_distance": x.new_full((len(items), self.group), torch.inf),
            "k": torch.zeros_like(items),
        }

    def step(self, items: Tensor, restart: Tensor, state: State) -> tuple[State, Tensor]:
        x, centre = state["x"].flatten(0, 1), self.problem.images[self.rows(items)]
        normal, gap, largest = self._plane(items, x)
        self.record.note_gradients(items, largest)
        reached = self._slide(x, centre, normal, gap)
        wrong = self.fold(self._margins(items, reached) > 0)
        away = reached - centre
        distance = self.fold(self.geometry.size(away))
        within = wrong & (distance <= self.plan.eps)
        gone = torch.zeros_like(items, dtype=torch.bool)
        if not self.smallest:
            # Where the model itself does not agree, the point is not wrong and the search goes on from it.
            confirmed = self.confirm(items, self.fold(reached), within)
            wrong, gone = wrong & (~within | confirmed), confirmed.any(1)
            seen = torch.where(confirmed, distance, torch.inf).amin(1)
            self.boundary[items] = torch.minimum(self.boundary[items], seen)
        best, best_distance = _nearer(state, self.fold(reached), wrong, distance)
        back = away.mul_(BACK).add_(centre)
        moved = {
            "x": pick(wrong, self.fold(back), self.fold(reached)),
            "best": best,
            "best_distance": best_distance,
            "k": state["k"] + 1,
        }
        return moved, gone

    def finish(self, items: Tensor, state: State) -> None:
        """Line search from each row's nearest wrong point towards the clean image; offer what lies within eps."""
        rows, end = self.rows(items), state["best"].flatten(0, 1)
        centre = self.problem.images[rows]
        low, high = end.new_zeros(len(rows)), end.new_ones(len(rows))
        below, above = self._margins(items, centre), self._margins(items, end)
        for _ in range(FINAL_STEPS):
            # where a straight line through both margins is zero, and a little beyond
            share = -below / torch.where(above > below, above - below, 1)
            at = low + (high - low) * (share + 1e-3).clamp(0, 1)
            margin = self._margins(items, centre + _wide(at, end) * (end - centre))
            wrong = margin > 0
            low, below = torch.where(wrong, low, at), torch.where(wrong, below, margin)
            high, above = torch.where(wrong, at, high), torch.where(wrong, margin, above)
        nearest = centre + _wide(high, end) * (end - centre)
        distance = self.geometry.size(nearest - centre)
        found = torch.isfinite(state["best_distance"]).flatten()
        found[found.clone()] = self._is_wrong(rows[found], nearest[found])
        distance = self.fold(torch.where(found, distance, torch.inf))
        closest, row = distance.min(1)
        self.boundary[items] = torch.minimum(self.boundary[items], closest)
        within = closest <= self.plan.eps
        self.record.offer(items[within], self.fold(nearest)[within, row[within]])

    def result(self, warnings: tuple[str, ...]) -> NearestResult:
        return NearestResult(**self.record.fields(self.plan.norm), warnings=warnings, boundary=self.boundary)

    def _plane(self, items: Tensor, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Normal (rows, ...) and value (rows,) at x of z_target - z_label, linearised at x (rows, ...); and (n, any)
        the largest entries of the gradients that were taken."""
        rows = self.rows(items)
        pair = torch.stack((self.problem.labels[rows], self.targets[items].flatten()), 1)
        gap, normal, largest, _ = self.view.follow(x, pair, Gap())
        self.count(items)
        return self.masked(normal, rows), gap, self.fold(largest)

    def _slide(self, x: Tensor, centre: Tensor, normal: Tensor, gap: Tensor) -> Tensor:
        """One step of every row (rows, ...): a mixture of beyond the plane from x and beyond it from the centre."""
        at_centre = gap + (normal * (centre - x)).flatten(1).sum(1)
        # both projections are rows of one problem
        starts, normals = torch.cat((x, centre)).flatten(1), torch.cat((normal, normal)).flatten(1)
        steps = step_to_plane(self.plan.norm, starts, normals, torch.cat((gap, at_centre))).view(2, *x.shape)
        near, far = self.geometry.size(steps[0]), self.geometry.size(steps[1])
        bias = (near / torch.where(near + far > 0, near + far, 1)).clamp_max(MAX_BIAS)
        steps.mul_(OVERSHOOT)
        beyond_x, beyond_centre = x + steps[0], centre + steps[1]
        return torch.lerp(beyond_x, beyond_centre, _wide(bias, x)).clamp_(0, 1)

    def _margins(self, items: Tensor, points: Tensor) -> Tensor:
        """(rows,): largest other logit minus the label's, one forward pass."""
        self.count(items)
        return self.view.estimate(points, self.problem.labels[self.rows(items)], Margin())[0]

    def _is_wrong(self, rows: Tensor, points: Tensor) -> Tensor:
        """(rows,) bool, from the model itself; rows: the item of each point."""
        found = [
            self.view.evaluate(points[part]).logits.argmax(1) != self.problem.labels[rows[part]]
            for part in torch.arange(len(rows), device=rows.device).split(128)
            if len(part)
        ]
        self.record.num_evaluations += torch.bincount(rows, minlength=len(self.boundary))
        return torch.cat(found) if found else torch.zeros_like(rows, dtype=torch.bool)


class FabSearch(FabTSearch):
    """One row for each image, whose next plane is that of the class with the nearest boundary."""

    @property
    def group(self) -> int:
        return 1

    @property
    def num_passes(self) -> int:
        return self.targets.shape[1]

    def _plane(self, items: Tensor, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        others = self.num_passes
        rows = items.repeat_interleave(others)
        pair = torch.stack((self.problem.labels[rows], self.targets[items].flatten()), 1)
        points = x.repeat_interleave(others, 0)
        parts = [
            self.view.follow(points[part], pair[part], Gap())[:3]
            for part in torch.arange(len(rows), device=x.device).split(128)
        ]
        self.record.num_evaluations[items] += others
        gap = torch.cat([part[0] for part in parts]).view(-1, others)
        normal = self.masked(torch.cat([part[1] for part in parts]), rows).unflatten(0, (-1, others))
        flat = normal.flatten(2)
        dual = flat.abs().sum(2) if self.plan.norm == "linf" else torch.linalg.vector_norm(flat, dim=2)
        nearest = torch.where(dual > 0, gap.abs() / dual, torch.inf).argmin(1)
        every = torch.arange(len(items), device=x.device)
        largest = torch.cat([part[2] for part in parts]).view(-1, others)
        return normal[every, nearest], gap[every, nearest], largest


def _nearer(state: State, points: Tensor, wrong: Tensor, distance: Tensor) -> tuple[Tensor, Tensor]:
    """`best` and `best_distance` after looking at points (n, group, ...)."""
    nearer = wrong & (distance < state["best_distance"])
    return pick(nearer, points, state["best"]), torch.where(nearer, distance, state["best_distance"])


def _wide(values: Tensor, like: Tensor) -> Tensor:
    """Trailing dimensions of size 1, to be combined with `like`."""
    return values.view(*values.shape, *[1] * (like.ndim - values.ndim))
