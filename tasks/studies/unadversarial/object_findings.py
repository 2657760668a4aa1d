"""What the report says of textures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import PurePath
from typing import Literal

import numpy as np

from robustray.tasks import figures
from robustray.tasks.kit.claims import claim
from robustray.tasks.kit.compose import compose
from robustray.tasks.kit.frames import shown
from robustray.tasks.kit.rules import above
from robustray.tasks.kit.words import listed, over_words, plural
from robustray.tasks.render.weather import STRENGTHS, WEATHERS
from robustray.tasks.report.numbers import format_estimate
from robustray.tasks.statistics import Estimate
from robustray.tasks.studies.unadversarial import object_results
from robustray.tasks.studies.unadversarial.object_results import BASELINES, TEXTURES, WORDS, ObjectResults
from robustray.tasks.studies.unadversarial.textures import CLEAR, Condition
from robustray.tasks.study import Claim, Figure, Findings, Picture, Table

LEAST_CHAINS = 2


def found(results: ObjectResults) -> Findings:
    """Everything that the report shows."""
    return compose(
        answer(results), claims(results), drawings(results), tables(results), pictures(results), warnings(results)
    )


def answer(results: ObjectResults) -> str:
    """Designed against grey, by both renderers."""
    designed, grey = (results.overall(name, None) for name in ("designed", "grey"))
    solids = listed(f"{PurePath(solid).stem} as {results.classes[label]}" for solid, label in results.mine.items())
    judge = ""
    if results.judged:
        there, plain = (results.overall(name, (CLEAR,)) for name in ("designed", "grey"))
        weather, without = (results.overall(name, results.weathers) for name in ("designed", "grey"))
        judge = (
            f"; drawn by MuJoCo, {_words(there)} instead of {_words(plain)}, and in weather {_words(weather)} instead "
            f"of {_words(without)}"
        )
    return (
        f"With a designed texture, {_words(designed)} of held-out views are recognised ({solids}) instead of "
        f"{_words(grey)} with a grey one (n = {designed.n:,} views of each solid, "
        f"{plural(len(results.chains), 'chain')}){judge}."
    )


def _words(estimate: Estimate) -> str:
    return format_estimate(estimate.value, estimate.interval, "percent")


def claims(results: ObjectResults) -> Iterator[Claim]:
    """Against each of the three that were not designed, by our renderer, by MuJoCo, and in weather."""
    cases: list[tuple[str, Sequence[Condition] | None]] = [("on held-out views", None)]
    if results.judged:
        cases += [("on views that MuJoCo draws", (CLEAR,)), ("in weather that MuJoCo draws", results.weathers)]
    for words, where in cases:
        for other in BASELINES:
            yield claim(
                f"Solids with a designed texture are recognised more often than with {WORDS[other]}, {words}.",
                results.gain(other, where),
                above(0).given(LEAST_CHAINS, "chains"),
                measured="difference of accuracies, mean over solids"
                + (f" and {plural(len(where), 'condition')}" if where is not None and len(where) > 1 else "")
                + ", paired by chain and view",
                over="chains and views",
                unit="points",
                count=len(results.chains),
            )


def warnings(results: ObjectResults) -> Iterator[str]:
    if len(results.chains) < LEAST_CHAINS:
        yield "one chain: nothing is known of other classifiers and designs, and the claims stay undecided"
    if not results.judged:
        yield "no judge: the views are drawn by the renderer that the textures were designed with"
    if len(results.mine) > 1:
        for row in object_results.swap_table(results).itertuples():
            if row.other > row.own:
                yield (
                    f"the {row.solid} with a texture designed for {row.designed_for} is answered {row.designed_for} "
                    f"more often ({row.other:.0%}) than as itself ({row.own:.0%}): the texture decides, not the shape"
                )


# --- Tables -----------------------------------------------------------------------------------------------------------


def tables(results: ObjectResults) -> Iterator[Table]:
    over = over_words(len(results.chains), units="views")
    covers = listed(f"{PurePath(solid).stem} {share:.0%}" for solid, share in results.covers.items())
    formats = shown("rasteriser", "percent", "rasteriser_lo", "rasteriser_hi")
    if results.judged:
        formats |= shown("mujoco", "percent", "mujoco_lo", "mujoco_hi")
        formats |= shown("weather", "percent", "weather_lo", "weather_hi")
    yield Table(
        name="textures",
        title="How often each solid is recognised",
        caption="Held-out views before test images of other classes, the same ones for all textures. rasteriser: the "
        "renderer of the design; mujoco: the judge, on the first of these views; weather: the judge's mean over five "
        f"weathers of five severities. The solids cover this much of the image: {covers}. {over}.",
        frame=object_results.texture_table(results),
        formats=formats,
    )
    if len(results.mine) > 1:
        yield Table(
            name="texture_swap",
            title="A texture designed for another class",
            caption="Share of held-out views of the solid that are answered with the class that its texture was "
            f"designed for, and with the solid's own. {over}.",
            frame=object_results.swap_table(results),
            formats=shown("other", "percent", "other_lo", "other_hi") | shown("own", "percent", "own_lo", "own_hi"),
        )
    if results.judged:
        yield Table(
            name="weather",
            title="Accuracy by texture, weather and severity",
            caption=f"Drawn by MuJoCo, mean over solids. {over}.",
            frame=object_results.weather_table(results),
            formats=shown("accuracy", "percent"),
            on_page=False,
        )
    yield Table(
        name="texture_design",
        title="Designs, step by step",
        caption="Mean cross-entropy of the batch before each step.",
        frame=object_results.curve_table(results),
        on_page=False,
    )


# --- Drawings ---------------------------------------------------------------------------------------------------------


def drawings(results: ObjectResults) -> Iterator[Figure]:
    rows = []
    for solid in results.mine:
        for texture in TEXTURES:
            where = (CLEAR,) if results.judged else None
            estimate = results.accuracy(solid, texture, where)
            rows.append(
                figures.Row(
                    label=f"{PurePath(solid).stem}, {texture}",
                    value=estimate.value,
                    lo=estimate.lo,
                    hi=estimate.hi,
                    runs=[float(results.right(chain, solid, texture, where).mean()) for chain in results.chains],
                    color_by=texture,
                )
            )
    yield figures.dot_rows(
        name="textures",
        title="Solids with a designed texture, and with three others",
        caption=f"Held-out views{', drawn by MuJoCo' if results.judged else ''}, the same ones for all textures. "
        f"{over_words(len(results.chains), units='views')}; faint dots: chains.",
        rows=rows,
        x_label="accuracy",
        percent=True,
        levels=(figures.Level(value=1 / len(results.classes), words="guessing"),),
    )
    if results.judged:
        yield from _weather(results)
    own = object_results.curve_table(results)
    own = own[[results.mine[row.solid] == results.classes.index(row.designed_for) for row in own.itertuples()]]
    yield figures.curve(
        name="texture_design",
        title="The designs",
        caption="Cross-entropy of each step's batch before the step, one line for each solid, mean over chains.",
        series=[
            figures.Series(label=PurePath(str(solid)).stem, x=rows.step.tolist(), y=rows.loss.tolist())
            for solid, rows in own.groupby(["solid", "step"], as_index=False).loss.mean().groupby("solid", sort=False)
        ],
        x_label="step",
        y_label="cross-entropy",
    )


def _weather(results: ObjectResults) -> Iterator[Figure]:
    """By weather and severity: what a designed texture gains over a grey one, and the accuracy of both."""
    yield _grid(
        name="weather",
        title="What a designed texture gains over a grey one, in weather",
        caption="In points of accuracy, drawn by MuJoCo; mean over solids and chains, paired by view.",
        value=lambda where: results.gain("grey", (where,)).value,
        fmt="points",
    )
    for texture in ("designed", "grey"):
        yield _grid(
            name=f"weather_{texture}",
            title=f"A {texture} texture in weather",
            caption="Accuracy, drawn by MuJoCo; mean over solids and chains.",
            value=partial(_accuracy, results, texture),
            fmt="percent",
        )


def _accuracy(results: ObjectResults, texture: str, where: Condition) -> float:
    return results.overall(texture, (where,)).value


def _grid(
    *, name: str, title: str, caption: str, value: Callable[[Condition], float], fmt: Literal["points", "percent"]
) -> Figure:
    return figures.heat_map(
        name=name,
        title=title,
        caption=caption,
        values=np.array([[value(Condition(weather, severity)) for severity in STRENGTHS] for weather in WEATHERS]),
        rows=list(WEATHERS),
        columns=[str(severity) for severity in STRENGTHS],
        row_label="weather",
        column_label="severity",
        fmt=fmt,
        signed=fmt == "points",
        limits=(0.0, 1.0) if fmt == "percent" else None,
    )


def pictures(results: ObjectResults) -> Iterator[Picture]:
    """Contact sheets of all solids, what one looks like in weather, and the textures."""
    for solid, label in results.mine.items():
        name = PurePath(solid).stem
        seen = {texture: np.stack(list(results.pictures[solid, texture].images)) for texture in TEXTURES}
        yield figures.image_rows(
            name=f"views_{name}",
            title=f"The {name} as {results.classes[label]}",
            caption="Held-out views with each texture of the first chain, as the classifier gets them.",
            rows={texture: images[:, 0] for texture, images in seen.items()},
            columns=[""] * len(seen["designed"]),
        )
        if results.judged:
            yield figures.image_rows(
                name=f"weather_{name}",
                title=f"The {name} in weather",
                caption="The same view of severity 3 in each weather, grey and designed.",
                rows={texture: seen[texture][0] for texture in ("grey", "designed")},
                columns=["clear", *WEATHERS],
            )
    yield figures.image_grid(
        name="unfolded",
        title="The textures",
        caption="Of the first chain, unfolded; texels that no facet shows stay as they began.",
        images=np.stack([results.textures[solid, texture] for solid in results.mine for texture in TEXTURES]),
        rows=[PurePath(solid).stem for solid in results.mine],
        columns=list(TEXTURES),
        scale=1 if results.settings.texture_side > 64 else 2,
    )
