"""Our attacks against those of other libraries, round by round on the same images.

    python benchmarks/attacks.py --peers ../peers --kinds pgd --models cifar:resnet20 --rounds 5
    python benchmarks/attacks.py --kinds sharded --rounds 5
    python benchmarks/attacks.py --show

`--peers`: the environment of `benchmarks/peers.txt`, whose Python then runs this file. A round runs everybody once, in
an order that moves on. It is added to benchmarks/records/attacks.json when it is complete, so that a stopped run goes
on where it was. A cell's rounds belong to one version of the attack modules: others are dropped when it is measured
again. Nothing else should run on the machine; where something does, the table takes CPU time.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT))

from benchmarks.versus import records as rec  # noqa: E402

EVERYTHING = tuple(kind for kind in rec.MEASURED if kind != "sharded")


def main() -> None:
    arguments = parse()
    machine, records = rec.load(arguments.output)
    if arguments.show:
        show(records)
        return
    if "sharded" not in arguments.kinds:
        use_python_of(arguments.peers)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(arguments.threads)
    os.environ["MKL_CBWR"] = "AUTO,STRICT"  # as the lab sets it

    import torch

    torch.set_num_threads(arguments.threads)
    update(machine, arguments.output)
    began = time.perf_counter()
    for kind in arguments.kinds:
        for cell, measure in plan(kind, arguments):
            records = measure_cell(cell, measure, arguments, machine, records)
    print(f"{time.perf_counter() - began:.0f} s", file=sys.stderr)
    show([record for record in records if record.kind in arguments.kinds])


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", choices=rec.MEASURED, default=list(EVERYTHING))
    parser.add_argument("--models", nargs="+", choices=rec.STANDARD + rec.ROBUST, default=None)
    parser.add_argument("--norms", nargs="+", choices=("linf", "l2"), default=("linf", "l2"))
    parser.add_argument("--rounds", type=int, default=5, help="in all, those on file included")
    parser.add_argument("--images", type=int, default=None, help="of the CIFAR-10 test set; each kind has its number")
    parser.add_argument("--threads", type=int, choices=(1, 2), default=1)
    parser.add_argument("--peers", type=Path, default=None, help="folder of the peers' environment")
    parser.add_argument("--peer-batch", type=int, default=128)
    parser.add_argument("--data-root", default=os.environ.get("ROBUSTRAY_DATA"), help="as ROBUSTRAY_DATA")
    parser.add_argument("--output", type=Path, default=HERE / "records" / "attacks.json")
    parser.add_argument("--fresh", action="store_true", help="drop the rounds of these cells first")
    parser.add_argument("--show", action="store_true", help="print the table of what is on file and stop")
    arguments = parser.parse_args()
    if arguments.data_root is None and not arguments.show:
        parser.error("--data-root or ROBUSTRAY_DATA must name the folder with cifar10/ and models/")
    if "sharded" in arguments.kinds and len(arguments.kinds) > 1:
        parser.error("sharded runs by itself: it needs Ray and none of the peers")
    if arguments.peers is None and "sharded" not in arguments.kinds and not arguments.show:
        parser.error("--peers must name the environment of benchmarks/peers.txt")
    return arguments


def use_python_of(environment: Path) -> None:
    """Become the same command in that environment, unless this is it."""
    if Path(sys.prefix).resolve() == environment.resolve():
        return
    python = environment / "bin" / "python"
    if not python.is_file():
        sys.exit(f"--peers {environment}: no bin/python there; benchmarks/peers.txt says how to make it")
    os.execv(python, [str(python), *sys.argv])


def plan(kind: str, arguments: argparse.Namespace) -> list[tuple[rec.Cell, Any]]:
    """The cells that were asked for, each with a function (number of a round) -> its records."""
    if kind == "sharded":
        from benchmarks.versus import sharded

        return [(sharded.CELL, sharded)]
    from benchmarks.versus import rounds

    return [
        (cell, rounds)
        for cell in rounds.cells(kind)
        if (arguments.models is None or cell.model in arguments.models) and cell.norm in arguments.norms
    ]


def measure_cell(
    cell: rec.Cell, module: Any, arguments: argparse.Namespace, machine: dict[str, Any], records: list[rec.Record]
) -> list[rec.Record]:
    """Add rounds until there are `--rounds` of them; the file is written after each."""
    from benchmarks.versus import rounds

    images, code = arguments.images or rounds.num_images(cell), rounds.code_hash()
    good = [] if arguments.fresh else rec.still_good(records, cell, images, arguments.threads, code)
    others = [record for record in records if record.cell != cell]
    if dropped := len(records) - len(others) - len(good):
        print(f"{cell}: {dropped} records of other code, images or threads are dropped", file=sys.stderr)
    done = len({record.round for record in good})
    if done >= arguments.rounds:
        return [*others, *good]
    case = module.open_case(cell, images, arguments.data_root, arguments.peer_batch)
    module.warm_up(cell, case)
    for number in range(done, arguments.rounds):
        new = list(module.run_round(cell, case, number, arguments.threads, code))
        good += new
        rec.save(arguments.output, machine, [*others, *good])
        speeds = ", ".join(f"{r.contender} {r.precision} {r.wall:.1f} ({r.cpu:.1f})" for r in new)
        print(f"{cell.kind} {cell.model} {cell.norm}, round {number + 1}: s wall (CPU): {speeds}", file=sys.stderr)
    return [*others, *good]


def describe() -> dict[str, Any]:
    """The machine and the versions that were measured; what is not installed here is not named."""
    from importlib.metadata import PackageNotFoundError, version

    from benchmarks.versus.peers import PACKAGES

    found: dict[str, Any] = {"cpus": os.cpu_count(), "cpu": processor(), "python": platform.python_version()}
    for name in ("torch", *PACKAGES):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def update(machine: dict[str, Any], path: Path) -> None:
    """Write down where the file's next rounds are taken. Exits where its others were taken on other processors."""
    here = describe()
    if machine.get("cpu", here["cpu"]) != here["cpu"]:
        sys.exit(
            f"{path} was measured on a CPU with {machine['cpu']}, this one has {here['cpu']}: give another --output"
        )
    machine.update(here)


def processor() -> str:
    """Its instruction sets that matter here: names of cloud processors say little."""
    path = Path("/proc/cpuinfo")
    flags = set(path.read_text().split()) if path.is_file() else set()
    return " ".join(flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in flags)


def show(records: list[rec.Record]) -> None:
    from benchmarks.versus import tables

    print(tables.speeds([record for record in records if record.kind != "strength"]))
    if any(record.kind == "strength" for record in records):
        print(tables.strength(records))


if __name__ == "__main__":
    main()
