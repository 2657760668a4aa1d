"""APGD towards the classes whose boundary a local linear estimate puts nearest (MALT, arXiv:2407.02240)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from robustray.tasks.attacks.objectives_dlr import Gap
from robustray.tasks.attacks.search.apgd import ApgdTSearch

NUM_CANDIDATES = 100
"""Classes of the largest logits among which the order is made, as in the paper."""


class MaltSearch(ApgdTSearch):
    """As `ApgdTSearch`, with the targets in another order: by falling (z_t - z_y) / ||grad (z_t - z_y)|| at the clean
    image, the (negative) distance to the boundary if the network were linear. The norm is dual to that of the ball."""

    def __init__(self, *args: Any, num_targets: int) -> None:
        """One gradient of each attacked image for each candidate. Raises: InputError for fewer than four classes."""
        super().__init__(*args, num_targets=NUM_CANDIDATES)
        asked = (~self.record.success).nonzero()[:, 0]
        for items in asked.split(max(1, self.plan.batch_size // max(1, self.targets.shape[1]))):
            nearest = self._distances(items).argsort(dim=1, stable=True)
            self.targets[items] = self.targets[items].gather(1, nearest)
        self.targets = self.targets[:, :num_targets]

    def _distances(self, items: Tensor) -> Tensor:
        """(n, targets), by the linear estimate; inf where the gradient is zero."""
        rows = self.rows(items)
        pair = torch.stack((self.problem.labels[rows], self.targets[items].flatten()), 1)
        gap, normal, _, _ = self.view.follow(self.problem.images[rows], pair, Gap())
        self.count(items)
        flat = self.masked(normal, rows).flatten(1)
        dual = flat.abs().sum(1) if self.plan.norm == "linf" else torch.linalg.vector_norm(flat, dim=1)
        return self.fold(torch.where(dual > 0, -gap / dual, torch.inf))
