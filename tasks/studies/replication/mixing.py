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
from robustray.tasks.statistics import mean_interval
from robustray.tasks.studies.replication.settings import Settings
from robustray.tasks.study import Table

COMPONENTS = (1, 2, 3)


@dataclass(frozen=True, kw_only=True)
class MixtureProtocol:
    """Which simulated studies, and how many new answers per image the mixtures are fitted to."""

    study: Protocol
    num_answers: int


@block_function(version=1, columns={"study": pa.int64(), "gaps": Tensor("float64"), "at_bound": Tensor("bool")})
def mixture_block(items: Sequence[int], context: Context) -> Mapping[str, Any]:
    """Simulated studies by number. context.settings: a `MixtureProtocol`.

    gaps, at_bound: in the order of `COMPONENTS`, see `mixtures.MixtureStudy`.
    """
    protocol = cast(MixtureProtocol, context.settings)
    found = [mixture_study(protocol.study, COMPONENTS, protocol.num_answers, context.seed, item) for item in items]
    return {
        "study": np.asarray(items),
        "gaps": np.array([each.gaps for each in found]),
        "at_bound": np.array([each.at_bound for each in found]),
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
            error = np.stack(list(rows.gaps)) - SCENARIOS[scenario].true_gap()
            bound = np.stack(list(rows.at_bound))
            for place, num in enumerate(COMPONENTS):
                values = error[:, place]
                row = {"scenario": scenario, "components": num}
                estimated = columns("bias", mean_interval(values), "bias_lo", "bias_hi")
                estimated |= {"sd": float(values.std(ddof=1)) if len(values) > 1 else float("nan")}
                estimated |= {"rmse": float(np.sqrt((values**2).mean())), "at_bound": float(bound[:, place].mean())}
                found.append(row | estimated | {"n": len(values)})
        return pd.DataFrame(found)


def mixed_parts(mixed: Mixed) -> Iterator[Table]:
    yield Table(
        name="mixtures",
        title="Fitted mixtures of betas",
        caption="The original analysis' estimator: distributions of true frequencies as mixtures of 1 to 3 betas by "
        "likelihood, a cubic spline for the chance to be right. Bias: mean of n simulated studies minus the true gap "
        f"(Student's t), {mixed.settings.claimed_answers} new answers per image; sd, rmse of a single study; at_bound: "
        "share of studies in which a fitted shape ends at its bound. Point estimates: no intervals.",
        frame=mixed.frame(),
        formats=shown("bias", "points", "bias_lo", "bias_hi") | {"sd": ".4f", "rmse": ".4f", "at_bound": "percent"},
    )
