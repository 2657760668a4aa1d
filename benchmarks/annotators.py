"""How many workers? Bias and coverage of what they say of labels, plain and extrapolated, in a simulated crowd.

    python benchmarks/annotators.py [--scenes 1500 10000] [--studies 60 24] [--seed 3000]

A study draws scenes, keeps those that nine workers confirm, asks nine (or five) others what is in them, and reports the
headlines of `crowds.fewer` with basic bootstrap intervals. The truth is what 49 workers say of 100,000 scenes: with so
many, modes hardly err. The record goes to benchmarks/records/annotators.json and into docs/studies/labels.md.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent)]

from robustray.tasks.crowds.fewer import HEADLINES, thin  # noqa: E402
from robustray.tasks.data.scenes import SceneSettings  # noqa: E402
from robustray.tasks.studies.labels import reduce  # noqa: E402
from robustray.tasks.studies.labels.crowd import Crowd, answer  # noqa: E402
from robustray.tasks.studies.labels.reduce import Collected  # noqa: E402

TRUTH_SCENES, TRUTH_WORKERS, CHUNK = 100_000, 49, 10_000
PRECISION, RESAMPLES = 0.6, 400


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--scenes", type=int, nargs="+", default=(1_500, 10_000))
    parser.add_argument("--studies", type=int, nargs="+", default=(60, 24), help="of each number of scenes")
    parser.add_argument("--workers", type=int, default=9)
    parser.add_argument(
        "--seed", type=int, default=3_000, help="of the first study; the laws were chosen on those before"
    )
    parser.add_argument("--output", type=Path, default=HERE / "records" / "annotators.json")
    arguments = parser.parse_args()
    start = time.process_time()
    record = json.loads(arguments.output.read_text()) if arguments.output.exists() else {}
    if "truth" not in record:
        truth = headlines(TRUTH_SCENES, TRUTH_WORKERS, seed=10_000)
        record |= {"truth": dict(zip(HEADLINES, truth.tolist(), strict=True)), "precision": PRECISION, "rows": []}
    for scenes, studies in zip(arguments.scenes, arguments.studies, strict=True):
        rows = judged(scenes, arguments, studies, np.array(list(record["truth"].values())))
        record["rows"] = [row for row in record["rows"] if row["scenes"] != scenes] + rows
        record["seconds"] = round(time.process_time() - start, 1)
        arguments.output.write_text(json.dumps(record, indent=1) + "\n")
        print(pd.DataFrame(rows).to_string())


def judged(scenes: int, arguments: argparse.Namespace, studies: int, truth: np.ndarray) -> list[dict[str, Any]]:
    workers = arguments.workers
    found: dict[str, list[list[tuple[float, float, float]]]] = {}
    for seed in range(arguments.seed, arguments.seed + studies):
        people = reduce.people(*asked(scenes, workers, seed))
        half = (workers + 1) // 2 | 1
        thinned = thin(people.votes, [half], num_answers=workers)
        plain, _ = thinned.changes(num_resamples=RESAMPLES)
        for name, estimates in (
            ("plain", plain[-len(HEADLINES) :]),
            ("1 / workers", thinned.extrapolated(powers=(1, 1, 1, 1), num_resamples=RESAMPLES)),
            ("1 / workers²", thinned.extrapolated(powers=(2, 2, 2, 2), num_resamples=RESAMPLES)),
        ):
            found.setdefault(name, []).append([(each.value, each.lo, each.hi) for each in estimates])
    rows = []
    for name, estimates in found.items():
        values, lo, hi = np.moveaxis(np.array(estimates), 2, 0)
        for i, headline in enumerate(HEADLINES):
            rows.append(
                {
                    "scenes": scenes,
                    "workers": workers,
                    "estimate": name,
                    "share": headline,
                    "bias": float(values[:, i].mean() - truth[i]),
                    "bias_error": float(values[:, i].std(ddof=1) / np.sqrt(studies)),
                    "covered": int(((lo[:, i] <= truth[i]) & (truth[i] <= hi[:, i])).sum()),
                    "studies": studies,
                    "first_seed": arguments.seed,
                    "median_width": float(np.median(hi[:, i] - lo[:, i])),
                }
            )
    return rows


def headlines(scenes: int, workers: int, seed: int) -> np.ndarray:
    """Headlines of many scenes, computed in chunks."""
    sums = np.zeros((2, len(HEADLINES)))
    for part in range(0, scenes, CHUNK):
        people = reduce.people(*asked(CHUNK, workers, seed + part))
        multi, other = people.found.num_objects > 1, people.found.main_label != people.votes.given
        apart = people.found.given_object != people.found.main_object
        sums[0] += [len(multi), multi.sum(), multi.sum(), (~multi).sum()]
        sums[1] += [multi.sum(), (multi & other).sum(), (multi & apart).sum(), (~multi & other).sum()]
    return sums[1] / sums[0]


def asked(scenes: int, workers: int, seed: int) -> tuple[Collected, np.ndarray]:
    """What a crowd says of new scenes, and which of them it confirms."""
    crowd = Crowd(
        scenes=SceneSettings(split="test", n=1, classes=18, multi=0.22),
        precision=PRECISION,
        num_workers=9,
        num_classify=workers,
    )
    objects = drawn(np.random.default_rng(seed), scenes)
    said = answer(crowd, objects, np.arange(scenes), seed)
    collected = Collected(
        index=np.arange(scenes),
        objects=objects,
        query=said.query,
        ticks=said.ticks,
        surviving=said.surviving,
        given_ticks=said.given_ticks,
        most_ticked=said.most_ticked,
        main=said.main,
        selected=said.selected,
    )
    return collected, collected.kept(9, 0.5)


def drawn(rng: np.random.Generator, scenes: int) -> np.ndarray:
    """(scenes, 3) classes of one, two or three objects (.78, .16, .06), each of another superclass of six classes."""
    number = rng.choice(3, scenes, p=[0.78, 0.16, 0.06]) + 1
    groups = rng.permuted(np.tile(np.arange(3), (scenes, 1)), axis=1)
    objects = groups * 6 + rng.integers(0, 6, (scenes, 3))
    return np.where(np.arange(3) < number[:, None], objects, -1)


if __name__ == "__main__":
    main()
