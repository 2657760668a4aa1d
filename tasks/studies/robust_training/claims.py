"""The claims that the study tests, each by a rule that was fixed before the run."""

from __future__ import annotations

from collections.abc import Iterator

from robustray.tasks.attacks.settings import Norm
from robustray.tasks.kit.claims import claim
from robustray.tasks.kit.outcomes import mean_difference
from robustray.tasks.kit.rules import above, below, within
from robustray.tasks.published import engstrom
from robustray.tasks.report.numbers import size_words
from robustray.tasks.studies.robust_training.results import STANDARD, Results
from robustray.tasks.study import Claim
from robustray.tasks.sweeps.masking import nothing_to_follow, withheld
from robustray.tasks.sweeps.traced import Followed

NOTHING_LEFT = 0.01
"""Accuracy below which "everything" is lost."""
AGREEMENT = 0.006
"""Within which 20 and 100 steps agree: what the published table shows for robust networks."""


def claims(results: Results) -> Iterator[Claim]:
    """In the order of the norms: the price, what it buys, what happens without, and whether PGD converged."""
    for norm in results.settings.norms:
        yield _price(results, norm)
        yield from (_gain(results, norm, eps) for eps in results.settings.eps_train(norm))
        yield _nothing_left(results, norm)
        robust = (each for each in results.followed if each.norm == norm and each.trained != STANDARD)
        yield from (_converged(results, each) for each in robust)


def _price(results: Results, norm: Norm) -> Claim:
    largest = results.settings.eps_train(norm)[-1]
    size = size_words(norm, largest)
    clean = {eps: results.standing(norm, eps, 0.0) for eps in (0.0, largest)}
    cells = {"standard": (0.0, 0.0), f"at {size}": (largest, 0.0)}
    return results.repeats.claim(
        f"Accuracy on clean images falls when a network is trained at {size}.",
        mean_difference(clean[largest], clean[0.0]),
        below(0),
        measured="clean accuracy minus that of the standard network, paired by seed and image",
        paper=engstrom.figure(results.settings.test_data, norm, cells),
    )


def _gain(results: Results, norm: Norm, eps: float) -> Claim:
    size = size_words(norm, eps)
    cells = {"standard": (0.0, eps), f"at {size}": (eps, eps)}
    found = results.repeats.claim(
        f"Accuracy under PGD at {size} rises when a network is trained at that size.",
        mean_difference(results.standing(norm, eps, eps), results.standing(norm, 0.0, eps)),
        above(0),
        measured=f"accuracy under PGD-{results.settings.test_steps} minus that of the standard network, paired by seed "
        "and image",
        paper=engstrom.figure(results.settings.test_data, norm, cells),
    )
    return withheld(found, "supported", doubtful=nothing_to_follow(results.records, attack="pgd", norm=norm))


def _nothing_left(results: Results, norm: Norm) -> Claim:
    eps = results.settings.reference_eps(norm)
    return results.repeats.claim(
        f"The standard network loses everything at {size_words(norm, eps)}.",
        results.accuracy(norm, 0.0, eps),
        below(NOTHING_LEFT),
        measured=f"accuracy under PGD-{results.settings.test_steps}",
        unit="percent",
        paper=engstrom.figure(results.settings.test_data, norm, {"standard": (0.0, eps)}),
    )


def _converged(results: Results, followed: Followed) -> Claim:
    eps, (few, many) = followed.eps, followed.traces
    size = size_words(followed.norm, eps)
    return claim(  # about an attack on given networks: one of a kind is enough
        f"On networks trained at {size}, PGD with {few} and with {many} steps leave the same accuracy to "
        f"{100 * AGREEMENT:g} points at that size.",
        followed.difference(),
        within(AGREEMENT),
        measured=f"accuracy after {few} minus accuracy after {many} steps of 2.5 ε / steps from the image itself, any "
        "iterate counts, paired by seed and image",
        over=results.repeats.over,
        unit="points",
        kind="check",
        paper=engstrom.steps(results.settings.test_data, followed.norm, eps),
    )
