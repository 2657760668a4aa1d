"""APGD: steps whose size falls by itself (Croce and Hein, arXiv:2003.01690, section 3 and algorithm 1).

Step size and momentum belong to each row, and checkpoints count a row's own steps, so rows start and end at any time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor

from robustray.tasks.attacks.objective import CrossEntropy, Margin, Objective
from robustray.tasks.attacks.objectives_dlr import DLR, TargetedDLR, ranked_targets, require_classes
from robustray.tasks.attacks.search.rows import Search, State, pick

STEP, RISES = 2.0, 0.75
"""First step size in units of eps; the share of rising steps up to which it is halved (rho of the paper)."""
MOMENTUM = 0.25
"""Weight of the last displacement (1 - alpha of the paper)."""


def checkpoints(num_steps: int) -> list[int]:
    """Steps at which a row decides about its step size, ceil(p_j * num_steps) of p_0 = 0, p_1 = 0.22,
    p_{j+1} = p_j + max(p_j - p_{j-1} - 0.03, 0.06): 22, 41, 57, 70, 80, 87, 93, 99 of 100."""
    before, now, found = 0, 22, []  # in hundredths, exactly
    while now <= 100:
        found.append(-(-now * num_steps // 100))
        before, now = now, now + max(now - before - 3, 6)
    return sorted(set(found))


class ApgdSearch(Search):
    """Rows of the state: `x` (x_k, to be looked at next), `x_before` (x_{k-1}), `best` and its gradient and loss."""

    objective: ClassVar[Objective] = CrossEntropy()

    def __init__(self, *args: Any, num_gradients: int = 1, leaves_at: float = -math.inf) -> None:
        """num_gradients: passes over which a step's loss and gradient are averaged, for stochastic models. leaves_at:
        the loss that the record knows (the margin) from which on a success ends the search of its image."""
        super().__init__(*args)
        self.num_gradients, self.leaves_at = num_gradients, leaves_at
        device = self.problem.images.device
        points = [0, *checkpoints(self.plan.num_steps)]
        # for each step: how many steps since the last checkpoint, 0 where there is none
        self.spans = torch.zeros(self.plan.num_steps + 1, dtype=torch.int64, device=device)
        for before, point in pairwise(points):
            self.spans[point] = point - before

    def compared(self, items: Tensor) -> Tensor:
        """(rows, ...): the objective's state."""
        return self.problem.labels[items]

    def start(self, items: Tensor, restart: Tensor) -> State:
        rows = self.rows(items)
        centre = self.problem.images[rows]
        # one draw for every restart and target
        ranks = torch.arange(self.group, device=items.device)
        numbers = (restart[:, None] * 2**16 + ranks).flatten()
        away = self.plan.eps * self.random_direction(rows, numbers)
        x = self.fold(self.geometry.project(centre + away, centre, self.plan.eps))
        per_row = x.new_zeros(x.shape[:2])
        return {
            "x": x,
            "x_before": x,
            "best": x,
            "best_gradient": torch.zeros_like(x),
            "best_loss": per_row - torch.inf,
            "last_loss": per_row,
            "checked_loss": per_row - torch.inf,  # best loss at the last checkpoint
            "rises": per_row,
            "halved": torch.zeros_like(per_row, dtype=torch.bool),
            "size": per_row + STEP * self.plan.eps,
            "k": torch.zeros_like(per_row, dtype=torch.int64),
        }

    def step(self, items: Tensor, restart: Tensor, state: State) -> tuple[State, Tensor]:
        rows = self.rows(items)
        x, k = state["x"], state["k"]
        loss, gradient, wrong, largest = (self.fold(value) for value in self._look(x.flatten(0, 1), items))
        self.record.note_gradients(items, largest)

        rises = state["rises"] + (loss > state["last_loss"]) * (k > 0)
        better = loss > state["best_loss"]
        best = pick(better, x, state["best"])
        best_gradient = pick(better, gradient, state["best_gradient"])
        best_loss = torch.where(better, loss, state["best_loss"])

        span = self.spans[k]
        stuck = (rises <= RISES * span) | (~state["halved"] & (best_loss == state["checked_loss"]))
        at_checkpoint = span > 0
        halve = at_checkpoint & stuck
        size = torch.where(halve, state["size"] / 2, state["size"])
        at = x
        if halve.any():  # at few steps only
            at, gradient = pick(halve, best, x), pick(halve, best_gradient, gradient)

        project = self._projection(self.problem.images[rows])
        ahead = self.fold(self.geometry.direction(gradient.flatten(0, 1)))
        ahead = project(ahead.mul_(_wide(size, x)).add_(at))
        pushed = (ahead - at).mul_(1 - MOMENTUM).add_(at).add_((at - state["x_before"]).mul_(MOMENTUM))
        pushed = project(pushed)
        start = k == 0
        if start.any():
            pushed[start] = ahead[start]
        moved = {
            "x": pushed,
            "x_before": at,
            "best": best,
            "best_gradient": best_gradient,
            "best_loss": best_loss,
            "last_loss": torch.where(halve, best_loss, loss),
            "checked_loss": torch.where(at_checkpoint, best_loss, state["checked_loss"]),
            "rises": torch.where(at_checkpoint, 0.0, rises),
            "halved": torch.where(at_checkpoint, halve, state["halved"]),
            "size": size,
            "k": k + 1,
        }
        gone = self.confirm(items, x, wrong).any(1)
        return moved, gone & (self.record.loss[items] >= self.leaves_at)

    def waits(self, state: State) -> Tensor:
        return state["k"][:, 0] > self.plan.num_steps  # a step looks at x_k, the last one included

    def _look(self, x: Tensor, items: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """loss, gradient within the mask, whether the label is not predicted, and the gradient's largest entry, of rows
        (rows, ...)."""
        compared, rows = self.compared(items), self.rows(items)
        loss, gradient, largest, output = self.view.follow(x, compared, self.objective)
        logits = output.logits
        for _ in range(self.num_gradients - 1):
            more = self.view.follow(x, compared, self.objective)
            loss, gradient, logits = loss + more[0], gradient + more[1], logits + more[3].logits
            largest = torch.maximum(largest, more[2])
        self.count(items, self.num_gradients)
        wrong = logits.argmax(1) != self.problem.labels[rows]
        return loss / self.num_gradients, self.masked(gradient, rows), wrong, largest

    def _projection(self, centre: Tensor) -> Callable[[Tensor], Tensor]:
        """Back into the balls around centre (rows, ...), for tensors (n, group, ...) that may be written to."""
        eps = self.plan.eps
        if self.plan.norm == "linf":  # the geometry's own projection, which would find both ends again for each call
            low = self.fold((centre - eps).clamp_(min=0))
            high = self.fold((centre + eps).clamp_(max=1))
            return lambda x: x.clamp_(min=low, max=high)
        return lambda x: self.fold(self.geometry.project(x.flatten(0, 1), centre, eps))


class ApgdMarginSearch(ApgdSearch):
    objective = Margin()


class ApgdDLRSearch(ApgdSearch):
    objective = DLR()

    def __init__(self, *args: Any, num_gradients: int = 1, leaves_at: float = -math.inf) -> None:
        """Raises: InputError for fewer than three classes."""
        super().__init__(*args, num_gradients=num_gradients, leaves_at=leaves_at)
        if len(self.problem.images):
            require_classes(self.record.clean_logits.shape[1], 3, "the DLR loss")


class ApgdTSearch(ApgdSearch):
    """One row for each target: the classes that follow the label in the logits of the clean image."""

    objective = TargetedDLR()

    def __init__(self, *args: Any, num_targets: int) -> None:
        """Raises: InputError for fewer than four classes."""
        super().__init__(*args)
        if len(self.problem.images):
            require_classes(self.record.clean_logits.shape[1], 4, "the targeted DLR loss")
        self.targets = ranked_targets(self.record.clean_logits, self.problem.labels, num_targets)

    @property
    def group(self) -> int:
        return self.targets.shape[1]

    def compared(self, items: Tensor) -> Tensor:
        rows = self.rows(items)
        return torch.stack((self.problem.labels[rows], self.targets[items].flatten()), 1)


def _wide(values: Tensor, like: Tensor) -> Tensor:
    """(n, group) -> (n, group, 1, ...), to be combined with images (n, group, ...)."""
    return values.view(*values.shape, *[1] * (like.ndim - 2))
