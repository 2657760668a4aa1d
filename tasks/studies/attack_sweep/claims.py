"""The claims that a sweep tests, each by a rule that was fixed before the run."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

from robustray.tasks.attacks.settings import Norm
from robustray.tasks.report.numbers import size_words
from robustray.tasks.statistics.clusters import clustered_mean
from robustray.tasks.statistics.intervals import wilson
from robustray.tasks.studies.attack_sweep.results import Results, at
from robustray.tasks.study import Claim, PaperFigure, Verdict

PUBLISHED: Mapping[tuple[str, str, float], PaperFigure] = {
    ("cifar10:test", "linf", 8 / 255): PaperFigure(
        figure="100 % (standard), 38.5 % (robust)",
        scale="ResNet-50, standard and trained at 8/255, full CIFAR-10 test set, PGD-20: "
        "accuracy 95.25 → 0.00 % and 87.03 → 53.49 %",
        source="robustness 1.2.1, table of released models",
    ),
    ("cifar10:test", "l2", 0.5): PaperFigure(
        figure="99.7 % (standard), 22.7 % (robust)",
        scale="ResNet-50, standard and trained at 0.5, full CIFAR-10 test set, PGD-20: "
        "accuracy 95.25 → 0.28 % and 90.83 → 70.17 %",
        source="robustness 1.2.1, table of released models",
    ),
}
"""Data, norm, size -> published share of broken images among the correct ones, 1 - robust / clean accuracy."""
PUBLISHED_AUTOATTACK: Mapping[tuple[str, str, float], PaperFigure] = {
    ("cifar10:test", "linf", 8 / 255): PaperFigure(
        figure="100 % (standard), 43.4 % (robust)",
        scale="standard WRN-28-10, and ResNet-50 trained at 8/255 (Engstrom 2019), full CIFAR-10 test set, AutoAttack: "
        "accuracy 94.78 → 0.00 % and 87.03 → 49.25 %",
        source="RobustBench, CIFAR-10 ℓ∞",
    ),
    ("cifar10:test", "l2", 0.5): PaperFigure(
        figure="23.8 % (robust)",
        scale="ResNet-50 trained at 0.5 (Engstrom 2019), full CIFAR-10 test set, AutoAttack: accuracy 90.83 → 69.24 %",
        source="RobustBench, CIFAR-10 ℓ2",
    ),
}
"""The same under AutoAttack."""


def claims(results: Results) -> list[Claim]:
    """How much breaks of every model; where the attacks to compare ran, that direction and several steps matter."""
    settings = results.settings
    found = []
    for data, model, norm in itertools.product(settings.data, settings.models, settings.norms):
        found.append(_broken(results, data, model, norm))
    for data, norm in itertools.product(settings.data, settings.norms):
        for weak, words in (
            ("noise", "It is the direction, not the size: PGD breaks more images than random noise of the same size"),
            ("fgsm", "Several steps find what one does not: PGD breaks more images than FGSM"),
        ):
            if "pgd" in settings.attacks and weak in settings.attacks:
                found.append(_stronger(results, data, norm, weak, words))
    return found


def _broken(results: Results, data: str, model: str, norm: Norm) -> Claim:
    eps = results.reference[norm]
    rows = at(results.headline, data=data, model=model, norm=norm, eps=eps)
    clean = results.clean[data, model].set_index("index").correct
    right = clean.reindex(rows["index"]).to_numpy(dtype=bool)
    broken, n = int(rows.success.to_numpy()[right].sum()), int(right.sum())
    lo, hi = map(float, wilson(broken, n))
    by = "by AutoAttack" if results.by_autoattack else "by any attack of the sweep"
    published = PUBLISHED_AUTOATTACK if results.by_autoattack else PUBLISHED
    return Claim(
        words=f"{model}: a perturbation within {size_words(norm, eps)} breaks most of the images that it classifies "
        f"correctly ({data}).",
        estimate=broken / n if n else None,
        interval=(lo, hi) if n else None,
        n=n,
        test=f"share of images broken {by}: supported if the lower end of its 95 % Wilson interval is above 50 %, "
        "contradicted if the upper end is below",
        verdict=_verdict(lo, hi, 0.5),
        paper=published.get((data, norm, eps)),
    )


def _stronger(results: Results, data: str, norm: Norm, weak: str, words: str) -> Claim:
    """Paired by image and model; models share images, so the interval is over images (clusters), not over pairs."""
    eps = results.reference[norm]
    rows = at(results.records, data=data, norm=norm, eps=eps, seed=results.settings.seed)
    wide = rows[rows.clean_prediction == rows.label].pivot_table(
        index=["model", "index"], columns="attack", values="success", observed=True, aggfunc="any"
    )
    both = wide.reindex(columns=["pgd", weak]).dropna().astype(int)
    images = both.index.get_level_values("index").to_numpy()
    difference = clustered_mean((both["pgd"] - both[weak]).to_numpy(), images)
    return Claim(
        words=f"{words} ({size_words(norm, eps)}, {data}).",
        estimate=difference.value if difference.n else None,
        interval=(difference.lo, difference.hi) if difference.n else None,
        n=difference.n,
        unit="points",
        test="difference of the shares of broken images, paired by image and model: supported if its 95 % interval "
        "over images is above 0, contradicted if below",
        verdict=_verdict(difference.lo, difference.hi, 0.0),
    )


def _verdict(lo: float, hi: float, threshold: float) -> Verdict:
    return "supported" if lo > threshold else "contradicted" if hi < threshold else "undecided"
