"""Does the model say the same of the same image: twice, and in other company?"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from robustray.tasks.attacks.gradient.verdicts import FrozenModel
from robustray.tasks.audit.findings import Finding, judged
from robustray.tasks.audit.rules import RULES
from robustray.tasks.audit.subject import Subject
from robustray.tasks.models.doors import company_gap

NUM_REPEATS = 3
"""How often the same images are shown again."""
NUM_COMPANIONS = 16
"""Images that are shown in different company."""


def check_stability(subject: Subject) -> Iterator[Finding]:
    """Randomness, and the company of the batch where the model is not random."""
    gap = repeated(subject)
    yield judged(
        RULES,
        "randomness",
        gap,
        "the model gives other logits when it sees the same images again: a success, or a failure, is a draw",
        remedy="autoattack-rand, or adaptive, which average over draws and let the majority of new ones decide",
    )
    if gap > 0:
        yield Finding(check="batch company", verdict="not checked")
        return
    yield judged(
        RULES,
        "batch company",
        company(subject),
        "an image's logits depend on the other images of its batch, so that there is no accuracy of single images",
        remedy="none: evaluate the model with statistics that do not depend on the batch",
    )


@torch.no_grad()
def repeated(subject: Subject) -> float:
    """Largest difference between logits of the same batch, relative to the largest logit. torch's generator is put
    back."""
    with FrozenModel(subject.model) as view, torch.random.fork_rng(devices=[]):
        first = view.evaluate(subject.images).logits
        again = [view.evaluate(subject.images).logits for _ in range(NUM_REPEATS)]
    return max(float((each - first).abs().max()) for each in again) / max(float(first.abs().max()), 1e-30)


@torch.no_grad()
def company(subject: Subject) -> float:
    """As `repeated`, of batches with other images beside the same ones."""
    with FrozenModel(subject.model) as view:

        def logits(batch: torch.Tensor) -> torch.Tensor:
            return view.evaluate(batch).logits

        return company_gap(logits, subject.images[:NUM_COMPANIONS])
