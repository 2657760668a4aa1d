"""Do our PPO and TRPO learn as those of stable-baselines3 do? 40 seeds of each of four arms, one process.

    python benchmarks/learning_parity.py --peers ../peers-rl --minutes 60
    python benchmarks/learning_parity.py --show

Seed by seed, arms in turn; each training is a line of benchmarks/records/learning-parity.jsonl as soon as it is done,
and a later call continues with what is missing. `--peers`: the environment of benchmarks/parity/peers.txt, whose Python
then runs this file. A training takes 30 to 130 CPU-seconds.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from benchmarks.attacks import use_python_of  # noqa: E402
from benchmarks.parity import mapping, records  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, default=None, help="folder of the peers' environment")
    parser.add_argument("--environment", default="Hopper-v5")
    parser.add_argument("--minutes", type=float, default=60.0, help="no training begins later")
    parser.add_argument("--output", type=Path, default=HERE / "records" / "learning-parity.jsonl")
    parser.add_argument("--show", action="store_true", help="print the tables and stop")
    arguments = parser.parse_args()
    if not arguments.show:
        if arguments.peers is None:
            parser.error("--peers must name the environment of benchmarks/parity/peers.txt")
        use_python_of(arguments.peers)
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
            os.environ[name] = "1"
        run(arguments)
    print(mapping.render())
    print(records.render(records.load(arguments.output)))


def run(arguments: argparse.Namespace) -> None:
    """Train what is missing until the time is over."""
    from benchmarks.parity.arms import train

    deadline = time.monotonic() + 60 * arguments.minutes
    for arm, seed in records.missing(records.load(arguments.output)):
        if time.monotonic() > deadline:
            return
        done = train(arm, seed, arguments.environment)
        records.append(arguments.output, done)
        print(f"{arm}, seed {seed}: {done.outcome:.0f} ({done.episodes} episodes, {done.cpu:.0f} s)", file=sys.stderr)


if __name__ == "__main__":
    main()
