"""What the report says: the answer in a sentence, claims by rules fixed before the run, and warnings."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from robustray.tasks.attacks.settings import Norm
from robustray.tasks.corruptions.drawn import corruption_errors
from robustray.tasks.kit import compose as kit
from robustray.tasks.kit.claims import claim, describe
from robustray.tasks.kit.frames import at, one
from robustray.tasks.kit.rules import above
from robustray.tasks.kit.words import at_chance, listed
from robustray.tasks.published import engstrom
from robustray.tasks.report.numbers import format_estimate, format_value, size_words
from robustray.tasks.statistics import proportion
from robustray.tasks.statistics.clusters import clustered_difference
from robustray.tasks.studies.attack_sweep.documents import documents
from robustray.tasks.studies.attack_sweep.drawings import drawn, pictures
from robustray.tasks.studies.attack_sweep.results import Results
from robustray.tasks.studies.attack_sweep.settings import Settings
from robustray.tasks.studies.attack_sweep.singles import galleries
from robustray.tasks.studies.attack_sweep.tables import tables
from robustray.tasks.study import Claim, Description, Findings
from robustray.tasks.sweeps.masking import lost_gradient_warnings, lower_bound, masking_warnings, nothing_to_follow

WEAKER = (
    ("noise", "It is the direction, not the size: PGD breaks more images than random noise of the same size"),
    ("fgsm", "Several steps find what one does not: PGD breaks more images than FGSM"),
)


def compose(results: Results) -> Findings:
    """Everything that the report shows."""
    hidden = masking_warnings(results.records, results.stages), lost_gradient_warnings(results.records)
    warnings = *hidden, transfer_warnings(results), chance_warnings(results)
    said = (answer(results), claims(results), descriptions(results))
    return kit.compose(
        *said, tables(results), drawn(results), pictures(results), galleries(results), documents(results), warnings
    )


def answer(results: Results) -> str:
    """From where to where accuracy falls at the reference size of the first norm, under what, on how many images."""
    settings = results.settings
    norm, data = settings.norms[0], settings.data[0]
    accuracy = results.with_clean(results.headline)
    parts = []
    for model in settings.models:
        clean, row = (one(accuracy, data=data, model=model, norm=norm, eps=e) for e in (0.0, results.reference[norm]))
        rest = format_estimate(row.robust_accuracy, (row.lo, row.hi), "percent")
        parts.append(f"from {format_value(clean.robust_accuracy, 'percent')} to {rest} for {model}")
    return (
        f"Under {attack_words(settings)} at {size_words(norm, results.reference[norm])}, accuracy goes "
        f"{listed(parts)} (n = {results.num_images(data):,} images of {data})."
    )


def attack_words(settings: Settings) -> str:
    """What the numbers of answer and claims were measured with."""
    if "autoattack" in settings.attacks:
        return "AutoAttack"
    names = [f"PGD-{settings.num_steps}" if name == "pgd" else name for name in settings.attacks]
    return names[0] if len(names) == 1 else f"the worst of {listed(names)} for each image"


# --- Claims -----------------------------------------------------------------------------------------------------------


def descriptions(results: Results) -> Iterator[Description]:
    """How much breaks of every model: a property of that model, whatever the paper's did."""
    settings = results.settings
    for data, model, norm in itertools.product(settings.data, settings.models, settings.norms):
        yield _broken(results, data, model, norm)
    for (data, model), corrupted in results.corrupted.items():
        yield from corruption_errors(corrupted, f"{model} ({data})")


def claims(results: Results) -> Iterator[Claim]:
    """That the direction and several steps matter, where the attacks ran that are compared."""
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


# --- Warnings ---------------------------------------------------------------------------------------------------------


def chance_warnings(results: Results) -> Iterator[str]:
    """Models whose clean accuracy is not shown to be better than guessing."""
    for data, images in results.images.items():
        clean = at(results.accuracy, data=data, norm=results.settings.norms[0], eps=0.0)
        found = {row.model: (row.robust_accuracy, row.lo) for row in clean.itertuples()}
        yield from at_chance(found, images.num_classes, f"images of {data}")


def transfer_warnings(results: Results) -> Iterator[str]:
    settings = results.settings
    if settings.num_transfer and len(settings.models) > 1:
        seen = {data for data, _, _ in results.transfers}
        for data in settings.data:
            if data not in seen:
                all_models = f"all {len(settings.models)} models"
                yield f"no transfer matrix on {data}: there is no image that {all_models} classify correctly"
