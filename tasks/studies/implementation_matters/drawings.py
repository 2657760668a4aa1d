"""Figures of the report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from robustray.tasks import figures
from robustray.tasks.kit.frames import at
from robustray.tasks.policy_gradients.curves import LAST
from robustray.tasks.studies.implementation_matters import improvements, reduce, spread
from robustray.tasks.studies.implementation_matters.published import PUBLISHED, WORDS
from robustray.tasks.studies.implementation_matters.results import Results
from robustray.tasks.studies.implementation_matters.settings import ARMS, CORNERS, corner_cells
from robustray.tasks.study import Figure

RATIO_BOUND = figures.Level(value=1.2, words="1 + ε")


def drawings(results: Results) -> Iterator[Figure | None]:
    settings = results.settings
    palette = figures.Palette(ARMS)
    for place in settings.environments:
        tail = f"-{place.partition('-v')[0].lower()}" if len(settings.environments) > 1 else ""
        yield _returns(results, place, tail)
        yield _by_update(results, place, tail, "episode_return", "mean episode return", palette)
        for column, words, levels in (
            ("heldout_kl", "mean KL(old ‖ new), nats", _limits(place)),
            ("heldout_ratio_max", "largest ratio", (RATIO_BOUND,)),
        ):
            yield _by_update(results, place, tail, column, words, palette, levels)
        yield _by_update(results, place, tail, "action_std", "standard deviation of actions", palette)
        yield _profiles(results, place, tail)
        yield _improvements(results, place, tail)
        if results.effects is not None:
            yield _effects(results.effects, place, tail)
            yield from _switches(results, place, tail)


def _limits(place: str) -> tuple[figures.Level, ...]:
    """TRPO's and TRPO+'s largest mean KL."""
    cells = {cell.name: cell.settings for cell in corner_cells([place], steps=2048)}
    return tuple(
        figures.Level(value=cells[name].max_kl, words=f"δ of {WORDS[name].split()[0]}") for name in ("trpo", "trpo+")
    )


def _returns(results: Results, place: str, tail: str) -> Figure:
    rows = []
    for row in at(results.arms, environment=place).itertuples(index=False):
        runs = reduce.values(results.agents, "final", environment=place, cell=row.arm).tolist()
        known = row.n > 1
        rows.append(
            figures.Row(
                label=WORDS[row.arm],
                value=row.final,
                lo=row.final_lo if known else None,
                hi=row.final_hi if known else None,
                runs=runs,
            )
        )
    return figures.dot_rows(
        name=f"returns{tail}",
        title=f"Final returns on {place}",
        caption="With and without code-level optimisations, with clipped and trust-region step. "
        f"Means with 95 % intervals over n = {results.settings.num_seeds} agents each; faint dots: agents.",
        rows=rows,
        x_label=f"episode return over the last {LAST} updates",
    )


def _by_update(
    results: Results,
    place: str,
    tail: str,
    column: str,
    words: str,
    palette: figures.Palette,
    levels: tuple[figures.Level, ...] = (),
) -> Figure | None:
    """A column of learning curves, of the corners; None where one of them has fewer than two updates."""
    series = []
    for arm in CORNERS:
        rows = at(results.trust, environment=place, arm=arm).dropna(subset=[column])
        known = bool(rows[f"{column}_lo"].notna().all())
        series.append(
            figures.Series(
                label=arm,
                x=(rows["update"] + 1).tolist(),
                y=rows[column].tolist(),
                lo=rows[f"{column}_lo"].tolist() if known else None,
                hi=rows[f"{column}_hi"].tolist() if known else None,
                color_by=arm,
            )
        )
    if any(len(line.x) < 2 for line in series):
        return None
    held_out = column.startswith("heldout_")
    return figures.curve(
        name=f"{column.removeprefix('heldout_').replace('_', '-')}{tail}",
        title=f"{words.partition(',')[0][0].upper()}{words.partition(',')[0][1:]} by update on {place}",
        caption=(
            "Measured on held-out steps of the policy before the update, which the update has not seen. "
            if held_out
            else "Of training steps. "
        )
        + f"Means over n = {results.settings.num_seeds} agents; bands: 95 % intervals (Student's t), update by update.",
        series=series,
        x_label="update",
        y_label=words,
        palette=palette,
        levels=levels,
        x_ticks={x: f"{x:g}" for x in series[0].x} if len(series[0].x) <= 10 else None,
    )


def _profiles(results: Results, place: str, tail: str) -> Figure | None:
    samples: dict[str, np.ndarray] = dict(zip(CORNERS, results.corners(place), strict=True))
    return _profile(
        samples,
        name=f"profiles{tail}",
        title=f"Share of agents above a return on {place}",
        words="agents of a corner",
    )


def _profile(samples: Mapping[str, np.ndarray], *, name: str, title: str, words: str) -> Figure | None:
    """Performance profiles of raw returns; None where a sample is empty."""
    if any(not len(x) for x in samples.values()):
        return None
    table = spread.profile_table(samples)
    series = []
    for label in samples:
        rows = at(table, of=label)
        lines = (rows[column].tolist() for column in ("threshold", "share", "lo", "hi"))
        x, y, lo, hi = lines
        series.append(figures.Series(label=label, x=x, y=y, lo=lo, hi=hi))
    sizes = "/".join(dict.fromkeys(f"{len(x):,}" for x in samples.values()))
    return figures.curve(
        name=name,
        title=title,
        caption=f"1 − the distribution function of final returns over n = {sizes} {words}; bands: Wilson's 95 % "
        "interval at each return. Higher is better.",
        series=series,
        x_label=f"episode return over the last {LAST} updates",
        y_label="share of agents above it",
        percent=True,
        step=True,
    )


def _improvements(results: Results, place: str, tail: str) -> Figure | None:
    aai, acli = improvements.improvements(
        [x.mean() if len(x) else float("nan") for x in results.corners(place)]
    ).tolist()
    name = place.partition("-v")[0]
    found = [
        figures.Bar(group=word, label=label, value=value)
        for label, values in (
            (f"measured, {place}", {"AAI": aai, "ACLI": acli}),
            (f"paper, {name}-v2", {word: PUBLISHED.number((name, word)) for word in ("AAI", "ACLI")}),
        )
        for word, value in values.items()
        if value is not None
    ]
    if not np.isfinite([bar.value for bar in found]).all():
        return None
    return figures.bars(
        name=f"improvements{tail}",
        title=f"AAI and ACLI on {place}",
        caption="The larger of two absolute differences each, by the step (AAI) and by code-level optimisations "
        "(ACLI): maxima, biased upwards, without intervals. The paper's are of another version of the environment "
        "and of a million steps.",
        bars=found,
        y_label="difference in final return",
    )


def _effects(effects: pd.DataFrame, place: str, tail: str) -> Figure | None:
    mine = at(effects, environment=place).dropna(subset=["difference"])
    if mine.empty:
        return None
    rows = [
        figures.Row(
            label=row.effect.replace("_", " "),
            value=row.difference,
            lo=row.lo if abs(row.lo) < float("inf") else None,
            hi=row.hi if abs(row.hi) < float("inf") else None,
        )
        for row in mine.itertuples(index=False)
    ]
    return figures.dot_rows(
        name=f"effects{tail}",
        title=f"Effects of four optimisations on {place}",
        caption="Main effects, then interactions of two. 95 % intervals over "
        f"n = {int(mine.n.iloc[0])} agents in 16 cells, each at its chosen learning rate.",
        rows=rows,
        x_label="difference in final return",
        levels=(figures.Level(value=0.0, words="no effect"),),
    )


def _switches(results: Results, place: str, tail: str) -> Iterator[Figure | None]:
    """The paper's figure 1: one panel per optimisation."""
    assert results.ablation is not None
    samples = spread.switch_samples(results.ablation.cells, results.ablation.agents, place)
    for switch in dict.fromkeys(switch for switch, _ in samples):
        words = switch.replace("_", " ")
        yield _profile(
            {"on": samples[switch, True], "off": samples[switch, False]},
            name=f"{switch.replace('_', '-')}{tail}",
            title=f"{words[0].upper()}{words[1:]} on and off on {place}",
            words="agents of eight cells, each at its chosen learning rate",
        )
