"""Environment steps per second, learning included, of our PPO and TRPO on RLlib, stable-baselines3 and RLlib's own PPO.

    python benchmarks/policy_gradients.py --peers ../peers-rl --rounds 10
    python benchmarks/policy_gradients.py --peers ../peers-rl --environment Humanoid-v5 --rounds 3
    python benchmarks/policy_gradients.py --section memory --rounds 5
    python benchmarks/policy_gradients.py --section trials --priority -10
    python benchmarks/policy_gradients.py --show

`--peers`: the environment of benchmarks/parity/peers.txt, whose Python then runs this file. One process, one thread. A
round lets everybody train for about a second, in an order that moves on; ratios are taken within rounds. The file
benchmarks/records/policy-gradients.json is written after each round. What is measured again loses its old rounds.

The other sections need no peers: `trials` (one, and two at once), `runners` (one process, and two env runners of an
environment that waits), `memory` (of a trial, all its processes), `shares` (where an iteration's time goes).
`--priority -10` (as root) lets other work on the machine wait meanwhile.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from benchmarks.attacks import use_python_of  # noqa: E402
from benchmarks.load import ForeignLoad  # noqa: E402
from benchmarks.rllib_speed import records as rec  # noqa: E402

SECTIONS = (*rec.SECTIONS, "shares")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, default=None, help="folder of the peers' environment")
    parser.add_argument("--section", choices=("speed", *SECTIONS), default="speed")
    parser.add_argument("--priority", type=int, default=0, help="niceness of this session; below 0 as root only")
    parser.add_argument("--environment", default="Hopper-v5")
    parser.add_argument("--cases", nargs="+", choices=rec.CASES, default=rec.CASES)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--output", type=Path, default=HERE / "records" / "policy-gradients.json")
    parser.add_argument("--show", action="store_true", help="print the table and stop")
    arguments = parser.parse_args()
    if not arguments.show:
        if arguments.section == "speed":
            if arguments.peers is None:
                parser.error("--peers must name the environment of benchmarks/parity/peers.txt")
            use_python_of(arguments.peers)
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
            os.environ[name] = "1"
        set_priority(arguments.priority)
        (measure if arguments.section == "speed" else measure_section)(arguments)
    document = rec.load(arguments.output)
    print("\n".join([rec.render(document), *(rec.render_section(document, name) for name in SECTIONS)]))


def set_priority(nice: int) -> None:
    """Set the priority of this process, and of its session where Linux divides the machine by sessions."""
    os.nice(nice - os.nice(0))
    session = Path("/proc/self/autogroup")
    if session.exists():
        session.write_text(str(nice))


def measure_section(arguments: argparse.Namespace) -> None:
    """The rounds of another section; the file is written after each."""
    from benchmarks.rllib_speed.memory import memory
    from benchmarks.rllib_speed.sections import runners, trials
    from benchmarks.rllib_speed.shares import shares

    document, name = rec.load(arguments.output), arguments.section
    document.samples = [sample for sample in document.samples if sample.section != name]
    rounds = {"trials": trials, "runners": runners, "memory": memory, "shares": shares}[name]
    for samples in rounds(arguments.rounds):
        document.samples += samples
        rec.save(arguments.output, document)
        print(", ".join(f"{s.case} {s.value:,.0f} ({s.foreign_load:.2f})" for s in samples), file=sys.stderr)


def measure(arguments: argparse.Namespace) -> None:
    """Add rounds; the file is written after each."""
    import logging
    from importlib import metadata

    import ray
    import torch

    from benchmarks.rllib_speed.contenders import CONTENDERS, REPEATS

    torch.set_num_threads(1)
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    packages = ("gymnasium", "mujoco", "numpy", "ray", "stable-baselines3", "torch")
    document = rec.load(arguments.output)
    document.machine = {"Python": platform.python_version(), **{name: metadata.version(name) for name in packages}}
    document.records = [r for r in document.records if r.environment != arguments.environment]
    iterations = {case: CONTENDERS[case](arguments.environment) for case in arguments.cases}
    for iteration in iterations.values():
        iteration()  # not timed: it chooses kernels and fills caches
    names = list(iterations)
    for number in range(arguments.rounds):
        start = number % len(names)
        for case in names[start:] + names[:start]:
            foreign, wall, cpu = ForeignLoad(), time.perf_counter(), time.process_time()
            steps = sum(iterations[case]() for _ in range(REPEATS[case]))
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            document.records.append(
                rec.Record(
                    environment=arguments.environment,
                    case=case,
                    round=number,
                    steps=steps,
                    wall=round(wall, 4),
                    cpu=round(cpu, 4),
                    foreign_load=foreign.cpus(),
                )
            )
        rec.save(arguments.output, document)
        line = ", ".join(f"{r.case} {r.steps / r.cpu:,.0f}" for r in document.records[-len(names) :])
        print(f"round {number + 1}: steps per CPU-second: {line}", file=sys.stderr)


if __name__ == "__main__":
    main()
