"""What the report says: the answer in a sentence, and what a reader has to be warned of."""

from __future__ import annotations

from robustray.tasks.attacks.settings import Norm
from robustray.tasks.report.numbers import format_estimate, format_value, size_words
from robustray.tasks.studies.robust_training import reduce
from robustray.tasks.studies.robust_training.claims import claims
from robustray.tasks.studies.robust_training.drawings import drawn, pictures
from robustray.tasks.studies.robust_training.results import Results, seeds_words
from robustray.tasks.studies.robust_training.tables import stages, tables
from robustray.tasks.study import Findings
from robustray.tasks.sweeps import records as sweeps


def compose(results: Results) -> Findings:
    """Everything that the report shows."""
    return Findings(
        answer=answer(results),
        claims=tuple(claims(results)),
        tables=tuple(tables(results)),
        figures=tuple(drawn(results)),
        pictures=tuple(pictures(results)),
        warnings=(*reduce.flagged(results), *masking_warnings(results), *few_seeds(results)),
    )


def answer(results: Results) -> str:
    """What training at the reference size of each norm costs and buys."""
    settings = results.settings
    return (
        f"{'; '.join(_answer(results, norm) for norm in settings.norms)} ({seeds_words(settings)}, "
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


def masking_warnings(results: Results) -> list[str]:
    """Where Square, which sees no gradients, broke what APGD and FAB left."""
    if results.autoattack is None:
        return []
    return [
        f"{row.model}, tested at {size_words(row.norm, row.eps)}: Square, which sees no gradients, broke "
        f"{row.broken:,} of {row.n:,} images that all attacks along gradients left standing: the network hides its "
        "gradients, and its robust accuracy is likely overestimated"
        for row in sweeps.only_square(results.autoattack, stages()).itertuples()
    ]


def few_seeds(results: Results) -> list[str]:
    """One training of a kind says nothing of the next one."""
    if results.settings.num_seeds > 1:
        return []
    return ["one seed: intervals cover other images but not other trainings, and claims about training stay undecided"]
