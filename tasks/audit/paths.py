"""Do attacks behave as attacks on an honest model do: more steps, larger sizes and more knowledge help?"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from robustray.tasks.attacks.family import Square
from robustray.tasks.attacks.gradient.verdicts import Model, predict_logits
from robustray.tasks.attacks.settings import FGSM, PGD, Attack
from robustray.tasks.audit.findings import Finding, judged
from robustray.tasks.audit.rules import RULES
from robustray.tasks.audit.subject import Subject

GROWTH = (1.0, 2.0, 4.0)
"""Sizes at which a model is attacked, in units of the audit's."""
ROOM = 0.3
"""Share of images that gradients have to leave, for Square to have a chance of beating them."""
NUM_QUERIES = 500
"""Of Square."""
NUM_RESTARTS = 2
"""Of PGD-100."""


@dataclass
class Attacked:
    """What attacks broke. Every attack is run once."""

    subject: Subject
    known: dict[Attack, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def broken(self, attack: Attack) -> Tensor:
        """(b,) bool."""
        return self._run(attack)[0]

    def images(self, attack: Attack) -> Tensor:
        return self._run(attack)[1]

    def _run(self, attack: Attack) -> tuple[Tensor, Tensor]:
        if attack not in self.known:
            it = self.subject
            with torch.random.fork_rng(devices=[]):
                found = attack(it.model, it.images, it.labels, seed=it.seed, indices=it.indices)
            self.known[attack] = found.success, found.images
        return self.known[attack]


def pgd(subject: Subject, growth: float = 1.0, **settings: int | str) -> PGD:
    """PGD-20 of a size; in fp32, so that an audit says the same on all machines of a kind."""
    base: Mapping[str, object] = {"num_steps": 20, "precision": "fp32", **settings}
    return PGD(norm=subject.norm, eps=size(subject, growth), **base)  # type: ignore[arg-type]


def size(subject: Subject, growth: float) -> float:
    """In pixel units; never beyond what `anything` is."""
    return min(growth * subject.eps, anything(subject))


def anything(subject: Subject) -> float:
    """The size with which every image can be made grey."""
    return 0.5 if subject.norm == "linf" else 0.5 * math.sqrt(subject.images[0].numel())


def check_paths(subject: Subject, surrogate: Model | None = None) -> Iterator[Finding]:
    """The path of the loss, steps and restarts, one step, growing sizes, Square, and a given surrogate."""
    attacked = Attacked(subject)
    if subject.gradients:
        yield path(subject)
        yield from steps(attacked)
        yield from sizes(attacked)
    yield black_box(attacked)
    if surrogate is not None:
        yield transferred(attacked, surrogate)


def path(subject: Subject) -> Finding:
    """Whether the margin grows from the image to the best of PGD's iterates."""
    from robustray.tasks.attacks.objective import Margin

    attack = pgd(subject, exit_rule="best_loss")
    with torch.random.fork_rng(devices=[]):
        before = predict_logits(subject.model, subject.images)
        found = attack(
            subject.model,
            subject.images,
            subject.labels,
            seed=subject.seed,
            indices=subject.indices,
            objective=Margin(),
        )
    start = before.gather(1, subject.labels[:, None])[:, 0]
    rest = before.scatter(1, subject.labels[:, None], -math.inf).amax(1)
    flat = float((found.loss <= rest - start).float().mean())
    return judged(
        RULES,
        "loss along the path",
        flat,
        f"PGD-20 does not raise the loss of {flat:.0%} of the images at all",
        remedy="adaptive, square",
    )


def steps(attacked: Attacked) -> Iterator[Finding]:
    """20 steps beside 100 with restarts, and beside one."""
    subject = attacked.subject
    usual = attacked.broken(pgd(subject))
    longer = attacked.broken(pgd(subject, num_steps=100, num_restarts=NUM_RESTARTS))
    more = float((longer & ~usual).float().mean())
    yield judged(
        RULES,
        "more steps",
        more,
        f"100 steps and restarts break {more:.0%} of the images beyond what 20 steps break",
        remedy="more steps and restarts: apgd-ce, autoattack, adaptive",
    )
    single = attacked.broken(FGSM(norm=subject.norm, eps=size(subject, 1.0), precision="fp32"))
    only = float((single & ~usual).float().mean())
    yield judged(
        RULES,
        "one step",
        only,
        f"one step breaks {only:.0%} of the images that 20 steps leave",
        remedy="adaptive, square",
    )


def sizes(attacked: Attacked) -> Iterator[Finding]:
    """Success at growing sizes, up to the one at which anything is allowed."""
    subject = attacked.subject
    shares = [float(attacked.broken(pgd(subject, growth)).float().mean()) for growth in GROWTH]
    whole = PGD(norm=subject.norm, eps=anything(subject), num_steps=20, precision="fp32")
    last = float(attacked.broken(whole).float().mean())
    fall = max(0.0, *(before - after for before, after in zip(shares, [*shares[1:], last], strict=True)))
    yield judged(
        RULES,
        "larger sizes",
        fall,
        f"a larger size breaks {fall:.0%} of the images fewer than a smaller one",
        remedy="adaptive, square",
    )
    yield judged(
        RULES,
        "any size",
        last,
        f"PGD-20 breaks {last:.0%} of the images where every image may become grey: an attack that works breaks all",
        remedy="adaptive, square",
    )


def black_box(attacked: Attacked) -> Finding:
    """Square beside PGD-100 with restarts, at the largest size at which gradients leave something to break."""
    subject = attacked.subject
    if not subject.gradients:
        return Finding(check="square", verdict="not checked", because="there are no gradients to be beaten")
    growth = next((g for g in reversed(GROWTH) if _left(attacked, g) >= ROOM), GROWTH[0])
    strong = pgd(subject, growth, num_steps=100, num_restarts=NUM_RESTARTS)
    blind = Square(norm=subject.norm, eps=size(subject, growth), num_queries=NUM_QUERIES, precision="fp32")
    only = float((attacked.broken(blind) & ~attacked.broken(strong)).float().mean())
    return judged(
        RULES,
        "square",
        only,
        f"Square, which sees no gradients, breaks {only:.0%} of the images that PGD-100 leaves",
        remedy="square, adaptive",
    )


def _left(attacked: Attacked, growth: float) -> float:
    return 1 - float(attacked.broken(pgd(attacked.subject, growth)).float().mean())


def transferred(attacked: Attacked, surrogate: Model) -> Finding:
    """Examples made on `surrogate` beside PGD-100 with restarts on the model itself."""
    subject = attacked.subject
    crafted = pgd(subject, exit_rule="best_loss")(
        surrogate, subject.images, subject.labels, seed=subject.seed, indices=subject.indices
    )
    fooled = predict_logits(subject.model, crafted.images).argmax(1) != subject.labels
    left = (
        ~attacked.broken(pgd(subject, num_steps=100, num_restarts=NUM_RESTARTS))
        if subject.gradients
        else torch.ones_like(fooled)
    )
    only = float((fooled & left).float().mean())
    return judged(
        RULES,
        "transfer",
        only,
        f"examples made on another model break {only:.0%} of the images that gradients leave",
        remedy="transfer, adaptive, square",
    )
