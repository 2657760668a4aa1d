"""Jobs: what a worker is asked to do, what it answers, and the worker itself. Nothing here knows who calls it.

A job never raises: whatever happens inside becomes a `Receipt`, so that an executor only has to distinguish a finished
job from a failed one, from one that ran out of memory (worth trying in halves), from a worker that died (no receipt).
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import os
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from robustray.tasks.lab import keys, pieces
from robustray.tasks.lab.protocol import BlockFunction, Context, Needs, Reference
from robustray.tasks.lab.store import Store

KERNELS = "AUTO,STRICT"
"""MKL's conditional numerical reproducibility: the bits of a row don't depend on its place in a batch. Without it they
do on CPUs without AVX-512 (measured: 64 of 81 order and shard tests fail); it cost nothing measurable."""
_OBJECTS_KEPT = 16
"""Models and data sets that one worker keeps between blocks, least recently used first out."""


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """What became of a job. Small: results go to the store, not through the driver."""

    outcome: Literal["done", "error", "out_of_memory"]
    name: str = ""
    """Name of the file in the store."""
    rows: int = 0
    seconds: float = 0.0
    worker: str = ""
    message: str = ""
    """The exception in one line."""
    traceback: str = ""


class Job(Protocol):
    """Work for one worker."""

    @property
    def step(self) -> str: ...
    @property
    def needs(self) -> Needs: ...
    @property
    def refs(self) -> Mapping[str, Reference]: ...
    @property
    def num_items(self) -> int: ...
    @property
    def label(self) -> str:
        """Words for messages: `attack, items 200 to 399`."""
        ...

    def halves(self) -> tuple[Job, ...]:
        """Two jobs that together do the same; empty when it can't be divided."""
        ...

    def run(self, worker: Worker) -> Receipt: ...


@dataclass(frozen=True, kw_only=True)
class BlockJob:
    """One block of a `lab.map`."""

    step: str
    step_key: str
    function: str
    """`module:name` of a `BlockFunction`."""
    first: int
    items: Sequence[Any]
    seed: int
    settings: Any
    refs: Mapping[str, Reference]
    needs: Needs
    device: str
    code: str

    @property
    def block_key(self) -> str:
        return keys.block_key(self.step_key, self.first, self.items)

    @property
    def num_items(self) -> int:
        return len(self.items)

    @property
    def label(self) -> str:
        last = self.first + len(self.items) - 1
        return f"{self.step}, item {self.first}" if last == self.first else f"{self.step}, items {self.first} to {last}"

    def halves(self) -> tuple[BlockJob, ...]:
        middle = len(self.items) // 2
        if middle == 0:
            return ()
        return (
            dataclasses.replace(self, items=self.items[:middle]),
            dataclasses.replace(self, items=self.items[middle:], first=self.first + middle),
        )

    def run(self, worker: Worker) -> Receipt:
        function = find_function(self.function)
        context = Context(
            settings=self.settings,
            seed=self.seed,
            device=self.device,
            load=lambda role: worker.load(self.refs[role], self.device),
        )
        values = function(self.items, context)
        table = pieces.to_table(function, values, len(self.items))
        piece = pieces.publish(
            worker.store, table, step_key=self.step_key, first=self.first, block_key=self.block_key, code=self.code
        )
        return Receipt(outcome="done", name=piece.name, rows=len(self.items))


def find_function(name: str) -> BlockFunction:
    found = imported(name)
    assert isinstance(found, BlockFunction), name
    return found


def imported(name: str) -> Any:
    """What `module:name` names. Decorated functions travel by name: they can't be pickled."""
    module, _, attribute = name.partition(":")
    found: Any = importlib.import_module(module)
    for part in attribute.split("."):
        found = getattr(found, part)
    return found


@dataclass(kw_only=True)
class Worker:
    """Runs jobs one after the other and keeps models and data between them. Lives in an actor or in this process."""

    store: Store
    payload: Callable[[Reference], Any]
    """Where the arrays behind a reference come from: this process, or shared memory."""
    name: str = "this process"
    _objects: OrderedDict[tuple[str, str], Any] = field(default_factory=OrderedDict)

    def __post_init__(self) -> None:
        fix_kernels()

    def load(self, ref: Reference, device: str) -> Any:
        key = (ref.content_hash, device)
        if key not in self._objects:
            self._objects[key] = ref.build(self.payload(ref), device)
            while len(self._objects) > _OBJECTS_KEPT:
                self._objects.popitem(last=False)
        self._objects.move_to_end(key)
        return self._objects[key]

    def forget(self, content_hashes: Sequence[str]) -> None:
        """Let go what was built of these."""
        for key in [key for key in self._objects if key[0] in content_hashes]:
            del self._objects[key]

    def run(self, job: Job) -> Receipt:
        """Run one job, with the number of threads that its key names. Never raises an ordinary exception."""
        began = time.perf_counter()
        try:
            with numerics(job.needs.threads):
                receipt = job.run(self)
        except Exception as error:
            self._objects.clear()  # whatever was half-loaded or grew too large goes
            receipt = Receipt(
                outcome="out_of_memory" if _is_out_of_memory(error) else "error",
                message=f"{type(error).__name__}: {error}",
                traceback=traceback.format_exc(),
            )
        return dataclasses.replace(receipt, seconds=time.perf_counter() - began, worker=self.name)


def _is_out_of_memory(error: BaseException) -> bool:
    import torch

    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    # torch's CPU allocator raises a plain RuntimeError
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def fix_kernels() -> str:
    """Ask MKL for `KERNELS`, unless the user asked for something else. Returns what is in force, for the keys.

    It is read at the first matrix product of a process; importing torch before is fine.
    """
    return os.environ.setdefault("MKL_CBWR", KERNELS)


@contextlib.contextmanager
def numerics(threads: int) -> Iterator[None]:
    """Fix the number of threads of torch and BLAS, and restore it: one and two threads differ in the last bits."""
    import threadpoolctl
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with threadpoolctl.threadpool_limits(threads):
            yield
    finally:
        torch.set_num_threads(before)
