"""How often do the intervals of `tasks/statistics` cover the truth? This is found by simulation.

    python benchmarks/coverage.py [--repetitions 4000]

Each case draws a sample from a known distribution and asks each of its methods for a 95 % interval. The record goes to
benchmarks/records/coverage.json and into the table of docs/statistics.md (`python scripts/render_docs.py`). About a
minute on one core.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scipy import special

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent)]

from robustray.tasks.statistics import (  # noqa: E402
    Estimate,
    bootstrap_mean,
    by_cell,
    by_cluster,
    by_unit,
    clustered_difference,
    clustered_mean,
    mean_interval,
    mean_over_seeds,
    newcombe_difference,
    paired_difference,
    permutation_difference,
    proportion,
    resample,
    welch,
    wilson,
)

RESAMPLES = 1_000
Draw = Callable[[np.random.Generator, int], Mapping[str, Estimate]]
"""From a generator and the repetition's number to one estimate per method."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One method in one situation."""

    situation: str
    method: str
    truth: float
    covered: int
    repetitions: int
    median_width: float


@dataclass(frozen=True, kw_only=True)
class Case:
    situation: str
    truth: float
    draw: Draw


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--repetitions", type=int, default=4_000)
    parser.add_argument("--output", type=Path, default=HERE / "records" / "coverage.json")
    arguments = parser.parse_args()
    start = time.process_time()
    rows = [row for index, case in enumerate(CASES) for row in measure(case, arguments.repetitions, index)]
    document = {
        "what": "coverage of 95 % intervals",
        "resamples": RESAMPLES,
        "seconds": round(time.process_time() - start, 1),
        "rows": [asdict(row) for row in rows],
    }
    arguments.output.write_text(json.dumps(document, indent=1) + "\n")
    for row in rows:
        lo, hi = wilson(row.covered, row.repetitions)
        print(f"{row.situation:66} {row.method:24} {row.covered / row.repetitions:.3f} [{lo:.3f}, {hi:.3f}]")


def measure(case: Case, repetitions: int, seed: int) -> list[Row]:
    rng = np.random.default_rng(seed)
    found = [case.draw(rng, repetition) for repetition in range(repetitions)]
    return [
        Row(
            situation=case.situation,
            method=method,
            truth=case.truth,
            covered=sum(each[method].lo <= case.truth <= each[method].hi for each in found),
            repetitions=repetitions,
            median_width=float(np.median([each[method].hi - each[method].lo for each in found])),
        )
        for method in found[0]
    ]


# -- situations --------------------------------------------------------------------------------------------------------


def shares(p: float, n: int) -> Draw:
    return lambda rng, _: {"Wilson": proportion(rng.random(n) < p)}


def two_shares(p: float, q: float, n: int) -> Draw:
    def draw(rng: np.random.Generator, _: int) -> Mapping[str, Estimate]:
        return {"Newcombe": newcombe_difference(int(rng.binomial(n, p)), n, int(rng.binomial(n, q)), n)}

    return draw


def paired_shares(both: float, only_a: float, only_b: float, n: int) -> Draw:
    def draw(rng: np.random.Generator, _: int) -> Mapping[str, Estimate]:
        cell = rng.choice(4, n, p=[both, only_a, only_b, 1 - both - only_a - only_b])
        a, b = np.isin(cell, [0, 1]), np.isin(cell, [0, 2])
        return {"Tango": paired_difference(a, b)}

    return draw


def means(values: Callable[[np.random.Generator, int], np.ndarray], n: int) -> Draw:
    def draw(rng: np.random.Generator, repetition: int) -> Mapping[str, Estimate]:
        x = values(rng, n)
        drawn = resample(lambda w: w @ x / n, by_unit(n), num_resamples=RESAMPLES, seed=repetition, jackknife=True)
        kinds = {f"bootstrap, {kind}": drawn.estimates(kind)[0] for kind in ("percentile", "basic", "bca")}
        return {"Student's t": mean_interval(x), **kinds}

    return draw


def clusters(num_clusters: int) -> Draw:
    """1 to 5 rows a cluster that are nearly equal."""

    def draw(rng: np.random.Generator, repetition: int) -> Mapping[str, Estimate]:
        labels = np.repeat(np.arange(num_clusters), rng.integers(1, 6, num_clusters))
        x = rng.normal(size=num_clusters)[labels] + 0.3 * rng.normal(size=len(labels))
        design = by_cluster(labels)
        return {
            "clustered mean": clustered_mean(x, labels),
            "bootstrap, basic": bootstrap_mean(
                x, design=design, kind="basic", num_resamples=RESAMPLES, seed=repetition
            ),
            "rows as units (wrong)": mean_interval(x),
        }

    return draw


def shared_images(num_images: int, broken: float, by_noise: float) -> Draw:
    """Two attacks on five models that share their images: an image is as hard for all of them (Beta, 2 in all)."""

    def draw(rng: np.random.Generator, repetition: int) -> Mapping[str, Estimate]:
        labels = np.repeat(np.arange(num_images), 5)
        a, b = (rng.random(len(labels)) < rng.beta(2 * p, 2 * (1 - p), num_images)[labels] for p in (broken, by_noise))
        return {
            "clustered difference": clustered_difference(a, b, labels),
            "clustered mean": clustered_mean(a.astype(float) - b, labels),
            "rows as units (wrong)": paired_difference(a, b),
        }

    return draw


