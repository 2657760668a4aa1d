"""Runs a search over images in flight: the engine of PGD, NES and the members of AutoAttack.

Each image has `group` rows (one for each target class, else one) that start together, advance together and leave
together, and a freed place is taken by the next image, so the model always sees full batches (docs/design/attacks.md).
What happens to an image depends on its own rows only, never on its company.

Steps may use a faster stand-in of the model (`GradientView`). A success counts when the model itself confirms it.
Images that want a last look wait for each other, and those that it sends back take their next step as if nothing had
been seen.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from robustray.tasks.attacks.doors import Problem, check_arguments
from robustray.tasks.attacks.gradient.verdicts import Model
from robustray.tasks.attacks.gradient.view import GradientView
from robustray.tasks.attacks.objective import Objective
from robustray.tasks.attacks.precision import resolve_precision
from robustray.tasks.attacks.result import AttackResult
from robustray.tasks.attacks.search.norms import GEOMETRIES, Geometry
from robustray.tasks.attacks.search.record import Record
from robustray.tasks.attacks.settings import Plan

State = dict[str, Tensor]
"""What a search knows of images in flight: tensors (images, ...), mostly (images, group, ...)."""


LOOK_AT = 32
"""Images that wait for the unmodified model before it looks at them: its speed per row is flat from here up."""


def run_search(
    kind: type[Search],
    plan: Plan,
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    seed: int,
    indices: Sequence[int] | Tensor | None,
    objective: Objective | None,
    mask: Tensor | None,
    targets: Tensor | None,
    **options: Any,
) -> AttackResult:
    """The call of every attack in `settings` and `family`; arguments, result and errors are described there. options:
    of `kind`."""
    problem = check_arguments(
        plan, model, images, labels, indices=indices, objective=objective, mask=mask, targets=targets
    )
    view = open_view(plan, model, problem)
    record = Record(problem, view)
    if len(images) == 0:
        return kind(plan, problem, view, record, seed, **options).result(())
    with view:
        todo, warnings = record.look(model, plan, clean_counts=kind.clean_counts)
        search = kind(plan, problem, view, record, seed, **options)
        search.run(todo)
        return search.result(warnings)


def open_view(plan: Plan, model: Model, problem: Problem) -> GradientView:
    """The model as this problem's objective and the plan's precision want it, to be entered."""
    return GradientView(
        model,
        needs_latent=problem.objective.needs_latent,
        fake_relu=problem.objective.fake_relu,
        no_relu=problem.objective.no_relu,
        precision=resolve_precision(str(problem.images.device)) if plan.precision == "auto" else plan.precision,
        shape=problem.images.shape[1:],
        samples=plan.eot_samples,
    )


@dataclass(frozen=True, eq=False)
class Flight:
    """Images in flight, n of them."""

    items: Tensor
    """(n,) on the images' device."""
    restart: Tensor
    """(n,), number of the start."""
    state: State
    """Tensors on any device."""

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, chosen: Tensor | slice) -> Flight:
        def of(values: Tensor) -> Tensor:
            return values[chosen.to(values.device) if isinstance(chosen, Tensor) else chosen]

        return Flight(of(self.items), of(self.restart), {name: of(value) for name, value in self.state.items()})

    def __add__(self, other: Flight) -> Flight:
        if len(other) == 0 or len(self) == 0:
            return other if len(self) == 0 else self
        state = {name: torch.cat((value, other.state[name])) for name, value in self.state.items()}
        return Flight(torch.cat((self.items, other.items)), torch.cat((self.restart, other.restart)), state)

    def without(self, chosen: Tensor) -> Flight:
        """chosen: (n,) bool."""
        return self[~chosen] if chosen.any() else self


class Search(ABC):
    """One kind of search. Its methods get n images (`items`) with tensors (n, group, ...) and mix no images."""

    clean_counts: ClassVar[bool] = True
    """The clean image is a point like those that the search finds: returned where none is better."""

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
    def step(self, items: Tensor, restart: Tensor, state: State) -> tuple[State, Tensor]:
        """Advance all rows once: (state, gone). gone: (n,) bool, images of which a success was confirmed."""

    def waits(self, state: State) -> Tensor:
        """(n,) bool: images that want a look before any further step. By default those whose steps are done."""
        return state["k"] == self.plan.num_steps

    def look(self, items: Tensor, state: State) -> tuple[State, Tensor]:
        """What the model itself says of images that waited: (state, over). over: (n,) bool, images whose search ends;
        the others go on. By default all are over."""
        self.finish(items, state)
        return state, torch.ones_like(items, dtype=torch.bool)

    def finish(self, items: Tensor, state: State) -> None:
        """Offer the final points of images whose steps are done: `state["best"]` by default."""
        self.record.offer(self.rows(items), state["best"].flatten(0, 1))

    def result(self, warnings: tuple[str, ...]) -> AttackResult:
        return AttackResult(**self.record.fields(self.plan.norm), warnings=warnings)

    def run(self, todo: Tensor) -> None:
        """Search for every item of `todo`. An image starts again as long as no start succeeded; under "best_loss" in
        any case."""
        capacity = max(1, self.plan.batch_size // self.num_passes)
        queue = deque((item, 0) for item in todo.tolist())
        flying = waiting = back = Flight(todo[:0], todo[:0], {})
        while queue or len(flying) or len(waiting) or len(back):
            free = capacity - len(flying)
            flying, back = flying + back[:free], back[free:]
            flying = flying + self._begin(queue, capacity - len(flying))
            if len(flying) and (ready := self.waits(flying.state)).any():
                waiting, flying = waiting + flying[ready], flying[~ready]
            if len(waiting) >= min(LOOK_AT, capacity) or not (len(flying) or queue):
                looked, waiting = waiting[:capacity], waiting[capacity:]
                state, over = self.look(looked.items, looked.state)
                looked = replace(looked, state=state)
                queue.extend(self._again(looked[over]))
                back = back + looked[~over]
            elif len(flying) == capacity or not queue:
                state, gone = self.step(flying.items, flying.restart, flying.state)
                flying = replace(flying, state=state).without(gone)

    def _begin(self, queue: deque[tuple[int, int]], free: int) -> Flight:
        """The next `free` entries (item, number of the start) of the queue."""
        entries = [queue.popleft() for _ in range(min(free, len(queue)))]
        items, restart = torch.tensor(entries, dtype=torch.int64, device=self.problem.images.device).view(-1, 2).T
        return Flight(items, restart, self.start(items, restart) if entries else {})

    def _again(self, over: Flight) -> Iterator[tuple[int, int]]:
        """The next start of images that want one."""
        succeeded = self.record.success[over.items].tolist()
        for item, run, success in zip(over.items.tolist(), over.restart.tolist(), succeeded, strict=True):
            if run + 1 < self.plan.num_restarts and (self.plan.exit_rule == "best_loss" or not success):
                yield item, run + 1

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
