"""What the report says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from robustray.tasks import figures
from robustray.tasks.kit.claims import Repeats
from robustray.tasks.kit.compose import compose
from robustray.tasks.kit.frames import columns, shown
from robustray.tasks.kit.rules import above, below, within
from robustray.tasks.lab.seeds import stream
from robustray.tasks.report.numbers import format_estimate
from robustray.tasks.statistics import NOTHING, Estimate, mean_interval
from robustray.tasks.studies.gaussian_features import theory
from robustray.tasks.studies.gaussian_features.fitting import rotation
from robustray.tasks.studies.gaussian_features.settings import Settings
from robustray.tasks.study import Claim, Figure, Findings, Table

SAMPLING_TOLERANCE, TRAINING_TOLERANCE = 0.02, 0.08
"""Relative: of sampled rises (Theorem 1), and of what training ends at."""
CURVE = np.concatenate([[0.0], np.geomspace(0.05, 20, 60)])
DRAWN = 150
"""Points of each class in a drawing."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Results:
    """Rows of all steps, and what is read off them; one value per seed."""

    settings: Settings
    trained: pd.DataFrame
    exact: pd.DataFrame
    rises: pd.DataFrame

    @property
    def s(self) -> np.ndarray:
        return np.array(self.settings.variances)

    @property
    def mean(self) -> np.ndarray:
        return np.array(self.settings.mean)

    def covariances(self, eps: float) -> np.ndarray:
        """(seeds, d, d), of trainings against eps."""
        return np.stack(list(self.trained[self.trained.eps == eps].covariance))

    def ball(self, eps: float) -> np.ndarray:
        """(seeds, d): exact robust variances, each over its own sample."""
        return np.stack(list(self.exact[self.exact.eps == eps].variances)) if eps else np.stack([self.s])

    def conditions(self, eps: float) -> np.ndarray:
        """(seeds,): condition numbers of the trained covariances."""
        return np.linalg.cond(self.covariances(eps))

    def alignments(self, eps: float) -> np.ndarray:
        """(seeds,): cosines between the trained mean and the gradient of the trained classifier."""
        found = []
        for mean, covariance in zip(self.trained[self.trained.eps == eps]["mean"], self.covariances(eps), strict=True):
            w = np.linalg.solve(covariance, mean)
            found.append(mean @ w / (np.linalg.norm(mean) * np.linalg.norm(w)))
        return np.array(found)

    def deviation(self, eps: float) -> np.ndarray:
        """(seeds,): the largest absolute difference between an entry of the trained covariance and of the exact one,
        relative to the exact deviations of its two axes."""
        exact = self.ball(eps).mean(axis=0)
        scale = np.sqrt(np.outer(exact, exact))
        return np.abs((self.covariances(eps) - np.diag(exact)) / scale).max(axis=(1, 2))

    @property
    def arrived(self) -> bool:
        """Whether trainings end near the exact solution. Nothing else about them is judged unless they do."""
        return all(self.deviation(eps).mean() < TRAINING_TOLERANCE for eps in (0.0, *self.settings.eps_train))


def found(results: Results) -> Findings:
    """Everything that the report shows."""
    return compose(answer(results), claims(results), drawings(results), tables(results), warnings(results))


def answer(results: Results) -> str:
    large = results.settings.eps_train[-1]
    none, robust = (mean_interval(results.alignments(eps)) for eps in (0.0, large))
    return (
        f"Trained against moves of ℓ2 length {large:g}, the classifier's gradient has a cosine of "
        f"{format_estimate(robust.value, robust.interval, '.3f')} with the class direction; without an adversary "
        f"{format_estimate(none.value, none.interval, '.3f')} (n = {results.settings.num_seeds} trainings each)."
    )


