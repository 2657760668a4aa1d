"""Kill workers, nodes and drivers at random while commands run; compare each table with a calm run's, byte for byte.

    python scripts/chaos.py                                    about 12 kills, minutes
    python scripts/chaos.py --kills 200 --mean-seconds 5 --record benchmarks/records/chaos.jsonl
                                                               an hour, before a release; interrupted, it goes on
    python scripts/chaos.py --jobs sweep replication --kills 4

A cluster of several nodes starts on this machine. An attack sweep, a robust training, a grid of agents and a
replication study each run once without workers and without disturbance, and then on the cluster, again and again, each
time in a store of its own. Meanwhile one victim after the other is drawn: a worker process with work, a whole node
(another one takes its place), or the driver (the same command is typed again). What was given up is tried again as the
command says. The last line is a JSON document with counts; the exit code is 1 where any table differs, is missing or
is new. With `--record` every run is also a line of a file, whose kills count when the command is typed again.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import random
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psutil

ROOT = Path(__file__).resolve().parents[1]
ATTEMPTS = 60
"""Starts of one command, after which it counts as stuck."""
STARTS, START_S = 3, "180"
"""Times that a node is started until it is there, and the seconds that Ray waits for it each time."""
LOOKS_EVERY_S = 5.0
"""Seconds after which it is looked whether a node ended by itself."""
Victim = Literal["worker", "node", "driver"]
WEIGHTS: Mapping[Victim, int] = {"worker": 6, "node": 2, "driver": 2}

GRID = '''
"""Two agents, each with two seeds, of half a minute in all."""

from robustray.tasks.grids.settings import Cell, Grid, Outcome
from robustray.tasks.policy_gradients.settings import AgentSpec, PolicyGradient


def grid(size):
    def agent(step, seed):
        settings = PolicyGradient(step=step, steps_per_stream=128, num_minibatches=2, hidden=(8,))
        return AgentSpec(environment="InvertedPendulum-v5", settings=settings, iterations=12, seed=seed)

    return Grid(
        question="Do agents survive?",
        paper="a chaos test",
        outcomes=[Outcome(name="late_return", words="late return")],
        cells=[
            Cell(levels={"step": step, "seed": seed}, settings=agent(step, seed))
            for step in ("ppo", "trpo") for seed in (0, 1)
        ],
    )
'''
JOBS: Mapping[str, str] = {
    "sweep": "run attack-sweep --models digits:mlp --attacks pgd noise --norms linf --eps-linf 0.05 0.1 "
    "--num-images 240 --block 8 --num-examples 1",
    "training": "run robust-training --norms linf --eps-train-linf 0.1 0.2 --eps-test-linf 0.1 0.2 --num-seeds 1 "
    "--epochs 4 --num-images 64 --num-autoattack 0 --num-traced 4 --test-steps 4 --trace-steps 6 --num-examples 1 "
    "--block 8",
    "agents": "tune chaos_grid:grid --checkpoint-every 3",
    "replication": "run replication --num-studies 20 --num-images 400 --num-candidates 2400 --num-answers 5 10 "
    "--num-resamples 200 --block 1 --num-departed 4 --num-compared 4 --num-mixtures 1 --num-causes 1 "
    "--num-by-class 1 --num-chosen 100",
}


class Machines:
    """A head without CPUs and nodes that come and go."""

    def __init__(self, num_nodes: int) -> None:
        from ray.cluster_utils import Cluster

        self.cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        for _ in range(num_nodes):
            self.add()

    @property
    def address(self) -> str:
        return str(self.cluster.address)

    def add(self) -> None:
        """One more node, with two CPUs. On a busy machine a node may miss its start; then another is started."""
        for left in reversed(range(STARTS)):
            try:
                self.cluster.add_node(num_cpus=2, wait=False)
                return
            except Exception:  # a bare one, when a node was not there in time
                if not left:
                    raise

    def kill_node(self, rng: random.Random) -> None:
        """A node and all that runs on it, at once; another takes its place."""
        self.cluster.remove_node(rng.choice(sorted(self.cluster.worker_nodes, key=id)), allow_graceful=False)
        self.add()

    def refill(self) -> None:
        """Another node for each that ended by itself: on a busy machine Ray takes a node that answers late for dead."""
        for node in [node for node in self.cluster.worker_nodes if node.dead_processes()]:
            self.cluster.remove_node(node, allow_graceful=False)
            self.add()

    def workers(self) -> list[psutil.Process]:
        """Processes of all nodes that have an actor or a task; not those that are only kept warm."""
        found: list[psutil.Process] = []
        for node in [*self.cluster.worker_nodes]:
            for info in node.all_processes.get("raylet", []):
                with contextlib.suppress(psutil.Error):
                    found += psutil.Process(info.process.pid).children(recursive=True)
        return [process for process in found if _working(process)]


def _working(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        name = " ".join(process.cmdline())
        return name.startswith("ray::") and "IDLE" not in name
    return False


class Chaos:
    """Draws a victim every now and then, until it has had enough of a run. In one thread: Ray starts nodes in the main
    thread only."""

    def __init__(self, machines: Machines, seed: int, mean_seconds: float) -> None:
        self.machines, self.mean_seconds = machines, mean_seconds
        self.rng = random.Random(seed)
        self.killed: Counter[str] = Counter()
        self.left = 0
        """Kills that the present run still has to bear."""

    def accompany(self, driver: Typed) -> None:
        """Until the driver has ended, kill whom the dice name, and replace nodes that ended by themselves."""
        at = self._next()
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                driver.process.wait(min(LOOKS_EVERY_S, max(0.0, at - time.monotonic())))
                return
            self.machines.refill()
            if time.monotonic() >= at:
                victim = self.rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
                if self._strike(victim, driver):
                    self.killed[victim] += 1
                    self.left -= 1
                at = self._next()

    def _next(self) -> float:
        """When the next victim is drawn."""
        return time.monotonic() + self.rng.expovariate(1 / self.mean_seconds) if self.left else math.inf

    def _strike(self, victim: Victim, driver: Typed) -> bool:
        """Whether there was somebody to kill."""
        if victim == "node":
            self.machines.kill_node(self.rng)
            return True
        if victim == "driver":
            return _kill_group(driver.process)
        workers = sorted(self.machines.workers(), key=lambda process: process.pid)
        if not workers:
            return False
        with contextlib.suppress(psutil.Error):
            self.rng.choice(workers).kill()
            return True
        return False


def _kill_group(process: subprocess.Popen[bytes]) -> bool:
    if process.poll() is not None:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    return True


@dataclass(frozen=True)
class Typed:
    """A command that runs in a process group of its own, and the files that it writes to."""

    process: subprocess.Popen[bytes]
    out: Path
    err: Path

    @property
    def document(self) -> dict[str, Any]:
        """What `--json` printed. Raises: SystemExit where that is not one document."""
        printed = self.out.read_text()
        try:
            found: dict[str, Any] = json.loads(printed)
        except json.JSONDecodeError as error:
            raise SystemExit(f"{self.process.args!r} printed no single document: {error}\n{printed}") from error
        return found


def start(words: str, folder: Path, store: Path, *more: str) -> Typed:
    """Type a command in a folder."""
    typed = [sys.executable, "-m", "robustray", *shlex.split(words), "--store", str(store), "--json", *more]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]), "OMP_NUM_THREADS": "1"}
    environment.pop("RAY_ADDRESS", None)
    out, err = folder / f"{store.name}.out", folder / f"{store.name}.err"
    with open(out, "wb") as to_out, open(err, "wb") as to_err:
        process = subprocess.Popen(
            typed, cwd=folder, env=environment, start_new_session=True, stdout=to_out, stderr=to_err
        )
    return Typed(process, out, err)


def tables(document: Mapping[str, Any]) -> dict[str, bytes]:
    """Of a document that a command printed."""
    return {name: Path(path).read_bytes() for name, path in document["tables"].items()}


def calm(words: str, folder: Path) -> dict[str, bytes]:
    """The tables of a run that nobody disturbs. A grid has its trials, a study works in its own process."""
    workers = "1" if words.startswith("tune") else "0"
    driver = start(words, folder, folder / "calm", "--workers", workers)
    if code := driver.process.wait():
        raise SystemExit(f"the undisturbed `{words}` ended with exit code {code}:\n{driver.err.read_text()}")
    return tables(driver.document)


def disturbed(words: str, folder: Path, store: Path, chaos: Chaos) -> tuple[dict[str, bytes], int]:
    """Type the command until it ends well. Returns its tables, and how often it was typed."""
    err = ""
    for attempt in range(1, ATTEMPTS + 1):
        again = words
        if attempt > 1 and "tries them again" in err:  # given up: by bad luck of the same item, twice
            again = f"{words} --failed" if words.startswith("tune") else f"resume {_run_in(store)} --failed"
        chaos.machines.refill()
        driver = start(again, folder, store, "--address", chaos.machines.address)
        chaos.accompany(driver)
        if driver.process.returncode == 0:
            return tables(driver.document), attempt
        err = driver.err.read_text()
        said = (err.strip().splitlines() or ["killed"])[-1][:200]
        print(f"  typed {attempt} time(s): exit code {driver.process.returncode}, {said}", file=sys.stderr)
    raise SystemExit(f"`{words}` did not end in {ATTEMPTS} attempts; the last one said:\n{err}")


def _run_in(store: Path) -> str:
    (run,) = (path.parent.name for path in store.glob("*/run.json"))
    return run


def recorded(record: Path | None) -> list[dict[str, Any]]:
    """The runs of a record, one a line, oldest first; none where there is no file."""
    return [json.loads(line) for line in record.read_text().splitlines()] if record and record.exists() else []


def counts(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Of runs as `main` records them: whom they lost, how often each job ran, and which tables differed."""
    killed: Counter[str] = Counter()
    differing: dict[str, list[str]] = {}
    for run in runs:
        killed.update(run["killed"])
        if run["tables_that_differ"]:
            differing.setdefault(run["job"], []).extend(run["tables_that_differ"])
    return {
        "kills": {victim: killed[victim] for victim in WEIGHTS},
        "kills_in_all": killed.total(),
        "runs": dict(Counter(run["job"] for run in runs)),
        "commands_typed": sum(run["commands_typed"] for run in runs),
        "tables_compared": sum(run["tables_compared"] for run in runs),
        "tables_that_differ": differing,
    }


