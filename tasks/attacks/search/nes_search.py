"""NES: PGD whose gradients are estimated from losses alone (arXiv:1804.08598, algorithm 1)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from robustray.tasks.attacks.objective import CrossEntropy
from robustray.tasks.attacks.search import noise
from robustray.tasks.attacks.search.norms import GEOMETRIES
from robustray.tasks.attacks.search.rows import Search, State


class NesSearch(Search):
    """State: `x` (n, ...), the iterate, and its number `k` (n,)."""

    def __init__(self, *args: Any, num_samples: int, radius: float, step_size: float) -> None:
        """radius: distance of the looked at points from the iterate, in l2 and pixel units."""
        super().__init__(*args)
        self.num_samples, self.radius, self.step_size = num_samples, radius, step_size

    @property
    def num_passes(self) -> int:
        return self.num_samples + 1

    def start(self, items: Tensor, restart: Tensor) -> State:
        centre = self.problem.images[items]
        away = self.plan.eps * self.random_direction(items, restart)
        return {"x": self.geometry.project(centre + away, centre, self.plan.eps), "k": torch.zeros_like(items)}

    def step(self, items: Tensor, restart: Tensor, state: State) -> tuple[State, Tensor]:
        x, k = state["x"], state["k"]
        wrong = self.view.estimate(x, self.problem.labels[items], CrossEntropy())[1].logits.argmax(1)
        self.count(items)
        gone = self.confirm(items, x[:, None], (wrong != self.problem.labels[items])[:, None])[:, 0]
        ended = k == self.plan.num_steps
        direction = self.geometry.direction(self._gradient(items, restart, k, x))
        moved = self.geometry.project(x + self.step_size * direction, self.problem.images[items], self.plan.eps)
        # images that have ended stay where they were looked at
        over = ended.view(-1, *[1] * (x.ndim - 1))
        return {"x": torch.where(over, x, moved), "k": k + 1}, gone

    def waits(self, state: State) -> Tensor:
        return state["k"] > self.plan.num_steps

    def finish(self, items: Tensor, state: State) -> None:
        self.record.offer(items, state["x"])

    def _gradient(self, items: Tensor, restart: Tensor, k: Tensor, x: Tensor) -> Tensor:
        """Up to a factor: the mean of loss(x + radius u) u over directions u and -u of length 1."""
        pairs = self.num_samples // 2
        shape = x.shape[1:]
        indices = self.problem.indices[items]
        number = restart * 2**32 + k
        drawn = noise.normal(self.seed, f"{self.plan.stream}/u", number, indices, (pairs, *shape), x.device)
        rows = items.repeat_interleave(pairs)
        unit = GEOMETRIES["l2"].direction(self.masked(drawn.flatten(0, 1), rows))
        around, labels = x.repeat_interleave(pairs, 0), self.problem.labels[rows]
        losses = []
        for sign in (1, -1):
            points = (around + sign * self.radius * unit).clamp(0, 1)
            parts = zip(points.split(128), labels.split(128), strict=True)
            losses.append(torch.cat([self.view.estimate(a, b, CrossEntropy())[0] for a, b in parts]))
        self.count(items, self.num_samples)
        weight = (losses[0] - losses[1]).view(-1, *[1] * len(shape))
        return (weight * unit).unflatten(0, (-1, pairs)).mean(1)
