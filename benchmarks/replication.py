"""What the replication study's estimators cost: many models at once, and the exact jackknife beside random deletions.

    python benchmarks/replication.py

The record goes to benchmarks/records/replication.json and into docs/studies/replication.md. About two minutes on one
core. Seconds are of the processor, one thread, the best of several rounds, so that other work on the machine counts
little.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent)]

from robustray.tasks.crowds.replicas.cells import Cells, Remeasured  # noqa: E402
from robustray.tasks.crowds.replicas.estimators import FactorialMoments, Jackknife, Naive, gaps  # noqa: E402
from robustray.tasks.statistics import by_unit, resample  # noqa: E402

NUM_IMAGES, NUM_MODELS, NUM_RESAMPLES = 100_000, 100, 1_000
REPLICATES = 100
"""Random deletions of the original analysis."""
MEASURED = 4
"""How many of them are timed."""
ANSWERS = 40
JACKKNIFE_IMAGES = 10_000
"""Images of each set in the comparison of jackknives."""


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--record", type=Path, default=HERE / "records" / "replication.json")
    record = parser.parse_args().record
    found = many_models() | jackknives()
    record.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))
    return 0


def many_models() -> dict[str, float]:
    """Naive, jackknife and factorial moments of all models on the same resamples, with intervals."""
    rng = np.random.default_rng(0)
    half = NUM_IMAGES // 2
    sets = [simulated(rng.beta(a, b, half), 10, NUM_MODELS, rng) for a, b in ((9, 1.5), (3, 2))]
    design = by_unit(NUM_IMAGES, strata=np.repeat([0, 1], half))
    before = memory()

    def run() -> None:
        statistic = gaps(sets[0], sets[1], [Naive(10), Jackknife(10, 1), FactorialMoments()])
        resample(statistic, design, num_resamples=NUM_RESAMPLES, seed=0).estimates("basic")

    return {
        "images": NUM_IMAGES,
        "models": NUM_MODELS,
        "resamples": NUM_RESAMPLES,
        "bootstrap_seconds": seconds(run, rounds=3),
        "inputs_gigabytes": before,
        "peak_gigabytes": memory(),
    }


def jackknives() -> dict[str, float]:
    """The exact jackknife (all deletions of one answer) beside 100 random deletions, in pandas and in NumPy."""
    rng = np.random.default_rng(1)
    answers = [
        rng.random((JACKKNIFE_IMAGES, ANSWERS)) < rng.beta(a, b, (JACKKNIFE_IMAGES, 1)) for a, b in ((9, 1.5), (3, 2))
    ]
    correct = [rng.random((JACKKNIFE_IMAGES, 6)) < each.mean(axis=1, keepdims=True) for each in answers]
    exact = seconds(lambda: exact_jackknife(answers, correct), rounds=20)
    in_numpy = seconds(lambda: numpy_deletions(answers, correct, MEASURED), rounds=3) * REPLICATES / MEASURED
    by_index = seconds(lambda: index_deletions(answers, correct, MEASURED), rounds=3) * REPLICATES / MEASURED
    frames = [answer_frame(each) for each in answers]
    in_pandas = seconds(lambda: pandas_deletions(frames, correct, MEASURED), rounds=1) * REPLICATES / MEASURED
    return {
        "jackknife_images": JACKKNIFE_IMAGES,
        "answers": ANSWERS,
        "replicates": REPLICATES,
        "replicates_timed": MEASURED,
        "exact_seconds": exact,
        "numpy_seconds": in_numpy,
        "index_seconds": by_index,
        "pandas_seconds": in_pandas,
        "times_numpy": in_numpy / exact,
        "times_index": by_index / exact,
        "times_pandas": in_pandas / exact,
    }


def exact_jackknife(answers: list[np.ndarray], correct: list[np.ndarray]) -> np.ndarray:
    """(models,) corrected accuracy, from the answers themselves."""
    rows = [counted(each.sum(axis=1), right) for each, right in zip(answers, correct, strict=True)]
    cells = [Cells(each) for each in rows]
    return Jackknife(ANSWERS, 1).prepare(cells[0], cells[1])(cells[0].whole(), cells[1].whole())[0]


def numpy_deletions(answers: list[np.ndarray], correct: list[np.ndarray], times: int) -> np.ndarray:
    """The same quantity as the mean over random deletions: shuffle every image's answers, keep the first n - 1."""
    rng = np.random.default_rng(2)

    def delete() -> list[np.ndarray]:
        return [rng.permuted(each, axis=1)[:, : ANSWERS - 1].sum(axis=1) for each in answers]

    return mean_of(delete, answers, correct, times)