def claims(results: Results) -> Iterator[Claim]:
    """The claims, each tested over seeds."""
    settings, large = results.settings, results.settings.eps_train[-1]
    expected = theory.vulnerability(results.s, settings.penalty / min(settings.variances))
    seeds, arrived = Repeats(count=settings.num_seeds, over="seeds", unit="number"), results.arrived
    yield seeds.claim(
        "Theorem 1: the loss that an adversary adds follows from how the covariance differs from the ℓ2 metric.",
        mean_interval(results.rises.rise.to_numpy() / expected),
        within(1 - SAMPLING_TOLERANCE, 1 + SAMPLING_TOLERANCE),
        measured=f"sampled mean rise of the loss over ½ tr[(I + (CΣ − I)⁻¹)²] − d/2 = {expected:.4g}",
        over="samples",
    )
    worst = max(settings.eps_train, key=lambda eps: float(results.deviation(eps).mean()))
    yield seeds.claim(
        "Theorem 2: adversarial training arrives at the parameters of robust maximum likelihood.",
        mean_interval(results.deviation(worst)),
        below(TRAINING_TOLERANCE),
        measured="largest deviation of the trained covariance from the exact one under the same adversary, each entry "
        f"relative to the variances of its axes, at the size where it is largest ({worst:g})",
        unit="percent",
    )
    yield seeds.claim(
        "Theorem 2: the covariance becomes rounder, the stronger the adversary.",
        mean_interval(np.log(results.conditions(0.0)) - np.log(results.conditions(large))) if arrived else NOTHING,
        above(0),
        measured=f"logarithm of the trained condition number at 0 minus that at {large:g}, paired by seed",
    )
    yield seeds.claim(
        "Theorem 3: gradients of a robust classifier are better aligned with the class direction.",
        mean_interval(results.alignments(large) - results.alignments(0.0)) if arrived else NOTHING,
        above(0),
        measured=f"cosine of gradient and mean, trained at {large:g} minus trained at 0, paired by seed",
    )


def warnings(results: Results) -> Iterator[str]:
    if not results.arrived:
        yield (
            f"After {results.settings.num_steps:,} steps trainings are more than {TRAINING_TOLERANCE:.0%} away from "
            "the exact parameters, so what they say of roundness and alignment is not judged: raise num_steps."
        )


# --- Tables -----------------------------------------------------------------------------------------------------------


def tables(results: Results) -> Iterator[Table]:
    """Parameters, and what they cost and buy."""
    accuracies = accuracy_table(results)
    yield Table(
        name="parameters",
        title="Robust parameters, three ways",
        caption="average: closed form for an adversary whose mean squared length is ε² (Theorem 2). ball: exact "
        f"robust likelihood when every point may move by ε, mean over samples of {results.settings.num_samples:,}. "
        f"trained: by adversarial training, with its 95 % interval over {results.settings.num_seeds} seeds. "
        "s: variances along the axes of Σ; κ: condition number; cos: between class direction and gradient.",
        frame=parameter_table(results),
        formats={"eps": "g", "average": ".4g", "ball": ".4g", **shown("trained", ".4g")},
    )
    yield Table(
        name="accuracies",
        title="What robustness costs and buys, in closed form",
        caption="Classifiers with the parameters of the average budget, on the true Gaussians. worst cos: the smallest "
        "cosine over all means (Theorem 3). λ: the multiplier of Theorem 2.",
        frame=accuracies,
        formats={"eps": "g", "λ": ".4g", "cos": ".3f", "worst_cos": ".3f"}
        | {name: "percent" for name in accuracies.columns if name.startswith("acc")},
    )


def parameter_table(results: Results) -> pd.DataFrame:
    """One row for each size and quantity."""
    rows = []
    for eps in (0.0, *results.settings.eps_train):
        average, ball = theory.within_average(results.s, eps), results.ball(eps).mean(axis=0)
        variances = np.diagonal(results.covariances(eps), axis1=1, axis2=2)
        quantities: list[tuple[str, float, float, Estimate]] = [
            (f"s{i + 1}", average[i], ball[i], mean_interval(variances[:, i])) for i in range(len(average))
        ]
        quantities.append(
            ("κ", theory.condition(average), theory.condition(ball), mean_interval(results.conditions(eps)))
        )
        quantities.append(
            (
                "cos",
                theory.alignment(results.mean, average),
                theory.alignment(results.mean, ball),
                mean_interval(results.alignments(eps)),
            )
        )
        rows += [
            {"eps": eps, "quantity": name, "average": a, "ball": b, "n": t.n} | columns("trained", t)
            for name, a, b, t in quantities
        ]
    return pd.DataFrame(rows)


def accuracy_table(results: Results) -> pd.DataFrame:
    """One row for each size of training."""
    rows = []
    for eps in (0.0, *results.settings.eps_train):
        fitted = theory.within_average(results.s, eps)
        at = {
            f"acc_{size:g}": theory.accuracy(results.mean, results.s, fitted, size)
            for size in (0.0, *results.settings.eps_test)
        }
        multiplier = theory.multiplier_of(results.s, eps) if eps else np.nan
        cosines = {"cos": theory.alignment(results.mean, fitted), "worst_cos": theory.worst_alignment(fitted)}
        rows.append({"eps": eps, "λ": multiplier} | at | cosines)
    return pd.DataFrame(rows)


