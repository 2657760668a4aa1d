"""The lab's bookkeeping, the same for every executor.

`BlockLab` turns what a study asks for into jobs; its handles (`handles.py`) find out which of them are missing, submit
those and read the rows; an `Executor` (`executor.py`) runs jobs and says what became of them. Everything happens in the
driver's one thread, while some handle is waited for.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from robustray.tasks.errors import InputError
from robustray.tasks.lab import keys, pieces
from robustray.tasks.lab.code import PIECE, code_hash, settings_roots
from robustray.tasks.lab.derived import data_of, rows_of
from robustray.tasks.lab.executor import Executor, ProgressLike, Silent
from robustray.tasks.lab.handles import MapHandle, Observer
from robustray.tasks.lab.jobs import BlockJob, Job, fix_kernels
from robustray.tasks.lab.journal import Journal
from robustray.tasks.lab.payloads import Payloads
from robustray.tasks.lab.protocol import BlockFunction, Handle, Needs, Reference
from robustray.tasks.lab.store import Store

if TYPE_CHECKING:
    import pandas as pd

    from robustray.tasks.lab.checkpoints import Interval
    from robustray.tasks.lab.long_jobs import LongJob
    from robustray.tasks.lab.optimise import OptimisationFunction, Optimised, OptimiseSpec
    from robustray.tasks.policy_gradients.jobs import Learned
    from robustray.tasks.policy_gradients.settings import AgentSpec
    from robustray.tasks.training.settings import TrainSpec


class BlockLab:
    """A `Lab` over any executor.

    `store` keeps the pieces, `journal` what happened in this run (a run's, or one that is forgotten), `progress` shows
    it. `fresh` names the steps whose finished pieces are dropped once in this run. `checkpoint_every` is how often a
    long job keeps its state (None: every minute); no result depends on it.
    """

    def __init__(
        self,
        *,
        store: Store,
        executor: Executor,
        journal: Journal | None = None,
        progress: ProgressLike | None = None,
        device: str = "cpu",
        data_root: str | None = None,
        fresh: Sequence[str] = (),
        checkpoint_every: Interval | None = None,
    ) -> None:
        fix_kernels()  # before any model runs in this process
        self.store = store
        self.executor = executor
        self.journal = journal or Journal()
        self.progress = progress or Silent()
        self.device = device
        self.data_root = data_root
        self.fresh = frozenset(fresh)
        self.checkpoint_every = checkpoint_every
        self.declared: Mapping[str, Sequence[BlockFunction | OptimisationFunction]] | None = None
        """Step -> the functions that may run under it; None: anything, as in a notebook."""
        self.partial: Collection[str] | None = None
        """Steps whose rows are read even if items were given up; None: all, as in a notebook."""
        self.observer: Observer | None = None
        """Sees every map that is planned, and may refuse work; None: nobody. `robustray verify` reads a run so."""
        self.payloads = Payloads(forget=executor.forget)
        self._said: set[str] = set()

    @property
    def workers(self) -> int | None:
        """Blocks that run at once: 0 in this process, None as many as fit."""
        return None

    def describe_devices(self) -> str:
        """What computes, in a few words: for the first line of a run."""
        return self.device

    def prepare_store(self) -> None:
        """Make the store, once the settings are accepted. Raises: InputError when it can't be used."""
        self.store.create()

    def payload(self, ref: Reference) -> Any:
        """The arrays behind a reference, read once for all steps that are open."""
        return self.payloads.get(ref)

    def load(self, ref: Reference) -> Any:
        """See `Lab.load`."""
        return ref.build(self.payload(ref), "cpu")

    def model(self, name: str) -> Reference:
        """See `Lab.model`."""
        return self.models([name])[name]

    def models(self, names: Iterable[str]) -> dict[str, Reference]:
        """See `Lab.models`."""
        from robustray.tasks.training.by_name import open_models

        return open_models(self, names)

    def training_of(self, name: str) -> TrainSpec | None:
        """See `Lab.training_of`."""
        from robustray.tasks.training.by_name import training_of

        return training_of(self, name)

    def data(self, name: str) -> Reference:
        """See `Lab.data`."""
        from robustray.tasks.data.reference import open_data

        return open_data(name, data_root=self.data_root)

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
        """See `Lab.map`."""
        if not isinstance(function, BlockFunction):
            raise InputError(f"{step}: {function!r} is no block function; decorate it with @block_function")
        self._check_declared(step, function)
        if block < 1:
            raise InputError(f"{step}: a block must hold at least one item, got {block}")
        refs = dict(refs or {})
        numerics = keys.numerics_class(self.device, needs)
        key = keys.step_key(step, function, seed=seed, settings=settings, refs=refs, numerics=numerics)
        built_by = {root for ref in refs.values() for root in ref.modules}
        code = code_hash({*PIECE, function.qualified_name, *built_by, *settings_roots(settings)})
        jobs = [
            BlockJob(
                step=step,
                step_key=key,
                function=function.qualified_name,
                first=first,
                items=keys.plain(items[first : first + block]),
                seed=seed,
                settings=settings,
                refs=refs,
                needs=needs,
                device=self.device,
                code=code,
            )
            for first in range(0, len(items), block)
        ]
        handle = MapHandle(lab=self, step=step, count=self.journal.count(step), function=function, blocks=jobs)
        self.journal.step(step, key)
        handle.plan()
        if self.observer is not None:
            self.observer.planned(handle)
        return handle

    def _check_declared(self, step: str, function: BlockFunction | OptimisationFunction) -> None:
        if self.declared is not None and function not in self.declared.get(step, ()):
            raise InputError(
                f"the study does not declare that its step {step!r} runs {function.qualified_name}: add it to the "
                "`steps` of its STUDY"
            )

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
        """See `Lab.dataset`."""
        handle = self._own_map(name, mapped)
        return data_of(name, handle, image=image, label=label, classes=classes, mask=mask, box=box)

    def rows(self, name: str, mapped: Handle[pd.DataFrame], columns: Sequence[str] | None = None) -> Reference:
        """See `Lab.rows`."""
        return rows_of(name, self._own_map(name, mapped), columns)

    def _own_map(self, name: str, mapped: object) -> MapHandle:
        if not isinstance(mapped, MapHandle):
            raise InputError(f"{name}: {type(mapped).__name__} is not what `lab.map` returned; pass its handle, unread")
        return mapped

    def train(self, specs: Sequence[TrainSpec]) -> Handle[list[Reference]]:
        """See `Lab.train`."""
        from robustray.tasks.training.handle import plan_training

        return plan_training(self, specs, interval=self.checkpoint_every)

    def learn(self, specs: Sequence[AgentSpec]) -> Handle[list[Learned]]:
        """See `Lab.learn`."""
        if self.declared is not None and "learn" not in self.declared:
            raise InputError(
                "the study does not declare that it trains agents: add 'learn': LEARN to the `steps` of its STUDY"
            )
        from robustray.tasks.policy_gradients.jobs import plan_learning

        return plan_learning(self, specs, interval=self.checkpoint_every)

    def optimise(self, step: str, specs: Sequence[OptimiseSpec]) -> Handle[list[Optimised]]:
        """See `Lab.optimise`."""
        for spec in specs:
            self._check_declared(step, spec.function)
        from robustray.tasks.lab.optimising import plan_optimising

        return plan_optimising(self, step, specs, interval=self.checkpoint_every)

    def place(self, job: LongJob) -> Job:
        """A long job as it runs here: in one process. Raises: InputError when it wants more."""
        return job.alone()

    def say_once(self, text: str) -> None:
        """Tell the user, the first time in this lab."""
        if text not in self._said:
            self._said.add(text)
            self.progress.message(text)

    def drop(self, step_key: str, listed: Mapping[str, list[pieces.Piece]]) -> Mapping[str, list[pieces.Piece]]:
        """Delete a step's pieces, once in this run: a resume doesn't drop what it computed itself."""
        if step_key in self.journal.dropped:
            return listed
        for versions in listed.values():
            for piece in versions:
                self.store.delete(piece.name)
        self.journal.drop(step_key)  # last: a driver that is killed before this deletes the rest when it goes on
        return {}

    def close(self) -> None:
        self.executor.close()
        self.progress.close()
