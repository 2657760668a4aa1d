"""The study's questions beside inversions and units, asked of every network with the same images and starts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from robustray.tasks.kit.draws import chosen
from robustray.tasks.kit.images import NEEDS
from robustray.tasks.lab.seeds import stream
from robustray.tasks.latents.cache import latents, matrix
from robustray.tasks.latents.head import fit_head
from robustray.tasks.latents.taps import taps_of
from robustray.tasks.studies.representations.kinds import STRANGE
from robustray.tasks.studies.representations.layers import FEW, sense_block
from robustray.tasks.studies.representations.people import answers_of, people_table
from robustray.tasks.studies.representations.probes import (
    add_block,
    direct_block,
    interpolate_block,
    map_block,
    match_block,
    strange_block,
)
from robustray.tasks.studies.representations.results import Judged, Key, Probes
from robustray.tasks.studies.representations.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

    from robustray.tasks.crowds.tables import CrowdTable
    from robustray.tasks.data.images import ImageData
    from robustray.tasks.lab import Handle, Lab, Reference
    from robustray.tasks.lab.protocol import BlockFunction


def asking(settings: Settings, lab: Lab) -> Callable[..., Handle[pd.DataFrame]]:
    """How the study asks a network about test images: `asking(settings, lab)(step, function, items, model, asked)`.

    asked: what the block function has as its settings. Everything else is the same for all questions.
    """
    test = lab.data(settings.test_data)

    def ask(
        step: str, function: BlockFunction, items: Sequence[Any], model: Reference, asked: Mapping[str, Any]
    ) -> Handle[pd.DataFrame]:
        return lab.map(
            step,
            function,
            items,
            block=settings.block,
            seed=settings.seed,
            settings=asked,
            refs={"model": model, "data": test},
            needs=NEEDS,
        )

    return ask


def probe(
    settings: Settings,
    lab: Lab,
    twins: Mapping[Key, Reference],
    judge: Reference,
    looked: Mapping[Key, NDArray[Any]],
    units: Mapping[Key, Sequence[int]],
) -> Probes:
    """Ask all of it. looked: each network's latents of all test images. units: those that are visualised."""
    train = lab.data(settings.train_data)
    images: ImageData = lab.load(lab.data(settings.test_data))
    everything, ask = range(len(images)), asking(settings, lab)

    def judged(handle: Handle[pd.DataFrame], count: int, image: str = "image") -> Handle[pd.DataFrame]:
        return latents(lab, judge, lab.dataset("made", handle, classes=images.classes, image=image), range(count))

    # 1. The latents of some training images: a linear head on them, and what a class is on average.
    fitted = head_images(settings, lab.load(train))
    labels = lab.load(train).labels[fitted]
    trained = {key: latents(lab, model, train, fitted) for key, model in twins.items()}

    # 2. What needs no more than the networks.
    pairs = chosen(everything, settings.num_pairs, seed=settings.seed, what="pairs")
    match = {"ascent": settings.matching(), "sizes": list(settings.match_eps)}
    matched = {key: ask("match", match_block, pairs, model, match) for key, model in twins.items()}
    between = chosen(everything, settings.num_interpolated, seed=settings.seed, what="paths")
    steps = [[index, step] for index in between for step in range(settings.path_points)]
    interpolate = {"ascent": settings.interpolation(), "points": settings.path_points}
    paths = {key: ask("interpolate", interpolate_block, steps, model, interpolate) for key, model in twins.items()}
    places = [[kind, number] for kind in range(len(STRANGE)) for number in range(settings.num_strange)]
    invert = {"ascent": settings.inversion()}
    strange = {key: ask("strange", strange_block, places, model, invert) for key, model in twins.items()}
    mapped = chosen(everything, settings.num_maps, seed=settings.seed, what="maps")
    maps = {key: ask("maps", map_block, mapped, model, {}) for key, model in twins.items()}
    moved, few = chosen(everything, settings.num_sensed, seed=settings.seed, what="sensed"), images.batch(range(FEW))[0]
    taps = {key: list(taps_of(lab.load(model), few)) for key, model in twins.items()}
    sense = {"ascent": settings.sensing(), "sizes": list(settings.sense_eps)}
    sensed = {key: ask("sense", sense_block, moved, model, sense | {"taps": taps[key]}) for key, model in twins.items()}

    # 3. Units up to where a test image excites them strongly, and the directions of the heads.
    more = {key: _added(settings, looked[key], units[key]) for key in units}
    add = {"ascent": settings.addition()}
    added = {key: ask("add", add_block, items, twins[key], add) for key, items in more.items()}
    found = {key: matrix(handle.result()) for key, handle in trained.items()}
    starts = [[label, number] for label in np.unique(labels).tolist() for number in range(settings.direction_starts)]
    directed = {
        key: ask(
            "direct",
            direct_block,
            starts,
            model,
            {
                "ascent": settings.direction(),
                "directions": directions(found[key], labels, images.num_classes, settings.seed),
            },
        )
        for key, model in twins.items()
    }

    # 4. What the judge makes of the images.
    def both(asked: Mapping[Key, Handle[pd.DataFrame]], counts: Mapping[Key, int]) -> dict[Key, Judged]:
        seen = {key: judged(handle, counts[key]) for key, handle in asked.items()}
        return {key: (handle.result(), seen[key].result()) for key, handle in asked.items()}

    first: Key = ("standard", settings.seed)
    blends = judged(paths[first], len(steps), "blend")
    targets = judged(strange[first], len(places), "target")
    return Probes(
        matched={key: handle.result() for key, handle in matched.items()},
        paths=both(paths, dict.fromkeys(paths, len(steps))),
        blends=blends.result(),
        added=both(added, {key: len(items) for key, items in more.items()}),
        directed=both(directed, dict.fromkeys(directed, len(starts))),
        strange=both(strange, dict.fromkeys(strange, len(places))),
        strange_targets=matrix(targets.result()),
        maps={key: handle.result() for key, handle in maps.items()},
        sensed={key: (taps[key], handle.result()) for key, handle in sensed.items()},
        latents=looked,
        means={key: class_means(rows, labels, images.num_classes) for key, rows in found.items()},
        answers=answers(settings, lab, images),
    )