# --- Drawings ---------------------------------------------------------------------------------------------------------


def drawings(results: Results) -> Iterator[Figure]:
    fitted = [theory.within_average(results.s, eps) for eps in CURVE]
    sizes, known = CURVE.tolist(), results.settings.eps_train
    cosines = {
        "cosine for this mean": [theory.alignment(results.mean, r) for r in fitted],
        "smallest cosine over all means": [theory.worst_alignment(r) for r in fitted],
    }
    yield _curve("alignment", "Gradients turn towards the classes (Theorem 3)", "cosine", sizes, cosines)
    variances = {f"variance s{i + 1}": [float(r[i]) for r in fitted] for i in range(len(results.s))}
    yield _curve("variances", "Robust variances (Theorem 2)", "variance", sizes, variances)
    yield _curve("condition", "The covariance becomes round", "κ", sizes, {"κ": list(map(theory.condition, fitted))})
    multipliers = {"λ": [theory.multiplier_of(results.s, eps) for eps in CURVE[1:]]}
    yield _curve("multiplier", "The multiplier of Theorem 2", "λ", sizes[1:], multipliers)
    if len(results.s) == 2:
        for eps in dict.fromkeys((0.0, known[0], known[-1])):
            yield _metric(results, eps)


def _curve(name: str, title: str, label: str, x: list[float], lines: dict[str, list[float]]) -> Figure:
    return figures.curve(
        name=name,
        title=title,
        caption="Closed form, against the size of an adversary whose mean squared length is ε².",
        alt="; ".join(f"{words}: from {y[0]:.3g} to {y[-1]:.3g}" for words, y in lines.items()),
        series=[figures.Series(label=words, x=x, y=y) for words, y in lines.items()],
        x_label="ε",
        y_label=label,
        x_log=True,
    )


def _metric(results: Results, eps: float) -> Figure:
    """One panel of the paper's Figure 4."""
    fitted, turn = theory.within_average(results.s, eps), rotation(results.settings.angle, 2)
    normal = stream(results.settings.seed, "gaussian-features figure").standard_normal((2, DRAWN, 2))
    groups = [
        figures.Group(label=label, x=points[:, 0], y=points[:, 1])
        for label, points in (
            (words, (normal[row] * np.sqrt(results.s) + sign * results.mean) @ turn.T)
            for row, (words, sign) in enumerate((("y = +1", 1), ("y = −1", -1)))
        )
    ]
    around = np.linspace(0, 2 * np.pi, 181)
    circle = np.stack([np.cos(around), np.sin(around)], axis=1)
    reach = 2 * float(np.sqrt(results.s.min()))
    w = results.mean / fitted
    along = np.array([-w[1], w[0]]) / np.linalg.norm(w)
    length = 3 * float(np.sqrt(results.s.max()))
    lines = {
        "unit ball of ℓ2": reach * circle,
        "that of the learned metric, as narrow": reach * circle * np.sqrt(fitted / fitted.min()),
        "boundary": np.stack([-length * along, length * along]),
        "its normal": np.stack([0 * w, length * w / np.linalg.norm(w)]),
        "class direction": np.stack([0 * w, length * results.mean / np.linalg.norm(results.mean)]),
    }
    drawn = [
        figures.Series(label=words, x=(p @ turn.T)[:, 0].tolist(), y=(p @ turn.T)[:, 1].tolist(), color_by=words)
        for words, p in lines.items()
    ]
    cosine = theory.alignment(results.mean, fitted)
    return figures.cloud(
        name=f"metric-{eps:g}".replace(".", "-"),
        title=f"Samples, metric and boundary for an adversary of size {eps:g} (Figure 4)",
        caption="The learned metric blends towards ℓ2 and the normal turns towards the class direction as the "
        f"adversary grows. Cosine of the two: {cosine:.3f}; closed form; both balls are drawn equally narrow.",
        alt=f"Two clouds with ellipse and boundary; cosine {cosine:.3f}, condition number "
        f"{theory.condition(fitted):.2f}",
        groups=groups,
        fits=drawn,
        x_label="first coordinate",
        y_label="second coordinate",
        palette=figures.Palette([*(group.label for group in groups), *lines]),
        equal_scale=True,
    )
