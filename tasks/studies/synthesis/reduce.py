"""From rows to estimates: who recognises what was made from seeds, and how far it is from real images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robustray.tasks.kit.frames import columns
from robustray.tasks.latents.cache import matrix
from robustray.tasks.statistics import Estimate, paired_difference, proportion
from robustray.tasks.statistics.over_seeds import mean_over_seeds
from robustray.tasks.studies.synthesis import scores
from robustray.tasks.studies.synthesis.kinds import Law
from robustray.tasks.studies.synthesis.results import Generations, Results
from robustray.tasks.training.twins import KINDS, Kind

REAL, SEEDS = "real images", "seeds"
NEAR = 0.05
"""Share of real images that are called near a training image."""
UNLIMITED = (-np.inf, np.inf)


# --- Who recognises them ----------------------------------------------------------------------------------------------


def generated_table(results: Results) -> pd.DataFrame:
    """One row per generation: law, what, seed, label, number, objectives, moved, own (the network itself sees the
    class), standard_judge and robust_judge (they do)."""
    parts = []
    for (law, kind, seed), made in results.generations.items():
        rows = made.rows
        part = {"law": law, "what": kind, "seed": seed, "label": rows.label, "number": rows.number}
        part |= {"objective_before": rows.objective_before, "objective": rows.objective, "moved": rows.distance}
        part |= {"own": rows.prediction == rows.label}
        part |= {f"{judge}_judge": sees(judged, rows.label) for judge, judged in made.judged.items()}
        parts.append(pd.DataFrame(part))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def generation_table(results: Results) -> pd.DataFrame:
    """Rows: both kinds of network and the seeds by law, then real images. Accuracy and score under both judges."""
    found = []
    for law in results.seeds:
        for kind in reversed(KINDS):
            made = {seed: each for (of, k, seed), each in results.generations.items() if (of, k) == (law, kind)}
            row: dict[str, Any] = {"what": kind, "law": law}
            for judge in KINDS:
                seen = [proportion(sees(each.judged[judge], each.rows.label)) for each in made.values()]
                row |= _judged(judge, mean_over_seeds(seen, limits=(0.0, 1.0)))
            certain = [_score(each.judged["standard"]) for each in made.values()]
            row |= columns("score", mean_over_seeds(certain, limits=(1.0, np.inf)), "score_lo", "score_hi")
            row |= {"own": float(np.mean([(each.rows.prediction == each.rows.label).mean() for each in made.values()]))}
            row |= {"moved": float(np.mean([each.rows.distance.mean() for each in made.values()]))}
            found.append(row | {"seeds": len(made), "n": min(len(each.rows) for each in made.values())})
        found.append(_anchor(SEEDS, law, results.seeds[law]))
    if results.seeds:
        natural: dict[Kind, pd.DataFrame] = {
            judge: rows.iloc[list(results.real)] for judge, rows in results.natural.items()
        }
        found.append(_anchor(REAL, "", natural))
    return pd.DataFrame(found)


def _anchor(what: str, law: str, judged: Mapping[Kind, pd.DataFrame]) -> dict[str, Any]:
    row: dict[str, Any] = {"what": what, "law": law}
    for judge in KINDS:
        row |= _judged(judge, proportion(sees(judged[judge], judged[judge].label)))
    score = _score(judged["standard"])
    row |= columns("score", score, "score_lo", "score_hi")
    return row | {"own": np.nan, "moved": 0.0 if what == SEEDS else np.nan, "seeds": 1, "n": score.n}


def _score(judged: pd.DataFrame) -> Estimate:
    return scores.score_interval(scores.probabilities(matrix(judged, "logits")))


def _judged(judge: Kind, estimate: Estimate) -> dict[str, float]:
    return columns(f"{judge}_judge", estimate, f"{judge}_lo", f"{judge}_hi")


def sees(judged: pd.DataFrame, labels: pd.Series) -> NDArray[np.bool_]:
    """Per image, whether the judge sees these labels."""
    return judged.prediction.to_numpy() == labels.to_numpy()


# --- How far they are from real images --------------------------------------------------------------------------------


def score_table(results: Results) -> pd.DataFrame:
    """Rows: both kinds of network and the seeds by law, then real images, all of equal n.

    frechet (by the standard judge) and frechet_robust: squared distance from the reference images. precision, recall:
    among these, by the standard judge. near: the share nearer to a training image than all but NEAR of real images are.
    """
    if not results.seeds:
        return pd.DataFrame()
    found = []
    for law in results.seeds:
        for kind in reversed(KINDS):
            made = [each for (of, k, _), each in results.generations.items() if (of, k) == (law, kind)]
            parts = [_scored(results, each.judged) for each in made]
            row: dict[str, Any] = {"what": kind, "law": law}
            for name, limits in _LIMITS.items():
                row |= columns(name, mean_over_seeds([part[name] for part in parts], limits=limits), *_ends(name))
            found.append(row | {"seeds": len(made), "n": min(len(each.rows) for each in made)})
        found.append(_row(results, SEEDS, law, results.seeds[law]))
    real: dict[Kind, pd.DataFrame] = {kind: rows.iloc[list(results.real)] for kind, rows in results.natural.items()}
    return pd.DataFrame([*found, _row(results, REAL, "", real)])


_LIMITS = {
    "frechet": (0.0, np.inf),
    "frechet_robust": (0.0, np.inf),
    "precision": (0.0, 1.0),
    "recall": (0.0, 1.0),
    "near": (0.0, 1.0),
}


def _ends(name: str) -> tuple[str, str]:
    return f"{name}_lo", f"{name}_hi"


def _row(results: Results, what: str, law: str, judged: Mapping[Kind, pd.DataFrame]) -> dict[str, Any]:
    row: dict[str, Any] = {"what": what, "law": law}
    for name, estimate in _scored(results, judged).items():
        row |= columns(name, estimate, *_ends(name))
    return row | {"seeds": 1, "n": len(judged["standard"])}


def _scored(results: Results, judged: Mapping[Kind, pd.DataFrame]) -> dict[str, Estimate]:
    """The scores of one set of images by name, class by class in equal numbers."""
    k, dealt = results.settings.neighbours, groups(results)
    made, real = matrix(judged["standard"]), reference(results, "standard")
    precise, far = scores.precision(made, real, k), scores.nearest(made, results.train_features)
    of_real = scores.nearest(matrix(results.natural["standard"])[list(results.real)], results.train_features)
    near = far < np.quantile(of_real, NEAR)

    def recall(keep: NDArray[np.bool_]) -> float:
        return float(scores.precision(real, made[keep], k).mean())

    return {
        "frechet": _frechet(results, judged, "standard"),
        "frechet_robust": _frechet(results, judged, "robust"),
        "precision": scores.grouped_jackknife(lambda keep: float(precise[keep].mean()), dealt, limits=(0, 1)),
        "recall": scores.grouped_jackknife(recall, dealt, limits=(0, 1)),
        "near": proportion(near),
    }


def _frechet(results: Results, judged: Mapping[Kind, pd.DataFrame], judge: Kind) -> Estimate:
    made, real = matrix(judged[judge]), reference(results, judge)
    return scores.grouped_jackknife(
        lambda keep: scores.frechet(made[keep], real), groups(results), limits=_LIMITS["frechet"]
    )


def reference(results: Results, judge: Kind) -> NDArray[Any]:
    """(n, width): a judge's features of the reference images."""
    return matrix(results.natural[judge].iloc[list(results.reference)])


