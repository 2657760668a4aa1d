"""What the report says: the answer in a sentence, claims by rules fixed before the run, and warnings."""

from __future__ import annotations

from collections.abc import Iterator

from robustray.tasks.attacks.settings import Norm
from robustray.tasks.kit import compose as kit
from robustray.tasks.kit.claims import claim
from robustray.tasks.kit.outcomes import mean_difference
from robustray.tasks.kit.rules import above, below, within
from robustray.tasks.kit.words import plural
from robustray.tasks.published import engstrom
from robustray.tasks.report.numbers import format_estimate, format_value, size_words
from robustray.tasks.studies.robust_training.drawings import drawn, pictures
from robustray.tasks.studies.robust_training.results import STANDARD, Results, label
from robustray.tasks.studies.robust_training.tables import stages, tables
from robustray.tasks.study import Claim, Findings
from robustray.tasks.sweeps.masking import lost_gradient_warnings, masking_warnings, nothing_to_follow, withheld
from robustray.tasks.sweeps.traced import Followed
from robustray.tasks.training.learnt import flag_warnings

NOTHING_LEFT = 0.01
"""Accuracy below which "everything" is lost."""
AGREEMENT = 0.006
"""Within which 20 and 100 steps agree: what the published table shows for robust networks."""


def compose(results: Results) -> Findings:
    """Everything that the report shows."""
    parts = claims(results), tables(results), drawn(results), pictures(results)
    return kit.compose(answer(results), *parts, warnings(results))


def answer(results: Results) -> str:
    """What training at the reference size of each norm costs and buys."""
    settings = results.settings
    return (
        f"{'; '.join(_answer(results, norm) for norm in settings.norms)} ({plural(settings.num_seeds, 'seed')}, "
        f"n = {results.num_images:,} images of {settings.test_data})."
    )


def _answer(results: Results, norm: Norm) -> str:
    settings = results.settings
    eps = settings.reference_eps(norm)
    robust, standard = (results.accuracy(norm, trained, eps) for trained in (eps, 0.0))
    clean = [format_value(results.accuracy(norm, trained, 0.0).value, "percent") for trained in (0.0, eps)]
    under = f"there under PGD-{settings.test_steps}"
    if results.autoattack is not None:
        strong = results.accuracy(norm, eps, eps, attack="autoattack")
        left = format_estimate(strong.value, strong.interval, "percent")
        under += f" ({left} of the first {settings.num_autoattack:,} images under AutoAttack)"
    return (
        f"{settings.model} trained at {size_words(norm, eps)} keeps "
        f"{format_estimate(robust.value, robust.interval, 'percent')} {under}, where a standard one keeps "
        f"{format_value(standard.value, 'percent')}, at the price of clean accuracy: {clean[1]} instead of {clean[0]}"
    )


# --- Claims -----------------------------------------------------------------------------------------------------------


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
    eps, (few, many) = followed.eps, followed.num_steps
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


# --- Warnings ---------------------------------------------------------------------------------------------------------


def warnings(results: Results) -> Iterator[str]:
    """Learning curves that went wrong, gradients that a network hides, and too few seeds."""
    yield from results.against
    for network, curve in results.curves.items():
        yield from flag_warnings(label(network), curve, results.settings.select)
    yield from lost_gradient_warnings(results.records)
    if results.autoattack is not None:
        yield from masking_warnings(results.autoattack, stages())
    yield from results.repeats.warnings("seed")
