"""What runs long and can go on after a kill: the states that checkpoints keep, and what `lab.optimise` runs."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import Tensor


class Resumable(Protocol):
    """All that a long job is at one moment. `load` of what `tensors` and `record` gave makes a fresh one the same."""

    @property
    def step(self) -> int:
        """How far it is, in steps of its own."""
        ...

    def tensors(self) -> Mapping[str, Tensor]:
        """Everything that is numbers, by name, on the CPU."""
        ...

    def record(self) -> Mapping[str, Any]:
        """Everything else, as JSON values."""
        ...

    def load(self, tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> None: ...


class Optimisation(Resumable, Protocol):
    """Something that is fitted or designed step by step.

    A step may depend on the state, on the settings and on the step's own number (draw with `lab.seeds.stream(seed,
    what, step)`), never on what this process did before: then what is killed and goes on elsewhere ends at the same
    bits.
    """

    def steps(self) -> Generator[Mapping[str, float], None, None]:
        """Take the steps that are left. After each, when `step` has counted it and the state is whole, yield its row of
        the curve, such as {"loss": 0.3}; {} where there is nothing to show."""
        ...

    def result(self) -> Mapping[str, Tensor]:
        """The arrays that later steps read, by name, when all steps are taken."""
        ...


def complete(optimisation: Optimisation) -> Mapping[str, Tensor]:
    """Take all steps that are left in this process, without a lab. Returns the result."""
    for _ in optimisation.steps():
        pass
    return optimisation.result()


def below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those whose names begin with `prefix`, without it: a part of what was written down side by side."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
