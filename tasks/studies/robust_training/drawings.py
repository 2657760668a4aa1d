"""Figures and pictures of the report."""

from __future__ import annotations

from robustray.tasks import figures
from robustray.tasks.attacks.settings import Norm
from robustray.tasks.kit.words import over_words, plural
from robustray.tasks.report.numbers import NORM_WORDS, size_words
from robustray.tasks.studies.robust_training.results import STANDARD, Results, threat
from robustray.tasks.study import Figure, Picture
from robustray.tasks.sweeps.drawn import accuracy_by_size, trade_off
from robustray.tasks.sweeps.traced import gradient_picture, steps_figure
from robustray.tasks.training.drawn import learning, training_loss


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
    settings = results.settings
    return accuracy_by_size(
        name=f"accuracy-{norm}",
        title=f"Accuracy against the size of the attack, by the size trained at ({NORM_WORDS[norm]})",
        caption="Trained at a size, a network keeps more of its accuracy there, and starts from less. "
        f"PGD-{settings.test_steps}, n = {results.num_images:,} images of {settings.test_data}, "
        f"{plural(settings.num_seeds, 'seed')} (thin lines); {over_words(settings.num_seeds)}.",
        lines=results.by_kind(norm),
        norm=norm,
        x="eps_test",
        what="of the test",
        num_classes=results.images.num_classes,
        palette=palette,
    )


def _trade_off(results: Results, norm: Norm, palette: figures.Palette) -> Figure:
    settings, eps = results.settings, results.settings.reference_eps(norm)
    size = size_words(norm, eps)
    return trade_off(
        {
            threat(norm, trained): (results.standing(norm, trained, 0.0), results.standing(norm, trained, eps))
            for trained in results.eps_trained(norm)
        },
        palette,
        name=f"trade-off-{norm}",
        title=f"Clean against robust accuracy, by the size trained at ({size})",
        caption=f"What robustness at {size} costs: up is more robust, right is more accurate. One point per size "
        f"trained at, in their order along the line; PGD-{settings.test_steps}, n = {results.num_images:,} images, "
        f"{plural(settings.num_seeds, 'seed')} (faint dots); {over_words(settings.num_seeds)}.",
        attack=f"PGD at {size}",
    )


def _steps(results: Results, norm: Norm, palette: figures.Palette) -> Figure:
    return steps_figure(
        {each.trained: each for each in results.followed if each.norm == norm and each.trained != STANDARD},
        palette,
        name=f"steps-{norm}",
        title=f"Loss over the steps of PGD on robust networks ({NORM_WORDS[norm]})",
        see="Where few large and many small steps end at the same height, the attack has converged.",
        at="at the size trained at",
    )


def _standard_steps(results: Results, palette: figures.Palette) -> Figure:
    """The same of the standard networks, whose loss rises far higher: on axes of its own."""
    standard = {size_words(each.norm, each.eps): each for each in results.followed if each.trained == STANDARD}
    return steps_figure(
        standard,
        figures.Palette([*palette.names, *standard]),
        name="steps-standard",
        title="Loss over the steps of PGD on standard networks",
        see="What the attack reaches without adversarial training, on axes of its own.",
        at="at the reference sizes",
    )


def pictures(results: Results) -> Picture | None:
    """Random test images, and where the loss of each kind of network points."""
    if not results.gradients:
        return None
    gradients = {threat(network.norm, network.eps): rows for network, rows in results.gradients.items()}
    return gradient_picture(gradients, results.images.classes)
