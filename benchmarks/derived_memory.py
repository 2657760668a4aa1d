"""Does memory grow with the number of derived data sets in a run?

    python benchmarks/derived_memory.py [--megabytes 60] [--sets 2 12] [--workers 2]

Each run, in a new process, makes the given number of data sets with `lab.map` and `lab.dataset`, one after the other,
and reads every image of each in another step. Meanwhile the memory that belongs to one process alone (USS) is measured
ten times a second, of the driver and of each actor. The record goes to benchmarks/records/derived-memory.json. No
timing is measured; other work may run beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
from dataclasses import asdict, dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH")]))
sys.path[:0] = [str(HERE), str(HERE.parent)]

import psutil  # noqa: E402
from coloured import BYTES, look_block, make_block  # noqa: E402

from robustray.distributed.lab import RayLab  # noqa: E402
from robustray.tasks.lab.store import Store  # noqa: E402

MIB = 2**20
EVERY_S = 0.1
BLOCK = 1_000
"""Images per block."""
CLASSES = tuple(str(number) for number in range(10))


@dataclass(kw_only=True)
class Peaks:
    """Largest USS of each process while a run goes on, in MiB."""

    driver: float = 0.0
    actors: dict[int, float] = field(default_factory=dict)
    """Largest USS of each actor, by process id."""

    def look(self) -> None:
        here = psutil.Process()
        self.driver = max(self.driver, here.memory_full_info().uss / MIB)
        for process in here.children(recursive=True):
            try:
                if "BlockActor" in " ".join(process.cmdline()):
                    uss = process.memory_full_info().uss / MIB
                    self.actors[process.pid] = max(self.actors.get(process.pid, 0.0), uss)
            except psutil.NoSuchProcess:  # ended between being listed and being asked
                continue


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--megabytes", type=float, default=60, help="size of a data set")
    parser.add_argument("--sets", type=int, nargs="+", default=[2, 12], help="data sets of each run")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--output", type=Path, default=HERE / "records" / "derived-memory.json")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(arguments.sets[0], arguments.megabytes, arguments.workers)))
        return
    runs = []
    for num_sets in arguments.sets:
        options = ["--megabytes", str(arguments.megabytes), "--workers", str(arguments.workers)]
        command = [sys.executable, __file__, "--one", "--sets", str(num_sets), *options]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        runs.append(json.loads(done.stdout.splitlines()[-1]))
        print(runs[-1], file=sys.stderr)
    machine = {"cpus": os.cpu_count(), "python": platform.python_version()}
    document = {"machine": machine, "megabytes": arguments.megabytes, "runs": runs}
    arguments.output.write_text(json.dumps(document, indent=1) + "\n")


def measure(num_sets: int, megabytes: float, workers: int) -> dict[str, object]:
    """Peaks of a run with so many data sets: {"sets", "driver", "actors"}, MiB."""
    num_images = int(megabytes * 1e6 / BYTES)
    peaks, ended = Peaks(), threading.Event()

    def watch() -> None:
        while not ended.wait(EVERY_S):
            peaks.look()

    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        store.create()
        lab = RayLab(store=store, workers=workers)
        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            for number in range(num_sets):
                made = lab.map("make", make_block, range(num_images), block=BLOCK, seed=number)
                data = lab.dataset(f"set {number}", made, classes=CLASSES)
                means = lab.map("look", look_block, range(num_images), block=BLOCK, refs={"data": data}).result()
                assert len(means) == num_images and abs(means["mean"].mean() - 127.5) < 1
        finally:
            ended.set()
            watcher.join()
            lab.close()
    return {"sets": num_sets, **asdict(peaks), "actors": sorted(peaks.actors.values())}


if __name__ == "__main__":
    main()
