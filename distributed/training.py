"""One training by several processes, through Ray Train.

In the lab it is a job like any other. The actor that gets it starts the processes and waits for them; it takes no CPU
itself, and the pool reserves the resources of its processes (`groups.GroupNeeds`): other actors end for it, or it waits
for them, by the rules that hold between any two kinds of work.

A training resumes from our own checkpoint in the store, whether a process, that actor or the driver died. Ray Train
would silently resume anything that it finds under the name of a run; here it gets a new folder each time and finds
nothing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import tempfile
import threading
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import ray
import ray.exceptions
import ray.train
import ray.train.torch
import ray.util
from ray._raylet import PlacementGroupID
from ray.util.placement_group import PlacementGroup

from robustray.distributed.actor import why_it_died
from robustray.distributed.groups import GroupNeeds
from robustray.tasks.errors import InputError
from robustray.tasks.lab.heap import keep_freed_memory
from robustray.tasks.lab.jobs import Receipt, Worker, fix_kernels, numerics
from robustray.tasks.lab.protocol import Needs
from robustray.tasks.lab.store import Store
from robustray.tasks.training.handle import TrainJob

_RAY_TRAIN: Any = ray.train  # what the type checkers see are the classes of its first version
MAX_FAILURES = 3
"""How often processes of a training may die before it is given up. The same command can then continue it."""
POLL_S = 0.5
"""Between two looks of Ray Train at its processes. Its own 2 s are waited for at each start, death and end."""
FREE_S = 2.0
"""Between two looks for places that are held for attempts of before."""
ATTEMPTS = 16
"""So many attempts at a training, one after the other, are told apart."""
PATIENCE_S = 24 * 3600
"""Seconds that a process waits for the others, for example while rank 0 checks, before it fails. Ray Train notices
deaths."""


def in_processes(job: TrainJob) -> TrainJob:
    """The job in as many processes as its spec wants and the cluster has room for, when nothing else runs there.

    Raises: InputError when that is less than the least.
    """
    each = _resources(job)
    room = sum(_room(node["Resources"], each) for node in ray.nodes() if node["Alive"])
    least, most = job.spec.least_ranks, job.spec.most_ranks
    if room < least:
        words = " and ".join(f"{amount:g} {name}" for name, amount in each.items())
        raise InputError(
            f"{job.label}: ranks={job.spec.ranks} needs {least} processes with {words} each, but there is room for "
            f"{room}; lower ranks, or take a larger cluster"
        )
    if min(room, most) == 1:
        return job
    fields = {field.name: getattr(job, field.name) for field in dataclasses.fields(job)}
    return GroupJob(**fields, least=least, most=min(room, most))


def _resources(job: TrainJob) -> dict[str, float]:
    """Resources of one process."""
    return {"CPU": float(job.spec.threads)} | ({"GPU": 1.0} if job.device == "cuda" else {})


def _marked(job: TrainJob, attempt: int) -> dict[str, float]:
    """The same, and some bytes of memory, at most 16 MiB, by which the places of this attempt are known: they can't
    have a name."""
    return {**_resources(job), "memory": float(1 + int(job.key[:5], 16) * ATTEMPTS + attempt)}


def _places(job: TrainJob) -> Iterator[tuple[str, int, bool]]:
    """Of all places that this driver ever had for this training: their name, the attempt, whether they are held."""
    driver, attempts = ray.get_runtime_context().get_job_id(), [_marked(job, number) for number in range(ATTEMPTS)]
    for name, about in ray.util.placement_group_table().items():
        bundles = list(about["bundles"].values())
        if name.endswith(driver) and bundles and bundles[0] in attempts and bundles.count(bundles[0]) == len(bundles):
            yield name, attempts.index(bundles[0]), about["state"] != "REMOVED"


@contextlib.contextmanager
def _freed_places(job: TrainJob) -> Iterator[int]:
    """Within, give back what Ray holds for earlier attempts at this training, whose controllers were killed. Gives the
    number of this attempt.

    Ray would hold it until the driver ends (measured): what Ray Train has against that needs the state API, and a
    machine on which no other Ray runs (findings/ray_train_cleaner_wants_the_only_ray.sh). Once is not enough: a
    controller takes new places while the news that it has to end is under way.
    """
    this = (1 + max((attempt for _, attempt, _ in _places(job)), default=-1)) % ATTEMPTS
    over = threading.Event()

    def free() -> None:
        for name, attempt, held in _places(job):
            if held and attempt != this:
                ray.util.remove_placement_group(PlacementGroup(PlacementGroupID(bytes.fromhex(name))))

    def keep_free() -> None:
        while not over.wait(FREE_S):
            free()

    free()
    keeper = threading.Thread(target=keep_free, daemon=True)
    keeper.start()
    try:
        yield this
    finally:
        over.set()
        keeper.join()


def _room(node: dict[str, float], each: dict[str, float]) -> int:
    return int(min(node.get(name, 0.0) // amount for name, amount in each.items()))


@dataclass(frozen=True, kw_only=True)
class GroupJob(TrainJob):
    """A training by `least` to `most` processes, at the same batch: by as many as Ray Train finds room for."""

    least: int
    most: int

    @property
    def needs(self) -> Needs:
        alone = super().needs
        return GroupNeeds(threads=alone.threads, gpus=alone.gpus, processes=self.most)

    def run(self, worker: Worker) -> Receipt:
        """Start the processes, wait for them, and pass on what rank 0 says."""
        os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", str(POLL_S))
        payloads = {role: ray.put(worker.payload(ref)) for role, ref in self.refs.items()}
        for _ in range(MAX_FAILURES):
            with contextlib.suppress(ray.exceptions.RayActorError):  # Ray Train's controller was killed
                return self.finished(worker.store) or self._attempt(worker.store.url, payloads)
        return self.finished(worker.store) or self._attempt(worker.store.url, payloads)

    def _attempt(self, store_url: str, payloads: Mapping[str, Any]) -> Receipt:
        with _freed_places(self) as attempt, tempfile.TemporaryDirectory(prefix="robustray-") as folder:
            trainer = _RAY_TRAIN.torch.TorchTrainer(
                _train,
                train_loop_config={"job": self, "store": store_url, "payloads": payloads},
                torch_config=_RAY_TRAIN.torch.TorchConfig(timeout_s=PATIENCE_S),
                scaling_config=_RAY_TRAIN.ScalingConfig(
                    num_workers=self.most if self.least == self.most else (self.least, self.most),
                    use_gpu=self.device == "cuda",
                    resources_per_worker=_marked(self, attempt),
                ),
                run_config=_RAY_TRAIN.RunConfig(
                    name=f"{self.step}-{self.key}",
                    storage_path=folder,
                    failure_config=_RAY_TRAIN.FailureConfig(max_failures=MAX_FAILURES),
                    callbacks=[_EndsOnErrors()],
                ),
            )
            try:
                return trainer.fit().return_value
            except ray.train.ControllerError as error:
                if not isinstance(error.controller_failure, _TrainingError):
                    raise
                message, where = error.controller_failure.args
                return Receipt(outcome="error", message=message, traceback=where)
            except ray.train.WorkerGroupError as error:
                reason = next(map(_why, error.worker_failures.values()))
                message = f"its processes failed {MAX_FAILURES + 1} times, the last time: {reason}"
                return Receipt(outcome="error", message=message, traceback=str(error))


class _TrainingError(Exception):
    """An error that would come again: (the message, the traceback)."""


class _EndsOnErrors(ray.train.UserCallback):
    """Ends a training with such an error at once, on all ranks. If anything else happens to a process, Ray Train starts
    all of them again."""

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        for error in worker_exceptions.values():
            if isinstance(error, _TrainingError):
                raise error


def _train(config: dict[str, Any]) -> Receipt:
    """The work of each process; all get the same arguments. Raises: _TrainingError."""
    fix_kernels()
    keep_freed_memory()
    from robustray.tasks.training.ranks import ProcessGroup
    from robustray.tasks.training.state import TrainingDiverged

    job: GroupJob = config["job"]
    ranks = ProcessGroup()
    try:
        with numerics(job.spec.threads):
            payloads = {role: ray.get(payload) for role, payload in config["payloads"].items()}
            loaded = {role: ref.build(payloads[role], job.device) for role, ref in job.refs.items()}
            receipt = job.train(Store(config["store"]), ranks=ranks, **loaded)
    except Exception as error:
        # When one rank dies, the others fail with a RuntimeError of torch's; and a store may be away for a moment.
        if isinstance(error, RuntimeError | OSError) and not isinstance(error, TrainingDiverged):
            raise
        raise _TrainingError(f"{type(error).__name__}: {error}", traceback.format_exc()) from None
    words = [receipt.message, f"trained by {ranks.num_ranks} process{'es' * (ranks.num_ranks > 1)}"]
    return dataclasses.replace(receipt, message="; ".join(filter(None, words)))


def _why(error: Exception) -> str:
    """Why a training failed, in a few words: a process died, or it raised an error."""
    if type(error).__name__ == "WorkerHealthCheckFailedError":
        return why_it_died(error)
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"
