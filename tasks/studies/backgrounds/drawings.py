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
from robustray.tasks.studies.backgrounds.settings import ORIGINAL, WORDS, Network
from robustray.tasks.study import Figure, Picture

MOST_BARS = 3
"""The most networks that are drawn as bars; more of them are drawn as a matrix."""


def drawings(results: Results) -> Iterator[Figure | Picture | None]:
    if len(results.records):
        yield gap_curve(results)
        yield versions_figure(results)
        yield better_figure(results)
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


def better_figure(results: Results) -> Figure | None:
    """The gap of better and worse networks: those of the curve, or a user's several models."""
    settings = results.settings
    if settings.own:
        kinds = [(model, settings.own) for model in settings.models]
    else:
        kinds = [(network.words, FIXED) for network in settings.curve()]
    if len(kinds) < 3:
        return None
    points = []
    for name, images in kinds:
        clean = one(results.accuracy, images=images, network=name, version=ORIGINAL)
        gap = one(results.gaps, images=images, network=name)
        points.append(
            figures.Point(
                label=name,
                x=clean.accuracy,
                y=gap.gap,
                x_interval=(clean.lo, clean.hi),
                y_interval=(gap.lo, gap.hi),
            )
        )
    return figures.scatter(
        name="better",
        title="Do better networks lose less?",
        caption="BG-gap against accuracy on the original images, with 95 % intervals.",
        points=sorted(points, key=lambda point: point.x),
        x_label="accuracy on Original",
        y_label="BG-gap",
        palette=figures.Palette([name for name, _ in kinds]),
        percent=True,
    )


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
