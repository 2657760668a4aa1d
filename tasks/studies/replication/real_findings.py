"""What people's answers with a known truth say about the estimators."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from robustray.tasks import figures
from robustray.tasks.crowds.replicas.estimators import JACKKNIFE, MOMENTS, NAIVE, RAW, estimators_for
from robustray.tasks.kit.claims import claim
from robustray.tasks.kit.compose import compose
from robustray.tasks.kit.frames import at, columns, estimate_of, one, shown
from robustray.tasks.kit.rules import above, equivalent
from robustray.tasks.statistics import Estimate, Resamples, mean_interval
from robustray.tasks.studies.replication.settings import Settings
from robustray.tasks.studies.replication.words import points
from robustray.tasks.study import Claim, Figure, Findings, Table

LICENCE = (
    "Answers: CIFAR-10H (Peterson et al. 2019), CC BY-NC-SA 4.0: non-commercial, share alike; sums only are shown."
)


@dataclass(frozen=True, kw_only=True)
class Results:
    settings: Settings
    rows: pd.DataFrame
    """Rows of `real_block`."""
    num_answers: tuple[int, ...]
    models: tuple[str, ...]
    num_images: int

    def frame(self) -> pd.DataFrame:
        """One row per number of answers and estimator: mean gap over splits with its interval over images, the paired
        change against the most answers, and the share of splits whose own interval holds 0."""
        names = list(estimators_for(self.num_answers[0]))
        values, draws = (np.stack(list(self.rows[name])).astype(np.float64) for name in ("gaps", "draws"))
        draws = draws.reshape(*draws.shape[:2], *values.shape[1:])
        mean, mean_draws = values.mean(axis=0), draws.mean(axis=0)
        lo, hi = np.quantile(draws, [0.025, 0.975], axis=1)
        holds = ((2 * values - hi <= 0) & (2 * values - lo >= 0)).mean(axis=0)
        found = []
        for row, n in enumerate(self.num_answers):
            for place, name in enumerate(names):
                if np.isnan(mean[row, place]):
                    continue
                gap = self._estimate(mean[row, place], mean_draws[:, row, place])
                to_most = self._estimate(
                    mean[row, place] - mean[-1, place], mean_draws[:, row, place] - mean_draws[:, -1, place]
                )
                found.append(
                    {"n_answers": n, "estimator": name}
                    | columns("gap", gap, "gap_lo", "gap_hi")
                    | columns("to_most", to_most, "to_most_lo", "to_most_hi")
                    | {
                        "sd_splits": values[:, row, place].std(ddof=1) if len(values) > 1 else np.nan,
                        "holds_0": holds[row, place],
                    }
                    | {"n": self.num_images}
                )
        return pd.DataFrame(found)

    def model_frame(self) -> pd.DataFrame:
        """One row per model: mean gaps over splits at the claimed number of answers."""
        mean = np.stack(list(self.rows.models)).mean(axis=0)
        names = list(estimators_for(self.num_answers[0]))
        frame = pd.DataFrame(mean[:, [names.index(each) for each in SHOWN]], columns=list(SHOWN))
        frame.insert(0, "model", list(self.models))
        return frame.sort_values(MOMENTS, kind="stable").reset_index(drop=True)

    def _estimate(self, value: float, draws: np.ndarray) -> Estimate:
        sample = Resamples(values=np.array([value]), draws=draws[:, None], n=self.num_images, acceleration=None)
        return sample.estimates("basic")[0]


SHOWN = (RAW, NAIVE, JACKKNIFE, MOMENTS)


def findings(results: Results) -> Findings:
    frame = results.frame()
    return compose(_answer(results, frame), _claims(results, frame), _tables(results, frame), _figure(results, frame))


def _gap(results: Results, frame: pd.DataFrame, estimator: str) -> Estimate:
    row = one(frame, estimator=estimator, n_answers=results.settings.claimed_answers)
    return estimate_of(row, "gap", "gap_lo", "gap_hi")


def _answer(results: Results, frame: pd.DataFrame) -> str:
    raw, naive, moments = (points(_gap(results, frame, name), 2) for name in (RAW, NAIVE, MOMENTS))
    return (
        f"People's answers to {results.num_images:,} images, true gap 0 by construction: a matched replica costs "
        f"{raw} of accuracy; re-weighted by {results.settings.claimed_answers} new answers per image {naive}, "
        f"corrected by factorial moments {moments} (mean over {len(results.rows):,} splits and "
        f"{len(results.models)} models; 95 % intervals over n = {results.num_images:,} images)."
    )


def _claims(results: Results, frame: pd.DataFrame) -> Iterator[Claim]:
    n = results.settings.claimed_answers
    for words, name, rule in (
        ("With people's answers, too, matching leaves a gap where there is none.", RAW, above(0)),
        ("Re-weighting by new readings with the same noise does not remove it.", NAIVE, above(0)),
        ("Factorial moments are right on average with people's answers.", MOMENTS, equivalent(0.01)),
    ):
        yield claim(
            words,
            _gap(results, frame, name),
            rule,
            measured=f"mean gap over splits, {n} new answers per image, true gap 0",
            over="images",
            unit="points",
        )


def _tables(results: Results, frame: pd.DataFrame) -> Iterator[Table]:
    size = mean_interval(results.rows["size"].to_numpy(dtype=np.float64)).value
    yield Table(
        name="real-answers",
        title="People's answers with a true gap of 0",
        caption=f"Gap: mean over {len(results.rows):,} splits, mean over {len(results.models)} models; basic bootstrap "
        f"intervals over images, {results.settings.num_resamples:,} resamples that all splits share, seed "
        f"{results.settings.seed}. to_most: the paired change against {results.num_answers[-1]} answers. sd_splits: of "
        "a single split; holds_0: share of splits whose own interval holds the truth. A replica has "
        f"{size:,.0f} images on average. {LICENCE}",
        frame=frame,
        formats=shown("gap", "points", "gap_lo", "gap_hi")
        | shown("to_most", "points", "to_most_lo", "to_most_hi")
        | {"sd_splits": ".4f", "holds_0": "percent"},
    )
    yield Table(
        name="real-models",
        title=f"Every model at {results.settings.claimed_answers} new answers",
        caption=f"Mean gaps over {len(results.rows):,} splits; no intervals, the claims are about their mean.",
        frame=results.model_frame(),
        formats=dict.fromkeys(SHOWN, "points"),
    )
    gap, slope = _gap(results, frame, MOMENTS), float(results.rows.slope.mean())
    yield Table(
        name="tipping-points",
        title="What would explain the rest",
        caption="No estimator sees people who were more lenient with one set. If the replica had been read this many "
        "logits more leniently than the original, the whole gap left by factorial moments would be explained; below 0: "
        "more strictly. To first order; the interval is that of the gap.",
        frame=pd.DataFrame(
            [
                columns("gap", gap, "gap_lo", "gap_hi")
                | {"logits": gap.value / slope, "logits_lo": gap.lo / slope, "logits_hi": gap.hi / slope}
                | {"points_per_logit": slope, "n": results.num_images}
            ]
        ),
        formats=shown("gap", "points", "gap_lo", "gap_hi")
        | shown("logits", ".3f", "logits_lo", "logits_hi")
        | {"points_per_logit": "points"},
    )


def _figure(results: Results, frame: pd.DataFrame) -> Figure:
    series = []
    for name in SHOWN:
        rows = at(frame, estimator=name)
        series.append(
            figures.Series(
                label=name,
                x=rows.n_answers.tolist(),
                y=rows.gap.tolist(),
                lo=rows.gap_lo.tolist(),
                hi=rows.gap_hi.tolist(),
            )
        )
    return figures.curve(
        name="real-gap",
        title="People's answers: the gap against the number of new answers",
        caption="The nearer to the dashed line, the better the correction. Mean over "
        f"{len(results.rows):,} splits; bands are 95 % bootstrap intervals over {results.num_images:,} images.",
        alt="; ".join(f"{line.label}: {100 * line.y[0]:.2f} to {100 * line.y[-1]:.2f} points" for line in series),
        series=series,
        x_label="new answers per image",
        y_label="corrected gap",
        points=True,
        palette=figures.Palette(SHOWN),
        levels=[figures.Level(value=0, words="true gap")],
        x_ticks={float(n): str(n) for n in results.num_answers},
        x_log=True,
    )