def strata(rng: np.random.Generator, repetition: int) -> Mapping[str, Estimate]:
    """10 classes with means of their own, 10 images of each: the mean of the means is 0."""
    labels = np.repeat(np.arange(10), 10)
    x = np.linspace(-2, 2, 10)[labels] + rng.normal(size=100)
    setting = {"kind": "basic", "num_resamples": RESAMPLES, "seed": repetition}
    return {
        "bootstrap, within strata": bootstrap_mean(x, design=by_unit(100, strata=labels), **setting),
        "strata left out (too wide)": bootstrap_mean(x, **setting),
    }


def two_cells(rng: np.random.Generator, repetition: int) -> Mapping[str, Estimate]:
    """2,000 images in 11 x 2 cells (votes, correct): the difference of two shares, over cells."""
    votes = rng.binomial(10, 0.8, 2_000)
    correct = rng.random(2_000) < votes / 10
    counts = np.bincount(votes * 2 + correct, minlength=22)
    value = np.arange(22) // 2 / 10 - np.arange(22) % 2
    design = by_cell(counts)
    return {
        "bootstrap over cells, basic": bootstrap_mean(
            value, design=design, kind="basic", num_resamples=RESAMPLES, seed=repetition
        )
    }


def unequal(rng: np.random.Generator, _: int) -> Mapping[str, Estimate]:
    return {"Welch": welch(rng.normal(0, 3, 8), rng.normal(0, 1, 30))}


def pairs(values: Callable[[np.random.Generator, int], np.ndarray], n: int) -> Draw:
    def draw(rng: np.random.Generator, repetition: int) -> Mapping[str, Estimate]:
        x = values(rng, n)
        zero = np.zeros(n)
        return {
            "permutation": permutation_difference(x, zero, num_permutations=999, seed=repetition),
            "Student's t": mean_interval(x),
        }

    return draw


def seeds(num_seeds: int) -> Draw:
    """Right if seed + image + noise > -0.5, all normal: seeds share their 150 images."""

    def draw(rng: np.random.Generator, _: int) -> Mapping[str, Estimate]:
        latent = 0.5 * rng.standard_normal((num_seeds, 1)) + 0.7 * rng.standard_normal((1, 150))
        right = latent + rng.standard_normal((num_seeds, 150)) > -0.5
        values = right.mean(axis=1)
        return {
            "mean over seeds": mean_over_seeds([proportion(row) for row in right], limits=(0.0, 1.0)),
            "images of all seeds (wrong)": proportion(right.ravel()),
            "t over seeds alone": mean_interval(values),
        }

    return draw


def exponential(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.exponential(size=n) - 1


def normal(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.normal(size=n)


def student(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.standard_t(3, n)


SEEDS_TRUTH = float(special.ndtr(0.5 / 1.74**0.5))
"""P(N(0, 0.25 + 0.49 + 1) > -0.5)."""

CASES = (
    Case(situation="share .5, n = 50", truth=0.5, draw=shares(0.5, 50)),
    Case(situation="share .02, n = 100", truth=0.02, draw=shares(0.02, 100)),
    Case(situation="difference of shares .05 − .02, n = 200 each", truth=0.03, draw=two_shares(0.05, 0.02, 200)),
    Case(situation="paired difference .05, 7 % differ, n = 200", truth=0.05, draw=paired_shares(0.8, 0.06, 0.01, 200)),
    Case(situation="mean, normal, n = 5", truth=0.0, draw=means(normal, 5)),
    Case(situation="mean, normal, n = 40", truth=0.0, draw=means(normal, 40)),
    Case(situation="mean, exponential, n = 20", truth=0.0, draw=means(exponential, 20)),
    Case(situation="mean, exponential, n = 200", truth=0.0, draw=means(exponential, 200)),
    Case(situation="60 clusters of 1 to 5 rows", truth=0.0, draw=clusters(60)),
    Case(situation="paired difference .95, 40 images, 5 models", truth=0.95, draw=shared_images(40, 0.97, 0.02)),
    Case(situation="paired difference .1, 200 images, 5 models", truth=0.1, draw=shared_images(200, 0.3, 0.2)),
    Case(situation="10 strata of 10", truth=0.0, draw=strata),
    Case(situation="2,000 images in 22 cells", truth=0.0, draw=two_cells),
    Case(situation="two means, s.d. 3 and 1, n = 8 and 30", truth=0.0, draw=unequal),
    Case(situation="pairs, Student's t with 3 d.f., n = 12", truth=0.0, draw=pairs(student, 12)),
    Case(situation="pairs, skewed (exponential), n = 20", truth=0.0, draw=pairs(exponential, 20)),
    Case(situation="3 seeds on the same 150 images", truth=SEEDS_TRUTH, draw=seeds(3)),
)

if __name__ == "__main__":
    main()
