"""The figure of transfer (arXiv:1905.02175, section 3.3): architectures that learn more from D_det fall for more of the
source's adversarial examples.

Each architecture is trained on D, and again on the D_det that the standard source has made, with students' seeds: so
the source's own architecture is there as a network of another seed, never as the source. Examples are made on the
source from original test images, towards the next label, as D_det is made. They count where the images are right for
the source and for all architectures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from robustray.tasks.kit.images import NEEDS, predict
from robustray.tasks.statistics import Estimate, bootstrap, by_unit
from robustray.tasks.statistics.designs import Weights
from robustray.tasks.studies.features.blocks import perturb_block
from robustray.tasks.studies.features.sets import next_labels

if TYPE_CHECKING:
    from robustray.tasks.lab.protocol import Lab, Reference
    from robustray.tasks.studies.features.sets import Part, Sets, Sources
    from robustray.tasks.studies.features.settings import Settings
    from robustray.tasks.studies.features.students import Taught

Statistic: TypeAlias = Callable[[NDArray[np.float64], NDArray[np.float64]], float]


# --- In the run -------------------------------------------------------------------------------------------------------


def compare(
    settings: Settings,
    lab: Lab,
    parts: Mapping[int, Part],
    sets: Sets,
    sources: Sources,
    taught: Taught,
    test: Reference,
    eps: float,
) -> pd.DataFrame:
    """One row for each chain and architecture; none where no architectures were asked for.

    Columns: of_d, of_det (accuracy of its students on all test images, by true labels); targeted, untargeted (shares of
    the examples that are seen as their target, or not as their label, by its student of D); white_box (the source's own
    targeted share); n (images that all classify correctly).
    """
    cells = [(chain, arch, name) for chain in parts for arch in settings.transfer_archs for name in ("D", "D_det")]
    specs = [settings.pupil(sets[chain][name], *taught.choices[name], chain, arch=arch) for chain, arch, name in cells]
    models = dict(zip(cells, lab.train(specs).result(), strict=True)) if cells else {}
    rows: list[dict[str, object]] = []
    for chain in parts if cells else ():
        here = {(arch, name): model for (at, arch, name), model in models.items() if at == chain}
        rows += _chain(settings, lab, sources[chain, "standard"], here, test, eps, chain)
    return pd.DataFrame(rows)


def _chain(
    settings: Settings,
    lab: Lab,
    source: Reference,
    models: Mapping[tuple[str, str], Reference],
    test: Reference,
    eps: float,
    chain: int,
) -> list[dict[str, object]]:
    data, block = lab.load(test), settings.block
    count = min(len(data), settings.num_transferred or len(data))
    made = lab.map(
        "perturb",
        perturb_block,
        [[index, label] for index, label in enumerate(next_labels(data)[:count])],
        block=block,
        settings=settings.perturbing(eps),
        refs={"model": source, "data": test},
        needs=NEEDS,
    )
    examples = lab.dataset(f"examples of chain {chain}", made, classes=data.classes)
    clean = {key: predict(lab, model, test, len(data), block=block, step="test") for key, model in models.items()}
    of_source = predict(lab, source, test, len(data), block=block, step="test").result()
    seen = {
        arch: predict(lab, model, examples, count, block=block, step="transfer")
        for (arch, name), model in models.items()
        if name == "D"
    }
    correct = {key: handle.result().correct.to_numpy(dtype=bool) for key, handle in clean.items()}
    both = of_source.correct.to_numpy(dtype=bool)[:count].copy()
    for (_, name), flags in correct.items():
        if name == "D":
            both &= flags[:count]
    crafted = made.result()
    y, t, own = (np.asarray(values)[both] for values in (crafted.original, crafted.label, crafted.prediction))
    rows: list[dict[str, object]] = []
    for arch, handle in seen.items():
        said = handle.result().prediction.to_numpy()[both]
        rows.append(
            {
                "chain": chain,
                "arch": arch,
                "of_d": float(correct[arch, "D"].mean()),
                "of_det": float(correct[arch, "D_det"].mean()),
                "targeted": _mean(said == t),
                "untargeted": _mean(said != y),
                "white_box": _mean(own == t),
                "n": int(both.sum()),
            }
        )
    return rows


def _mean(flags: NDArray[np.bool_]) -> float:
    return float(flags.mean()) if len(flags) else float("nan")


# --- What it says -----------------------------------------------------------------------------------------------------


def mean_table(transfers: pd.DataFrame) -> pd.DataFrame:
    """One row for each architecture, means over chains, by accuracy of D_det's students."""
    numbers = ["of_d", "of_det", "targeted", "untargeted", "white_box"]
    found = transfers.groupby("arch", sort=False)[numbers].mean().reset_index()
    found["n"] = transfers.groupby("arch", sort=False).n.min().to_numpy()
    return found.sort_values("of_det", ignore_index=True)


def rank_correlation(x: Sequence[float], y: Sequence[float], *, seed: int) -> Estimate:
    """Spearman's, with a percentile bootstrap over architectures; NaN where all of one kind are alike."""
    return _over_architectures(lambda a, b: float(stats.spearmanr(a, b).statistic), x, y, seed)


def slope(x: Sequence[float], y: Sequence[float], *, seed: int) -> Estimate:
    """Slope of the least-squares line of y on x: points of transfer per point of accuracy."""
    return _over_architectures(lambda a, b: float(np.polyfit(a, b, 1)[0]), x, y, seed)


def _over_architectures(statistic: Statistic, x: Sequence[float], y: Sequence[float], seed: int) -> Estimate:
    a, b = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)

    def of(weights: Weights) -> NDArray[np.float64]:
        drawn = (np.repeat(np.arange(len(a)), row.astype(np.int64)) for row in weights)
        pairs = ((a[rows], b[rows]) for rows in drawn)
        return np.array([statistic(p, q) if np.ptp(p) > 0 and np.ptp(q) > 0 else np.nan for p, q in pairs])

    return bootstrap(of, by_unit(len(a)), kind="percentile", num_resamples=2_000, seed=seed)
