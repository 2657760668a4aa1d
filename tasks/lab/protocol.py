"""What a study may ask of a lab, and what a block function may ask of its context.

A *lab* decides where work runs and keeps every finished piece. `SerialLab` (in this process) and `RayLab` (on actors)
give the same bytes, so a study never knows which one it talks to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from robustray.tasks.errors import InputError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from robustray.tasks.lab.optimise import Optimised, OptimiseSpec
    from robustray.tasks.policy_gradients.jobs import Learned
    from robustray.tasks.policy_gradients.settings import AgentSpec
    from robustray.tasks.training.settings import TrainSpec

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What one actor takes while it runs a block."""

    threads: int = 1
    """CPU threads of one block. Enters the key: one and two threads give different last bits."""
    gpus: float = 0.0
    """Share of a GPU, used where the run has GPUs; on a CPU-only run it is ignored (and the page says so)."""

    def __post_init__(self) -> None:
        if self.threads < 1:
            raise InputError(f"threads must be at least 1, got {self.threads}")
        if self.gpus < 0 or (self.gpus > 1 and self.gpus != int(self.gpus)):
            raise InputError(f"gpus must be a share in [0, 1] or a whole number, got {self.gpus}")


@dataclass(frozen=True)
class Tensor:
    """A column of arrays, one of equal shape per row, stored without loss: `columns={"image": Tensor("uint8")}`."""

    dtype: str


class Reference(Protocol):
    """A model or a data set by name: small, picklable, with the hash of its content.

    The driver calls `fetch` once (that is where files are read and checked); an actor calls `build` once per device and
    keeps the result between blocks.

    One that is made from another's content (part of a data set) has that as `base`, and a method `made_from(payload)`
    which `fetch` calls with what the base has fetched: a base that is in memory is not read again.
    """

    @property
    def name(self) -> str: ...

    @property
    def content_hash(self) -> str:
        """SHA-256 (hex) of the content that results depend on: weights, pixels, labels; never of a path."""
        ...

    @property
    def modules(self) -> tuple[str, ...]:
        """What builds the object, as roots of CODE (`code.py`): "module:name", or a whole "module" of the user's."""
        ...

    def fetch(self) -> Any:
        """Read the content into plain arrays (NumPy, bytes, str), ready for shared memory.

        Raises: InputError when the files are missing, damaged or do not fit.
        """
        ...

    def build(self, payload: Any, device: str) -> Any:
        """Turn `fetch`'s payload, whose arrays may be read-only, into the object that `context.load` returns."""
        ...


@dataclass(frozen=True, kw_only=True)
class Context:
    """All that a block function knows besides its items."""

    settings: Any
    seed: int
    device: str
    """"cpu" or "cuda"."""
    load: Callable[[str], Any]
    """`load("model")`: the object behind the reference of that name; loaded once per actor."""


@dataclass(frozen=True, kw_only=True)
class BlockFunction:
    """A plain function over (items, context), with what the lab has to know of it. Callable like the function."""

    function: Callable[[Sequence[Any], Context], Mapping[str, Any]]
    version: int
    columns: Mapping[str, Any]

    @property
    def qualified_name(self) -> str:
        return f"{self.function.__module__}:{self.function.__qualname__}"

    @property
    def roots(self) -> tuple[str, ...]:
        """Where its code begins: roots of CODE."""
        return (self.qualified_name,)

    def __call__(self, items: Sequence[Any], context: Context) -> Mapping[str, Any]:
        return self.function(items, context)


def block_function(
    *, version: int, columns: Mapping[str, pa.DataType | Tensor]
) -> Callable[[Callable[[Sequence[Any], Context], Mapping[str, Any]]], BlockFunction]:
    """Declare a function that `lab.map` can run over blocks of items.

    The function returns a mapping from column name to one value per item (NumPy array, torch tensor or list), in the
    order of its items. Raise `version` when its results change in meaning; that invalidates every finished piece.

    Raises: InputError for a lambda, a closure or a function of `__main__`: they have no name an actor could import.
    """

    def declare(function: Callable[[Sequence[Any], Context], Mapping[str, Any]]) -> BlockFunction:
        check_named(function)
        return BlockFunction(function=function, version=version, columns=dict(columns))

    return declare


def check_named(function: Callable[..., Any]) -> None:
    """Raises: InputError for a lambda, a closure or a function of `__main__`."""
    if function.__module__ == "__main__" or "<" in function.__qualname__:
        raise InputError(
            f"{function.__qualname__} in {function.__module__} has no stable name: "
            "move it to the top level of a module that can be imported"
        )


