"""What simulated studies say about a gap with two causes: can the choice of images and several objects be
distinguished?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from robustray.tasks import figures
from robustray.tasks.crowds.replicas.causes import COMPONENTS, MIXTURES, PARTS, RESIDUAL
from robustray.tasks.crowds.replicas.decompose import CauseProtocol
from robustray.tasks.kit.claims import claim
from robustray.tasks.kit.frames import at, columns, estimate_of, one, shown
from robustray.tasks.kit.rules import within
from robustray.tasks.report.numbers import format_value
from robustray.tasks.statistics import median_interval, proportion
from robustray.tasks.studies.replication.repeats import mean_of_known
from robustray.tasks.studies.replication.settings import Settings
from robustray.tasks.study import Claim, Figure, Table

COVERED = (0.92, 0.98)
"""A part counts as distinguished where its 95 % intervals cover the truth this often."""
LEAST_STUDIES = 400
"""The fewest studies of each world for a claim: fewer can't distinguish a coverage of 95 % from one of 92 %."""
LEAST_TO_WARN = 20
"""Fewer studies of a world call nothing unidentifiable."""


def protocols(settings: Settings) -> Mapping[str, CauseProtocol]:
    """World -> how its studies are drawn; empty where none are asked for."""
    if not settings.num_causes:
        return {}
    return {
        name: CauseProtocol(
            mixture=name,
            world=world,
            num_images=settings.num_images,
            num_candidates=settings.num_candidates,
            num_classes=settings.num_classes,
            num_matching=settings.num_matching,
            num_answers=settings.claimed_answers,
            num_resamples=settings.num_resamples,
        )
        for name, world in MIXTURES.items()
    }


@dataclass(frozen=True, kw_only=True)
class Caused:
    settings: Settings
    rows: Mapping[str, pd.DataFrame]
    """World -> rows of `cause_block`."""

    def frame(self) -> pd.DataFrame:
        """One row per world and part: the truth, mean error over studies, and how their intervals cover."""
        found = []
        for name, rows in self.rows.items():
            truth, ends = MIXTURES[name].truth(self.settings.num_matching), np.stack(list(rows.parts))
            for place, part in enumerate(PARTS):
                value, lo, hi = ends[:, place].T
                known = np.isfinite(value)  # a study with too few images of a kind has no estimate
                row: dict[str, Any] = {"world": name, "part": part, "truth": truth[part]}
                row |= columns("bias", mean_of_known(value - truth[part]), "bias_lo", "bias_hi")
                held = proportion((lo <= truth[part]) & (truth[part] <= hi))
                row |= columns("coverage", held, "coverage_lo", "coverage_hi")
                row |= columns("width", median_interval(hi - lo), "width_lo", "width_hi")
                found.append(row | {"failed": int((~known).sum()), "n": len(value)})
        return pd.DataFrame(found)

    def tipping(self) -> pd.DataFrame:
        """One row per world: what else would explain its residual."""
        found = []
        for name, rows in self.rows.items():
            residual = np.stack(list(rows.parts))[:, PARTS.index(RESIDUAL), 0]
            estimate = mean_of_known(residual)
            ends = {
                end: MIXTURES[name].tipping_points(self.settings.num_matching, value)
                for end, value in zip(("", "_lo", "_hi"), (estimate.value, estimate.lo, estimate.hi), strict=True)
            }
            row: dict[str, Any] = {"world": name, **columns("residual", estimate, "residual_lo", "residual_hi")}
            row |= {f"unnoticed{end}": share for end, (share, _) in ends.items()}
            row |= {f"logits{end}": logits for end, (_, logits) in ends.items()}
            found.append(row | {"n": estimate.n})
        return pd.DataFrame(found)


def caused_parts(caused: Caused) -> Iterator[Claim | Table | Figure | str]:
    frame = caused.frame()
    yield from _claims(caused, frame)
    yield from _tables(caused, frame)
    yield _drawing(caused, frame)
    yield from _warnings(caused, frame)