def differences(expected: Mapping[str, bytes], found: Mapping[str, bytes]) -> list[str]:
    """Names of tables that are not the same bytes on both sides."""
    return sorted(name for name in {*expected, *found} if expected.get(name) != found.get(name))


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=12, help="in all; jobs run in turn until there were so many")
    parser.add_argument("--kills-per-run", type=int, default=4, help="after which a run may end in peace")
    parser.add_argument("--mean-seconds", type=float, default=8.0, help="between two kills, exponentially distributed")
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--jobs", nargs="+", choices=[*JOBS], default=[*JOBS])
    parser.add_argument("--seed", type=int, default=0, help="of the victims and their times")
    parser.add_argument("--record", type=Path, help="file to which each run adds a line; those in it count as kills")
    flags = parser.parse_args(argv)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_raylet_start_wait_time_s", START_S)  # before Ray is imported
    began, runs = time.monotonic(), recorded(flags.record)
    seed = flags.seed + len(runs)  # a command that goes on does not draw the same victims again
    expected: dict[str, dict[str, bytes]] = {}
    with tempfile.TemporaryDirectory(prefix="chaos-") as made, contextlib.ExitStack() as started:
        folder = Path(made)
        (folder / "chaos_grid.py").write_text(GRID)
        chaos: Chaos | None = None
        while (left := flags.kills - counts(runs)["kills_in_all"]) > 0:
            if chaos is None:
                machines = Machines(flags.nodes)
                started.callback(machines.cluster.shutdown)
                chaos = Chaos(machines, seed, flags.mean_seconds)
            name = flags.jobs[len(runs) % len(flags.jobs)]
            if name not in expected:
                expected[name] = calm(JOBS[name], folder)
            chaos.left, chaos.killed = min(flags.kills_per_run, left), Counter()
            found, typed = disturbed(JOBS[name], folder, folder / f"{name}-{len(runs)}", chaos)
            run = {
                "job": name,
                "seed": seed,
                "mean_seconds": flags.mean_seconds,
                "killed": dict(chaos.killed),
                "commands_typed": typed,
                "tables_compared": len(expected[name]),
                "tables_that_differ": differences(expected[name], found),
            }
            runs.append(run)
            if flags.record:
                with open(flags.record, "a") as record:
                    record.write(json.dumps(run) + "\n")
            print(f"{name}: {run['killed']} killed, {run['tables_that_differ'] or 'equal'}", file=sys.stderr)
    document = {**counts(runs), "seconds": round(time.monotonic() - began), "seed": flags.seed}
    print(json.dumps(document))
    return 1 if document["tables_that_differ"] else 0


if __name__ == "__main__":
    sys.exit(main())
