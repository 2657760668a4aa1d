"""Two trials at once, and remote runners: what is measured beside speed in one process, in rounds."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.load import ForeignLoad
from benchmarks.rllib_speed.environments import SlowHopper
from benchmarks.rllib_speed.records import (
    ONE_PROCESS,
    ONE_TRIAL,
    TWO_RUNNERS,
    TWO_TRIALS,
    Sample,
)

ROOT = Path(__file__).resolve().parents[2]
HOPPER, STEPS = "Hopper-v5", 2048


def rounds_of(section: str, cases: Mapping[str, Callable[[], float]], rounds: int) -> Iterator[list[Sample]]:
    """Yields the samples of a round, `rounds` times: each case once, one after the other, in an order that moves on.
    What a case returns is its value."""
    names = list(cases)
    for number in range(rounds):
        samples = []
        for name in names[number % len(names) :] + names[: number % len(names)]:
            foreign = ForeignLoad()
            value = cases[name]()
            samples.append(
                Sample(section=section, case=name, round=number, value=round(value, 2), foreign_load=foreign.cpus())
            )
        yield samples


def start_ray(cpus: int) -> None:
    """A Ray of our own, whose workers are as nice as this process: left alone, Ray makes them wait for all others."""
    import logging

    import ray

    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 (Ray's own spelling)
    os.environ["PYTHONPATH"] = str(ROOT)
    ray.init(num_cpus=cpus, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)


# -- two trials at once ------------------------------------------------------------------------------------------------


def trials(rounds: int) -> Iterator[list[Sample]]:
    """Steps per second of wall time of one trial, and of two at once: processes with one CPU each, as Tune places
    them."""
    import ray

    start_ray(2)
    remote: Any = ray.remote(num_cpus=1)(Trainer)
    pair = [remote.remote(seed) for seed in (0, 1)]
    ray.get([trainer.train.remote(2) for trainer in pair])  # not timed
    turn = 0

    def at_once(chosen: list[Any], iterations: int = 8) -> float:
        began = time.perf_counter()
        ray.get([trainer.train.remote(iterations) for trainer in chosen])
        return len(chosen) * iterations * STEPS / (time.perf_counter() - began)

    def alone() -> float:
        nonlocal turn
        turn += 1
        return at_once([pair[turn % 2]])

    yield from rounds_of("trials", {ONE_TRIAL: alone, TWO_TRIALS: lambda: at_once(pair)}, rounds)
    ray.shutdown()


class Trainer:
    """The process of a trial."""

    def __init__(self, seed: int) -> None:
        from benchmarks.rllib_speed.contenders import our_config

        self.algorithm = our_config(HOPPER, "ppo", seed=seed).build_algo()

    def train(self, iterations: int) -> None:
        for _ in range(iterations):
            self.algorithm.train()


# -- remote runners ----------------------------------------------------------------------------------------------------


def runners(rounds: int) -> Iterator[list[Sample]]:
    """Steps per second of wall time with five milliseconds a step and four streams: one process, and two env runners
    beside it."""
    import ray

    from benchmarks.rllib_speed.contenders import our_config

    start_ray(3)

    def algorithm(num_runners: int) -> Callable[[], float]:
        config = our_config(HOPPER, "ppo", num_streams=4, steps_per_stream=STEPS // 4)
        config.environment(f"{SlowHopper.__module__}:{SlowHopper.__name__}").env_runners(num_env_runners=num_runners)
        built = config.build_algo()
        built.train()  # not timed

        def iteration() -> float:
            began = time.perf_counter()
            built.train()
            return STEPS / (time.perf_counter() - began)

        return iteration

    yield from rounds_of("runners", {ONE_PROCESS: algorithm(0), TWO_RUNNERS: algorithm(2)}, rounds)
    ray.shutdown()
