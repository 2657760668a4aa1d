"""`RayLab`: the same lab on Ray. It adds placement, retries and progress, and nothing else."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from robustray.distributed.start import check_ray_folder, check_workers, ray_is_up, search_path, start_ray
from robustray.tasks.errors import InputError
from robustray.tasks.lab.base import BlockLab
from robustray.tasks.lab.executor import Listener, ProgressLike
from robustray.tasks.lab.jobs import Job
from robustray.tasks.lab.journal import Journal
from robustray.tasks.lab.serial import SerialLab
from robustray.tasks.lab.store import Store

if TYPE_CHECKING:
    from robustray.tasks.lab.checkpoints import Interval
    from robustray.tasks.lab.long_jobs import LongJob


class LazyPool:
    """Starts Ray and the pool with the first job: a run whose pieces are all there needs neither."""

    def __init__(self, start: Callable[[], Any]) -> None:
        self._start = start
        self._pool: Any = None

    def start(self) -> Any:
        """The pool, which is there from now on."""
        if self._pool is None:
            self._pool = self._start()
        return self._pool

    def submit(self, jobs: Sequence[Job], listener: Listener) -> None:
        if jobs:
            self.start().submit(jobs, listener)

    def work_until(self, finished: Callable[[], bool]) -> None:
        if self._pool is None:
            assert finished(), "waiting for jobs that were never submitted"
            return
        self._pool.work_until(finished)

    def forget(self, content_hashes: Sequence[str]) -> None:
        if self._pool is not None:
            self._pool.forget(content_hashes)

    def close(self) -> None:
        if self._pool is not None:
            self._pool.close()


class RayLab(BlockLab):
    """A lab on the actors of a local Ray or of a cluster.

    `workers` caps the number of actors (None: as many as the resources allow). With `address` it joins that cluster;
    otherwise it starts a new Ray on this machine, which ends with this process.
    """

    def __init__(
        self,
        *,
        store: Store,
        journal: Journal | None = None,
        progress: ProgressLike | None = None,
        device: str = "cpu",
        data_root: str | None = None,
        fresh: Sequence[str] = (),
        checkpoint_every: Interval | None = None,
        workers: int | None = None,
        address: str | None = None,
    ) -> None:
        if workers is not None and workers < 1:
            raise InputError(f"--workers {workers}: RayLab needs at least one; 0 means in this process (SerialLab)")
        self._workers, self._address, self._owns_ray = workers, address, False
        super().__init__(
            store=store,
            executor=LazyPool(self._start_pool),
            journal=journal,
            progress=progress,
            device=device,
            data_root=data_root,
            fresh=fresh,
            checkpoint_every=checkpoint_every,
        )

    def place(self, job: LongJob) -> Job:
        """See `BlockLab.place`: a training in as many processes as its spec wants and there is room for, an agent by
        RLlib."""
        from robustray.tasks.policy_gradients.jobs import LearnJob
        from robustray.tasks.training.handle import TrainJob

        if isinstance(job, LearnJob):
            from robustray.distributed.rllib.job import in_rllib

            return in_rllib(job)
        if not isinstance(job, TrainJob) or job.spec.most_ranks == 1:
            return super().place(job)
        assert isinstance(self.executor, LazyPool)
        self.executor.start()
        from robustray.distributed.training import in_processes

        return in_processes(job)

    def _start_pool(self) -> Any:
        import ray

        from robustray.distributed.cluster import await_node
        from robustray.distributed.pool import Pool

        joined = ray.is_initialized() and self._address is None  # the user's, in a notebook or around this task
        if not ray.is_initialized():
            self._owns_ray = True
            start_ray(address=self._address, workers=self._workers)
        if self._address is not None or joined:
            await_node(self.progress.message)
        total = ray.cluster_resources()
        return Pool(
            store=self.store,
            payload=self.payload,
            message=self.progress.message,
            cpus=total.get("CPU", 0.0),
            gpus=total.get("GPU", 0.0),
            use_gpus=self.device == "cuda",
            max_actors=self._workers,
            worker_path=search_path() if joined else "",
        )

    @property
    def workers(self) -> int | None:
        """See `BlockLab.workers`."""
        return self._workers

    def describe_devices(self) -> str:
        """See `BlockLab.describe_devices`. With the resources of the cluster, which is connected by then."""
        if self._address is None:
            return self.device
        import ray

        total, nodes = ray.cluster_resources(), sum(node["Alive"] for node in ray.nodes())
        have = f"{total.get('CPU', 0):g} CPUs and {total.get('GPU', 0):g} GPUs"
        return f"{self.device}, cluster with {have} on {nodes} node{'s' * (nodes != 1)}"

    def prepare_store(self) -> None:
        """See `BlockLab.prepare_store`. Raises: InputError also when the nodes of the cluster don't share it."""
        if self._address is None and not _on_several_nodes():
            super().prepare_store()
            return
        from robustray.distributed.cluster import check_shared_store

        check_shared_store(self.store)

    def close(self) -> None:
        super().close()
        if self._owns_ray:
            import ray

            ray.shutdown()
            self._owns_ray = False


def _on_several_nodes() -> bool:
    """Whether this process is part of the user's own Ray, and that Ray has other nodes."""
    if not ray_is_up():
        return False
    import ray

    return sum(node["Alive"] for node in ray.nodes()) > 1


def open_lab(
    *,
    store: Store,
    workers: int | None,
    address: str | None,
    device: str,
    data_root: str | None,
    progress: ProgressLike,
    checkpoint_every: Interval | None = None,
) -> BlockLab:
    """The lab that a command asks for, on the device that is decided here, once.

    Raises: InputError for `device="cuda"` where there is none, a cluster that does not answer, or a temporary folder in
    which Ray could not start.
    """
    check_workers(workers, address)
    if address:
        start_ray(address=address, workers=workers)
    elif workers != 0 and not ray_is_up():
        check_ray_folder()  # Ray starts with the first job, when a run is open already
    device = decide_device(device, address)
    if workers == 0:
        return SerialLab(
            store=store, progress=progress, device=device, data_root=data_root, checkpoint_every=checkpoint_every
        )
    if workers is None and device == "cpu" and not address:
        workers = os.cpu_count() or 1
    return RayLab(
        store=store,
        progress=progress,
        device=device,
        data_root=data_root,
        checkpoint_every=checkpoint_every,
        workers=workers,
        address=address,
    )


def decide_device(demand: str, address: str | None) -> str:
    """ "cpu" or "cuda" for the whole run. Raises: InputError when cuda is demanded and absent."""
    if demand == "cpu":
        return "cpu"
    if address:
        import ray

        found, where = ray.cluster_resources().get("GPU", 0) > 0, f"the cluster {address} has no GPU"
    else:
        import torch

        found, where = torch.cuda.is_available(), "torch finds no CUDA device here (`robustray doctor` tells more)"
    if demand == "cuda" and not found:
        raise InputError(f"--device cuda: {where}; use --device cpu or auto")
    return "cuda" if found else "cpu"
