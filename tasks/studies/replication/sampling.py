"""What simulated studies say about samplers that choose from the same candidates by the same answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from robustray.tasks import figures
from robustray.tasks.crowds.replicas.chosen import BINS, EASY, FACTS, HALF, POSTERIOR, SAMPLERS
from robustray.tasks.crowds.replicas.scenarios import SCENARIOS
from robustray.tasks.kit.frames import columns, estimate_of, one, shown
from robustray.tasks.kit.rules import above, equivalent
from robustray.tasks.statistics import mean_interval, median_interval, proportion
from robustray.tasks.studies.replication.repeats import mean_of_known, not_estimated, simulated
from robustray.tasks.studies.replication.settings import Settings
from robustray.tasks.study import Claim, Figure, Table


@dataclass(frozen=True, kw_only=True)
class Sampled:
    settings: Settings
    rows: pd.DataFrame
    """Rows of `sampler_block`."""

    @property
    def scenario(self) -> str:
        return self.settings.scenarios[0]

    def frame(self) -> pd.DataFrame:
        """One row per sampler: mean raw and corrected gap minus the true one, how the corrected interval covers."""
        truth = SCENARIOS[self.scenario].true_gap()
        gaps, size, frequency = (np.stack(list(self.rows[name])) for name in ("gaps", "size", "frequency_gap"))
        found = []
        for place, name in enumerate(SAMPLERS):
            raw, (value, lo, hi) = gaps[:, place, 0, 0], gaps[:, place, 1].T
            row = columns("frequency_gap", mean_interval(frequency[:, place]), "frequency_lo", "frequency_hi")
            row |= columns("raw_error", mean_of_known(raw - truth), "raw_lo", "raw_hi")
            row |= columns("corrected_error", mean_of_known(value - truth), "corrected_lo", "corrected_hi")
            row |= columns("coverage", proportion((lo <= truth) & (truth <= hi)), "coverage_lo", "coverage_hi")
            row |= columns("width", median_interval(hi - lo), "width_lo", "width_hi")
            found.append({"sampler": name, "images": float(size[:, place].mean())} | row | {"n": len(raw)})
        return pd.DataFrame(found)

    def plan(self) -> pd.DataFrame:
        """One row per fact of the plan of posterior matching: its mean over studies."""
        facts = np.stack(list(self.rows.facts))
        return pd.DataFrame(
            {"fact": name, **columns("value", mean_interval(values)), "n": len(values)}
            for name, values in zip(FACTS, facts.T, strict=True)
        )

    def difference(self, one_sampler: str, other: str) -> np.ndarray:
        """(studies,) accuracy of the one replica minus the other's."""
        raw = np.stack(list(self.rows.gaps))[:, :, 0, 0]
        return raw[:, SAMPLERS.index(other)] - raw[:, SAMPLERS.index(one_sampler)]


def sampled_parts(sampled: Sampled) -> Iterator[Claim | Table | Figure | str]:
    frame = sampled.frame()
    yield from _claims(sampled, frame)
    yield from _tables(sampled, frame)
    yield _drawing(sampled, frame)
    for place, name in enumerate(SAMPLERS):
        yield from not_estimated(f"sampler {name}", np.stack(list(sampled.rows.gaps))[:, place, 1, 0])


def _claims(sampled: Sampled, frame: pd.DataFrame) -> Iterator[Claim]:
    settings = sampled.settings
    studies = simulated(settings.num_compared)
    half, rest = _halves(settings)
    row = one(frame, sampler=POSTERIOR)
    where = f"scenario {sampled.scenario}, {settings.num_matching} answers that choose {settings.num_chosen:,} images"
    yield studies.claim(
        "A replica chosen by posterior matching needs no correction.",
        estimate_of(row, "raw_error", "raw_lo", "raw_hi"),
        equivalent(0.01),
        measured=f"raw gap minus true gap ({where})",
    )
    yield studies.claim(
        "What a matched replica costs depends on the pool that it is chosen from, though readings match either way.",
        mean_of_known(sampled.difference(EASY, HALF)),
        above(0),
        measured=f"accuracy on a replica matched from the candidates that at least half of {rest} other answers "
        f"ticked, minus accuracy on one matched from all candidates by the same {half} answers ({where})",
    )


def _halves(settings: Settings) -> tuple[int, int]:
    """Answers by which half a replica is matched, and the others."""
    return settings.num_matching // 2, settings.num_matching - settings.num_matching // 2


def _tables(sampled: Sampled, frame: pd.DataFrame) -> Iterator[Table]:
    settings = sampled.settings
    half, rest = _halves(settings)
    yield Table(
        name="samplers",
        title="How the replica is chosen",
        caption=f"{settings.num_chosen:,} of {settings.num_candidates:,} candidates, chosen by {settings.num_matching} "
        f"answers each (scenario {sampled.scenario}). frequency_gap: mean true frequency of the original minus the "
        "replica's. raw_error: raw minus true gap; corrected_error: the same after correction by factorial moments "
        f"with {settings.claimed_answers} new answers per image; means over n simulated studies with Student's t. "
        "Coverage of the corrected gap's 95 % interval (Wilson), and its median width: these replicas are small, and "
        "intervals wider than in the tables above. Posterior: shares of counts so that true frequencies match, by "
        f"fitted mixtures of two betas. Half the answers: matched by the first {half}; easy candidates: those that at "
        f"least half of the other {rest} ticked.",
        frame=frame,
        formats=shown("frequency_gap", ".4f", "frequency_lo", "frequency_hi")
        | shown("raw_error", "points", "raw_lo", "raw_hi")
        | shown("corrected_error", "points", "corrected_lo", "corrected_hi")
        | shown("coverage", "percent", "coverage_lo", "coverage_hi")
        | shown("width", ".4f", "width_lo", "width_hi")
        | {"images": ",.0f"},
    )
    yield Table(
        name="posterior-plan",
        title="What posterior matching knows beforehand",
        caption="From the fitted distributions alone, before an image is read anew. distance: largest difference of "
        "the distribution functions of true frequencies that is left; frequency_gap: difference of their means; "
        "candidates_needed: per chosen image, for the best shares; infeasible: share of the replica that these ask for "
        "and the candidates have not. Means over studies (Student's t).",
        frame=sampled.plan(),
        formats=shown("value", ".4f"),
    )


def _drawing(sampled: Sampled, frame: pd.DataFrame) -> Figure:
    drawn = [
        figures.Row(label=row.sampler, value=row.raw_error, lo=row.raw_lo, hi=row.raw_hi) for row in frame.itertuples()
    ]
    return figures.dot_rows(
        name="samplers",
        title="What the choice of images costs, by sampler",
        caption="Nearer to the dashed line: readings taken for what they say of true frequencies, not at face value. "
        f"Means over {sampled.settings.num_compared:,} simulated studies with 95 % intervals; {BINS} is the original "
        "study's way.",
        rows=drawn,
        x_label="raw minus true gap",
        points=True,
        levels=[figures.Level(value=0, words="nothing")],
    )
