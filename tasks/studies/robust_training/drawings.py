"""Figures and pictures of the report."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from robustray.tasks import figures
from robustray.tasks.attacks.settings import Norm
from robustray.tasks.kit.frames import at
from robustray.tasks.kit.outcomes import shares
from robustray.tasks.kit.words import over_words, plural
from robustray.tasks.report.numbers import NORM_WORDS, size_words
from robustray.tasks.studies.robust_training import reduce
from robustray.tasks.studies.robust_training.results import Results, threat
from robustray.tasks.study import Figure, Picture
from robustray.tasks.sweeps.drawn import accuracy_by_size
from robustray.tasks.training.drawn import learning, mean_line, training_loss

SHARE = 0.99
"""Of an image's gradient entries that fit into the range of grey, by their size."""


def drawn(results: Results) -> list[Figure]:
    """Accuracy by size, the trade-off, how the networks learnt, and whether PGD converged on them."""
    settings = results.settings
    palette = figures.Palette(dict.fromkeys(threat(network.norm, network.eps) for network in results.models))
    curves = {norm: results.learnt(norm) for norm in settings.norms}
    found = [_by_size(results, norm, palette) for norm in settings.norms]
    found += [_trade_off(results, norm, palette) for norm in settings.norms]
    found.append(training_loss({kind: each for kinds in curves.values() for kind, each in kinds.items()}, palette))
    found += [
        learning(kinds, palette, name=f"learning-{norm}", where=NORM_WORDS[norm]) for norm, kinds in curves.items()
    ]
    if results.traces:
        found += [_steps(results, norm, palette) for norm in settings.norms]
        found.append(_standard_steps(results, palette))
    return found


def _by_size(results: Results, norm: Norm, palette: figures.Palette) -> Figure:
    settings, table = results.settings, reduce.accuracy_table(results)
    return accuracy_by_size(
        name=f"accuracy-{norm}",
        title=f"Accuracy against the size of the attack, by the size trained at ({NORM_WORDS[norm]})",
        caption="Trained at a size, a network keeps more of its accuracy there, and starts from less. "
        f"PGD-{settings.test_steps}, n = {results.num_images:,} images of {settings.test_data}, "
        f"{plural(settings.num_seeds, 'seed')} (thin lines); {over_words(settings.num_seeds)}.",
        lines={threat(norm, eps): at(table, norm=norm, eps_train=eps) for eps in results.eps_trained(norm)},
        norm=norm,
        x="eps_test",
        what="of the test",
        num_classes=results.images.num_classes,
        palette=palette,
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
        points=points,
        x_label="accuracy on clean images",
        y_label=f"accuracy under PGD at {size}",
        palette=palette,
        percent=True,
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
    return mean_line(f"{who}, PGD-{num_steps}", steps, values, color_by=who, dash_by=str(num_steps))


def _steps_figure(
    results: Results, lines: list[figures.Series], palette: figures.Palette, *, name: str, title: str, see: str, at: str
) -> Figure:
    settings = results.settings
    return figures.curve(
        name=name,
        title=title,
        caption=f"{see} Cross-entropy at each iterate, mean over n = {settings.num_traced:,} images and "
        f"{plural(settings.num_seeds, 'seed')} (thin lines), steps of 2.5 ε / steps from the image itself {at}.",
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
    yield figures.image_rows(
        name="gradients",
        title="Where the loss points: gradients with respect to the image",
        caption="The gradient of the cross-entropy on the image itself, one row per kind of network (first seed). "
        f"Grey is 0; each gradient is scaled by itself, so that {SHARE:.0%} of its entries lie within black and "
        f"white: sizes do not compare. {len(rows)} test images drawn at random, not chosen.",
        rows={"image": np.stack(list(rows.image))}
        | {
            f"{name}\ngradient,\nown scale": figures.signed(np.stack(list(each.gradient)), share=SHARE)
            for name, each in zip(names, results.gradients.values(), strict=True)
        },
        columns=[results.images.classes[label] for label in rows.label],
    )
