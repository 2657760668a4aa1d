"""`lab.train`: each training is one job on one worker, kept by the content of its spec."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from robustray.tasks.lab import keys
from robustray.tasks.lab.base import BlockLab, Pending
from robustray.tasks.lab.code import code_hash
from robustray.tasks.lab.jobs import Job, Receipt, Worker
from robustray.tasks.lab.protocol import Needs, Reference
from robustray.tasks.training import weights

if TYPE_CHECKING:
    from robustray.tasks.training.settings import TrainSpec

STEP = "train"
VERSION = 1
"""Raise when the same spec would give other weights by intent."""


@dataclass(frozen=True, kw_only=True)
class TrainJob:
    """One training."""

    spec: TrainSpec
    key: str
    code: str
    refs: Mapping[str, Reference]
    device: str
    step: str = STEP
    num_items: int = 1

    @property
    def needs(self) -> Needs:
        return Needs(threads=self.spec.threads, gpus=1.0)

    @property
    def label(self) -> str:
        return f"{self.step} {self.spec.model} on {self.spec.data}"

    def halves(self) -> tuple[Job, ...]:
        return ()

    def run(self, worker: Worker) -> Receipt:
        from robustray.tasks.training.loop import train_model

        trained = train_model(self.spec, worker.load(self.refs["data"], self.device), self.device)
        about = {"model": self.spec.model, "spec": keys.plain(self.spec), "curve": list(trained.curve)}
        tensors = {name: tensor.cpu() for name, tensor in trained.model.state_dict().items()}
        return Receipt(
            outcome="done", rows=1, name=weights.publish_weights(worker.store, self.key, self.code, tensors, about)
        )


def training_key(spec: TrainSpec, data: Reference, device: str) -> str:
    """No step name and no run seed in it (the spec has its own): two studies share a model."""
    numerics = keys.numerics_class(device, Needs(threads=spec.threads))
    return keys.digest({"spec": spec, "version": VERSION, "data": data.content_hash, "numerics": numerics})


@dataclass(kw_only=True)
class TrainHandle(Pending):
    """Trained models, wanted."""

    jobs: list[TrainJob] = field(default_factory=list)

    def result(self) -> list[Reference]:
        """One reference per spec. Raises: WorkFailed."""
        self.wait()
        missing = [job for job in self.jobs if not weights.list_weights(self.lab.store, job.key)]
        if missing:
            self.error = f"{missing[0].label} did not finish: it killed its worker or ran out of memory"
            self.wait()
        self.lab.progress.finish(self.step)
        return [self.lab.model(f"run:{job.key}") for job in self.jobs]


def plan_training(lab: BlockLab, specs: Sequence[TrainSpec]) -> TrainHandle:
    """Submit the trainings that are not in the store."""
    from robustray.tasks.models.registry import model_entry

    jobs: dict[str, TrainJob] = {}
    ordered = []
    for spec in specs:
        data = lab.data(spec.data)
        key = training_key(spec, data, lab.device)
        own = () if model_entry(spec.model) is not None else (spec.model.partition(":")[0],)
        code = code_hash(["robustray.tasks.training.loop", "robustray.tasks.models.registry", *data.modules, *own])
        job = TrainJob(spec=spec, key=key, code=code, refs={"data": data}, device=lab.device)
        jobs.setdefault(key, job)
        ordered.append(jobs[key])
    count = lab.journal.count(STEP)
    handle = TrainHandle(lab=lab, step=STEP, count=count, jobs=ordered)
    missing = []
    for key, job in jobs.items():
        lab.journal.step(STEP, key)
        names = weights.list_weights(lab.store, key)
        if STEP in lab.fresh and key not in lab.journal.dropped:
            for name in names:
                lab.store.delete(name)
            lab.journal.drop(key)
            names = []
        whole = [name for name in names if weights.read_weights(lab.store, name) is not None]
        for name in set(names) - set(whole):
            lab.progress.message(f"{job.label}: {name} is damaged; trained again")
            lab.store.delete(name)
        if not whole:
            missing.append(job)
        elif not any(name.split("-")[-2] == job.code for name in whole):
            count.old_blocks += 1
    count.items += len(jobs)
    count.blocks += len(jobs)
    count.reused_blocks += len(jobs) - len(missing)
    lab.progress.start(STEP, len(jobs), len(jobs) - len(missing))
    handle.submit(missing)
    return handle
