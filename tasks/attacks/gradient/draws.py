"""A model that draws random numbers, one draw at a time.

Draw k of a model is a network like any other: it meets every image with the same numbers, those that the model would
draw for a single image after torch's generator was seeded with a function of (seed, what for, k). So what draw k says
of an image depends on neither the rest of its batch nor on who asks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from robustray.tasks.attacks.gradient.refusals import Model, describe
from robustray.tasks.attacks.settings import MIN_BATCH
from robustray.tasks.errors import InputError
from robustray.tasks.lab.seeds import integer, seed_torch

TOLERANCE = 1e-4
"""Largest difference between logits of a batch and of its images one by one, relative to the largest logit: beyond
rounding, batches are given up."""
AT_ONCE = 2048
"""Images times draws in one forward pass, about."""


class Draws:
    """All draws of one model, in evaluation mode while they are used (`models.watching.watched`)."""

    def __init__(self, model: Model, images: Tensor, *, seed: int) -> None:
        """images: a few (b > 0, ...), on which it is found out whether draws can be repeated, and taken for all images
        of a batch, and for several draws, at once (`torch.func.vmap`). What cannot goes one by one and takes longer.

        Raises: InputError for numbers that are not from torch's global generator.
        """
        self._model, self._seed = model, seed
        self._images_at_once = self._draws_at_once = False
        with torch.no_grad():
            alone = self.logits(images, "trial", 0)
            if not torch.equal(alone, self.logits(images, "trial", 0)):
                raise InputError(
                    f"{describe(model)} draws numbers that torch.manual_seed does not repeat (NumPy's, or those of a "
                    "generator of its own): draw them with torch's global generator"
                )
            self._images_at_once = True
            self._images_at_once = _agrees(lambda: self.logits(images, "trial", 0), lambda: alone)
            if self._images_at_once:
                self._draws_at_once = True
                self._draws_at_once = _agrees(
                    lambda: self._several(images, 2).flip(1), lambda: self._several(images.flip(0), 2)
                )

    def logits(self, images: Tensor, what: str, number: int) -> Tensor:
        """(b, classes) of draw `number` for the purpose `what`; images (b > 0, ...)."""
        seed = integer(self._seed, what, number)
        with restored(images):
            if self._images_at_once:
                seed_torch(seed)
                found: Tensor = torch.func.vmap(self._one, randomness="same")(images)
                return found
            rows = []
            for image in images:
                seed_torch(seed)
                rows.append(self._one(image))
            return torch.stack(rows)

    @torch.no_grad()
    def votes(self, images: Tensor, what: str, count: int) -> tuple[Tensor, Tensor]:
        """How many of `count` draws answer each class, (b, classes) int64, and the mean probabilities."""
        if self._draws_at_once:
            parts = images.split(max(MIN_BATCH, AT_ONCE // count // MIN_BATCH * MIN_BATCH))
            found = torch.cat([self._several(part, count, what) for part in parts], dim=1).float()
        else:
            found = torch.stack([self.logits(images, what, number) for number in range(count)]).float()
        answers = torch.nn.functional.one_hot(found.argmax(2), found.shape[2])
        return answers.sum(0), found.softmax(2).mean(0)

    def _several(self, images: Tensor, count: int, what: str = "trial") -> Tensor:
        """(count, b, classes)"""

        def draw(_: Tensor) -> Tensor:
            return torch.func.vmap(self._one, randomness="same")(images)

        with restored(images):
            seed_torch(integer(self._seed, what, count))
            found: Tensor = torch.func.vmap(draw, randomness="different")(torch.arange(count, device=images.device))
        return found

    def _one(self, image: Tensor) -> Tensor:
        return self._model(image[None])[0]


def _agrees(first: Callable[[], Tensor], second: Callable[[], Tensor]) -> bool:
    """Both are the same but for rounding. False where an operation is refused, or unknown to vmap."""
    try:
        found, wanted = first(), second()
    except Exception:  # whatever the model runs
        return False
    return float((found - wanted).abs().max()) <= TOLERANCE * float(wanted.abs().max())


class FollowedDraws:
    """What a search follows in the model's place, a function of images (b, ...).

    With gradients: the logits of the next draw, a new one at every pass (expectation over transformation,
    arXiv:1707.07397). Without: how many of `num_checks` draws, always the same, answer each class; their mean
    probabilities decide between equal numbers.
    """

    def __init__(self, draws: Draws, stage: str, num_checks: int) -> None:
        self._draws, self._stage = draws, stage
        self.passes_per_verdict = num_checks
        self._passed = 0

    def __call__(self, images: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            self._passed += 1
            return self._draws.logits(images, f"{self._stage} pass", self._passed)
        votes, shares = self._draws.votes(images, "check", self.passes_per_verdict)
        return votes + 0.5 * shares


@contextmanager
def restored(images: Tensor) -> Iterator[None]:
    """On leaving, torch's generators are put back: that of the CPU, and that of the GPU on which the images are."""
    with torch.random.fork_rng(devices=[images.device] if images.is_cuda else []):
        yield