def index_deletions(answers: list[np.ndarray], correct: list[np.ndarray], times: int) -> np.ndarray:
    """The same for d = 1 alone: subtract one answer of every image, drawn at random."""
    rng = np.random.default_rng(2)

    def delete() -> list[np.ndarray]:
        rows = np.arange(JACKKNIFE_IMAGES)
        return [each.sum(axis=1) - each[rows, rng.integers(0, ANSWERS, len(each))] for each in answers]

    return mean_of(delete, answers, correct, times)


def mean_of(
    delete: Callable[[], list[np.ndarray]], answers: list[np.ndarray], correct: list[np.ndarray], times: int
) -> np.ndarray:
    """(models,) the delete-1 jackknife, its second term the mean over `times` deletions."""
    full = naive(*(each.sum(axis=1) for each in answers), correct[1], ANSWERS)
    fewer = np.mean([naive(*delete(), correct[1], ANSWERS - 1) for _ in range(times)], axis=0)
    return ANSWERS * full - (ANSWERS - 1) * fewer


def pandas_deletions(frames: list[pd.DataFrame], correct: list[np.ndarray], times: int) -> np.ndarray:
    """The same with pandas on frames of one row per answer: shuffle, keep the first n - 1 of every image, group by
    image."""
    rng = np.random.default_rng(3)
    full = naive(*(frame.groupby("image").selected.sum().to_numpy() for frame in frames), correct[1], ANSWERS)
    found = []
    for _ in range(times):
        kept = [frame.iloc[rng.permutation(len(frame))] for frame in frames]
        kept = [frame[frame.groupby("image").cumcount() < ANSWERS - 1] for frame in kept]
        counts = [frame.groupby("image").selected.sum().to_numpy() for frame in kept]
        found.append(naive(*counts, correct[1], ANSWERS - 1))
    return ANSWERS * full - (ANSWERS - 1) * np.mean(found, axis=0)


def naive(first: np.ndarray, second: np.ndarray, correct: np.ndarray, n: int) -> np.ndarray:
    """(models,) accuracy re-weighted by counts out of n, cells that the replica lacks left out."""
    wanted, held = (np.bincount(each, minlength=n + 1) for each in (first, second))
    right = np.stack([np.bincount(second, weights=column, minlength=n + 1) for column in correct.T], axis=1)
    known = held > 0
    return (wanted[known, None] * right[known] / held[known, None]).sum(axis=0) / wanted[known].sum()


def answer_frame(answers: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame({"image": np.repeat(np.arange(len(answers)), answers.shape[1]), "selected": answers.ravel()})


def simulated(s: np.ndarray, n: int, num_models: int, rng: np.random.Generator) -> Remeasured:
    correct = rng.random((len(s), num_models)) < 0.1 + 0.8 * s[:, None] ** 2
    return Remeasured(n_shown=np.full(len(s), n), n_selected=rng.binomial(n, s), correct=correct.astype(np.float64))


def counted(selected: np.ndarray, correct: np.ndarray) -> Remeasured:
    return Remeasured(n_shown=np.full(len(selected), ANSWERS), n_selected=selected, correct=correct.astype(np.float64))


def seconds(run: Callable[[], object], *, rounds: int) -> float:
    """Processor seconds of the fastest round."""
    taken = []
    for _ in range(rounds):
        before = time.process_time()
        run()
        taken.append(time.process_time() - before)
    return min(taken)


def memory() -> float:
    """Most gigabytes that this process held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


if __name__ == "__main__":
    sys.exit(main())
