"""Runs a search over images in flight: the engine of APGD, FAB and Square.

Each image has `group` rows (one for each target class, else one) that start together, advance together and leave
together, and a freed place is taken by the next image. What happens to an image therefore depends on its own rows only,
never on its company. An image leaves when one of its rows succeeds; a success counts when the model itself confirms it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from robustray.tasks.attacks.doors import Problem, check_arguments
from robustray.tasks.attacks.gradient.verdicts import Model
from robustray.tasks.attacks.gradient.view import GradientView
from robustray.tasks.attacks.precision import resolve_precision
from robustray.tasks.attacks.result import AttackResult
from robustray.tasks.attacks.search.norms import GEOMETRIES, Geometry
from robustray.tasks.attacks.search.record import Record
from robustray.tasks.attacks.settings import Plan

State = dict[str, Tensor]
"""What a search knows of images in flight: tensors (images, ...), mostly (images, group, ...)."""


def run_search(
    kind: type[Search],
    plan: Plan,
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    seed: int,
    indices: Sequence[int] | Tensor | None,
    mask: Tensor | None,
    num_looks: int = 1,
    **options: Any,
) -> AttackResult:
    """The call of every attack in `family`. num_looks: passes over which verdicts are averaged. options: of `kind`."""
    problem = check_arguments(plan, model, images, labels, indices=indices, objective=None, mask=mask, targets=None)
    precision = resolve_precision(str(images.device)) if plan.precision == "auto" else plan.precision
    with GradientView(model, precision=precision, shape=images.shape[1:]) as view:
        record = Record(problem, view, num_looks=num_looks)
        todo, warnings = record.look(model, plan.batch_size)
        search = kind(plan, problem, view, record, seed, **options)
        search.run(todo)
        return search.result(warnings)


class Search(ABC):
    """One kind of search. Its methods get n images (`items`) with tensors (n, group, ...) and mix no images."""

    def __init__(self, plan: Plan, problem: Problem, view: GradientView, record: Record, seed: int) -> None:
        self.plan, self.problem, self.view, self.record, self.seed = plan, problem, view, record, seed
        self.geometry: Geometry = GEOMETRIES[plan.norm]

    @property
    def group(self) -> int:
        """Rows of an image."""
        return 1

    @property
    def num_passes(self) -> int:
        """Images that one step of an image sends through the model at once."""
        return self.group

    @abstractmethod
    def start(self, items: Tensor, restart: Tensor) -> State:
        """The state of images that begin."""

    @abstractmethod
    def step(self, items: Tensor, restart: Tensor, state: State) -> tuple[State, Tensor, Tensor]:
        """Advance all rows once: (state, gone, ended).

        gone: (n,) bool, images of which a success was confirmed. ended: (n,) bool, all steps are done.
        """

    def finish(self, items: Tensor, state: State) -> None:
        """Offer the final points of images whose steps are over: `state["best"]` by default."""
        self.record.offer(self.rows(items), state["best"].flatten(0, 1))

    def result(self, warnings: tuple[str, ...]) -> AttackResult:
        return AttackResult(**self.record.fields(self.plan.norm), warnings=warnings)

    def run(self, todo: Tensor) -> None:
        """Search for every item of `todo`, with its restarts as long as none succeeded."""
        if len(todo) == 0:
            return
        capacity = max(1, self.plan.batch_size // self.num_passes)
        queue = deque((item, 0) for item in todo.tolist())
        device = self.problem.images.device
        items = restart = torch.zeros(0, dtype=torch.int64, device=device)
        state: State = {}
        while queue or len(items):
            if queue and len(items) < capacity:
                entries = [queue.popleft() for _ in range(min(capacity - len(items), len(queue)))]
                new_items, new_restart = torch.tensor(entries, device=device).T
                new = self.start(new_items, new_restart)
                state = {name: torch.cat((state[name], new[name])) for name in new} if len(items) else new
                items, restart = torch.cat((items, new_items)), torch.cat((restart, new_restart))
            state, gone, ended = self.step(items, restart, state)
            over = ended & ~gone
            if over.any():
                self.finish(items[over], {name: value[over] for name, value in state.items()})
                for item, run in zip(items[over].tolist(), restart[over].tolist(), strict=True):
                    if run + 1 < self.plan.num_restarts and not self.record.success[item]:
                        queue.append((item, run + 1))
            if (gone | ended).any():
                stay = ~(gone | ended)
                items, restart = items[stay], restart[stay]
                state = {name: value[stay] for name, value in state.items()}

    # Helpers for the searches below.

    def rows(self, items: Tensor) -> Tensor:
        """(n * group,): the item of each row."""
        return items.repeat_interleave(self.group)

    def fold(self, values: Tensor) -> Tensor:
        """(n * group, ...) -> (n, group, ...)"""
        return values.unflatten(0, (-1, self.group))

    def confirm(self, items: Tensor, points: Tensor, candidates: Tensor) -> Tensor:
        """(n, group) bool: which of the points (n, group, ...) chosen by `candidates` (n, group) do succeed."""
        confirmed = candidates.clone()
        if candidates.any():
            image, row = candidates.nonzero().T
            confirmed[image, row] = self.record.offer(items[image], points[image, row])
        return confirmed

    def masked(self, values: Tensor, rows: Tensor) -> Tensor:
        return values if self.problem.mask is None else values * self.problem.mask[rows]

    def count(self, items: Tensor, passes: int = 1) -> None:
        """Every row of these images went through the model."""
        self.record.num_evaluations[items] += passes * self.group

    def random_direction(self, rows: Tensor, numbers: Tensor) -> Tensor:
        """(rows, ...): random perturbations of length 1 in the norm, within the mask. numbers: the draw of each row."""
        shape = self.problem.images.shape[1:]
        indices = self.problem.indices[rows]
        drawn = self.masked(self.geometry.draw(self.seed, self.plan.stream, numbers, indices, shape), rows)
        length = self.geometry.size(drawn).view(-1, *[1] * len(shape))
        return drawn / torch.where(length > 0, length, 1)


def pick(chosen: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """(n, group, ...): rows of `new` where `chosen` (n, group), else of `old`; both finite.

    At weights 0 and 1 `lerp` is exact; on a CPU `where` takes many times as long.
    """
    return torch.lerp(old, new, chosen.to(old.dtype).view(*chosen.shape, *[1] * (old.ndim - chosen.ndim)))