def head_images(settings: Settings, train: ImageData) -> list[int]:
    """About `head_images` random training images, the same number of each class, or all that there are."""
    present = np.unique(train.labels)
    each = max(2, settings.head_images // len(present))
    found: list[int] = []
    for label in present.tolist():
        members = np.flatnonzero(train.labels == label)
        found += stream(settings.seed, "head images", label).permutation(members)[:each].tolist()
    return sorted(found)


def directions(rows: NDArray[Any], labels: NDArray[Any], num_classes: int, seed: int) -> list[list[float]]:
    """(classes, width): of a logistic head on latents, where each class's logit rises against the mean of all; of
    length 1. Zeros for a class without images."""
    head = fit_head(rows, labels, seed=seed)
    slopes = head.weights / head.scale
    slopes = slopes - slopes.mean(0)
    found = np.zeros((num_classes, slopes.shape[1]))
    found[head.classes] = slopes / np.maximum(np.linalg.norm(slopes, axis=1, keepdims=True), 1e-12)
    return found.round(9).tolist()


def class_means(rows: NDArray[Any], labels: NDArray[Any], num_classes: int) -> NDArray[np.float64]:
    """(classes, width): mean latents; NaN for a class without images."""
    found = np.full((num_classes, rows.shape[1]), np.nan)
    for label in np.unique(labels).tolist():
        found[label] = rows[labels == label].mean(0, dtype=np.float64)
    return found


def answers(settings: Settings, lab: Lab, images: ImageData) -> NDArray[np.float64] | None:
    """People's, where a table was given. Raises: InputError for one that is not about these images."""
    if not settings.people:
        return None
    return answers_of(cast("CrowdTable", lab.load(people_table(settings.people, images))), images)


def _added(settings: Settings, latents_of: NDArray[Any], units: Sequence[int]) -> list[list[float]]:
    """Items of `add_block`. The level: what one test image of a hundred exceeds, or what the `top_images`-th strongest
    one has, whichever is more."""
    found: list[list[float]] = []
    for unit in units:
        values = np.sort(latents_of[:, unit])
        level = max(float(np.quantile(values, 0.99)), float(values[-settings.top_images]))
        found += [[unit, number, level] for number in range(settings.add_starts)]
    return found
