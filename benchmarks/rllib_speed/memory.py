"""Peak memory of a trial, all its processes together.

python -m benchmarks.rllib_speed.memory CASE      one trial of RLlib on Tune, as a process of its own
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import psutil

from benchmarks.rllib_speed.records import LOCAL, OUR_TRIAL, REMOTE, TUNE_TRIAL, Sample
from benchmarks.rllib_speed.sections import HOPPER, ROOT, rounds_of, start_ray
from robustray.tasks.grids.settings import LATE_RETURN, Cell, Grid, Outcome

MIB = 2**20
EVERY_S = 0.1
ITERATIONS = 5
"""Iterations of 2,048 steps."""


def memory(rounds: int) -> Iterator[list[Sample]]:
    """Peak of the memory, in MiB, that belongs to the processes of a trial alone (USS). Each trial has a new Ray,
    started by a separate process, whose memory does not count; nor does that of Ray's services."""
    with tempfile.TemporaryDirectory() as folder:
        tune = [sys.executable, "-m", "robustray", "tune", f"{__name__}:one_agent", "--workers", "1", "--store"]

        def of_tune() -> float:
            return peak([*tune, tempfile.mkdtemp(dir=folder)])

        def of_rllib(case: str) -> Callable[[], float]:
            return lambda: peak([sys.executable, "-m", __name__, case])

        yield from rounds_of(
            "memory", {**{case: of_rllib(case) for case in (OUR_TRIAL, LOCAL, REMOTE)}, TUNE_TRIAL: of_tune}, rounds
        )


def peak(command: list[str]) -> float:
    """Largest sum of USS over the processes of the trial that a command runs, in MiB."""
    with tempfile.TemporaryFile("w+") as said:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=said, stderr=said)
        most = 0.0
        while process.poll() is None:
            most = max(most, uss_of_workers(process.pid))
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(EVERY_S)
        if process.returncode:
            said.seek(0)
            raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{said.read()[-2000:]}")
    return most


def uss_of_workers(driver: int) -> float:
    """Sum of the USS of all workers of a driver's Ray that do something."""
    total = 0
    with contextlib.suppress(psutil.NoSuchProcess):
        for process in psutil.Process(driver).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):  # ended meanwhile
                words = " ".join(process.cmdline())
                if words.startswith("ray::") and not words.startswith("ray::IDLE"):
                    total += process.memory_full_info().uss
    return total / MIB


def one_agent(size: str) -> Grid:
    """The same training as a grid of `robustray tune`."""
    from robustray.tasks.policy_gradients.presets import preset
    from robustray.tasks.policy_gradients.settings import AgentSpec

    del size
    spec = AgentSpec(environment=HOPPER, settings=preset("ppo", HOPPER), iterations=ITERATIONS)
    return Grid(
        question="How much memory does a trial take?",
        paper="none",
        outcomes=[Outcome(name=LATE_RETURN, words="late return")],
        cells=[Cell(levels={"seed": 0}, settings=spec)],
    )


def trial(case: str) -> None:
    """One trial of an algorithm on Tune."""
    from ray import tune

    from benchmarks.rllib_speed.contenders import our_config, stock_config

    config: Any = our_config(HOPPER, "ppo") if case == OUR_TRIAL else stock_config(HOPPER)
    if case == REMOTE:
        from ray.rllib.algorithms.ppo import PPOConfig

        config.env_runners(num_env_runners=PPOConfig().num_env_runners)
    start_ray(4)
    with tempfile.TemporaryDirectory() as folder:
        stop = {"training_iteration": ITERATIONS}
        tuner = tune.Tuner(
            config.algo_class, param_space=config, run_config=tune.RunConfig(storage_path=folder, stop=stop, verbose=0)
        )
        if tuner.fit().errors:
            sys.exit(1)


if __name__ == "__main__":
    trial(sys.argv[1])
