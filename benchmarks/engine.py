"""What the engine itself costs: start-up, per block, per item, memory, resume.

    python benchmarks/engine.py [--items 100000] [--rounds 5]

Every round runs each case once, in turn, so that a slow minute of the machine affects all of them. Printed and stored:
the median and the range over rounds, and the CPU that other processes used meanwhile. Records go to
benchmarks/records/engine.json. Nothing else should run on the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH")]))
sys.path[:0] = [str(HERE), str(HERE.parent)]

import psutil  # noqa: E402
from noop import hold_block, noop_block  # noqa: E402

from benchmarks.load import ForeignLoad  # noqa: E402
from robustray.distributed.lab import RayLab  # noqa: E402
from robustray.tasks.lab.base import BlockLab  # noqa: E402
from robustray.tasks.lab.serial import SerialLab  # noqa: E402
from robustray.tasks.lab.store import Store  # noqa: E402

MIB = 2**20


@dataclass(frozen=True, kw_only=True)
class Record:
    """One measurement of one case in one round."""

    case: str
    what: str
    unit: str
    value: float
    foreign_load: float
    """CPUs that processes outside this benchmark used meanwhile, on average."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=HERE / "records" / "engine.json")
    arguments = parser.parse_args()

    cases: dict[str, Callable[[Store], BlockLab]] = {
        "in process": lambda store: SerialLab(store=store),
        "1 actor": lambda store: RayLab(store=store, workers=1),
        "2 actors": lambda store: RayLab(store=store, workers=2),
    }
    records: list[Record] = []
    for number in range(arguments.rounds):
        for name, open_lab in cases.items():
            records += measure(name, open_lab, arguments.items)
            print(f"round {number + 1} of {arguments.rounds}: {name}", file=sys.stderr)
    arguments.output.parent.mkdir(exist_ok=True)
    machine = {"cpus": os.cpu_count(), "python": platform.python_version(), "items": arguments.items}
    document = {"machine": machine, "records": [asdict(record) for record in records]}
    arguments.output.write_text(json.dumps(document, indent=1) + "\n")
    show(records)


def measure(case: str, open_lab: Callable[[Store], BlockLab], num_items: int) -> list[Record]:
    """Measure start, 1,000-item blocks, 100-item blocks, memory and resume, on a new store."""
    found: list[Record] = []

    def timed(what: str, unit: str, work: Callable[[], float | None], per: float = 1.0) -> None:
        foreign, began = ForeignLoad(), time.perf_counter()
        value = work()
        seconds = time.perf_counter() - began
        value = seconds / per if value is None else value
        found.append(Record(case=case, what=what, unit=unit, value=value, foreign_load=foreign.cpus()))

    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        lab = open_lab(store)

        def run(step: str, items: int, block: int) -> None:
            assert len(lab.map(step, noop_block, range(items), block=block).result()) == items

        timed("start to first result", "s", lambda: run("first", 10, 10))
        lab.map("hold", hold_block, range(20), block=1).result()  # long enough for every actor to be there
        timed("blocks of 1,000: per item", "µs", lambda: run("large", num_items, 1_000), per=num_items / 1e6)
        timed("blocks of 100: per block", "ms", lambda: run("small", num_items // 10, 100), per=num_items / 1e6)
        timed("resume: all blocks there", "s", lambda: run("large", num_items, 1_000))
        timed("memory of the driver", "MiB", lambda: psutil.Process().memory_full_info().pss / MIB)
        timed("memory of the workers", "MiB", workers_memory)
        lab.close()
    return found


def workers_memory() -> float:
    """Proportional set size of all actors together; shared pages are divided among those that share them."""
    actors = [p for p in psutil.Process().children(recursive=True) if "BlockActor" in " ".join(p.cmdline())]
    return sum(actor.memory_full_info().pss for actor in actors) / MIB


def show(records: list[Record]) -> None:
    """A table: one row per measurement, one column per case, median and range over rounds."""
    cases = list(dict.fromkeys(record.case for record in records))
    whats = list(dict.fromkeys((record.what, record.unit) for record in records))
    print(f"{'':<32}" + "".join(f"{case:>26}" for case in cases))
    for what, unit in whats:
        cells = []
        for case in cases:
            values = [r.value for r in records if (r.what, r.case) == (what, case)]
            cells.append(f"{statistics.median(values):.2f} ({min(values):.2f}–{max(values):.2f}) {unit}")
        print(f"{what:<32}" + "".join(f"{cell:>26}" for cell in cells))
    loads = [record.foreign_load for record in records]
    print(f"foreign load: median {statistics.median(loads):.2f}, at most {max(loads):.2f} CPUs")


if __name__ == "__main__":
    main()
