"""Figures and pictures of the report."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from robustray.tasks import figures
from robustray.tasks.kit.frames import at
from robustray.tasks.kit.words import plural
from robustray.tasks.latents.cache import matrix
from robustray.tasks.studies.representations import reduce
from robustray.tasks.studies.representations.blocks import POINTS
from robustray.tasks.studies.representations.results import Results
from robustray.tasks.study import Figure, Picture
from robustray.tasks.training.twins import KINDS, Kind

SIDE = 80
"""CSS pixels of an image in a picture, about."""
TITLES = {
    "pixels": "Is the target found among its own class? By pixels",
    "judge": "Is the target found among its own class? By the judge",
}
LEVEL = figures.Level(value=0.5, words="chance")


def drawings(
    results: Results, images: pd.DataFrame, ranks: pd.DataFrame, units: pd.DataFrame
) -> Iterator[Figure | Picture]:
    """Ranks by pixels first, then what was optimised, then the rest."""
    palette = figures.Palette([*reversed(KINDS), *reduce.BASELINES])
    for measure in reduce.MEASURES:
        yield _ranks(results, images, ranks, measure, palette)
    yield _distances(results, palette)
    if results.settings.num_examples:
        for start in results.settings.starts:
            yield _inversions(results, start)
        for kind in reversed(KINDS):
            if (kind, results.settings.seed) in results.units:
                yield _units(results, kind)


def _ranks(
    results: Results, images: pd.DataFrame, ranks: pd.DataFrame, measure: str, palette: figures.Palette
) -> Figure:
    rows = []
    for row in ranks.itertuples():
        by_seed = at(images, what=row.what, start=row.start).groupby("seed")[f"closer_{measure}"].mean()
        rows.append(
            figures.Row(
                label=f"{row.what}, from {row.start}" if row.start else str(row.what),
                value=getattr(row, measure),
                lo=getattr(row, f"{measure}_lo"),
                hi=getattr(row, f"{measure}_hi"),
                runs=by_seed.tolist() if len(by_seed) > 1 else (),
                color_by=str(row.what),
            )
        )
    settings = results.settings
    return figures.dot_rows(
        name=f"ranks-{measure}",
        title=TITLES[measure],
        caption="Left is better: few images of the class are more alike than the target itself. Share of the other "
        f"candidates, n = {len(results.targets):,} targets, {plural(settings.num_seeds, 'seed')} (faint dots); 95 % "
        "intervals over seeds and targets.",
        rows=rows,
        x_label="images of the class that are more alike than the target",
        palette=palette,
        percent=True,
        levels=[LEVEL],
    )


def _distances(results: Results, palette: figures.Palette) -> Figure:
    settings = results.settings
    steps = np.linspace(0, settings.inversion_steps, POINTS + 1).round()
    series = []
    for start in settings.starts:
        for kind in reversed(KINDS):
            runs = list(reduce.paths(results, kind, start).values())
            series.append(
                figures.Series(
                    label=f"{kind}, from {start}",
                    x=steps.tolist(),
                    y=np.mean(runs, axis=0).tolist(),
                    runs=[run.tolist() for run in runs] if len(runs) > 1 else [],
                    color_by=kind,
                    dash_by=start,
                )
            )
    return figures.curve(
        name="distances",
        title="Distance to the target's latent, by step",
        caption="Both kinds of network are inverted about as well, so distance alone tells them not apart. Relative to "
        f"the latent's length, mean over n = {len(results.targets):,} targets, {plural(settings.num_seeds, 'seed')} "
        "(thin lines).",
        series=series,
        x_label="gradient step",
        y_label="relative distance of latents",
        palette=palette,
    )


def _inversions(results: Results, start: str) -> Picture:
    """The first targets that were drawn, with the networks of the first seed."""
    settings = results.settings
    by_kind = {kind: results.inversions[kind, settings.seed, start][0] for kind in KINDS}  # type: ignore[index]
    rows = by_kind["standard"].iloc[: settings.num_examples]
    targets = results.images.batch(rows["index"].to_numpy())[0].numpy()
    shown = {"target": targets, f"start:\n{start}": matrix(rows, "start")}
    shown |= {f"{kind}\ninversion": matrix(by_kind[kind].iloc[: len(rows)], "image") for kind in reversed(KINDS)}
    shown["class mean"] = results.baselines.means[rows.label.to_numpy()]
    return figures.image_rows(
        name=f"inversions-{start}",
        title=f"Images with the latent of a target, from {start}",
        caption="Where the start is still seen and the target is not, the network calls different images the same. "
        f"The first {len(rows)} of {len(results.targets):,} random targets, networks of the first seed; "
        f"{settings.inversion_steps:,} steps.",
        rows=shown,
        columns=[results.images.classes[label] for label in rows.label],
        side=SIDE,
    )


def _units(results: Results, kind: Kind) -> Picture:
    """The first units that were drawn, of the first seed's network."""
    settings, units = results.settings, results.units[kind, results.settings.seed]
    few = list(units.chosen)[: settings.num_examples]
    made = matrix(units.rows, "image").reshape(len(units.chosen), settings.unit_starts, *results.images.shape)
    top = np.stack([reduce.top_images(units, unit, 2) for unit in few])
    first, second = (results.images.batch(top[:, place])[0].numpy() for place in range(2))
    return figures.image_rows(
        name=f"units-{kind}",
        title=f"What excites a unit of the {kind} network",
        caption="Above, the test images that excite a unit most; below, images made to excite it. "
        f"The first {len(few)} units of those drawn at random, network of the first seed; {settings.unit_steps:,} "
        f"steps of {settings.unit_step_size:g}.",
        rows={
            "excites\nit most": first,
            "second": second,
            "from noise": made[: len(few), 0],
            "from an\nimage": made[: len(few), 1],
        },
        columns=[f"unit {unit}" for unit in few],
        side=SIDE,
    )
