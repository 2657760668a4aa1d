"""Figures and pictures of the report."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from robustray.tasks import figures
from robustray.tasks.attacks.settings import Norm
from robustray.tasks.kit.outcomes import shares
from robustray.tasks.kit.words import over_words, plural
from robustray.tasks.report.numbers import NORM_UNITS, NORM_WORDS, size_words
from robustray.tasks.studies.robust_training import reduce
from robustray.tasks.studies.robust_training.results import Results, threat
from robustray.tasks.study import Figure, Picture
from robustray.tasks.training.learnt import by_epoch

SHARE = 0.99
"""Of an image's gradient entries that fit into the range of grey, by their size."""


def drawn(results: Results) -> list[Figure]:
    """Accuracy by size, the trade-off, how the networks learnt, and whether PGD converged on them."""
    norms = results.settings.norms
    names = dict.fromkeys(threat(network.norm, network.eps) for network in results.models)
    palette = figures.Palette(names)
    found = [_by_size(results, norm, palette) for norm in norms]
    found += [_trade_off(results, norm, palette) for norm in norms]
    found += [_training_loss(results, palette), *(_learning(results, norm, palette) for norm in norms)]
    if results.traces:
        found += [_steps(results, norm, palette) for norm in norms]
        found.append(_standard_steps(results, palette))
    return found


def _by_size(results: Results, norm: Norm, palette: figures.Palette) -> Figure:
    settings, table = results.settings, reduce.accuracy_table(results)
    series = []
    for eps_train in results.eps_trained(norm):
        rows = table[(table.norm == norm) & (table.eps_train == eps_train)]
        series.append(
            figures.Series(
                label=threat(norm, eps_train),
                x=rows.eps_test.tolist(),
                y=rows.accuracy.tolist(),
                lo=rows.lo.tolist(),
                hi=rows.hi.tolist(),
                runs=np.array(rows.runs.tolist()).T.tolist(),
            )
        )
    return figures.curve(
        name=f"accuracy-{norm}",
        title=f"Accuracy against the size of the attack, by the size trained at ({NORM_WORDS[norm]})",
        caption="Trained at a size, a network keeps more of its accuracy there, and starts from less. "
        f"PGD-{settings.test_steps}, n = {results.num_images:,} images of {settings.test_data}, "
        f"{plural(settings.num_seeds, 'seed')} (thin lines); {over_words(settings.num_seeds)}.",
        alt="; ".join(f"{s.label}: from {s.y[0]:.0%} to {s.y[-1]:.0%}" for s in series),
        series=series,
        x_label=f"{NORM_WORDS[norm]} ε of the test ({NORM_UNITS[norm]}, pixels in [0, 1])",
        y_label="accuracy",
        palette=palette,
        levels=[figures.Level(value=1 / results.images.num_classes, words="chance")],
        percent=True,
        x_ticks=figures.eps_ticks([0.0, *settings.eps_test(norm)]),
        x_log=True,
    )


def _trade_off(results: Results, norm: Norm, palette: figures.Palette) -> Figure:
    settings = results.settings
    eps = settings.reference_eps(norm)
    points = []
    for eps_train in results.eps_trained(norm):
        clean, robust = (results.accuracy(norm, eps_train, size) for size in (0.0, eps))
        runs = [shares(results.standing(norm, eps_train, size)) for size in (0.0, eps)]
        points.append(
            figures.Point(
                label=threat(norm, eps_train),
                x=clean.value,
                y=robust.value,
                x_interval=clean.interval,
                y_interval=robust.interval,
                runs=list(zip(*runs, strict=True)),
            )
        )
    size = size_words(norm, eps)
    return figures.scatter(
        name=f"trade-off-{norm}",
        title=f"Clean against robust accuracy, by the size trained at ({size})",
        caption=f"What robustness at {size} costs: up is more robust, right is more accurate. One point per size "
        f"trained at, in their order along the line; PGD-{settings.test_steps}, n = {results.num_images:,} images, "
        f"{plural(settings.num_seeds, 'seed')} (faint dots); {over_words(settings.num_seeds)}.",
        alt="; ".join(f"{p.label}: {p.x:.0%} clean, {p.y:.0%} under attack" for p in points),
        points=points,
        x_label="accuracy on clean images",
        y_label=f"accuracy under PGD at {size}",
        palette=palette,
        percent=True,
    )


def _training_loss(results: Results, palette: figures.Palette) -> Figure:
    norms = results.settings.norms
    robust: list[tuple[Norm, float]] = [(norm, eps) for norm in norms for eps in results.settings.eps_train(norm)]
    kinds: list[tuple[Norm, float]] = [(norms[0], 0.0), *robust]
    series = [line for norm, eps in kinds if (line := _learnt(results, norm, eps, "loss", threat(norm, eps)))]
    return figures.curve(
        name="training-loss",
        title="Training loss by epoch",
        caption="Adversarial images are harder to fit. Cross-entropy on the training batches as they came, attacked "
        f"where the training attacks; mean over {plural(results.settings.num_seeds, 'seed')} (thin lines).",
        alt="; ".join(f"{s.label} ends at {s.y[-1]:.2f}" for s in series),
        series=series,
        x_label="epoch",
        y_label="cross-entropy",
        palette=palette,
    )


