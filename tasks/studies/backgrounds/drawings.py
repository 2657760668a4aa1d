"""The figures of the report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from robustray.tasks import figures
from robustray.tasks.kit.frames import at, one
from robustray.tasks.kit.words import plural
from robustray.tasks.studies.backgrounds import reduce
from robustray.tasks.studies.backgrounds.reduce import FIXED, OWN_RHO
from robustray.tasks.studies.backgrounds.results import Results, images_words
from robustray.tasks.studies.backgrounds.saliency import saliency_picture
from robustray.tasks.studies.backgrounds.settings import ORIGINAL, WORDS, Network
from robustray.tasks.studies.backgrounds.success import success_drawings
from robustray.tasks.study import Figure, Picture

MOST_BARS = 3
"""The most networks that are drawn as bars; more of them are drawn as a matrix."""
CATEGORY_WORDS = {
    "bg_required": "background\nrequired",
    "bg_fools": "background\nfools",
    "bg_and_fg_required": "both\nrequired",
    "bg_and_fg_fool": "both\nfool",
    "bg_irrelevant": "background\nirrelevant",
}


def drawings(results: Results) -> Iterator[Figure | Picture | None]:
    if len(results.records):
        yield gap_curve(results)
        yield versions_figure(results)
        yield categories_figure(results)
        yield better_figure(results)
        yield trend_figure(results)
    yield from success_drawings(results)
    if results.saliency_images is not None:
        yield saliency_picture(
            results.saliency, results.saliency_images, results.classes, num_examples=results.settings.num_examples
        )
    yield version_grid(results)


def gap_curve(results: Results) -> Figure | None:
    """The answer: BG-gap against correlation."""
    settings = results.settings
    if settings.own or len(settings.rhos) < 2:
        return None
    networks = [Network(rho, ORIGINAL, 0) for rho in settings.rhos]
    words = {FIXED: "the same scenes for all", OWN_RHO: "scenes of the own correlation"}
    return figures.curve(
        name="gap",
        title="Gap between backgrounds of the own and of a random class",
        caption="The more often class and background went together in training, the more the background decides. "
        f"Accuracy on Mixed-Same minus accuracy on Mixed-Rand of {settings.arch}; n = {results.num_kept:,} foregrounds "
        f"that all share, {settings.num_test:,} of each correlation; {plural(settings.num_seeds, 'training')} (thin "
        "lines), 95 % band.",
        series=[_line(results, networks, images, label) for images, label in words.items()],
        x_label="correlation of class and background in training (rho)",
        y_label="BG-gap",
        palette=figures.Palette(list(words.values())),
        points=True,
        levels=(figures.Level(value=0.0, words="no gap"),),
        x_ticks={rho: f"{rho:g}" for rho in settings.rhos},
    )


def _line(results: Results, networks: Sequence[Network], images: str, label: str) -> figures.Series:
    rows = [one(results.gaps, images=images, network=network.words) for network in networks]
    seeds = [[reduce.gap_of(seed) for seed in results.seeds(network, images)] for network in networks]
    return figures.Series(
        label=label,
        x=[network.rho for network in networks],
        y=[row.gap for row in rows],
        lo=[row.lo for row in rows],
        hi=[row.hi for row in rows],
        runs=[list(run) for run in zip(*seeds, strict=True)],
    )


def versions_figure(results: Results) -> Figure:
    """Accuracy by version, of networks trained on each version at the largest correlation or of the user's own models:
    as bars for a few networks, else as a matrix."""
    settings = results.settings
    networks = list(settings.models) if settings.own else [network.words for network in results.matrix]
    rows = results.accuracy if settings.own else at(results.accuracy, images=FIXED)
    versions = (ORIGINAL, *results.versions)
    cells = [one(rows, network=network, version=version) for network in networks for version in versions]
    where = settings.own or "the same scenes for all"
    about: dict[str, Any] = {
        "name": "versions",
        "title": f"Accuracy by version ({where})",
        "caption": "Compare Mixed-Same with Mixed-Rand: only the class of the background differs. "
        f"n = {results.num_kept:,} foregrounds; 95 % intervals are in the table.",
    }
    if len(networks) > MOST_BARS:
        return figures.heat_map(
            **about,
            values=np.array([cell.accuracy for cell in cells]).reshape(len(networks), -1),
            rows=networks,
            columns=[WORDS[version] for version in versions],
            column_label="tested on",
            limits=(0.0, 1.0),
        )
    return figures.bars(
        **about,
        bars=[
            figures.Bar(group=WORDS[cell.version], label=cell.network, value=cell.accuracy, lo=cell.lo, hi=cell.hi)
            for cell in sorted(cells, key=lambda cell: versions.index(cell.version))
        ],
        y_label="accuracy",
        palette=figures.Palette(networks),
        percent=True,
        levels=(figures.Level(value=1 / len(results.classes), words="chance"),),
    )


def categories_figure(results: Results) -> Figure | None:
    """What decides an image (paper, section 4), for a few networks."""
    settings = results.settings
    if settings.own:
        names = list(settings.models)
    else:
        names = [network.words for network in results.matrix if network.trained_on in (ORIGINAL, "mixed_rand")]
    if len(names) > MOST_BARS:
        return None
    rows = results.categories if settings.own else at(results.categories, images=FIXED)
    return figures.bars(
        name="categories",
        title="What decides an image",
        caption="By what is right of Original, Mixed-Rand and Only-BG-T, as in the paper's section 4; of all other "
        f"images the background is irrelevant. n = {results.num_kept:,}.",
        bars=[
            figures.Bar(group=words, label=name, value=getattr(one(rows, network=name), category))
            for category, words in CATEGORY_WORDS.items()
            for name in names
        ],
        y_label="share of images",
        palette=figures.Palette(names),
        percent=True,
    )


def better_figure(results: Results) -> Figure | None:
    """The gap of better and worse networks: those of the curve, or a user's several models."""
    if not results.better:
        return None
    points = []
    for name, seeds in results.better:
        clean, gap = reduce.accuracy(seeds, ORIGINAL), reduce.gap(seeds)
        points.append(
            figures.Point(label=name, x=clean.value, y=gap.value, x_interval=clean.interval, y_interval=gap.interval)
        )
    return figures.scatter(
        name="better",
        title="Do better networks lose less?",
        caption="BG-gap against accuracy on the original images, with 95 % intervals.",
        points=points,
        x_label="accuracy on Original",
        y_label="BG-gap",
        palette=figures.Palette([name for name, _ in results.better]),
        percent=True,
    )


