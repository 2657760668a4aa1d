"""What a sweep says of its models, and the claims that it tests, each by a rule that was fixed before the run."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from robustray.tasks.attacks.settings import Norm
from robustray.tasks.kit.claims import claim, describe
from robustray.tasks.kit.frames import at
from robustray.tasks.kit.rules import above
from robustray.tasks.published import engstrom
from robustray.tasks.report.numbers import size_words
from robustray.tasks.statistics import proportion
from robustray.tasks.statistics.clusters import clustered_difference
from robustray.tasks.studies.attack_sweep.results import Results
from robustray.tasks.study import Claim, Description
from robustray.tasks.sweeps.masking import lower_bound, nothing_to_follow

WEAKER = (
    ("noise", "It is the direction, not the size: PGD breaks more images than random noise of the same size"),
    ("fgsm", "Several steps find what one does not: PGD breaks more images than FGSM"),
)


def descriptions(results: Results) -> Iterator[Description]:
    """How much breaks of every model: a property of that model, whatever the paper's did."""
    settings = results.settings
    for data, model, norm in itertools.product(settings.data, settings.models, settings.norms):
        yield _broken(results, data, model, norm)


def claims(results: Results) -> Iterator[Claim]:
    """Where the attacks to compare ran: that direction and several steps matter."""
    settings = results.settings
    for data, norm, (weak, words) in itertools.product(settings.data, settings.norms, WEAKER):
        if {"pgd", weak} <= set(settings.attacks):
            yield _stronger(results, data, norm, weak, words)


def _broken(results: Results, data: str, model: str, norm: Norm) -> Description:
    eps = results.reference[norm]
    rows = at(results.headline, data=data, model=model, norm=norm, eps=eps)
    clean = results.clean[data, model].set_index("index").correct
    right = clean.reindex(rows["index"]).to_numpy(dtype=bool)
    found = describe(
        f"{model}: of the images that it classifies correctly, those that a perturbation within "
        f"{size_words(norm, eps)} breaks ({data})",
        proportion(rows.success.to_numpy(dtype=bool)[right]),
        measured=f"broken by {'AutoAttack' if results.by_autoattack else 'any attack of the sweep'}",
        over="images (Wilson)",
        paper=engstrom.broken(data, norm, eps, by_autoattack=results.by_autoattack),
    )
    doubtful = nothing_to_follow(results.records, data=data, model=model, norm=norm)
    return lower_bound(found, doubtful=doubtful)


def _stronger(results: Results, data: str, norm: Norm, weak: str, words: str) -> Claim:
    """Paired by image and model; models share images, so the interval is over images (clusters), not over pairs."""
    eps = results.reference[norm]
    rows = at(results.records, data=data, norm=norm, eps=eps, seed=results.settings.seed)
    wide = rows[rows.clean_prediction == rows.label].pivot_table(
        index=["model", "index"], columns="attack", values="success", observed=True, aggfunc="any"
    )
    both = wide.reindex(columns=["pgd", weak]).dropna().astype(bool)
    images = both.index.get_level_values("index").to_numpy()
    return claim(
        f"{words} ({size_words(norm, eps)}, {data}).",
        clustered_difference(both["pgd"].to_numpy(), both[weak].to_numpy(), images),
        above(0),
        measured="difference of the shares of broken images, paired by image and model",
        over="images",
        unit="points",
    )
