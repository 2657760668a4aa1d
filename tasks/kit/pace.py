"""What a unit of cost takes on this machine, measured for about a second: how `robustray show` comes to minutes.

The second is one of CPU time, so what else runs now does not matter: the minutes are those of cores that have nothing
else to do.

Nothing of the study is run and none of its files is opened. A network is built with random weights, which cost as much
as trained ones, and meets PGD, in the arithmetic that a run would choose here; a simulator is stepped at random.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from robustray.tasks.cost import EnvironmentStep, NetworkPass, NumpySecond, UnitOfCost, Work
from robustray.tasks.errors import InputError
from robustray.tasks.kit.words import listed
from robustray.tasks.models.published import PUBLISHED
from robustray.tasks.report.numbers import format_seconds
from robustray.tasks.training.reference import reference_specs

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from robustray.tasks.policy_gradients.environments import Environment

MEASURED_S = 1.0
"""CPU time for which anything is measured, about."""
BATCH, STEPS = 128, 4
"""Images, about as many as a block has, and steps of the PGD that is timed."""
START_S = 10.0
"""CPU time to import torch, to start workers and to draw the page."""
FEW = 2
"""Images of a network so large that PGD would take minutes: its gradient alone is timed."""
ROUNDS_PER_SECOND = 4_600.0
"""Of `_numpy_round`, per second of CPU time of one core of the machine whose `NumpySecond` is meant (an AMD EPYC of two
virtual cores)."""


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How fast this machine is now."""

    seconds: float
    """Of one core, per unit of cost."""
    words: str
    """What was measured."""


def time_words(work: Work, workers: int) -> str:
    """What `show` says of the time, `"time: about 3 min on 2 free cores here (6 min of one), an estimate: ..."`, or why
    it is not known.

    workers: blocks that run at once; 0 counts as one.
    """
    if not work.parts or work.unit is None:
        return "time: the study does not say what its steps cost"
    try:
        pace = measure(work.unit)
    except InputError as error:
        return f"time: not estimated ({error})"
    workers = max(1, workers)
    core = START_S + work.cost * pace.seconds
    most = "at most " * any(part.times > 1 for part in work.parts)
    where = f"on {workers} free cores here ({rounded(core)} of one)" if workers > 1 else "of one free core here"
    return f"time: {most}about {rounded(core / workers)} {where}, an estimate: {pace.words}"


def rounded(seconds: float) -> str:
    """`"40 s"`, `"3 min"`, `"2 h 10 min"`, `"4 days"`: no finer than such an estimate is."""
    if seconds < 60:
        return f"{max(5, 5 * round(seconds / 5))} s"
    if seconds < 3_600:
        return f"{round(seconds / 60)} min"
    if seconds < 48 * 3_600:
        return format_seconds(600 * round(seconds / 600))
    return f"{round(seconds / 86_400)} days"


def measure(unit: UnitOfCost) -> Pace:
    """Raises: InputError where there is nothing that could be measured: an architecture that only weights tell, an
    environment that cannot be made."""
    if isinstance(unit, NetworkPass):
        names = tuple(dict.fromkeys(architecture(name) for name in unit.models))
        each = [_network(name, unit.side, MEASURED_S / len(names)) for name in names]
        mean = sum(each) / len(each)
        rate = f"{1 / mean:,.0f} images a second" if mean < 0.1 else f"{mean:,.1f} s an image"
        words = f"one core took {rate} forward and backward through {listed(names)}, measured now for a second"
        return Pace(seconds=mean, words=words)
    if isinstance(unit, EnvironmentStep):
        steps = _simulator(unit.environment)
        return Pace(
            seconds=1 / steps,
            words=f"one core took {steps:,.0f} random steps of {unit.environment} a second, measured now for a second",
        )
    assert isinstance(unit, NumpySecond)
    ratio = _rate(_numpy_round) / ROUNDS_PER_SECOND
    words = f"drawing and multiplying with NumPy went {ratio:.2g} times as fast as where the pieces were timed"
    return Pace(seconds=1 / ratio, words=f"{words}, measured now for a second")


def architecture(name: str) -> str:
    """What a model by name is built as. Raises: InputError where that is known to the store only."""
    bare = name.partition("@")[0]
    if bare.startswith("twin:"):
        return reference_specs(0)["standard"].model
    if bare.startswith("run:"):
        raise InputError(f"the architecture of {bare} is in the store")
    return PUBLISHED[bare][0] if bare in PUBLISHED else bare


def _rate(step: Callable[[], Any], seconds: float = MEASURED_S) -> float:
    """How often per second of CPU time."""
    step()  # what happens once only
    began, count, spent = time.process_time(), 0, 0.0
    while not count or spent < seconds:
        step()
        count, spent = count + 1, time.process_time() - began
    return count / spent


def _network(name: str, side: int, seconds: float) -> float:
    """Seconds an image takes forward and backward on one thread."""
    import torch

    from robustray.tasks.attacks import PGD
    from robustray.tasks.models.registry import build_model, model_entry

    entry = model_entry(name)
    if entry is None:
        raise InputError(f"{name} is your own, and the size of its images is not known before they are opened")
    channels, height, width = entry.input_shape
    attack = PGD(norm="l2", eps=0.5, num_steps=STEPS, exit_rule="last")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as a block has it
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = build_model(name).eval().requires_grad_(False)
            images = torch.rand(BATCH, channels, side or height, side or width)
        took = 1 / _rate(lambda: _gradient(model, images[:FEW]), seconds / 10)
        if took * BATCH / FEW * STEPS > 10 * seconds:
            return took / FEW
        labels = model(images).argmax(1)  # an image that is wrong is not attacked
        passes = int(attack(model, images, labels, seed=0).num_evaluations.sum())
        return 1 / (_rate(lambda: attack(model, images, labels, seed=0), seconds) * passes)
    finally:
        torch.set_num_threads(threads)


def _gradient(model: Any, images: Any) -> Any:
    import torch

    images = images.clone().requires_grad_()
    return torch.autograd.grad(model(images).sum(), images)


def _simulator(name: str) -> float:
    """Steps a second."""
    import numpy as np

    from robustray.tasks.lab import seeds
    from robustray.tasks.policy_gradients.environments import open_environment

    with contextlib.closing(open_environment(name, clip_actions=True)) as environment:
        head, noise = environment.shape.head, itertools.cycle(_noise(environment, seeds.stream(0, "pace")))
        output, free = np.zeros(head.num_outputs, np.float32), np.zeros(head.num_free, np.float32)
        environment.reset(seed=0)

        def step() -> None:
            _, _, terminated, truncated = environment.step(head.act(output, free, next(noise)))
            if terminated or truncated:
                environment.reset()

        return _rate(step)


def _noise(environment: Environment, rng: np.random.Generator) -> NDArray[Any]:
    return environment.shape.head.noise(rng, 1_000)


def _numpy_round() -> None:
    """A bit of what the studies without networks do: draw, count, multiply."""
    import numpy as np

    rng = np.random.default_rng(0)
    counts = np.bincount(rng.integers(0, 2_000, size=10_000), minlength=2_000)
    values = rng.standard_normal((2_000, 10))
    np.dot(values.T, values * counts[:, None])
