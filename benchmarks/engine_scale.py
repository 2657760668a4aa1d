"""The engine at a million items and at a million pieces, beside plain processes and Ray Data.

    python benchmarks/engine_scale.py --data-root DIR [--rounds 3] [--parts items attack store]
    python benchmarks/engine_scale.py --make FOLDER          fills a store of a million pieces beforehand (4 GB)
    python benchmarks/engine_scale.py --store FOLDER ...     looks things up in that one; without it, one is made

Every round measures each case once, in turn, each in a new process. Stored are all values, and the CPU that other
processes used meanwhile; nothing else should run on the machine. The record is benchmarks/records/engine-scale.json,
its tables stand in docs/design/engine.md. With ROBUSTRAY_MOTO, a program of moto's S3 server, a store is measured there
as well.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).resolve().parent
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH")]))
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"
sys.path[:0] = [str(HERE), str(HERE.parent)]

from benchmarks.scale import attack, items, stores  # noqa: E402
from benchmarks.scale.records import Record, in_new_process  # noqa: E402
from robustray.tasks.lab.store import Store  # noqa: E402

PARTS = ("items", "attack", "store")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--items", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--ray-data-items", type=int, default=200_000, help="in blocks of 1,000")
    parser.add_argument("--images", type=int, default=1_536, help="of the attack, a multiple of 64")
    parser.add_argument("--pieces", type=int, default=1_000_000)
    parser.add_argument("--url-pieces", type=int, default=100_000, help="in memory")
    parser.add_argument("--s3-pieces", type=int, default=3_000, help="on moto's server")
    parser.add_argument("--data-root", default=os.environ.get("ROBUSTRAY_DATA"), help="as ROBUSTRAY_DATA")
    parser.add_argument("--make", type=Path, default=None, help="fill a store in this folder, which is new, and stop")
    parser.add_argument("--store", type=Path, default=None, help="the folder that --make filled")
    parser.add_argument("--output", type=Path, default=HERE / "records" / "engine-scale.json")
    parser.add_argument("--one", nargs="+", default=None, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        one(*arguments.one)
        return
    if arguments.make:
        stores.make(Store(arguments.make), arguments.pieces)
        return
    if "attack" in arguments.parts and not arguments.data_root:
        parser.error("--data-root or ROBUSTRAY_DATA must name the folder with cifar10/ and models/")
    measure = {"items": measure_items, "attack": measure_attack, "store": measure_store}
    for part in arguments.parts:
        records: list[Record] = []
        for number in range(arguments.rounds):
            records += [replace(record, round=number) for record in measure[part](arguments, number)]
            save(arguments.output, part, records)


def one(part: str, case: str, size: str, *words: str) -> None:
    """A case, in the process that was started for it."""
    count = int(size)
    if part == "compute":
        items.compute(case, count, Path(words[0])).print()
    elif part == "resume":
        items.resume(case, count, Path(words[0])).print()
    elif part == "ray-data":
        items.ray_data(case, count).print()
    elif part == "attack":
        attack.measure(case, count, words[0]).print()
    elif case == "local":
        stores.local(count, Path(words[1]), int(words[0])).print()
    else:
        {"memory": stores.in_memory, "s3": stores.on_s3}[case](count, int(words[0])).print()


def measure_items(arguments: argparse.Namespace, number: int) -> list[Record]:
    found = []
    for size in arguments.items:
        for case in items.LABS:
            with tempfile.TemporaryDirectory() as folder:
                found += child("compute", case, str(size), folder)
                found += child("resume", case, str(size), folder)
    for case, block in items.RAY_DATA.items():
        found += child("ray-data", case, str(max(arguments.items) if block is None else arguments.ray_data_items))
    return found


def measure_attack(arguments: argparse.Namespace, number: int) -> list[Record]:
    names = list(attack.CONTENDERS)
    first = number % len(names)
    return [
        record
        for name in names[first:] + names[:first]
        for record in child("attack", name, str(arguments.images), arguments.data_root)
    ]


def measure_store(arguments: argparse.Namespace, number: int) -> list[Record]:
    seed = str(number)
    found: list[Record] = []
    with tempfile.TemporaryDirectory() as folder:
        made = arguments.store or Path(folder) / "store"
        if not arguments.store:
            stores.make(Store(made), arguments.pieces)
        found += child("store", "local", str(arguments.pieces), seed, str(made))
    found += child("store", "memory", str(arguments.url_pieces), seed)
    if os.environ.get("ROBUSTRAY_MOTO"):
        found += child("store", "s3", str(arguments.s3_pieces), seed)
    return found


def child(*words: str) -> list[Record]:
    found = in_new_process(Path(__file__).resolve(), *words)
    for each in found:
        what = f"{each.case}, {each.size:,}: {each.what}: {each.value:,.4g} {each.unit}"
        print(f"{what} ({each.foreign_load} CPUs of others)", file=sys.stderr)
    return found


def save(path: Path, part: str, records: list[Record]) -> None:
    """The records of a part replace those that were there; other parts stay."""
    kept = json.loads(path.read_text())["records"] if path.exists() else []
    kept = [record for record in kept if record["part"] != part]
    machine = {"cpus": os.cpu_count(), "python": platform.python_version()}
    machine |= {name: version(name) for name in ("ray", "torch", "pyarrow")}
    document = {"machine": machine, "records": [*kept, *map(asdict, records)]}
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
