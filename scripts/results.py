"""The long runs behind the documentation, one after the other: `make results`, or `python scripts/results.py NAME ...`.

Each is an ordinary command in the folder `results/` (not tracked), at the lowest priority and in one process, so that
other work can be done beside it. A run that was interrupted continues where it was, a finished one is shown again at
once. While a benchmark of this checkout runs, the long run is paused (SIGSTOP) and continues afterwards. What finished
is copied to `docs/results/NAME` by `publish_run.py`; look at it, then commit it.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "results"
PUBLISHED = ROOT / "docs" / "results"
LOOKS_EVERY_S = 5.0

SMALL = (
    "attack-sweep", "robust-training", "gaussian-features", "representations", "synthesis", "transfer", "backgrounds",
    "unadversarial", "replication", "labels", "implementation-matters", "closer-look", "features",
)  # fmt: skip
"""Every study. `robustray show NAME --size small` says how long its small size takes."""
DATA = ("attack-sweep", "robust-training", "representations", "synthesis", "transfer", "unadversarial", "features")
"""Those whose small size needs CIFAR-10."""
SIMULATED = "replication --scenario reference --num-studies 20 --num-departed 0 --num-compared 0 --num-resamples 500"
RUNS: Mapping[str, str] = {
    **{f"{study}-small": f"{study} --size small" + " --data-root data" * (study in DATA) for study in SMALL},
    "unadversarial-objects": "unadversarial --task objects --size small --data-root data",
    "unadversarial-landing": "unadversarial --task landing --size small",
    "replication-coverage": "replication --size small --scenario reference residual logistic root piled",
    "replication-causes": f"{SIMULATED} --num-mixtures 0 --num-causes 400",
    "replication-mixtures": f"{SIMULATED} --num-causes 0 --num-by-class 60 --num-mixtures 30 "
    "--num-mixture-intervals 10",
    "replication-imagenet": "replication --original data/annotations/pred_rank_imagenet_val.parquet --replicas "
    "data/annotations/pred_rank_v2_matched_frequency.parquet data/annotations/pred_rank_v2_threshold07.parquet "
    "data/annotations/pred_rank_v2_top_images.parquet --annotated data/annotations/pred_top1_imagenet_val.parquet",
    "replication-people": "replication --counts data/annotations/cifar10h_counts.parquet "
    "--predictions data/annotations/cifar101_pred_original.parquet",
}
"""Folder under docs/results -> words behind `robustray run`. Paths are relative: they are printed on the page."""


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"runs, or studies for all of theirs, in this order; all: {', '.join(RUNS)}",
    )
    parser.add_argument("--data", type=Path, help="folder of real data sets (ROBUSTRAY_DATA if not given)")
    arguments = parser.parse_args(argv)
    try:
        names = chosen(arguments.names)
    except ValueError as error:
        parser.error(str(error))
    FOLDER.mkdir(exist_ok=True)
    with open(FOLDER / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("another `make results` is at work in this checkout: let it end, or stop it", file=sys.stderr)
            return 2
        link_data(FOLDER / "data", arguments.data or os.environ.get("ROBUSTRAY_DATA"))
        ended = {name: one(name, RUNS[name]) for name in names}
    failed = [name for name, code in ended.items() if code]
    if failed:
        print(f"not finished: {', '.join(failed)}; the same command goes on with them", file=sys.stderr)
    return 1 if failed else 0


def chosen(words: Sequence[str]) -> list[str]:
    """Names of runs: each word is the name of a run, or of a study for all of its runs; without words, all runs.

    Raises: ValueError for a word that is neither.
    """
    found: list[str] = []
    for word in words or RUNS:
        names = [word] if word in RUNS else [name for name, command in RUNS.items() if command.split()[0] == word]
        if not names:
            raise ValueError(f"there is no run or study {word!r}; there are {', '.join(RUNS)}")
        found += names
    return list(dict.fromkeys(found))


def link_data(link: Path, data: str | Path | None) -> None:
    """`results/data` leads to the data, so that no page names where they are on this machine."""
    if data is not None:
        link.unlink(missing_ok=True)
        link.symlink_to(Path(data).resolve(), target_is_directory=True)


def one(name: str, words: str) -> int:
    """Run, and publish what finished. Returns an exit code."""
    command = ["python", "-m", "robustray", "run", *shlex.split(words), "--workers", "0", "--json"]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])  # the page shows the command
    print(f"{name}: robustray run {words}", flush=True)
    with open(FOLDER / f"{name}.log", "a") as log:
        process = subprocess.Popen(
            command,
            cwd=FOLDER,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PATH": path},
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            preexec_fn=lambda: os.nice(19),
        )
        answer = attended(process)
    if process.returncode != 0:
        print(f"{name}: ended with {process.returncode}; see {FOLDER / name}.log", file=sys.stderr)
        return process.returncode
    run = Path(FOLDER, json.loads(answer)["report"]).parent
    publish = [sys.executable, str(ROOT / "scripts" / "publish_run.py"), str(run), str(PUBLISHED / name)]
    return subprocess.run(publish, check=False).returncode


def attended(process: subprocess.Popen[str]) -> str:
    """Wait for the process, paused while a benchmark runs, and return what it printed."""
    resting = False
    try:
        while True:
            try:
                return process.communicate(timeout=LOOKS_EVERY_S)[0]
            except subprocess.TimeoutExpired:
                busy = next(benchmarks(), None)
            if (busy is not None) != resting:
                resting = busy is not None
                process.send_signal(signal.SIGSTOP if resting else signal.SIGCONT)
                print(f"{time.strftime('%H:%M')} {f'waits for {busy}' if resting else 'goes on'}", flush=True)
    except KeyboardInterrupt:
        process.send_signal(signal.SIGCONT)
        process.terminate()
        process.wait()
        raise


UNTIMED = ("audit.py", "coverage.py", "learning_parity.py", "stale_code.py")
"""Files of benchmarks/ that measure something other than time: nothing need stop for them."""


def benchmarks() -> Iterator[str]:
    """Benchmarks of speed that run on this machine; one that is stopped itself is none, or both would wait."""
    import psutil

    for running in psutil.process_iter(["cmdline", "status"]):
        words = running.info["cmdline"] or []
        if "python" in (words[0] if words else "") and running.info["status"] != psutil.STATUS_STOPPED:
            for word in words[1:3]:
                if (word.startswith("benchmarks") or "/benchmarks/" in word) and not word.endswith(UNTIMED):
                    yield word


if __name__ == "__main__":
    sys.exit(main())
