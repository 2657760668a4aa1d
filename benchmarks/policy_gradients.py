"""Environment steps per second, learning included, of our PPO and TRPO on RLlib, stable-baselines3 and RLlib's own PPO.

    python benchmarks/policy_gradients.py --peers ../peers-rl --rounds 10
    python benchmarks/policy_gradients.py --peers ../peers-rl --environment Humanoid-v5 --rounds 3
    python benchmarks/policy_gradients.py --show

`--peers`: the environment of benchmarks/parity/peers.txt, whose Python then runs this file. One process, one thread. A
round lets everybody train for about a second, in an order that moves on; ratios are taken within rounds. The file
benchmarks/records/policy-gradients.json is written after each round. An environment that is measured again loses its
old rounds.
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, default=None, help="folder of the peers' environment")
    parser.add_argument("--environment", default="Hopper-v5")
    parser.add_argument("--cases", nargs="+", choices=rec.CASES, default=rec.CASES)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--output", type=Path, default=HERE / "records" / "policy-gradients.json")
    parser.add_argument("--show", action="store_true", help="print the table and stop")
    arguments = parser.parse_args()
    if not arguments.show:
        if arguments.peers is None:
            parser.error("--peers must name the environment of benchmarks/parity/peers.txt")
        use_python_of(arguments.peers)
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
            os.environ[name] = "1"
        measure(arguments)
    print(rec.render(*rec.load(arguments.output)))


def measure(arguments: argparse.Namespace) -> None:
    """Add rounds; the file is written after each."""
    from importlib import metadata

    import ray
    import torch

    from benchmarks.rllib_speed.contenders import CONTENDERS, REPEATS

    torch.set_num_threads(1)
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    packages = ("gymnasium", "mujoco", "numpy", "ray", "stable-baselines3", "torch")
    machine = {"Python": platform.python_version(), **{name: metadata.version(name) for name in packages}}
    kept = [r for r in rec.load(arguments.output)[1] if r.environment != arguments.environment]
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
            kept.append(
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
        rec.save(arguments.output, machine, kept)
        line = ", ".join(f"{r.case} {r.steps / r.cpu:,.0f}" for r in kept[-len(names) :])
        print(f"round {number + 1}: steps per CPU-second: {line}", file=sys.stderr)


if __name__ == "__main__":
    main()
