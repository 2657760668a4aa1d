"""What the report says: the answer in a sentence, and what a reader has to be warned of."""

from __future__ import annotations

from collections.abc import Iterator

from robustray.tasks.attacks.settings import Norm
from robustray.tasks.kit import compose as kit
from robustray.tasks.kit.words import plural
from robustray.tasks.report.numbers import format_estimate, format_value, size_words
from robustray.tasks.studies.robust_training.claims import claims
from robustray.tasks.studies.robust_training.drawings import drawn, pictures
from robustray.tasks.studies.robust_training.results import Results, label
from robustray.tasks.studies.robust_training.tables import stages, tables
from robustray.tasks.study import Findings
from robustray.tasks.sweeps.masking import lost_gradient_warnings, masking_warnings
from robustray.tasks.training.learnt import flag_warnings


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


def warnings(results: Results) -> Iterator[str]:
    """Learning curves that went wrong, gradients that a network hides, and too few seeds."""
    for network, curve in results.curves.items():
        yield from flag_warnings(label(network), curve, results.settings.select)
    yield from lost_gradient_warnings(results.records)
    if results.autoattack is not None:
        yield from masking_warnings(results.autoattack, stages())
    yield from results.repeats.warnings("seed")