def _learning(results: Results, norm: Norm, palette: figures.Palette) -> Figure:
    """Solid: training batches. Then what was held out, clean and under attack."""
    columns = {"accuracy": "training", "clean_accuracy": "held out, clean", "robust_accuracy": "held out, attacked"}
    each = itertools.product(results.eps_trained(norm), columns.items())
    lines = (
        _learnt(results, norm, eps, column, f"{threat(norm, eps)}: {words}", dash_by=column)
        for eps, (column, words) in each
    )
    series = [line for line in lines if line]
    return figures.curve(
        name=f"learning-{norm}",
        title=f"Accuracy by epoch, on training batches and on held-out images ({NORM_WORDS[norm]})",
        caption="Where the held-out accuracy under attack falls while that on training batches rises, the network "
        "overfits (flagged at the top of the page). Training batches count as they came, attacked where the training "
        "attacks; held-out images are of the training set and under PGD at the size trained at; mean over "
        f"{plural(results.settings.num_seeds, 'seed')} (thin lines).",
        alt="; ".join(f"{s.label} ends at {s.y[-1]:.0%}" for s in series),
        series=series,
        x_label="epoch",
        y_label="accuracy",
        palette=palette,
        percent=True,
    )


def _learnt(
    results: Results, norm: Norm, eps_train: float, column: str, words: str, *, dash_by: str | None = None
) -> figures.Series | None:
    """A column of the learning curves, mean over seeds; None where the curves have none."""
    curves = [results.curves[network] for network in results.networks(norm, eps_train).values()]
    epochs, values = by_epoch(curves, column)
    if not epochs:
        return None
    return _mean(words, epochs, values, color_by=threat(norm, eps_train), dash_by=dash_by)


def _mean(
    label: str, x: Sequence[int], values: NDArray[np.float64], *, color_by: str, dash_by: str | None
) -> figures.Series:
    """Mean over seeds of (seeds, points), with the seeds as thin lines."""
    runs = values.tolist() if len(values) > 1 else ()
    return figures.Series(
        label=label, x=x, y=values.mean(axis=0).tolist(), runs=runs, color_by=color_by, dash_by=dash_by
    )


def _steps(results: Results, norm: Norm, palette: figures.Palette) -> Figure:
    lines = [
        _trace(results, norm, eps, steps, threat(norm, eps))
        for eps, steps in itertools.product(results.settings.eps_train(norm), _both(results))
    ]
    return _steps_figure(
        results,
        lines,
        palette,
        name=f"steps-{norm}",
        title=f"Loss over the steps of PGD on robust networks ({NORM_WORDS[norm]})",
        see="Where few large and many small steps end at the same height, the attack has converged.",
        at="at the size trained at",
    )


def _standard_steps(results: Results, palette: figures.Palette) -> Figure:
    """On axes of its own: it rises far higher."""
    settings = results.settings
    sizes: dict[Norm, str] = {norm: size_words(norm, settings.reference_eps(norm)) for norm in settings.norms}
    lines = [_trace(results, norm, 0.0, steps, sizes[norm]) for norm, steps in itertools.product(sizes, _both(results))]
    return _steps_figure(
        results,
        lines,
        figures.Palette([*palette.names, *sizes.values()]),
        name="steps-standard",
        title="Loss over the steps of PGD on standard networks",
        see="What the attack reaches without adversarial training, on axes of its own.",
        at="at the reference sizes",
    )


def _both(results: Results) -> tuple[int, int]:
    return results.settings.test_steps, results.settings.trace_steps


def _trace(results: Results, norm: Norm, eps_train: float, num_steps: int, who: str) -> figures.Series:
    values = reduce.loss_by_step(results, norm, eps_train, num_steps)
    steps = range(values.shape[1])
    return _mean(f"{who}, PGD-{num_steps}", steps, values, color_by=who, dash_by=str(num_steps))


def _steps_figure(
    results: Results, lines: list[figures.Series], palette: figures.Palette, *, name: str, title: str, see: str, at: str
) -> Figure:
    settings = results.settings
    return figures.curve(
        name=name,
        title=title,
        caption=f"{see} Cross-entropy at each iterate, mean over n = {settings.num_traced:,} images and "
        f"{plural(settings.num_seeds, 'seed')} (thin lines), steps of 2.5 ε / steps from the image itself {at}.",
        alt="; ".join(f"{s.label} rises from {s.y[0]:.2f} to {s.y[-1]:.2f}" for s in lines),
        series=lines,
        x_label="step",
        y_label="cross-entropy",
        palette=palette,
    )


def pictures(results: Results) -> Iterator[Picture]:
    """Random test images, and where the loss of each kind of network points."""
    if not results.gradients:
        return
    rows = next(iter(results.gradients.values()))
    names = [threat(network.norm, network.eps) for network in results.gradients]
    yield figures.image_grid(
        name="gradients",
        title="Where the loss points: gradients with respect to the image",
        caption="The gradient of the cross-entropy on the image itself, one row per kind of network (first seed). "
        f"Grey is 0; each gradient is scaled by itself, so that {SHARE:.0%} of its entries lie within black and "
        f"white: sizes do not compare. {len(rows)} test images drawn at random, not chosen.",
        alt=f"{len(rows)} images, and below each its input gradient for the networks {', '.join(names)}",
        images=np.concatenate(
            [np.stack(list(rows.image)), *(grey(np.stack(list(r.gradient))) for r in results.gradients.values())]
        ),
        rows=["image", *(f"{name}\ngradient,\nown scale" for name in names)],
        columns=[results.images.classes[label] for label in rows.label],
        scale=max(1, 96 // results.images.shape[1]),
    )


def grey(gradients: np.ndarray) -> np.ndarray:
    """Gradients (images, channels, height, width) around mid-grey, each scaled so that `SHARE` of its entries fit."""
    gradients = gradients.astype(np.float64)
    size = np.quantile(np.abs(gradients).reshape(len(gradients), -1), SHARE, axis=1)
    scaled = gradients / np.where(size > 0, size, 1.0)[:, None, None, None]
    return figures.magnified(scaled, 0.5)
