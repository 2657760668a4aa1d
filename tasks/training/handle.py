"""`lab.train`: each training is one job on one worker, and its weights are stored by the content of its spec."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from robustray.tasks.errors import InputError
from robustray.tasks.lab import arrays, keys
from robustray.tasks.lab.base import BlockLab
from robustray.tasks.lab.checkpoints import Checkpoints, Interval
from robustray.tasks.lab.code import PIECE, code_hash
from robustray.tasks.lab.jobs import Job, Receipt, Worker
from robustray.tasks.lab.long_jobs import Diary, Kept, LongHandle, plan
from robustray.tasks.lab.protocol import Needs, Reference
from robustray.tasks.lab.store import Store
from robustray.tasks.models.reference import ModelRef
from robustray.tasks.training import weights

if TYPE_CHECKING:
    from torch import nn

    from robustray.tasks.data.images import ImageData
    from robustray.tasks.training.loop import Trained
    from robustray.tasks.training.ranks import Ranks
    from robustray.tasks.training.settings import TrainSpec
    from robustray.tasks.training.state import Row

STEP = "train"
VERSION = 2
"""Raise when the same spec would give other weights by intent."""
VARIANTS = ("", "@best", "@last", "@ema")
"""`run:KEY` is what the spec selects; the others are stored beside it where they differ."""


@dataclass(frozen=True, kw_only=True)
class TrainJob:
    """One training."""

    spec: TrainSpec
    """Settled: no "auto" is left in it."""
    key: str
    code: str
    refs: Mapping[str, Reference]
    """"data", and "initial" where the spec has one, in this order."""
    device: str
    interval: Interval
    """Between checkpoints. Not part of the key: it changes no weight."""
    step: str = STEP
    num_items: int = 1

    @property
    def needs(self) -> Needs:
        return Needs(threads=self.spec.threads, gpus=self.spec.gpus)

    @property
    def label(self) -> str:
        return f"{self.step} {self.spec.model} on {self.spec.data_name}"

    def halves(self) -> tuple[Job, ...]:
        return ()

    def kept(self, store: Store, say: Callable[[str], None]) -> Kept:
        def damaged(text: str) -> None:
            say(f"{self.label}: {text}; trained again")

        return arrays.kept(store, weights.FOLDER, self.key, self.code, damaged)

    def drop(self, store: Store) -> None:
        for variant in VARIANTS:
            for name in weights.list_weights(store, f"{self.key}{variant}"):
                store.delete(name)
        self.checkpoints(store).clear()

    def alone(self) -> Job:
        if self.spec.least_ranks > 1:
            raise InputError(
                f"{self.label}: ranks={self.spec.ranks}: this lab trains in one process; take actors (`--workers 1` or "
                "more, or a cluster), or ranks=1"
            )
        return self

    def run(self, worker: Worker) -> Receipt:
        if receipt := self.finished(worker.store):
            return receipt
        loaded = {role: worker.load(ref, self.device) for role, ref in self.refs.items()}
        return self.train(worker.store, **loaded)

    def finished(self, store: Store) -> Receipt | None:
        """What is there already. A worker that was slow to answer was taken for dead, this job was given out again, and
        in the meantime that worker has published."""
        name = arrays.current(store, weights.FOLDER, self.key, self.code)
        if name is None:
            return None
        self.checkpoints(store).clear()
        return Receipt(outcome="done", rows=1, name=name)

    def train(
        self, store: Store, data: ImageData, initial: nn.Module | None = None, *, ranks: Ranks | None = None
    ) -> Receipt:
        """Train, or go on from the newest checkpoint; publish; remove the checkpoints. `Receipt.message` is what a
        person should know. With several `ranks`, all call this; that of rank 0 publishes and has the receipt."""
        from robustray.tasks.training.loop import train_model

        diary = Diary(label=self.label, key=self.key, store=store)
        checkpoints = self.checkpoints(store, diary.say)

        def report(curve: Sequence[Row]) -> None:
            diary.row(curve, by="epoch")
            row = curve[-1]
            if row.get("flag") and row["flag"] not in (earlier.get("flag") for earlier in curve[:-1]):
                diary.say(f"{row['flag']} in epoch {row['epoch']}")

        with diary:
            trained = train_model(
                self.spec, data, self.device, keeper=checkpoints, report=report, ranks=ranks, initial=initial
            )
        if ranks is not None and ranks.rank != 0:
            return Receipt(outcome="done")
        name = self.publish(store, trained)
        checkpoints.clear()
        return Receipt(outcome="done", rows=1, name=name, message=diary.words)

    def checkpoints(self, store: Store, say: Callable[[str], None] = print) -> Checkpoints:
        return Checkpoints(store=store, key=self.key, code=self.code, interval=self.interval, say=say)

    def publish(self, store: Store, trained: Trained) -> str:
        """Write all weights, the selected ones last: when `run:KEY` is there, all of it is. Returns their file."""
        named = dataclasses.replace(self.spec, data=self.spec.data_name, initial=self.spec.initial_name)
        about: dict[str, Any] = {
            **trained.normalisation,
            "model": self.spec.model,
            "spec": keys.plain(named),
            "data": {"name": self.spec.data_name, "hash": self.refs["data"].content_hash},
            "curve": list(trained.curve),
            "why_not_folded": trained.why_not_folded,
        }
        names = {
            variant: weights.publish_weights(
                store,
                self.key if variant == self.spec.select else f"{self.key}@{variant}",
                self.code,
                dict(snapshot.tensors),
                {**about, "weights": variant, "epoch": snapshot.epoch, "score": snapshot.score},
            )
            for variant, snapshot in sorted(trained.weights.items(), key=lambda item: item[0] == self.spec.select)
        }
        return names[self.spec.select]


def training_key(spec: TrainSpec, data: Reference, device: str, initial: Reference | None = None) -> str:
    """No step name and no run seed in it (the spec has its own): two studies share a model.

    `spec` is settled. Data and the model to start from are in it by their content, whatever they are called; the share
    of a GPU is not.
    """
    numerics = keys.numerics_class(device, Needs(threads=spec.threads))
    nameless = dataclasses.replace(spec, data="", initial=None if initial is None else "", gpus=1.0)
    wanted: dict[str, Any] = {"spec": nameless, "version": VERSION, "data": data.content_hash, "numerics": numerics}
    if initial is not None:
        wanted["initial"] = initial.content_hash
    return keys.digest(wanted)


def training_code(model: str, data_modules: Iterable[str]) -> str:
    """CODE of a training of the architecture `model` on data, and from a model, that these roots of CODE make."""
    from robustray.tasks.models.registry import code_root

    job = (f"{__name__}:{TrainJob.__name__}", "robustray.tasks.training.settings:TrainSpec", PIECE[1])
    return code_hash([*job, code_root(model), *data_modules])


def code_now(lab: BlockLab, about: Mapping[str, Any]) -> str:
    """CODE with which stored weights would be trained now; "" where their data or their code are not at hand."""
    try:
        initial = about["spec"].get("initial")
        modules: Sequence[str] = ()
        if initial is not None:
            spec = lab.training_of(initial)  # nothing is trained to find out
            modules = (ModelRef(name=initial, architecture=spec.model) if spec else lab.model(initial)).modules
        return training_code(about["model"], (*lab.data(about["spec"]["data"]).modules, *modules))
    except (InputError, ModuleNotFoundError):
        return ""


class TrainHandle(LongHandle):
    """The models of trainings that were submitted; `result` waits for them."""

    def result(self) -> list[Reference]:
        """One reference per spec. Raises: WorkFailed."""
        self.finish()
        return [self.lab.model(f"run:{job.key}") for job in self.jobs]


def plan_training(lab: BlockLab, specs: Sequence[TrainSpec], *, interval: Interval | None = None) -> TrainHandle:
    """Submit the trainings that are not in the store.

    Raises: InputError, before anything starts, for a spec that does not fit its data or model, or cannot be placed.
    """
    from robustray.tasks.training.doors import check_fit, check_training

    jobs = [training_job(lab, spec, interval or Interval()) for spec in specs]
    handle = TrainHandle(lab=lab, step=STEP, count=lab.journal.count(STEP), jobs=jobs)
    looked_at: set[tuple[Any, ...]] = set()

    def check(job: TrainJob) -> None:
        """Trainings that differ in seed, rates or strength are looked at once, those that differ in their first weights
        briefly, and their images are decoded once."""
        spec, hashes = job.spec, [ref.content_hash for ref in job.refs.values()]
        built = (spec.model, spec.loss, spec.frozen, spec.new_head, spec.initial is None)
        fits = (spec.batch_size, spec.validation, job.refs["data"].content_hash)
        if (built, *hashes) not in looked_at:
            data, *initial = map(lab.load, job.refs.values())
            kind = (built, data.shape, data.num_classes)
            check_training(spec, data, *initial, weights_only=kind in looked_at)
            looked_at.add(kind)
        elif fits not in looked_at:
            check_fit(spec, lab.load(job.refs["data"]))
        looked_at.update((fits, (built, *hashes)))

    plan(handle, check=check)
    return handle


def training_job(lab: BlockLab, spec: TrainSpec, interval: Interval) -> TrainJob:
    """The job of a spec in this lab, with its key; nothing is submitted. Raises: InputError for data or a model that
    are not there."""
    data = lab.data(spec.data) if isinstance(spec.data, str) else spec.data
    initial = lab.model(spec.initial) if isinstance(spec.initial, str) else spec.initial
    refs = {"data": data} | ({} if initial is None else {"initial": initial})
    spec = spec.settled(lab.device)
    return TrainJob(
        spec=spec,
        key=training_key(spec, data, lab.device, initial),
        code=training_code(spec.model, [module for ref in refs.values() for module in ref.modules]),
        refs=refs,
        device=lab.device,
        interval=interval,
    )
