"""Figures and pictures of the probes: the first ones that were drawn, with the networks of the first seed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustray.tasks import figures
from robustray.tasks.kit.frames import at
from robustray.tasks.kit.words import plural
from robustray.tasks.latents.cache import matrix
from robustray.tasks.studies.representations import probed
from robustray.tasks.studies.representations.kinds import STRANGE
from robustray.tasks.studies.representations.results import Results
from robustray.tasks.study import Figure, Picture
from robustray.tasks.training.twins import KINDS

SIDE = 80
"""CSS pixels of an image in a picture, about."""
NOT_CHOSEN = "the first ones of those drawn at random, networks of the first seed"


def probe_drawings(results: Results) -> Iterator[Figure | Picture]:
    """The curve of matching first, then what can be looked at."""
    yield _matching(results)
    if results.settings.num_examples:
        yield _paths(results)
        if all((kind, results.settings.seed) in results.probes.added for kind in KINDS):
            yield _added(results)
        yield _directions(results)
        yield _strange(results)
        yield _maps(results)
        yield _neighbours(results)


def _matching(results: Results) -> Figure:
    settings = results.settings
    found, curves = probed.match_table(results), probed.matched(results)
    series = []
    for kind in reversed(KINDS):
        rows = at(found, what=kind)
        seeds = [seed for of, seed in results.probes.matched if of == kind]
        runs = [[float(measures["left"][kind, seed].mean()) for measures in curves.values()] for seed in seeds]
        series.append(
            figures.Series(
                label=kind,
                x=list(curves),
                y=rows.left.tolist(),
                lo=rows.left_lo.tolist(),
                hi=rows.left_hi.tolist(),
                runs=runs if len(runs) > 1 else [],
                color_by=kind,
            )
        )
    return figures.curve(
        name="matching",
        title="How near another image's latent comes within a small ball",
        caption="Where the curve falls at once, two images that look nothing alike have the same representation. What "
        f"is left of the distance of latents, mean over n = {int(found.n.min()):,} pairs, "
        f"{plural(settings.num_seeds, 'seed')} (thin lines); 95 % intervals over seeds and pairs.",
        series=series,
        x_label="size of the ball (l2)",
        y_label="distance of latents, of that at the start",
        palette=figures.Palette([*reversed(KINDS)]),
        percent=True,
    )


def _paths(results: Results) -> Picture:
    """Two pairs, both kinds of network and the blend of pixels."""
    settings = results.settings
    points = settings.path_points
    rows = {kind: results.probes.paths[kind, settings.seed][0] for kind in reversed(KINDS)}
    pairs = min(2, len(rows["robust"]) // points)
    shown: dict[str, NDArray[Any]] = {}
    for pair in range(pairs):
        part = slice(pair * points, (pair + 1) * points)
        number = "" if pairs == 1 else f" {pair + 1}"
        shown[f"{probed.BLEND}{number}"] = matrix(rows["robust"].iloc[part], "blend")
        shown |= {f"{kind}{number}": matrix(each.iloc[part], "image") for kind, each in rows.items()}
    return figures.image_rows(
        name="paths",
        title="Images between two images",
        caption="Left and right the two images; between them, images whose latent lies between theirs, begun at the "
        f"blend of pixels. {NOT_CHOSEN.capitalize()}.",
        rows=shown,
        columns=[f"{step / (points - 1):.1f}" for step in range(points)],
        side=SIDE,
    )


def _added(results: Results) -> Picture:
    """The same images with units of each network; the change itself, magnified."""
    settings = results.settings
    parts = {
        kind: results.probes.added[kind, settings.seed][0].iloc[:: settings.add_starts].iloc[: settings.num_examples]
        for kind in reversed(KINDS)
    }
    count = min(map(len, parts.values()))
    shown: dict[str, NDArray[Any]] = {"image": matrix(parts["robust"].iloc[:count], "start")}
    for kind, rows in parts.items():
        few = rows.iloc[:count]
        shown[f"{kind}:\nunit added"] = matrix(few, "image")
        shown[f"{kind}:\nchange"] = figures.signed(matrix(few, "image") - matrix(few, "start"))
    units = zip(*(rows.unit.iloc[:count] for rows in parts.values()), strict=True)
    return figures.image_rows(
        name="added",
        title="A coordinate of the latent, added to an image",
        caption="Steps end where the coordinate is as large as on one of the test images that excite it most. The "
        f"change is scaled in each picture by itself. Units (robust / standard) and image: {NOT_CHOSEN}.",
        rows=shown,
        columns=[f"{robust} / {standard}" for robust, standard in units],
        side=SIDE,
    )


def _directions(results: Results) -> Picture:
    settings = results.settings
    rows = {kind: results.probes.directed[kind, settings.seed][0] for kind in reversed(KINDS)}
    places = np.flatnonzero(rows["robust"].number == 0)[: max(2, settings.num_examples)]
    shown = {"start": matrix(rows["robust"].iloc[places], "start")}
    shown |= {kind: matrix(each.iloc[places], "image") for kind, each in rows.items()}
    return figures.image_rows(
        name="directions",
        title="Along a class's direction of a linear head",
        caption="From the same noise, along the direction in which the class's logit rises against all others'. The "
        f"first start of {len(places)} classes; networks of the first seed.",
        rows=shown,
        columns=[results.images.classes[label] for label in rows["robust"].label.iloc[places]],
        side=SIDE,
    )


def _strange(results: Results) -> Picture:
    settings = results.settings
    rows = {kind: results.probes.strange[kind, settings.seed][0] for kind in reversed(KINDS)}
    places = np.flatnonzero(rows["robust"].number < max(1, settings.num_examples // len(STRANGE)))
    shown = {"target": matrix(rows["robust"].iloc[places], "target")}
    shown |= {f"{kind}\ninversion": matrix(each.iloc[places], "image") for kind, each in rows.items()}
    return figures.image_rows(
        name="strange",
        title="Inversions of images of no class",
        caption=f"From noise, towards the latent of images that belong to no class: {NOT_CHOSEN}.",
        rows=shown,
        columns=[STRANGE[kind] for kind in rows["robust"].kind.iloc[places]],
        side=SIDE,
    )


def _maps(results: Results) -> Picture:
    settings = results.settings
    rows = {kind: results.probes.maps[kind, settings.seed].iloc[: settings.num_examples] for kind in reversed(KINDS)}
    indices = rows["robust"]["index"].to_numpy()
    images, labels = results.images.batch(indices)
    shown = {"image": images.numpy()}
    for kind, each in rows.items():
        shown[f"{kind}:\nloss"] = figures.signed(matrix(each, "loss_map"))
        shown[f"{kind}:\na unit"] = figures.signed(matrix(each, "unit_map"))
    return figures.image_rows(
        name="maps",
        title="Sensitivity maps",
        caption="Gradients with respect to the pixels, of the loss and of the coordinate of the latent that the image "
        f"excites most, around mid-grey, each scaled by itself: {NOT_CHOSEN}.",
        rows=shown,
        columns=[results.images.classes[label] for label in labels.tolist()],
        side=SIDE,
    )


def _neighbours(results: Results) -> Picture:
    settings = results.settings
    targets = np.asarray(results.targets)[: settings.num_examples]
    images, labels = results.images.batch(targets)
    shown = {"target": images.numpy()}
    for kind in reversed(KINDS):
        nearest = probed.neighbours(results.probes.latents[kind, settings.seed], targets, settings.neighbours)
        for place in range(min(2, settings.neighbours)):
            which = "nearest" if place == 0 else "second"
            shown[f"{kind}:\n{which}"] = results.images.batch(nearest[:, place])[0].numpy()
    return figures.image_rows(
        name="neighbours",
        title="Nearest test images in feature space",
        caption=f"By the Euclidean distance of latents: {NOT_CHOSEN}.",
        rows=shown,
        columns=[results.images.classes[label] for label in labels.tolist()],
        side=SIDE,
    )
