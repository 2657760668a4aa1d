"""Runs a plan over images: steps from one or several starts, with rows that leave when they are finished.

The rows of a batch are images in flight, each with its own start and step counter. A row leaves as soon as its fate is
known and the next image takes its place, so the model always sees full batches (docs/design/attacks.md). No
operation couples rows: an image's result does not depend on which others travel with it.

Steps may use a faster stand-in of the model (`GradientView`). Where it sees a success, the row waits until the
unmodified fp32 model has looked at it; a row that is refused there takes its next step as if nothing had been seen.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from robustray.tasks.attacks.doors import Problem, check_arguments, check_class_range
from robustray.tasks.attacks.gradient.refusals import Model, refuse_probabilities
from robustray.tasks.attacks.gradient.view import GradientView, repeat_warnings
from robustray.tasks.attacks.objective import ModelOutput, Objective, class_goal
from robustray.tasks.attacks.precision import Arithmetic, resolve_precision
from robustray.tasks.attacks.result import AttackResult
from robustray.tasks.attacks.search.norms import GEOMETRIES
from robustray.tasks.attacks.search.record import noted
from robustray.tasks.attacks.settings import MIN_BATCH, Plan
from robustray.tasks.errors import InputError


def run_attack(
    plan: Plan,
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    seed: int = 0,
    indices: Sequence[int] | Tensor | None = None,
    objective: Objective | None = None,
    mask: Tensor | None = None,
    targets: Tensor | None = None,
) -> AttackResult:
    """The call of every attack in `settings`; arguments, result and errors are described there."""
    problem = check_arguments(
        plan, model, images, labels, indices=indices, objective=objective, mask=mask, targets=targets
    )
    kept = _Kept(problem)
    if len(images) == 0:
        return kept.result(plan, "fp32", folded=False, warnings=())
    precision = resolve_precision(str(images.device)) if plan.precision == "auto" else plan.precision
    with GradientView(
        model,
        needs_latent=problem.objective.needs_latent,
        fake_relu=problem.objective.fake_relu,
        no_relu=problem.objective.no_relu,
        precision=precision,
        shape=problem.images.shape[1:],
    ) as view:
        todo, warnings = _look_at_clean_images(plan, problem, model, view, kept)
        _Search(plan, problem, view, kept, seed).run(todo)
        return kept.result(plan, view.precision, folded=view.folded, warnings=warnings)


# --- What is known about each image -----------------------------------------------------------------------------------


class _Kept:
    """For each image the iterate that would be returned now. All tensors have one entry per image."""

    def __init__(self, problem: Problem) -> None:
        images, count = problem.images, len(problem.images)
        self.clean = images
        self.images = images.clone()
        self.loss = images.new_full((count,), -torch.inf)
        self.success = images.new_zeros(count, dtype=torch.bool)
        self.predictions = images.new_zeros(count, dtype=torch.int64)
        self.clean_predictions = self.predictions.clone()
        self.num_evaluations = torch.zeros(count, dtype=torch.int64)
        self.first_gradient = images.new_full((count,), torch.nan)

    def offer(self, items: Tensor, iterates: _Scored, *, best_by: Literal["loss", "success"]) -> None:
        """Keep the iterates (rows) of `items` where they are better than what is kept.

        best_by: "loss", strictly higher; or "success": one that succeeds beats any that does not, then higher loss.
        """
        better = iterates.loss > self.loss[items]
        if best_by == "success":
            better = (iterates.success & ~self.success[items]) | (better & (iterates.success >= self.success[items]))
        items = items[better]
        self.images[items] = iterates.images[better]
        self.loss[items] = iterates.loss[better]
        self.success[items] = iterates.success[better]
        self.predictions[items] = iterates.predictions[better]

    def result(self, plan: Plan, precision: Arithmetic, *, folded: bool, warnings: tuple[str, ...]) -> AttackResult:
        distance = GEOMETRIES[plan.norm].size(self.images - self.clean) if len(self.images) else self.loss
        return AttackResult(
            images=self.images,
            success=self.success,
            loss=self.loss,
            distance=distance,
            predictions=self.predictions,
            clean_predictions=self.clean_predictions,
            num_evaluations=self.num_evaluations.to(self.images.device),
            first_gradient=self.first_gradient,
            warnings=warnings,
            precision=precision,
            folded=folded,
        )


@dataclass(frozen=True, eq=False)
class _Scored:
    """Iterates with what the model says of them, one row each."""

    images: Tensor
    loss: Tensor
    success: Tensor
    predictions: Tensor

    def __getitem__(self, rows: Tensor) -> _Scored:
        return _Scored(self.images[rows], self.loss[rows], self.success[rows], self.predictions[rows])


def _score(problem: Problem, items: Tensor, images: Tensor, loss: Tensor, output: ModelOutput) -> _Scored:
    goal = problem.objective.success(output, images, problem.state[items])
    success = class_goal(output.logits, problem.labels[items], targeted=False) if goal is None else goal
    return _Scored(images, loss, success, output.logits.argmax(dim=1))


# --- The clean images -------------------------------------------------------------------------------------------------


def _look_at_clean_images(
    plan: Plan, problem: Problem, model: Model, view: GradientView, kept: _Kept
) -> tuple[Tensor, tuple[str, ...]]:
    """One forward pass of every image: keeps those on which the goal is already reached, returns the other items.

    Raises: InputError for classes the model does not have, probabilities, and exit rules the objective cannot serve.
    """
    objective, todo, all_logits = problem.objective, [], []
    probe = view.evaluate(problem.images[:MIN_BATCH]).logits
    check_class_range("labels", problem.labels, probe.shape[1], model)
    if plan.targeted:
        check_class_range("targets", problem.state, probe.shape[1], model)
    for items in torch.arange(len(problem.images), device=problem.images.device).split(plan.batch_size):
        images, state = problem.images[items], problem.state[items]
        loss, output = view.value(images, state, objective)
        kept.num_evaluations[items.cpu()] += 1
        has_goal = objective.success(output, images, state) is not None
        if not has_goal and plan.exit_rule == "first_success":
            name = type(objective).__name__
            raise InputError(f"{name} has no success to exit at: set exit_rule to 'last' or 'best_loss'")
        clean = _score(problem, items, images, loss, output)
        kept.clean_predictions[items] = clean.predictions
        leaves = clean.success & (has_goal and not plan.attack_misclassified)
        kept.offer(items[leaves], clean[leaves], best_by="success")
        todo.append(items[~leaves])
        all_logits.append(output.logits)
    logits = torch.cat(all_logits)
    refuse_probabilities(logits, model)
    return torch.cat(todo), repeat_warnings(model, view, problem.images[:MIN_BATCH], probe, logits[:MIN_BATCH])


# --- The search -------------------------------------------------------------------------------------------------------


LOOK_AT = 32
"""Rows that wait for the unmodified model before it looks at them: its speed per row is flat from here up."""


@dataclass(eq=False)
class _Rows:
    """Images in flight. Counters live on the CPU: unless successes count, the flow of rows waits for no GPU."""

    items: Tensor
    restart: Tensor
    step: Tensor
    """t of the iterate x_t in `images`."""
    images: Tensor
    onward: Tensor
    """x_(t+1) where it is known already, else x_t."""

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, rows: Tensor | slice) -> _Rows:
        at = rows.to(self.images.device) if isinstance(rows, Tensor) else rows
        return _Rows(self.items[rows], self.restart[rows], self.step[rows], self.images[at], self.onward[at])

    def __add__(self, other: _Rows) -> _Rows:
        if len(other) == 0 or len(self) == 0:
            return other if len(self) == 0 else self
        return _Rows(
            torch.cat((self.items, other.items)),
            torch.cat((self.restart, other.restart)),
            torch.cat((self.step, other.step)),
            torch.cat((self.images, other.images)),
            torch.cat((self.onward, other.onward)),
        )

    def moved(self) -> _Rows:
        return _Rows(self.items, self.restart, self.step + 1, self.onward, self.onward)


class _Search:
    """An image has at most one row at a time, so what is kept of it is written without conflict."""

    def __init__(self, plan: Plan, problem: Problem, view: GradientView, kept: _Kept, seed: int) -> None:
        self.plan, self.problem, self.view, self.kept, self.seed = plan, problem, view, kept, seed
        self.geometry = GEOMETRIES[plan.norm]
        self.queue: deque[tuple[int, int]] = deque()
        """(item, restart) that wait for a free row."""
        self.waiting = self._start(0)
        """Rows that wait for a look: last iterates x_T, and iterates in which the stand-in saw a success."""
        self.refused = self._start(0)
        """Rows that go on, once a row is free: the unmodified model saw no success."""

    def run(self, todo: Tensor) -> None:
        plan = self.plan
        self.queue.extend((item, 0) for item in todo.tolist())
        rows = self._start(0)
        while self.queue or len(rows) or len(self.waiting) or len(self.refused):
            free = plan.batch_size - len(rows)
            rows, self.refused = rows + self.refused[:free], self.refused[free:]
            rows = rows + self._start(plan.batch_size - len(rows))
            there = rows.step == plan.num_steps
            rows, self.waiting = rows[~there], self.waiting + rows[there]
            if len(self.waiting) >= min(LOOK_AT, plan.batch_size) or not (len(rows) or self.queue):
                looked, self.waiting = self.waiting[: plan.batch_size], self.waiting[plan.batch_size :]
                self._look(looked)
            elif len(rows) == plan.batch_size or not self.queue:
                rows = self._step(rows)
        if plan.exit_rule == "best_loss" and not self.view.exact:
            self._look_again(todo)

    def _start(self, free: int) -> _Rows:
        """The next `free` entries of the queue at their first iterate x_0."""
        entries = [self.queue.popleft() for _ in range(min(free, len(self.queue)))]
        items = torch.tensor([item for item, _ in entries], dtype=torch.int64)
        restart = torch.tensor([restart for _, restart in entries], dtype=torch.int64)
        at = items.to(self.problem.images.device)
        images = self.problem.images[at]
        if self.plan.random_start and entries:
            indices = self.problem.indices[at]
            drawn = self.geometry.draw(self.seed, self.plan.stream, restart, indices, images.shape[1:])
            start = self.plan.eps * self.geometry.start(self._masked(drawn, at))
            images = self.geometry.project(images + start, images, self.plan.eps)
        return _Rows(items, restart, torch.zeros_like(items), images, images)

    def _step(self, rows: _Rows) -> _Rows:
        """One gradient pass and one step; rows whose iterate ends the search under "first_success" leave."""
        plan, problem = self.plan, self.problem
        items = rows.items.to(rows.images.device)
        centre = problem.images[items]
        loss, gradient, largest, output = self.view.follow(rows.images, problem.state[items], problem.objective)
        self.kept.num_evaluations[rows.items] += 1
        self.kept.first_gradient[items] = noted(self.kept.first_gradient[items], largest)
        ascent = plan.step_size * self.geometry.direction(self._masked(gradient, items))
        rows.onward = self.geometry.project(rows.images + ascent, centre, plan.eps)
        if plan.exit_rule != "last":
            scored = _score(problem, items, rows.images, loss, output)
            if plan.exit_rule == "best_loss":
                self.kept.offer(items, scored, best_by="loss")
            elif scored.success.any():
                if self.view.exact:
                    self.kept.offer(items[scored.success], scored[scored.success], best_by="success")
                else:
                    self.waiting += rows[scored.success.cpu()]
                rows = rows[~scored.success.cpu()]
        return rows.moved()

    def _look(self, rows: _Rows) -> None:
        """The verdict on iterates (no gradient). Queues the next start of images that want one."""
        plan, problem = self.plan, self.problem
        items = rows.items.to(rows.images.device)
        # Under "best_loss" an iterate competes with those seen during the search, on equal terms.
        look = self.view.estimate if plan.exit_rule == "best_loss" else self.view.value
        loss, output = look(rows.images, problem.state[items], problem.objective)
        self.kept.num_evaluations[rows.items] += 1
        scored = _score(problem, items, rows.images, loss, output)
        success, last = scored.success.cpu(), rows.step == plan.num_steps
        counts = (last | success).to(items.device)
        self.kept.offer(items[counts], scored[counts], best_by="loss" if plan.exit_rule == "best_loss" else "success")
        self.refused += rows[~last & ~success].moved()
        again = last & (rows.restart + 1 < plan.num_restarts)
        if plan.exit_rule != "best_loss":
            again &= ~success
        self.queue.extend(zip(rows.items[again].tolist(), (rows.restart[again] + 1).tolist(), strict=True))

    def _look_again(self, todo: Tensor) -> None:
        """The verdict on what was chosen by the stand-in's loss."""
        plan, problem, kept = self.plan, self.problem, self.kept
        for items in todo.split(plan.batch_size):
            loss, output = self.view.value(kept.images[items], problem.state[items], problem.objective)
            kept.num_evaluations[items.cpu()] += 1
            scored = _score(problem, items, kept.images[items], loss, output)
            kept.loss[items], kept.success[items] = scored.loss, scored.success
            kept.predictions[items] = scored.predictions

    def _masked(self, values: Tensor, items: Tensor) -> Tensor:
        return values if self.problem.mask is None else values * self.problem.mask[items]
