"""What a search knows of each image for sure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from robustray.tasks.attacks.doors import Problem, check_class_range
from robustray.tasks.attacks.gradient.refusals import Model, refuse_probabilities
from robustray.tasks.attacks.gradient.view import GradientView, repeat_warnings
from robustray.tasks.attacks.objective import ModelOutput, class_goal
from robustray.tasks.attacks.search.norms import GEOMETRIES
from robustray.tasks.attacks.settings import MIN_BATCH, Norm, Plan
from robustray.tasks.errors import InputError


@dataclass(frozen=True, eq=False)
class Scored:
    """Points with what the model says of them, one row each."""

    images: Tensor
    loss: Tensor
    success: Tensor
    logits: Tensor

    def __getitem__(self, rows: Tensor) -> Scored:
        return Scored(self.images[rows], self.loss[rows], self.success[rows], self.logits[rows])


class Record:
    """For each image the best point so far: one that succeeds, else the one of largest loss.

    Verdicts are made in `judge` alone: by the unmodified model, in full precision.
    """

    def __init__(self, problem: Problem, view: GradientView) -> None:
        self.problem, self.view = problem, view
        images, count = problem.images, len(problem.images)
        self.images = images.clone()
        self.loss = images.new_full((count,), -torch.inf)
        self.success = torch.zeros(count, dtype=torch.bool, device=images.device)
        self.predictions = torch.zeros(count, dtype=torch.int64, device=images.device)
        self.num_evaluations = torch.zeros(count, dtype=torch.int64, device=images.device)
        self.first_gradient = images.new_full((count,), torch.nan)
        self.clean_logits = images.new_zeros(count, 0)
        self.clean_predictions = self.predictions.clone()

    def look(self, model: Model, plan: Plan, *, clean_counts: bool) -> tuple[Tensor, tuple[str, ...]]:
        """The clean images: the items that are to be attacked, and warnings. Kept are those that are not, as they reach
        their goal already, and if `clean_counts` all others too.

        Raises: InputError for classes that the model does not have, probabilities, and an exit rule that the objective
        cannot serve.
        """
        problem, images, objective = self.problem, self.problem.images, self.problem.objective
        first = slice(MIN_BATCH)
        probe = self.view.evaluate(images[first])
        num_classes = probe.logits.shape[1]
        check_class_range("labels", problem.labels, num_classes, model)
        if plan.targeted:
            check_class_range("targets", problem.state, num_classes, model)
        has_goal = objective.success(probe, images[first], problem.state[first]) is not None
        if not has_goal and plan.exit_rule == "first_success":
            name = type(objective).__name__
            raise InputError(f"{name} has no success to exit at: set exit_rule to 'last' or 'best_loss'")
        leaves = torch.zeros_like(self.success)
        self.clean_logits = images.new_zeros(len(images), num_classes)
        for items in torch.arange(len(images), device=images.device).split(plan.batch_size):
            clean = self.judge(items, images[items])
            self.clean_logits[items] = clean.logits
            done = clean.success & (has_goal and not plan.attack_misclassified)
            leaves[items] = done
            counts = done | clean_counts
            self.keep(items[counts], clean[counts])
        refuse_probabilities(self.clean_logits, model)
        self.clean_predictions = self.clean_logits.argmax(1)
        again = self.clean_logits[first]
        return (~leaves).nonzero()[:, 0], repeat_warnings(model, self.view, images[first], probe.logits, again)

    def judge(self, items: Tensor, images: Tensor, *, exact: bool = True) -> Scored:
        """One forward pass of points (items, ...). exact: a verdict; else as fast as the view is, to be confirmed."""
        look = self.view.value if exact else self.view.estimate
        loss, output = look(images, self.problem.state[items], self.problem.objective)
        self.num_evaluations[items] += self.view.passes_per_verdict
        return self.score(items, images, loss, output)

    def score(self, items: Tensor, images: Tensor, loss: Tensor, output: ModelOutput) -> Scored:
        """Points (items, ...) whose loss and output are known."""
        goal = self.problem.objective.success(output, images, self.problem.state[items])
        success = class_goal(output.logits, self.problem.labels[items], targeted=False) if goal is None else goal
        return Scored(images, loss, success, output.logits)

    def keep(self, items: Tensor, scored: Scored, *, by_loss: bool = False) -> None:
        """Write down points of different `items` where they are better than what is known.

        by_loss: of larger loss; else one that succeeds is better than any that does not, and larger loss comes second.
        """
        better = scored.loss > self.loss[items]
        if not by_loss:
            known = self.success[items]
            better = (scored.success & ~known) | (better & (scored.success >= known))
        at, found = items[better], scored[better]
        self.images[at], self.loss[at] = found.images, found.loss
        self.success[at], self.predictions[at] = found.success, found.logits.argmax(1)

    def offer(self, items: Tensor, images: Tensor) -> Tensor:
        """Look at candidates (rows, ...) of `items` and keep the better ones; returns which of them succeed.

        An item may occur several times: rows that succeed are better than others, then those of larger loss.
        """
        success = torch.zeros(len(items), dtype=torch.bool, device=items.device)
        for rows in torch.arange(len(items), device=items.device).split(128):
            # Rows of one item are offered one after another: writing them at once would leave the winner to chance.
            for turn in _turns(items[rows]):
                chosen = rows[turn]
                scored = self.judge(items[chosen], images[chosen])
                self.keep(items[chosen], scored)
                success[chosen] = scored.success
        return success

    def judge_kept(self, items: Tensor) -> None:
        """The verdict on points that were kept by an estimate."""
        scored = self.judge(items, self.images[items])
        self.loss[items], self.success[items] = scored.loss, scored.success
        self.predictions[items] = scored.logits.argmax(1)

    def note_gradients(self, items: Tensor, largest: Tensor) -> None:
        """largest: (items, group), of the rows of each image, as `GradientView.follow` gives it at every step."""
        self.first_gradient[items] = noted(self.first_gradient[items], largest.amax(1))

    def fields(self, norm: Norm) -> dict[str, Any]:
        """Of `AttackResult`, all but the warnings."""
        distance = GEOMETRIES[norm].size(self.images - self.problem.images) if len(self.images) else self.loss
        return {
            "images": self.images,
            "success": self.success,
            "loss": self.loss,
            "distance": distance,
            "predictions": self.predictions,
            "clean_predictions": self.clean_predictions,
            "num_evaluations": self.num_evaluations,
            "first_gradient": self.first_gradient,
            "precision": self.view.precision,
            "folded": self.view.folded,
        }


def noted(before: Tensor, largest: Tensor) -> Tensor:
    """`AttackResult.first_gradient` of some images after one more gradient of each. before: NaN if there was none."""
    return torch.where(before.isnan() | largest.isinf(), largest, before)


def _turns(items: Tensor) -> list[Tensor]:
    """Rows in groups without repeated items: the first row of every item, then every second one, and so on."""
    seen: dict[int, int] = {}
    turns: list[list[int]] = []
    for row, item in enumerate(items.tolist()):
        turn = seen[item] = seen.get(item, -1) + 1
        if turn == len(turns):
            turns.append([])
        turns[turn].append(row)
    return [torch.tensor(rows, device=items.device) for rows in turns]
