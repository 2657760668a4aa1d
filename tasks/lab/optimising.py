"""`lab.optimise`: each optimisation is one job on one worker, and its result is stored by the content of its spec.

A result is one file, `optimised/KEY-CODE-SHA.safetensors`: its arrays, and in the header its spec and its curve.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from robustray.tasks.errors import InputError
from robustray.tasks.lab import arrays, keys
from robustray.tasks.lab.checkpoints import Checkpoints, Interval
from robustray.tasks.lab.code import PIECE, code_hash, settings_roots
from robustray.tasks.lab.derived import ArraysRef
from robustray.tasks.lab.jobs import Job, Receipt, Worker, imported
from robustray.tasks.lab.long_jobs import Diary, Kept, LongHandle, plan
from robustray.tasks.lab.optimise import Optimised, OptimiseSpec
from robustray.tasks.lab.protocol import Context, Needs, Reference
from robustray.tasks.lab.store import Store
from robustray.tasks.words import nearest

if TYPE_CHECKING:
    from torch import Tensor

    from robustray.tasks.lab.base import BlockLab
    from robustray.tasks.lab.resumable import Optimisation

FOLDER = "optimised"


class NoResult(RuntimeError):
    """What an optimisation gave cannot be read by later steps."""


@dataclass(frozen=True, kw_only=True)
class OptimiseJob:
    """One optimisation."""

    step: str
    function: str
    """`module:name` of an `OptimisationFunction`."""
    version: int
    settings: Any
    seed: int
    refs: Mapping[str, Reference]
    needs: Needs
    device: str
    key: str
    code: str
    interval: Interval
    """Between checkpoints. Not part of the key: it changes no bit."""
    num_items: int = 1

    @property
    def label(self) -> str:
        return f"{self.step}, {self.function.partition(':')[2]} with seed {self.seed}"

    def halves(self) -> tuple[Job, ...]:
        return ()

    def alone(self) -> Job:
        return self

    def kept(self, store: Store, say: Callable[[str], None]) -> Kept:
        return arrays.kept(store, FOLDER, self.key, self.code, lambda text: say(f"{self.label}: {text}; made again"))

    def drop(self, store: Store) -> None:
        for name in arrays.listed(store, FOLDER, self.key):
            store.delete(name)
        self._checkpoints(store, print).clear()

    def run(self, worker: Worker) -> Receipt:
        """Take all steps, or those after the newest checkpoint; publish; remove the checkpoints. `Receipt.message` is
        what a person should know."""
        store = worker.store
        if (name := arrays.current(store, FOLDER, self.key, self.code)) is not None:
            self._checkpoints(store, print).clear()
            return Receipt(outcome="done", rows=1, name=name)
        diary = Diary(label=self.label, key=self.key, store=store)
        checkpoints = self._checkpoints(store, diary.say)
        context = Context(
            settings=self.settings,
            seed=self.seed,
            device=self.device,
            load=lambda role: worker.load(self._reference(role), self.device),
        )
        begun = imported(self.function)(context)
        if not hasattr(begun, "steps"):
            raise InputError(f"it returned {begun!r}, no optimisation (steps, step, tensors, record, load, result)")
        state = _WithCurve(begun)
        checkpoints.restore(state)
        with diary:
            self._take_steps(state, checkpoints, diary)
        name = arrays.publish(
            store, FOLDER, self.key, self.code, _checked(state.inner.result()), {**self._about, "curve": state.curve}
        )
        checkpoints.clear()
        return Receipt(outcome="done", rows=1, name=name, message=diary.words)

    def _reference(self, role: str) -> Reference:
        if role not in self.refs:
            known = nearest(role, self.refs) if self.refs else "; its spec has none"
            raise InputError(f"there is no reference {role!r}{known}")
        return self.refs[role]

    def _take_steps(self, state: _WithCurve, checkpoints: Checkpoints, diary: Diary) -> None:
        with contextlib.closing(state.inner.steps()) as steps:  # an error closes what the steps hold open
            for row in steps:
                if row:
                    state.curve.append({"step": state.step - 1} | {name: float(row[name]) for name in row})
                    diary.row(state.curve, by="step")
                if checkpoints.due(state.step):
                    checkpoints.save(state)

    @property
    def _about(self) -> dict[str, Any]:
        return {
            "function": self.function,
            "version": self.version,
            "settings": keys.plain(self.settings),
            "seed": self.seed,
            "refs": {role: {"name": ref.name, "hash": ref.content_hash} for role, ref in self.refs.items()},
        }

    def _checkpoints(self, store: Store, say: Callable[[str], None]) -> Checkpoints:
        return Checkpoints(store=store, key=self.key, code=self.code, interval=self.interval, say=say)


@dataclass(eq=False)
class _WithCurve:
    """An optimisation with its curve so far: what a checkpoint holds."""

    inner: Optimisation
    curve: list[dict[str, float]] = field(default_factory=list)

    @property
    def step(self) -> int:
        return self.inner.step

    def tensors(self) -> Mapping[str, Tensor]:
        return self.inner.tensors()

    def record(self) -> Mapping[str, Any]:
        return {"inner": dict(self.inner.record()), "curve": self.curve}

    def load(self, tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> None:
        self.inner.load(tensors, record["inner"])
        self.curve = list(record["curve"])


def _checked(result: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The result on the CPU. Raises: NoResult where a value is not an array that NumPy has, or not finite."""
    import torch

    if not result:
        raise NoResult("its result is empty: there is nothing for later steps")
    found = {}
    for name, value in result.items():
        given: object = value  # a study's own function may return anything
        if not isinstance(given, torch.Tensor) or given.dtype == torch.bfloat16:
            what = given.dtype if isinstance(given, torch.Tensor) else type(given).__name__
            raise NoResult(f"its result {name!r} is {what}, expected a tensor of a type that NumPy has")
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise NoResult(f"its result {name!r} has entries that are not finite")
        found[name] = value.detach().cpu()
    return found


