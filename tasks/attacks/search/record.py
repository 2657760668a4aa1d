"""What a search knows of each image for sure."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from robustray.tasks.attacks.doors import Problem, check_class_range
from robustray.tasks.attacks.gradient.refusals import Model, refuse_probabilities
from robustray.tasks.attacks.gradient.view import GradientView, repeat_warnings
from robustray.tasks.attacks.objective import Margin, ModelOutput
from robustray.tasks.attacks.search.norms import GEOMETRIES
from robustray.tasks.attacks.settings import MIN_BATCH, Norm


class Record:
    """For each image the best point that was confirmed: one that succeeds, else the one of largest margin
    (largest other logit minus the label's), which is `AttackResult.loss`.

    `offer` and `look` are the only places where a verdict is made: by `GradientView.evaluate`, in full precision.
    """

    def __init__(self, problem: Problem, view: GradientView, *, num_looks: int = 1) -> None:
        """num_looks: logits are the mean of so many passes."""
        self.problem, self.view, self.num_looks = problem, view, num_looks
        images, count = problem.images, len(problem.images)
        self.images = images.clone()
        self.loss = images.new_full((count,), -torch.inf)
        self.success = torch.zeros(count, dtype=torch.bool, device=images.device)
        self.predictions = torch.zeros(count, dtype=torch.int64, device=images.device)
        self.num_evaluations = torch.zeros(count, dtype=torch.int64, device=images.device)
        self.first_gradient = images.new_full((count,), torch.nan)
        self.clean_logits = images.new_zeros(count, 0)
        self.clean_predictions = self.predictions.clone()

    def look(self, model: Model, batch_size: int) -> tuple[Tensor, tuple[str, ...]]:
        """The clean images: keeps them all, returns the items that are classified correctly, and warnings.

        Raises: InputError for classes that the model does not have, and for probabilities.
        """
        images = self.problem.images
        if len(images) == 0:
            return self.predictions, ()
        probe = self.view.evaluate(images[:MIN_BATCH]).logits
        check_class_range("labels", self.problem.labels, probe.shape[1], model)
        self.clean_logits = images.new_zeros(len(images), probe.shape[1])
        for items in torch.arange(len(images), device=images.device).split(batch_size):
            self.clean_logits[items] = self._keep(items, images[items])
        refuse_probabilities(self.clean_logits, model)
        self.clean_predictions = self.clean_logits.argmax(1)
        again = self.clean_logits[:MIN_BATCH]
        return (~self.success).nonzero()[:, 0], repeat_warnings(model, self.view, images[:MIN_BATCH], probe, again)

    def offer(self, items: Tensor, images: Tensor) -> Tensor:
        """Look at candidates (rows, ...) of `items` and keep the better ones; returns which of them succeed.

        An item may occur several times: rows that succeed are better than others, then those of larger margin.
        """
        success = torch.zeros(len(items), dtype=torch.bool, device=items.device)
        for rows in torch.arange(len(items), device=items.device).split(128):
            # Rows of one item are offered one after another: writing them at once would leave the winner to chance.
            for turn in _turns(items[rows]):
                chosen = rows[turn]
                logits = self._keep(items[chosen], images[chosen])
                success[chosen] = logits.argmax(1) != self.problem.labels[items[chosen]]
        return success

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

    def _keep(self, items: Tensor, images: Tensor) -> Tensor:
        """Logits of different `items`, which are written down where they are better than what is known."""
        logits = self.view.evaluate(images).logits
        for _ in range(self.num_looks - 1):
            logits = logits + self.view.evaluate(images).logits
        if self.num_looks > 1:
            logits = logits / self.num_looks
        self.num_evaluations[items] += self.num_looks
        labels = self.problem.labels[items]
        loss = Margin().loss(ModelOutput(logits), images, labels)
        predictions = logits.argmax(1)
        success = predictions != labels
        known = self.success[items]
        better = (success & ~known) | ((loss > self.loss[items]) & (success >= known))
        at = items[better]
        self.images[at], self.loss[at] = images[better], loss[better]
        self.success[at], self.predictions[at] = success[better], predictions[better]
        return logits


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