class Handle(Protocol[T_co]):
    """Work that was asked for. It is done while any handle of the lab is waited for."""

    def result(self) -> T_co:
        """Wait and read. Raises: WorkFailed when the step failed."""
        ...


class Lab(Protocol):
    """The verbs through which a study does all heavy work, and the two doors through which names become references."""

    @property
    def device(self) -> str:
        """One of "cpu" and "cuda", decided once per run."""
        ...

    def model(self, name: str) -> Reference:
        """A name -> reference: `"cifar:resnet20@weights.safetensors"`, `"run:KEY"`,
        `"my_pkg.my_mod:build@w.safetensors"`; `"digits:cnn"` and `"twin:linf8:0"` train themselves if they are not
        there.

        Raises: InputError for a name or file that cannot be used; WorkFailed.
        """
        ...

    def models(self, names: Iterable[str]) -> dict[str, Reference]:
        """Several by name, as `model`; those that train themselves are trained side by side.

        A study declares the step `"train": TRAIN` for them.
        """
        ...

    def training_of(self, name: str) -> TrainSpec | None:
        """How `model` trains this name; None for a model that is opened. For doors, which train nothing.

        Raises: InputError for a twin that can neither be found nor be trained.
        """
        ...

    def data(self, name: str) -> Reference:
        """`"cifar10:test"`, `"digits:test"`, a folder or file of images -> reference. Raises: InputError."""
        ...

    def load(self, ref: Reference) -> Any:
        """The object behind a reference, in this process (for class names, checks before a run, a few pictures)."""
        ...

    def map(
        self,
        step: str,
        function: BlockFunction,
        items: Sequence[Any],
        *,
        block: int,
        seed: int = 0,
        settings: Any = None,
        refs: Mapping[str, Reference] | None = None,
        needs: Needs = Needs(),
    ) -> Handle[pd.DataFrame]:
        """Run `function` over `items`, `block` items at a time; the result has one row per item, in their order.

        Items are JSON values (numbers, strings, lists of them). Finished blocks are read from the store. Rows of items
        that killed their worker even alone are absent, and the run says so; in a study's run only under the steps that
        the study names as `partial`, under the others reading the rows raises WorkFailed.
        """
        ...

    def dataset(
        self,
        name: str,
        mapped: Handle[pd.DataFrame],
        *,
        classes: Sequence[str],
        image: str = "image",
        label: str = "label",
        mask: str | None = None,
        box: str | None = None,
    ) -> Reference:
        """A data set made of a finished map: image i is that of item i. For `refs={"data": ...}` and `TrainSpec.data`.

        Waits for the map. `image` is a `Tensor("uint8")` column of (channels, height, width) or a `Tensor("float32")`
        one in [0, 1], `label` an integer one; `mask` a `Tensor("bool")` of (height, width) and `box` a tensor of
        four whole numbers, where the images have them. `name` is for people; results depend on the content only.

        Raises: InputError for columns that can't be images or labels; WorkFailed when the map failed or lacks items.
        """
        ...

    def rows(self, name: str, mapped: Handle[pd.DataFrame], columns: Sequence[str] | None = None) -> Reference:
        """Columns (None: all) of a finished map, for block functions that need what another step found.

        Waits for the map. `context.load(role)` is a mapping from column name to an array (n, ...), row i that of
        item i: a pool of rollouts, a set of latents.

        Raises: InputError for a column that isn't declared; WorkFailed when the map failed or lacks items.
        """
        ...

    def train(self, specs: Sequence[TrainSpec]) -> Handle[list[Reference]]:
        """Train models side by side; the result has one model reference per spec, in their order."""
        ...

    def learn(self, specs: Sequence[AgentSpec]) -> Handle[list[Learned]]:
        """Train agents by reinforcement learning side by side; the result has one per spec, in their order: its states
        as references, its learning curve and its episodes.

        Specs that differ in milestones and held-out updates only are one agent.

        Raises: InputError for an environment that cannot be made or used.
        """
        ...

    def optimise(self, step: str, specs: Sequence[OptimiseSpec]) -> Handle[list[Optimised]]:
        """Fit or design something step by step, each spec a long job of its own with checkpoints and a curve; the
        result has one per spec, in their order: its arrays, also as a reference, and its curve.

        The name of the step is in no key: two studies share a result.
        """
        ...