@dataclass(kw_only=True)
class OptimiseHandle(LongHandle):
    """A request for optimisations."""

    specs: Sequence[OptimiseSpec]

    def result(self) -> list[Optimised]:
        """One per spec, in their order. Raises: WorkFailed."""
        self.finish()
        return [self._read(spec, job) for spec, job in zip(self.specs, self.jobs, strict=True)]

    def _read(self, spec: OptimiseSpec, job: OptimiseJob) -> Optimised:
        import pandas as pd

        store = self.lab.store
        names = store.newest(arrays.listed(store, FOLDER, job.key))
        file = next((name for name in names if arrays.code_of(name) == job.code), names[0])
        ref = ArraysRef(name=f"{job.step}:{job.key}", file=file, store=store)
        curve = pd.DataFrame(arrays.about(ref.read())["curve"])
        return Optimised(spec=spec, key=job.key, arrays=ref.fetch(), curve=curve, ref=ref)


def optimise_key(spec: OptimiseSpec, device: str) -> str:
    """No step name in it, and nothing that only watches: two studies share a result."""
    return keys.digest(
        {
            "optimise": spec.function.qualified_name,
            "version": spec.function.version,
            "settings": spec.settings,
            "seed": spec.seed,
            "refs": {role: ref.content_hash for role, ref in spec.refs.items()},
            "numerics": keys.numerics_class(device, spec.needs),
        }
    )


def plan_optimising(
    lab: BlockLab, step: str, specs: Sequence[OptimiseSpec], *, interval: Interval | None = None
) -> OptimiseHandle:
    """Submit the optimisations that are not in the store. Raises: InputError for settings that have no exact form."""
    jobs = [
        OptimiseJob(
            step=step,
            function=spec.function.qualified_name,
            version=spec.function.version,
            settings=spec.settings,
            seed=spec.seed,
            refs=dict(spec.refs),
            needs=spec.needs,
            device=lab.device,
            key=optimise_key(spec, lab.device),
            code=_code(spec),
            interval=interval or Interval(),
        )
        for spec in specs
    ]
    handle = OptimiseHandle(lab=lab, step=step, count=lab.journal.count(step), jobs=jobs, specs=list(specs))
    plan(handle)
    return handle


def _code(spec: OptimiseSpec) -> str:
    built_by = {root for ref in spec.refs.values() for root in ref.modules}
    return code_hash({PIECE[1], *spec.function.roots, *built_by, *settings_roots(spec.settings)})
