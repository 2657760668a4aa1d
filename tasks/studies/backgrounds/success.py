"""Which backgrounds fool a network: how often each does, and what the strongest look like (paper, section 4)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustray.tasks import figures
from robustray.tasks.kit.words import plural
from robustray.tasks.studies.backgrounds import adversarial
from robustray.tasks.studies.backgrounds.adversarial import Met
from robustray.tasks.studies.backgrounds.results import Results
from robustray.tasks.study import Figure, Picture

TOP = 5
"""Backgrounds of each class that are shown, as in the paper."""
BINS = 20


def success_drawings(results: Results) -> Iterator[Figure | Picture | None]:
    met = [each for each in results.met if len(each.sweep)]
    if met and results.met_rooms is not None:
        yield success_histogram(results, met)
        yield strongest(results, met, results.met_rooms)


def success_histogram(results: Results, met: Sequence[Met]) -> Figure:
    """How often each background makes a network answer its class."""
    kinds = dict(adversarial.groups(met))
    first = met[0]
    return figures.histogram(
        name="success",
        title="How often a background makes the network answer its class",
        caption=f"For each of {plural(len(first.background_labels), 'background')}, of those of "
        f"{len(first.labels):,} foregrounds that are of another class, the share answered with the background's class; "
        f"mean of {plural(len(kinds[first.network]), 'network')} of a kind.",
        samples=[figures.Sample(label=name, values=mean_success(seeds)) for name, seeds in kinds.items()],
        x_label="attack success of a background",
        bins=np.linspace(0, 1, BINS + 1).tolist(),
        palette=figures.Palette(list(kinds)),
        percent=True,
    )


def mean_success(seeds: Sequence[Met]) -> NDArray[np.float64]:
    """(backgrounds,): attack success, mean over seeds; NaN where no foreground is of another class."""
    found = [adversarial.attack_success(each.answers, each.labels, each.background_labels) for each in seeds]
    mean: NDArray[np.float64] = np.mean(found, axis=0)
    return mean


def strongest(results: Results, met: Sequence[Met], rooms: NDArray[Any]) -> Picture | None:
    """The strongest backgrounds of each class against the first kind of network, chosen on half of the foregrounds;
    their success is that on the other half."""
    name, seeds = next(adversarial.groups(met))
    rows, pictures = [], []
    for label in np.unique(seeds[0].background_labels).tolist():
        places = np.flatnonzero(seeds[0].background_labels == label)
        halves = adversarial.halves(seeds[0], label, results.settings.seed)
        if halves is None or len(places) < TOP:
            continue
        chosen, reported = ([hits(each, label)[half].mean(0) for each in seeds] for half in halves)
        best = np.argsort(-np.mean(chosen, axis=0), kind="stable")[:TOP]
        rows.append(f"{results.classes[label]}\n{np.mean(reported, axis=0)[best].mean():.0%}")
        pictures.append(rooms[places[best]])
    if not rows:
        return None
    return figures.image_grid(
        name="strongest",
        title="The strongest backgrounds of each class",
        caption=f"The {TOP} backgrounds with the most success against the network {name}, the strongest on the left, "
        "chosen on half of the foregrounds; beside each class, their mean success on the other half.",
        images=np.concatenate(pictures),
        rows=rows,
        columns=[""] * TOP,
        scale=max(1, 64 // max(rooms.shape[2:])),
    )


def hits(met: Met, label: int) -> NDArray[np.bool_]:
    """(foregrounds, backgrounds of the class): whether the answer is that class."""
    found: NDArray[np.bool_] = met.answers[:, met.background_labels == label] == label
    return found
