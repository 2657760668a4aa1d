"""Speed of labels from people's answers, compared with what one would write without this package.

    python benchmarks/crowds.py [--crowd-kit /path/to/python] [--data-root DIR] [--only workers aggregation bootstrap]

- *workers*: Dawid and Skene's and the one-coin model on 10^6 answers to 10^5 images by 10^3 workers, 10 classes; beside
  crowd-kit (a Python in which it is installed), the same number of EM steps. Each side in a process of its own.
- *aggregation*: main label, number of objects and objects, then six measures of all models, of the published answers;
  beside a plain transcription: pandas groupby, one Python call per image. Results must be equal.
- *bootstrap*: all models, six measures and four slices, 1,000 resamples of 10,000 images.

CPU time of one thread, since other things may run on the machine. The record goes to benchmarks/records/crowds.json.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent)]

RESAMPLES = 1_000
MODELS = ("dawid-skene", "one-coin")
THEIRS = """
import json, sys, time
import numpy as np, pandas as pd
from crowdkit.aggregation import DawidSkene, OneCoinDawidSkene
held = np.load(sys.argv[1])
frame = pd.DataFrame({"task": held["image"], "worker": held["worker"], "label": held["label"]})
model = {"dawid-skene": DawidSkene, "one-coin": OneCoinDawidSkene}[sys.argv[2]](n_iter=int(sys.argv[3]), tol=-1e9)
start = time.process_time()
model.fit(frame)
seconds = time.process_time() - start
np.save(sys.argv[4], model.labels_.sort_index().to_numpy())
memory = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) / 1e6
print(json.dumps({"seconds": seconds, "peak_gb": memory}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--crowd-kit", type=Path, help="Python of an environment that holds crowd-kit")
    parser.add_argument("--data-root", type=Path, default=os.environ.get("ROBUSTRAY_DATA"))
    parser.add_argument("--only", nargs="+", choices=tuple(PARTS), default=tuple(PARTS))
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS, help="of workers")
    parser.add_argument("--steps", type=int, default=20, help="of EM")
    parser.add_argument("--output", type=Path, default=HERE / "records" / "crowds.json")
    arguments = parser.parse_args()
    record = json.loads(arguments.output.read_text()) if arguments.output.exists() else {}
    for part in arguments.only:
        record[part] = {**(record.get(part, {}) if part == "workers" else {}), **PARTS[part](arguments)}
        record["machine"] = {
            "processor": platform.processor() or platform.machine(),
            "python": platform.python_version(),
        }
        arguments.output.write_text(json.dumps(record, indent=1) + "\n")
        print(part, json.dumps(record[part], indent=1))


def cpu(run: Callable[[], Any]) -> tuple[Any, float]:
    start = time.process_time()
    return run(), time.process_time() - start


# -- workers -----------------------------------------------------------------------------------------------------------


def simulated(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    images, workers, each, classes = 100_000, 1_000, 10, 10
    truth = rng.integers(0, classes, images)
    image = np.repeat(np.arange(images), each)
    worker = rng.random((images, workers), dtype=np.float32).argpartition(each, axis=1)[:, :each].ravel()
    accuracy = rng.uniform(0.4, 0.95, workers)
    right = rng.random(len(image)) < accuracy[worker]
    label = np.where(right, truth[image], (truth[image] + rng.integers(1, classes, len(image))) % classes)
    path = folder / "answers.npz"
    np.savez(path, image=image, worker=worker, label=label, truth=truth)
    return path


OURS = """
import json, sys, time
import numpy as np
from robustray.tasks.crowds.workers import Answers, fit
held = np.load(sys.argv[1])
image, worker, label = held["image"], held["worker"], held["label"]
start = time.process_time()
found = fit(Answers.of(image, worker, label, num_classes=10), sys.argv[2], smoothing=0, tolerance=-1,
            most_iterations=int(sys.argv[3]))
seconds = time.process_time() - start
np.save(sys.argv[4], found.label)
memory = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) / 1e6
print(json.dumps({"seconds": seconds, "peak_gb": memory, "right": float((found.label == held["truth"]).mean())}))
"""


def workers(arguments: argparse.Namespace) -> dict[str, Any]:
    rows: dict[str, Any] = {"answers": 1_000_000, "images": 100_000, "workers": 1_000, "classes": 10}
    rows["steps"] = arguments.steps
    with tempfile.TemporaryDirectory() as folder:
        path = simulated(Path(folder))
        for model in arguments.models:
            row: dict[str, Any] = {"ours": _process(sys.executable, OURS, path, model, arguments.steps, "ours")}
            if arguments.crowd_kit:
                row["crowd_kit"] = _process(str(arguments.crowd_kit), THEIRS, path, model, arguments.steps, "theirs")
                ours, theirs = (np.load(Path(folder) / f"{who}.npy") for who in ("ours", "theirs"))
                row["same_labels"] = float((ours == theirs).mean())
                row["ratio"] = row["crowd_kit"]["seconds"] / row["ours"]["seconds"]
            rows[model] = row
    return rows


def _process(python: str, code: str, path: Path, model: str, steps: int, who: str) -> dict[str, float]:
    command = [python, "-W", "ignore", "-c", code, str(path), model, str(steps), str(path.parent / f"{who}.npy")]
    environment = os.environ | {"PYTHONPATH": str(HERE.parent)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return dict(json.loads(done.stdout.splitlines()[-1]))


# -- aggregation and evaluation ----------------------------------------------------------------------------------------


def published(root: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    folder = root / "annotations"
    votes = pd.read_parquet(folder / "multilabel_classify_votes.parquet")
    images = pd.read_parquet(folder / "multilabel_images.parquet")[["image_number", "image_id", "class_id"]]
    votes = votes.merge(images, on="image_number").rename(columns={"image_id": "image", "class_id": "given"})
    top = pd.read_parquet(folder / "pred_top1_imagenet_val.parquet").rename(columns={"image_id": "image"})
    return votes, top.drop(columns=["class_id", "in_annotated20k"]).set_index("image")


def plain(votes: pd.DataFrame, top: pd.DataFrame) -> pd.DataFrame:
    """One Python call per image, then one per model and image: the rules of `crowds.classify` as one writes them."""
    people = {image: _plain_image(rows) for image, rows in votes.groupby("image")}
    rows = []
    for model in top:
        said = top[model]
        hits = [_plain_hits(people[image], int(said[image])) for image in people]
        rows.append(pd.DataFrame(hits).mean().rename(model))
    return pd.DataFrame(rows)


def _plain_image(rows: pd.DataFrame) -> dict[str, Any]:
    selections = [sorted(map(int, each)) for each in rows.selected]
    counts = Counter(label for each in selections for label in each)
    mains, sizes = Counter(map(int, rows["main"])), Counter(map(len, selections))
    main = min(mains, key=lambda label: (-mains[label], -counts[label], label))
    size = min(sizes, key=lambda each: (-sizes[each], each))
    objects = [sorted(counts)] if size == 1 else _plain_cut(selections, size)
    return {"given": int(rows.given.iloc[0]), "main": main, "counts": counts, "objects": objects, "workers": len(rows)}


def _plain_cut(selections: list[list[int]], size: int) -> list[list[int]]:
    joint = Counter(pair for each in selections for pair in itertools.combinations(each, 2))
    labels = sorted({label for pair in joint for label in pair})
    best: tuple[int, list[list[int]]] = (-1, [])
    for groups in _plain_divisions(labels, size):
        place = {label: i for i, group in enumerate(groups) for label in group}
        between = sum(count for (a, b), count in joint.items() if place[a] != place[b])
        if between > best[0]:
            best = between, groups
    return best[1]


def _plain_divisions(labels: list[int], size: int) -> list[list[list[int]]]:
    """Divisions of labels into groups, in the order in which earlier labels share a group first."""
    found: list[list[list[int]]] = [[]]
    for label in labels:
        grown = []
        for groups in found:
            for i in range(len(groups)):
                grown.append([[*group, label] if j == i else group for j, group in enumerate(groups)])
            if len(groups) < size:
                grown.append([*groups, [label]])
        found = grown
    return [groups for groups in found if len(groups) == size]


def _plain_hits(people: dict[str, Any], said: int) -> dict[str, bool]:
    counts, objects = people["counts"], people["objects"]
    inside = {label for group in objects for label in group}
    main_object = next((group for group in objects if people["main"] in group), [])
    representative = {min(group, key=lambda label: (-counts[label], label)) for group in objects}
    return {
        "given label": said == people["given"],
        "main label": said == people["main"],
        "main object": said in main_object,
        "any label": said in inside,
        "strong label": said in inside and 2 * counts[said] >= people["workers"],
        "representative label": said in representative,
    }


def ours(votes: pd.DataFrame, top: pd.DataFrame) -> pd.DataFrame:
    from robustray.tasks.crowds.classify import aggregate
    from robustray.tasks.studies.labels.evaluation import Judge

    answers, names = _votes(votes)
    judge = Judge(answers, aggregate(answers))
    said = top.loc[names]
    rows = {}
    for model in top:
        hits = judge(said[model].to_numpy(np.int64))
        rows[model] = [flags.mean() for flags in hits.values()]
    return pd.DataFrame.from_dict(rows, orient="index", columns=list(hits))


def _votes(votes: pd.DataFrame) -> Any:
    from robustray.tasks.crowds.classify import Votes
    from robustray.tasks.crowds.tables import Labels

    names, first, image = np.unique(votes.image.to_numpy(str), return_index=True, return_inverse=True)
    given = votes.given.to_numpy(np.int64)[first]
    lengths = votes.selected.str.len().to_numpy(np.int64)
    selected = Labels(
        values=np.concatenate(votes.selected.tolist()).astype(np.int64),
        starts=np.concatenate([[0], np.cumsum(lengths)]),
    )
    main_ = votes["main"].to_numpy(np.int64)
    return Votes(image=image, main=main_, selected=selected, given=given, num_classes=1_000), names


def aggregation(arguments: argparse.Namespace) -> dict[str, Any]:
    votes, top = published(arguments.data_root)
    ours(votes, top[["resnet50"]])  # what is imported and cached once
    runs = [cpu(lambda: ours(votes, top)) for _ in range(5)]
    fast, fast_s = runs[0][0], float(np.median([seconds for _, seconds in runs]))
    slow, slow_s = cpu(lambda: plain(votes, top))
    pd.testing.assert_frame_equal(fast, slow[fast.columns], check_exact=False, rtol=1e-12)
    return {
        "images": int(votes.image.nunique()),
        "answers": len(votes),
        "models": top.shape[1],
        "ours_seconds": fast_s,
        "plain_seconds": slow_s,
        "ratio": slow_s / fast_s,
    }


# -- bootstrap ---------------------------------------------------------------------------------------------------------


def bootstrap(arguments: argparse.Namespace) -> dict[str, Any]:
    """10,000 images: the classified ones, drawn again to that number; the cost does not depend on which they are."""
    from robustray.tasks.crowds.classify import aggregate
    from robustray.tasks.statistics import by_unit, resample
    from robustray.tasks.studies.labels.evaluation import Judge, slices

    votes, top = published(arguments.data_root)
    answers, names = _votes(votes)
    said = top.loc[names]
    drawn = np.random.default_rng(0).integers(0, answers.num_images, 10_000)

    def run() -> Any:
        found = aggregate(answers)
        parts = [inside[drawn] for inside in slices(answers, found).values()]
        inside = np.stack(parts, axis=1).astype(np.float64)
        judge = Judge(answers, found)
        measured = [judge(said[model].to_numpy(np.int64)) for model in top]
        hits = np.stack([flags[drawn] for each in measured for flags in each.values()], axis=1)
        table = np.concatenate([hits * part[:, None] for part in parts], axis=1).astype(np.float64)

        def statistic(weights: np.ndarray) -> np.ndarray:
            with np.errstate(invalid="ignore", divide="ignore"):
                share = (weights @ table).reshape(len(weights), len(parts), -1) / (weights @ inside)[:, :, None]
            return np.asarray(share.reshape(len(weights), -1))

        return resample(statistic, by_unit(10_000), num_resamples=RESAMPLES).estimates()

    found, seconds = cpu(run)
    return {
        "images": 10_000,
        "models": top.shape[1],
        "estimates": len(found),
        "resamples": RESAMPLES,
        "seconds": seconds,
    }


PARTS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "workers": workers,
    "aggregation": aggregation,
    "bootstrap": bootstrap,
}

if __name__ == "__main__":
    main()
