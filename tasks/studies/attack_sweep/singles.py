"""Single images: which of them fell to what, by model and size."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from robustray.tasks import figures
from robustray.tasks.kit.draws import chosen
from robustray.tasks.kit.frames import at
from robustray.tasks.kit.words import slug
from robustray.tasks.report.numbers import size_words
from robustray.tasks.studies.attack_sweep.results import Results
from robustray.tasks.study import Gallery
from robustray.tasks.sweeps.records import CLEAN, STANDS

WRONG = -1
"""In place of a way to fall: the image was wrong without an attack."""


def galleries(results: Results) -> Iterator[Gallery]:
    """One for each data set."""
    for data in results.settings.data:
        yield _gallery(results, data)


def _gallery(results: Results, data: str) -> Gallery:
    settings, images = results.settings, results.images[data]
    records = at(results.records, data=data)
    attacked = sorted(set(records["index"].tolist()))
    shown = chosen(attacked, figures.room_for(images.shape), seed=settings.seed, what="gallery")
    records = records[records["index"].isin(shown)]
    ways = [str(way) for way in dict.fromkeys(records.fell_to) if way not in (CLEAN, STANDS)]
    cells = {}
    for model, norm in itertools.product(settings.models, settings.norms):
        for eps, rows in at(records, model=model, norm=norm).groupby("eps"):
            cells[model, size_words(norm, eps)] = _cell(rows, shown, ways)
    pixels, labels = images.batch(shown)
    which = "all" if len(shown) == len(attacked) else f"{len(shown):,} drawn at random (seed {settings.seed}) of all"
    return figures.gallery(
        name=slug("single", data),
        title=f"Single images of {data}: which fell to what",
        caption=f"Choose a model and a size, a class, and what became of the image; {which} {len(attacked):,} attacked "
        "images, as they are without a perturbation. An image falls to an attack if it does so with any seed at this "
        "size or a smaller one; behind its class stands what the model saw then.",
        images=pixels,
        classes=images.classes,
        indices=shown,
        labels=[int(label) for label in labels],
        ways=ways,
        cells=cells,
        start=(settings.models[0], size_words(settings.norms[0], results.reference[settings.norms[0]])),
    )


def _cell(rows: pd.DataFrame, shown: Sequence[int], ways: Sequence[str]) -> tuple[list[list[int]], list[int]]:
    """Of each image the ways in which it fell, and the class that was then seen: of the first fall, else its own."""
    place = {way: i for i, way in enumerate(ways)} | {CLEAN: WRONG}
    by_image = dict(iter(rows.groupby("index", sort=False)))
    fell, seen = [], []
    for index in shown:
        own = by_image[index]
        lost = own[own.success.to_numpy(dtype=bool)]
        found = {place[str(way)] for way in lost.fell_to}
        fell.append([WRONG] if WRONG in found else sorted(found))
        seen.append(int(np.asarray((lost if len(lost) else own).prediction)[0]))
    return fell, seen
