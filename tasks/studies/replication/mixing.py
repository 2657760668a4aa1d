"""What simulated studies say of fitted mixtures of betas, the original analysis' estimator."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa

from robustray.tasks.crowds.replicas.mixtures import mixture_study
from robustray.tasks.crowds.replicas.scenarios import SCENARIOS
from robustray.tasks.crowds.replicas.simulate import Protocol
from robustray.tasks.kit.frames import columns, shown
from robustray.tasks.lab.protocol import Context, Tensor, block_function
from robustray.tasks.statistics import mean_interval, median_interval, proportion
from robustray.tasks.studies.replication.settings import Settings
from robustray.tasks.study import Table

COMPONENTS = (1, 2, 3)
NUM_RESAMPLES = 200
"""Behind an interval: every one is fitted anew, from where the sample's own fit ended."""


@dataclass(frozen=True, kw_only=True)
class MixtureProtocol:
    """Which simulated studies, and how many new answers per image the mixtures are fitted to."""

    study: Protocol
    num_answers: int
    num_intervals: int
    """Studies below this number have intervals."""


@block_function(
    version=2,
    columns={
        "study": pa.int64(),
        "gaps": Tensor("float64"),
        "at_bound": Tensor("bool"),
        "failed": Tensor("float64"),
    },
)
def mixture_block(items: Sequence[int], context: Context) -> Mapping[str, Any]:
    """Simulated studies by number. context.settings: a `MixtureProtocol`.

    gaps: (components, 3) value and interval; at_bound, failed: (components,); in the order of `COMPONENTS`, see
    `mixtures.MixtureStudy`.
    """
    protocol = cast(MixtureProtocol, context.settings)
    found = [
        mixture_study(
            protocol.study,
            COMPONENTS,
            protocol.num_answers,
            context.seed,
            item,
            num_resamples=NUM_RESAMPLES if item < protocol.num_intervals else 0,
        )
        for item in items
    ]
    return {
        "study": np.asarray(items),
        "gaps": np.array([[(gap.value, gap.lo, gap.hi) for gap in each.gaps] for each in found]),
        "at_bound": np.array([each.at_bound for each in found]),
        "failed": np.array([each.failed for each in found]),
    }


@dataclass(frozen=True, kw_only=True)
class Mixed:
    settings: Settings
    rows: Mapping[str, pd.DataFrame]
    """Scenario -> rows of `mixture_block`."""

    def frame(self) -> pd.DataFrame:
        """One row per scenario and number of components."""
        found = []
        for scenario, rows in self.rows.items():
            error = np.stack(list(rows.gaps)) - SCENARIOS[scenario].true_gap()  # (studies, components, 3)
            failed = np.stack(list(rows.failed))
            bound = np.stack(list(rows.at_bound))
            for place, num in enumerate(COMPONENTS):
                values, lo, hi = error[:, place].T
                known = np.isfinite(failed[:, place])
                row = {"scenario": scenario, "components": num}
                estimated = columns("bias", mean_interval(values), "bias_lo", "bias_hi")
                estimated |= {"sd": float(values.std(ddof=1)) if len(values) > 1 else float("nan")}
                estimated |= {"rmse": float(np.sqrt((values**2).mean())), "at_bound": float(bound[:, place].mean())}
                held = proportion((lo[known] <= 0) & (hi[known] >= 0))
                estimated |= columns("coverage", held, "coverage_lo", "coverage_hi")
                estimated |= columns("width", median_interval((hi - lo)[known]), "width_lo", "width_hi")
                estimated |= {"failed": float(failed[known, place].mean()) if known.any() else float("nan")}
                found.append(row | estimated | {"intervals": held.n, "n": len(values)})
        return pd.DataFrame(found)


def mixed_parts(mixed: Mixed) -> Iterator[Table]:
    yield Table(
        name="mixtures",
        title="Fitted mixtures of betas",
        caption="The original analysis' estimator: distributions of true frequencies as mixtures of 1 to 3 betas by "
        "likelihood, a cubic spline for the chance to be right. Bias: mean of n simulated studies minus the true gap "
        f"(Student's t), {mixed.settings.claimed_answers} new answers per image; sd, rmse of a single study; at_bound: "
        "share of studies in which a fitted shape ends at its bound. Coverage (Wilson) and median width of 95 % basic "
        f"bootstrap intervals over images, {NUM_RESAMPLES} resamples, of the first studies (intervals: how many); "
        "every resample is fitted anew, from where the sample's own fit ended; failed: share of these fits that did "
        "not converge (their estimates are kept).",
        frame=mixed.frame(),
        formats=shown("bias", "points", "bias_lo", "bias_hi")
        | {"sd": ".4f", "rmse": ".4f", "at_bound": "percent", "failed": "percent"}
        | shown("coverage", "percent", "coverage_lo", "coverage_hi")
        | shown("width", ".4f", "width_lo", "width_hi"),
    )
