"""Our training step against the loops of others, round by round on the same images; and bf16 against fp32.

    python benchmarks/training.py --peers ../peers --rounds 5
    python benchmarks/training.py --quality --minutes 7
    python benchmarks/training.py --show

`--peers`: the environment of `benchmarks/peers.txt`, whose Python then runs this file. A round trains with every
contender for a few steps, in an order that rotates, and is added to benchmarks/records/training.json when it is
complete: a stopped run continues where it was. The rounds of a model belong to one version of the modules that are
measured; others are dropped when it is measured again. Nothing else should run on the machine; where something does,
the table takes CPU time.

`--quality` trains network "S" with the same seeds in fp32 and in bf16 and attacks what comes out. It stops after
`--minutes` and goes on when it is called again, in the middle of a training too. (Judging a trained model is one piece
of a minute or two.)
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
SCRATCH = Path(tempfile.gettempdir()) / "robustray-benchmark-training"
sys.path.insert(0, str(HERE.parent))

from benchmarks.attacks import update, use_python_of  # noqa: E402
from benchmarks.trainings import records as rec  # noqa: E402
from benchmarks.trainings import tables  # noqa: E402


def main() -> None:
    arguments = parse()
    document = rec.load(arguments.output)
    if not arguments.show:
        if arguments.peers is not None:
            use_python_of(arguments.peers)
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
            os.environ[name] = str(arguments.threads)
        os.environ["MKL_CBWR"] = "AUTO,STRICT"  # as the lab sets it
        os.environ["TQDM_DISABLE"] = "1"  # a progress bar is no training

        import torch

        torch.set_num_threads(arguments.threads)
        update(document.machine, arguments.output)
        began = time.monotonic()
        if arguments.quality:
            compare_quality(arguments, document, deadline=began + 60 * arguments.minutes)
        else:
            compare_speed(arguments, document)
        print(f"{time.monotonic() - began:.0f} s", file=sys.stderr)
    print(tables.render(document))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--losses", nargs="+", choices=rec.LOSSES, default=rec.LOSSES)
    parser.add_argument("--models", nargs="+", choices=rec.MODELS, default=rec.MODELS)
    parser.add_argument("--rounds", type=int, default=5, help="in all, those on file included")
    parser.add_argument("--steps", type=int, default=None, help="timed steps of a contender in a round")
    parser.add_argument("--threads", type=int, choices=(1, 2), default=1)
    parser.add_argument("--peers", type=Path, default=None, help="folder of the peers' environment")
    parser.add_argument("--data-root", default=os.environ.get("ROBUSTRAY_DATA"), help="as ROBUSTRAY_DATA")
    parser.add_argument("--output", type=Path, default=HERE / "records" / "training.json")
    parser.add_argument("--fresh", action="store_true", help="drop the rounds of these models first")
    parser.add_argument("--show", action="store_true", help="print the tables of what is on file and stop")
    quality = parser.add_argument_group("bf16 against fp32")
    quality.add_argument("--quality", action="store_true")
    quality.add_argument("--arms", nargs="+", choices=("fp32", "mixed", "bf16"), default=("fp32", "bf16"))
    quality.add_argument("--seeds", type=int, nargs="+", default=(0, 1, 2, 3, 4))
    quality.add_argument("--epochs", type=int, default=6)
    quality.add_argument("--train-images", type=int, default=10_000, help="the first of CIFAR-10's training set")
    quality.add_argument("--test-images", type=int, default=10_000, help="the first of its test set")
    quality.add_argument("--minutes", type=float, default=60.0, help="no training goes on for longer")
    quality.add_argument("--scratch", type=Path, default=SCRATCH, help="folder of checkpoints")
    arguments = parser.parse_args()
    if arguments.show:
        return arguments
    if arguments.data_root is None:
        parser.error("--data-root or ROBUSTRAY_DATA must name the folder with cifar10/")
    if arguments.peers is None and not arguments.quality and "adversarial" in arguments.losses:
        parser.error("--peers must name the environment of benchmarks/peers.txt (or: --losses standard)")
    return arguments


def compare_speed(arguments: argparse.Namespace, document: rec.Document) -> None:
    """Add rounds until there are `--rounds` of them for each loss and model; the file is written after each."""
    from benchmarks.trainings import contenders, rounds

    data, code, threads = contenders.training_images(arguments.data_root), rounds.code_hash(), arguments.threads
    for cell in [(loss, model) for loss in arguments.losses for model in arguments.models]:
        loss, model = cell
        num_steps = arguments.steps or rounds.STEPS[loss]
        wanted = (cell, num_steps * contenders.BATCH_SIZE, threads, code)
        old = [record for record in document.speed if record.cell == cell]
        good = [r for r in old if (r.cell, r.images, r.threads, r.code) == wanted and not arguments.fresh]
        if len(good) < len(old):
            print(f"{loss} {model}: {len(old) - len(good)} records are dropped", file=sys.stderr)
        document.speed = [record for record in document.speed if record.cell != cell] + good
        done = len({record.round for record in good})
        if done >= arguments.rounds:
            continue
        case = contenders.open_case(loss, model, 1 + num_steps, threads, data)
        for number in range(done, arguments.rounds):
            new = list(rounds.run_round(case, loss, number, threads, code))
            document.speed += new
            rec.save(arguments.output, document)
            speeds = ", ".join(f"{r.contender.removeprefix('robustray, ')} {r.wall:.1f} ({r.cpu:.1f})" for r in new)
            print(f"{loss} {model}, round {number + 1}: s wall (CPU): {speeds}", file=sys.stderr)


def compare_quality(arguments: argparse.Namespace, document: rec.Document, deadline: float) -> None:
    """Seed by seed, so that pairs are complete early; the file is written after each training."""
    from benchmarks.trainings import contenders, quality, rounds
    from robustray.tasks.data.reference import open_data

    protocol = quality.Protocol(
        epochs=arguments.epochs, train_images=arguments.train_images, test_images=arguments.test_images
    )
    test = open_data("cifar10:test", data_root=arguments.data_root)
    trial = quality.Trial(
        protocol=protocol,
        train=contenders.training_images(arguments.data_root),
        test=test.build(test.fetch(), "cpu"),
        threads=arguments.threads,
        scratch=arguments.scratch,
        code=rounds.code_hash(),
    )
    for seed in arguments.seeds:
        for arm in arguments.arms:
            mine = (str(protocol), arm, seed)
            on_file = [o for o in document.quality if (o.protocol, o.arm, o.seed) == mine]
            if any(outcome.code == trial.code for outcome in on_file):
                continue
            began = time.process_time()
            try:
                outcome = trial.run(arm, seed, deadline)
            except quality.Paused as pause:
                print(f"{arm}, seed {seed}: time is over {pause}; the same command goes on there", file=sys.stderr)
                return
            document.quality = [o for o in document.quality if o not in on_file] + [outcome]
            rec.save(arguments.output, document)
            spent = time.process_time() - began
            print(f"{arm}, seed {seed}: {outcome.accuracy:.2f} % robust, {spent:.0f} s CPU", file=sys.stderr)


if __name__ == "__main__":
    main()
