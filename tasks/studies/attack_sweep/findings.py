"""What the report says: the answer in a sentence, and what a reader has to be warned of."""

from __future__ import annotations

from collections.abc import Iterator

from robustray.tasks.kit import compose as kit
from robustray.tasks.kit.frames import at, one
from robustray.tasks.kit.words import at_chance, listed
from robustray.tasks.report.numbers import format_estimate, format_value, size_words
from robustray.tasks.studies.attack_sweep.claims import claims, descriptions
from robustray.tasks.studies.attack_sweep.drawings import drawn, pictures
from robustray.tasks.studies.attack_sweep.results import Results
from robustray.tasks.studies.attack_sweep.settings import Settings
from robustray.tasks.studies.attack_sweep.tables import tables
from robustray.tasks.study import Findings
from robustray.tasks.sweeps.masking import lost_gradient_warnings, masking_warnings


def compose(results: Results) -> Findings:
    """Everything that the report shows."""
    hidden = masking_warnings(results.records, results.stages), lost_gradient_warnings(results.records)
    warnings = *hidden, transfer_warnings(results), chance_warnings(results)
    said = (answer(results), claims(results), descriptions(results))
    return kit.compose(*said, tables(results), drawn(results), pictures(results), warnings)


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
        f"Under {attack_words(settings)} at {size_words(norm, results.reference[norm])}, accuracy falls "
        f"{listed(parts)} (n = {results.num_images(data):,} images of {data})."
    )


def attack_words(settings: Settings) -> str:
    """What the numbers of answer and claims were measured with."""
    if "autoattack" in settings.attacks:
        return "AutoAttack"
    names = [f"PGD-{settings.num_steps}" if name == "pgd" else name for name in settings.attacks]
    return names[0] if len(names) == 1 else f"the worst of {listed(names)} for each image"


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