def trend_figure(results: Results) -> Figure | None:
    """Accuracy on every version against accuracy on Original, a dot for each of those networks."""
    if not results.better:
        return None
    clean = [reduce.accuracy(seeds, ORIGINAL).value for _, seeds in results.better]
    lines = {version: [reduce.accuracy(seeds, version) for _, seeds in results.better] for version in results.versions}
    return figures.curve(
        name="trends",
        title="Accuracy on every version, of better and worse networks",
        caption=f"Each of {len(clean)} networks stands at its accuracy on Original; 95 % bands. Slopes: in the table.",
        series=[
            figures.Series(
                label=WORDS[version],
                x=clean,
                y=[each.value for each in found],
                lo=[each.lo for each in found],
                hi=[each.hi for each in found],
            )
            for version, found in lines.items()
        ],
        x_label="accuracy on Original",
        y_label="accuracy on the version",
        palette=figures.Palette([WORDS[version] for version in results.versions]),
        percent=True,
        x_ticks={tick: f"{tick:.0%}".replace("%", " %") for tick in _round_shares(clean)},
    )


def _round_shares(values: Sequence[float]) -> list[float]:
    """Round shares on and between these, a few of them."""
    low, high = min(values), max(values)
    step = next(each for each in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5) if (high - low) / each <= 6)
    return [step * k for k in range(int(np.floor(low / step)), int(np.ceil(high / step)) + 1)]


def version_grid(results: Results) -> Picture | None:
    """A few images in all their versions."""
    if results.examples is None:
        return None
    rows, heads, images = results.examples
    where = results.settings.own or images_words(results.top)
    return figures.image_grid(
        name="examples",
        title="The versions",
        caption=f"Each row is one image in all its versions ({where}); drawn at random.",
        images=images,
        rows=rows,
        columns=heads,
        scale=max(1, 64 // int(np.max(images.shape[2:]))),
    )