def groups(results: Results) -> NDArray[np.int64]:
    """Into which group of the jackknife an image falls, by its number within its class: classes stay balanced."""
    count = len(results.real)
    return np.arange(count) % results.settings.per_class % scores.GROUPS


# --- Differences ------------------------------------------------------------------------------------------------------


def generation_difference(results: Results, law: Law, judge: Kind) -> Estimate:
    """Share recognised by a judge, robust minus standard network, paired by twins and seed image, over twins."""
    found = []
    for robust, standard in _pairs(results, law):
        by_robust, by_standard = (sees(each.judged[judge], each.rows.label) for each in (robust, standard))
        found.append(paired_difference(by_robust, by_standard))
    return mean_over_seeds(found)


def score_difference(results: Results, law: Law, judge: Kind) -> Estimate:
    """Classifier score by a judge, robust minus standard network, from the same seed images, over twins."""
    return _difference(results, law, judge, "logits", lambda p: scores.classifier_score(scores.probabilities(p)))


def frechet_difference(results: Results, law: Law, judge: Kind) -> Estimate:
    """Squared Frechet distance from the reference images, robust minus standard, from the same seed images."""
    real = reference(results, judge)
    return _difference(results, law, judge, "latent", lambda features: scores.frechet(features, real))


def _difference(
    results: Results, law: Law, judge: Kind, column: str, statistic: Callable[[NDArray[Any]], float]
) -> Estimate:
    """Difference of each pair of twins by the grouped jackknife, which leaves the same seed images out of both; then
    over pairs."""
    found = []
    for pair in _pairs(results, law):
        robust, standard = (matrix(each.judged[judge], column) for each in pair)

        def difference(keep: NDArray[np.bool_], robust: Any = robust, standard: Any = standard) -> float:
            return statistic(robust[keep]) - statistic(standard[keep])

        found.append(scores.grouped_jackknife(difference, groups(results)))
    return mean_over_seeds(found, limits=UNLIMITED)


def _pairs(results: Results, law: Law) -> list[tuple[Generations, Generations]]:
    """Robust and standard, of each pair of twins."""
    made = results.generations
    return [(made[law, "robust", seed], made[law, "standard", seed]) for seed in results.settings.seeds()]


def network_table(results: Results) -> pd.DataFrame:
    """One row per network: the name under which any study takes it, and its clean accuracy."""
    return pd.DataFrame(
        [
            {"network": kind if role == "twin" else f"{kind} judge", "seed": seed}
            | {"weights": results.names[role, kind, seed], "accuracy": accuracy}
            for (role, kind, seed), accuracy in results.accuracies.items()
        ]
    )
