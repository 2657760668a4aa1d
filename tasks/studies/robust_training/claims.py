"""The claims that the study tests, each by a rule that was fixed before the run."""

from __future__ import annotations

from robustray.tasks.attacks.settings import Norm
from robustray.tasks.report.numbers import size_words
from robustray.tasks.statistics import Estimate
from robustray.tasks.studies.robust_training import published
from robustray.tasks.studies.robust_training.reduce import steps_difference
from robustray.tasks.studies.robust_training.results import Results, mean_difference
from robustray.tasks.study import Claim, Verdict

NOTHING_LEFT = 0.01
"""Accuracy below which "everything" is lost."""
AGREEMENT = 0.006
"""Within which 20 and 100 steps agree: what the published table shows for robust networks."""
LEAST_SEEDS = 2
FEW = f"; undecided with fewer than {LEAST_SEEDS} seeds"


def claims(results: Results) -> list[Claim]:
    """In the order of the norms: the price, what it buys, what happens without, and whether PGD converged."""
    found = []
    for norm in results.settings.norms:
        found.append(_price(results, norm))
        found += [_gain(results, norm, eps) for eps in results.settings.eps_train(norm)]
        found.append(_nothing_left(results, norm))
        if results.traces:
            found += [_converged(results, norm, eps) for eps in results.settings.eps_train(norm)]
    return found


def _price(results: Results, norm: Norm) -> Claim:
    largest = results.settings.eps_train(norm)[-1]
    clean = {eps: results.standing(norm, eps, 0.0) for eps in (0.0, largest)}
    difference = mean_difference(clean[largest], clean[0.0])
    return Claim(
        words=f"Accuracy on clean images falls when a network is trained at {size_words(norm, largest)}.",
        estimate=difference.value if difference.n else None,
        interval=difference.interval if difference.n else None,
        n=difference.n,
        unit="points",
        test="clean accuracy minus that of the standard network, paired by seed and image: supported if its 95 % "
        f"interval over seeds and images is below 0, contradicted if above{FEW}",
        verdict=_verdict(results, -difference.hi, -difference.lo),
        paper=published.figure(
            results.settings, norm, {"standard": (0.0, 0.0), f"at {size_words(norm, largest)}": (largest, 0.0)}
        ),
    )


def _gain(results: Results, norm: Norm, eps: float) -> Claim:
    difference = mean_difference(results.standing(norm, eps, eps), results.standing(norm, 0.0, eps))
    size = size_words(norm, eps)
    return Claim(
        words=f"Accuracy under PGD at {size} rises when a network is trained at that size.",
        estimate=difference.value if difference.n else None,
        interval=difference.interval if difference.n else None,
        n=difference.n,
        unit="points",
        test=f"accuracy under PGD-{results.settings.test_steps} minus that of the standard network, paired by seed and "
        f"image: supported if its 95 % interval over seeds and images is above 0, contradicted if below{FEW}",
        verdict=_verdict(results, difference.lo, difference.hi),
        paper=published.figure(results.settings, norm, {"standard": (0.0, eps), f"at {size}": (eps, eps)}),
    )


def _nothing_left(results: Results, norm: Norm) -> Claim:
    eps = results.settings.reference_eps(norm)
    left = results.accuracy(norm, 0.0, eps)
    return Claim(
        words=f"The standard network loses everything at {size_words(norm, eps)}.",
        estimate=left.value if left.n else None,
        interval=left.interval if left.n else None,
        n=left.n,
        test=f"accuracy under PGD-{results.settings.test_steps}: supported if the upper end of its 95 % interval over "
        f"seeds and images is below {NOTHING_LEFT:.0%}, contradicted if the lower end is above{FEW}",
        verdict=_verdict(results, NOTHING_LEFT - left.hi, NOTHING_LEFT - left.lo),
        paper=published.figure(results.settings, norm, {"standard": (0.0, eps)}),
    )


def _converged(results: Results, norm: Norm, eps: float) -> Claim:
    """About an attack on given networks: one seed may decide it."""
    settings = results.settings
    difference = steps_difference(results, norm, eps)
    few, many = settings.test_steps, settings.trace_steps
    return Claim(
        words=f"On networks trained at {size_words(norm, eps)}, PGD with {few} and with {many} steps leave the same "
        f"accuracy to {100 * AGREEMENT:g} points at that size.",
        estimate=difference.value if difference.n else None,
        interval=difference.interval if difference.n else None,
        n=difference.n,
        unit="points",
        test=f"accuracy after {few} minus accuracy after {many} steps of 2.5 ε / steps from the image itself, any "
        f"iterate counts, paired by seed and image: supported if its 95 % interval lies within ±{100 * AGREEMENT:g} "
        "points, contradicted if it lies outside",
        verdict=_within(difference),
        paper=published.figure(settings, norm, {f"at {size_words(norm, eps)}": (eps, eps)}),
    )


def _verdict(results: Results, lo: float, hi: float) -> Verdict:
    """Of "the number is above 0" with the interval [lo, hi], for a claim about trainings."""
    if results.settings.num_seeds < LEAST_SEEDS:
        return "undecided"
    return "supported" if lo > 0 else "contradicted" if hi < 0 else "undecided"


def _within(difference: Estimate) -> Verdict:
    if difference.lo >= -AGREEMENT and difference.hi <= AGREEMENT:
        return "supported"
    return "contradicted" if difference.lo > AGREEMENT or difference.hi < -AGREEMENT else "undecided"
