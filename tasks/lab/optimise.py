"""What a study brings to `lab.optimise`: a declared function that begins an optimisation, and specs of what it wants.

    @optimisation(version=1)
    def patches(context: Context) -> SharedParameter: ...

    spec = OptimiseSpec(function=patches, settings=Side(side=8), seed=3, refs={"model": model, "data": data})
    (found,) = lab.optimise("design", [spec]).result()
    lab.map("look", look_block, items, block=64, refs={"patch": found.ref, ...})

Importing this loads nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from robustray.tasks.checks import check_count
from robustray.tasks.errors import InputError
from robustray.tasks.lab.protocol import Context, Needs, Reference, check_named

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from robustray.tasks.lab.resumable import Optimisation


@dataclass(frozen=True, kw_only=True)
class OptimisationFunction:
    """A plain function that begins an optimisation, with what the lab has to know of it. Callable like the function."""

    function: Callable[[Context], Optimisation]
    version: int

    @property
    def qualified_name(self) -> str:
        return f"{self.function.__module__}:{self.function.__qualname__}"

    @property
    def roots(self) -> tuple[str, ...]:
        """Where its code begins: roots of CODE. The job that runs it is one."""
        return (self.qualified_name, "robustray.tasks.lab.optimising:OptimiseJob")

    def __call__(self, context: Context) -> Optimisation:
        return self.function(context)


def optimisation(*, version: int) -> Callable[[Callable[[Context], Optimisation]], OptimisationFunction]:
    """Declare a function that `lab.optimise` can run: from a context (settings, seed, device, `load("model")`) to an
    optimisation before its first step.

    Raise `version` when its results change in meaning. Raises: InputError as `block_function`.
    """

    def declare(function: Callable[[Context], Optimisation]) -> OptimisationFunction:
        check_named(function)
        return OptimisationFunction(function=function, version=version)

    return declare


@dataclass(frozen=True, kw_only=True)
class OptimiseSpec:
    """A request for one optimisation. All of it is in its key, except for the share of a GPU and the names of
    references.

    Settings say what is computed to the bit: a precision, not "auto".

    Raises: InputError for a function that is not declared, for models or data that were not opened, and a seed below 0.
    """

    function: OptimisationFunction
    settings: Any = None
    """A frozen dataclass, or anything else with an exact JSON form."""
    seed: int = 0
    refs: Mapping[str, Reference] = field(default_factory=dict)
    needs: Needs = field(default_factory=Needs)

    def __post_init__(self) -> None:
        function: object = self.function
        if not isinstance(function, OptimisationFunction):
            raise InputError(f"{function!r} begins no optimisation; decorate it with @optimisation(version=1)")
        check_count("seed", self.seed, at_least=0)
        for role, ref in self.refs.items():
            if not hasattr(ref, "content_hash"):
                raise InputError(
                    f"{function.qualified_name}: its {role} is {ref!r}, no reference: open it with lab.model, lab.data "
                    "or lab.rows"
                )


@dataclass(frozen=True, kw_only=True, eq=False)
class Optimised:
    """A finished optimisation, as `lab.optimise` returns it."""

    spec: OptimiseSpec
    key: str
    arrays: Mapping[str, NDArray[Any]]
    """What `Optimisation.result` gave, by name."""
    curve: pd.DataFrame
    """Column step (the number of the step, from 0), and those that its steps yielded."""
    ref: Reference
    """The arrays, for `refs` of later steps: `context.load(role)` is `arrays`."""
