"""A worker in a separate process, and the errors that Ray raises when that process is gone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import ray
import ray.exceptions

from robustray.tasks.lab.heap import keep_freed_memory
from robustray.tasks.lab.jobs import Job, Receipt, Worker
from robustray.tasks.lab.protocol import Reference
from robustray.tasks.lab.store import Store

DEATHS = (
    ray.exceptions.RayActorError,
    ray.exceptions.OutOfMemoryError,  # Ray's memory monitor ended the actor; this is no RayActorError
    ray.exceptions.NodeDiedError,
    ray.exceptions.WorkerCrashedError,
)
"""Errors that Ray raises for a call whose actor is gone, whichever call killed it."""


class BlockActor:
    """A `Worker` in a separate process. Its methods only forward; the worker is tested without Ray."""

    def __init__(self, store_url: str, name: str) -> None:
        keep_freed_memory()
        self._payloads: dict[str, Any] = {}
        self._worker = Worker(store=Store(store_url), payload=self._payload, name=name)

    def _payload(self, ref: Reference) -> Any:
        return ray.get(self._payloads[ref.content_hash])

    @ray.method
    def ping(self) -> bool:
        return True

    @ray.method
    def forget(self, content_hashes: Sequence[str]) -> None:
        """No open job needs these any more."""
        self._worker.forget(content_hashes)
        for name in content_hashes:
            self._payloads.pop(name, None)

    @ray.method
    def run(self, job: Job, payloads: Mapping[str, Any]) -> Receipt:
        """Run a job; `payloads` are object references by content hash: arrays in shared memory, read when needed."""
        self._payloads.update(payloads)
        return self._worker.run(job)


def why_it_died(error: BaseException) -> str:
    """Ray's paragraph in a few words."""
    text = str(error).lower()
    if "out of memory" in text or "memory usage threshold" in text or "memory pressure" in text:
        return "the machine ran out of memory"
    if "creation task" in text or "constructor" in text:
        line = str(error).strip().splitlines()[-1]
        absent = line.startswith("ModuleNotFoundError")
        return line + ("; install it where Ray's workers run, or start Ray with it in PYTHONPATH" if absent else "")
    if "node" in text and ("died" in text or "dead" in text):
        return "its node is gone"
    return "its process ended"