def _claims(caused: Caused, frame: pd.DataFrame) -> Iterator[Claim]:
    if caused.settings.num_causes < LEAST_STUDIES:
        return
    for name, world in MIXTURES.items():
        rows = at(frame, world=name)
        rows = rows[rows.part.isin(COMPONENTS)]
        worst = rows.loc[(rows.coverage - 0.95).abs().idxmax()]
        told = "can't be told apart" if world.misread else "can be told apart"
        rule = within(0.0, COVERED[0]) if world.misread else within(*COVERED)
        yield claim(
            f"The two causes and the residual {told} in the world {name}.",
            estimate_of(worst, "coverage", "coverage_lo", "coverage_hi"),
            rule,
            measured=f"share of studies whose 95 % interval holds the true {worst.part}, of the three parts the one "
            f"furthest from 95 % ({world.words}; {caused.settings.claimed_answers} new answers per image)",
            over="simulated studies (Wilson)",
            kind="check",
        )


def _tables(caused: Caused, frame: pd.DataFrame) -> Iterator[Table]:
    settings = caused.settings
    words = "; ".join(f"{name}: {world.words}" for name, world in MIXTURES.items())
    yield Table(
        name="causes",
        title="Two causes of one gap",
        caption=f"{words[0].upper()}{words[1:]}. The raw gap is the sum of three parts, estimated jointly: selection "
        "(within kinds of images, true selection frequencies differ), several objects (their share differs), residual "
        "(neither). Truth: by integration. Bias: mean over simulated studies minus the truth, Student's t; coverage of "
        f"the 95 % interval (basic bootstrap, {settings.num_resamples:,} resamples, the replica within matching bins) "
        f"with Wilson's interval; width: their median. {settings.claimed_answers} new answers per image.",
        frame=frame,
        formats={"truth": "points"}
        | shown("bias", "points", "bias_lo", "bias_hi")
        | shown("coverage", "percent", "coverage_lo", "coverage_hi")
        | shown("width", ".4f", "width_lo", "width_hi"),
    )
    yield Table(
        name="causes-tipping",
        title="What else would explain the residual of two causes",
        caption="Neither is seen by any estimator. unnoticed: share of the replica's images that would have to have "
        "several objects while they are taken for images with one (below 0: the other way round). logits: how much "
        "more leniently the replica would have to have been read. To first order, from the mean residual of n studies "
        "with its interval.",
        frame=caused.tipping(),
        formats=shown("residual", "points", "residual_lo", "residual_hi")
        | shown("unnoticed", "percent", "unnoticed_lo", "unnoticed_hi")
        | shown("logits", ".2f", "logits_lo", "logits_hi"),
    )


def _drawing(caused: Caused, frame: pd.DataFrame) -> Figure:
    drawn = [
        figures.Row(
            label=f"{row.world}: {row.part}",
            value=row.bias,
            lo=row.bias_lo,
            hi=row.bias_hi,
            color_by=row.part,
        )
        for row in frame[frame.part.isin(COMPONENTS)].itertuples()
    ]
    return figures.dot_rows(
        name="causes",
        title="How far off each part of the gap is",
        caption="Nearer to the dashed line is better. Where kinds of images are misread, part of what several objects "
        f"explain goes to the residual. Means over {caused.settings.num_causes:,} simulated studies with 95 % "
        "intervals.",
        rows=drawn,
        x_label="estimated minus true part",
        points=True,
        palette=figures.Palette(COMPONENTS),
        levels=[figures.Level(value=0, words="no error")],
    )


def _warnings(caused: Caused, frame: pd.DataFrame) -> Iterator[str]:
    """Worlds in which intervals miss a part: not identifiable from such data, with the tipping point."""
    for name in caused.rows:
        rows = at(frame, world=name)
        missed = [row.part for row in rows[rows.part.isin(COMPONENTS)].itertuples() if row.coverage_hi < COVERED[0]]
        if missed and len(caused.rows[name]) >= LEAST_TO_WARN:
            tip = one(caused.tipping(), world=name)
            yield (
                f"world {name} ({MIXTURES[name].words}): not identifiable, intervals miss {' and '.join(missed)}; "
                f"{format_value(100 * tip.unnoticed, '.1f')} % of the replica with several objects unnoticed, or "
                f"{format_value(tip.logits, '.2f')} logit of leniency, would explain the whole residual"
            )
    for row in frame[frame.failed > 0].itertuples():
        yield f"world {row.world}: {row.failed} of {row.n} studies have too few images of a kind to estimate {row.part}"
