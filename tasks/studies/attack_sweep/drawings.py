"""Figures and pictures of the report."""

from __future__ import annotations

import itertools

import numpy as np

from robustray.tasks import figures
from robustray.tasks.attacks.settings import Norm
from robustray.tasks.corruptions.drawn import accuracy_map
from robustray.tasks.kit.frames import at
from robustray.tasks.kit.words import listed, plural, slug
from robustray.tasks.report.numbers import NORM_WORDS, size_words
from robustray.tasks.studies.attack_sweep.results import Results
from robustray.tasks.study import Figure, Picture
from robustray.tasks.sweeps.drawn import accuracy_by_size, example_picture


def drawn(results: Results) -> list[Figure]:
    """Curves first; then what each attack leaves, where there are several; then the transfer matrices."""
    settings = results.settings
    palette = figures.Palette(settings.models)
    each = list(itertools.product(settings.data, settings.norms))
    found = [_curve(results, data, norm, palette) for data, norm in each]
    if len(settings.attacks) > 1:
        found += [_attack_rows(results, data, norm, palette) for data, norm in each]
    found += [
        accuracy_map(corrupted, name=slug("corruptions", data, model), what=f"{model}, {data}")
        for (data, model), corrupted in results.corrupted.items()
    ]
    seen = {(data, norm) for data, norm, _ in results.transfers}
    return found + [_transfer(results, data, norm) for data, norm in each if (data, norm) in seen]


def _curve(results: Results, data: str, norm: Norm, palette: figures.Palette) -> Figure:
    settings = results.settings
    return accuracy_by_size(
        name=slug("accuracy", norm, data),
        title=f"Accuracy against the size of the perturbation ({NORM_WORDS[norm]}, {data})",
        caption=f"Accuracy falls as the {NORM_WORDS[norm]} ball grows. Worst case over "
        f"{listed(settings.attacks)}, {plural(settings.num_seeds, 'seed')}, n = {results.num_images(data):,} images; "
        "bands are 95 % Wilson intervals.",
        lines={model: at(results.accuracy, data=data, model=model, norm=norm) for model in settings.models},
        y="robust_accuracy",
        norm=norm,
        num_classes=results.images[data].num_classes,
        palette=palette,
    )


def _attack_rows(results: Results, data: str, norm: Norm, palette: figures.Palette) -> Figure:
    """What each attack leaves standing: the first seed as the dot with its interval, the other seeds behind it."""
    settings, per_attack, eps = results.settings, results.per_attack, results.reference[norm]
    rows = []
    for model, attack in itertools.product(settings.models, settings.attacks):
        found = at(per_attack, data=data, model=model, attack=attack, norm=norm, eps=eps).sort_values("seed")
        first = found.iloc[0]
        rows.append(
            figures.Row(
                label=f"{model} · {attack}",
                value=first.robust_accuracy,
                lo=first.lo,
                hi=first.hi,
                runs=found.robust_accuracy.tolist()[1:],
                color_by=model,
            )
        )
    n = int(per_attack.n.max())
    return figures.dot_rows(
        name=slug("attacks", norm, data),
        title=f"What each attack leaves at {size_words(norm, eps)} ({data})",
        caption="The further left, the stronger the attack. Accuracy under each attack alone, "
        f"n = {n:,} images, seed {settings.seed}"
        + (" (other seeds as faint dots)" if settings.num_seeds > 1 else "")
        + "; bars are 95 % Wilson intervals.",
        rows=rows,
        x_label="accuracy",
        palette=palette,
        percent=True,
    )


def _transfer(results: Results, data: str, norm: Norm) -> Figure:
    """A matrix with a row for each model that examples were made on, and a column for each that sees them."""
    assert results.transfer is not None
    models = results.settings.models
    cells = at(results.transfer, data=data, norm=norm)
    rates = cells.pivot(index="source", columns="target", values="rate").reindex(index=models, columns=models)
    matrix = rates.to_numpy(dtype=float)
    others = ~np.eye(len(models), dtype=bool)
    size = size_words(norm, results.reference[norm])
    return figures.heat_map(
        name=slug("transfer", norm, data),
        title=f"Whose examples fool whom ({size}, {data})",
        caption="Each row is one model's adversarial examples, each column a model that sees them; the diagonal is "
        f"white box. Share of images on which the target errs, PGD-{results.settings.num_steps}, iterate of highest "
        f"loss, n = {int(cells.n.iloc[0]):,} images that all models classify correctly, seed {results.settings.seed}; "
        "intervals are in the table.",
        alt=f"The models' own examples fool {np.nanmin(np.diag(matrix)):.0%} to {np.nanmax(np.diag(matrix)):.0%}, "
        f"those of others {np.nanmin(matrix[others]):.0%} to {np.nanmax(matrix[others]):.0%}",
        values=matrix,
        rows=models,
        columns=models,
        row_label="examples of",
        column_label="seen by",
        limits=(0.0, 1.0),
    )


def pictures(results: Results) -> list[Picture]:
    """Images, perturbations and sums of every model and norm."""
    return [
        example_picture(
            rows,
            results.images[data].classes,
            name=slug("examples", data, model, norm),
            title=f"{model} at {size_words(norm, results.reference[norm])}",
        )
        for (data, model, norm), rows in results.examples.items()
    ]
