"""The arrays behind references: read when they are first needed, let go when no open job needs them."""

from __future__ import annotations

import dataclasses
import weakref
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from robustray.tasks.lab.protocol import Reference

IDLE_BYTES = 64 * 2**20
"""Bytes that stay in memory in all although no open job needs them, so that the next step need not read them again.
What was used last stays whatever its size."""


class Payloads:
    """What `Reference.fetch` returned, by content hash.

    `forget` gets the hashes that were dropped, so that whatever was made from them can be dropped too.
    """

    def __init__(self, forget: Callable[[Sequence[str]], None], idle_bytes: int = IDLE_BYTES) -> None:
        self._forget = forget
        self._idle_bytes = idle_bytes
        self._kept: OrderedDict[str, Any] = OrderedDict()
        """Least recently used first."""
        self._num_bytes: dict[str, int] = {}
        """Of each of them, counted once."""
        self._elsewhere: weakref.WeakValueDictionary[str, Any] = weakref.WeakValueDictionary()
        """What the study itself still holds is not read a second time."""
        self._open_jobs: Counter[str] = Counter()

    def get(self, ref: Reference) -> Any:
        """Raises: what `ref.fetch` raises."""
        name = ref.content_hash
        if name not in self._kept:
            self._kept[name] = self._read(ref)
            self._num_bytes[name] = num_bytes(self._kept[name])
        self._kept.move_to_end(name)
        self._drop_idle()
        return self._kept[name]

    def _read(self, ref: Reference) -> Any:
        payload = self._elsewhere.get(ref.content_hash)
        if payload is None:
            view: Any = ref
            payload = view.made_from(self._base(view.base)) if hasattr(view, "made_from") else ref.fetch()
            if dataclasses.is_dataclass(payload):  # a dictionary can't be referred to weakly
                self._elsewhere[ref.content_hash] = payload
        return payload

    def _base(self, ref: Reference) -> Any:
        """What something else is made from. It may be all of a large data set, and is kept only if it doesn't push out
        everything else."""
        if ref.content_hash in self._kept:
            return self.get(ref)
        payload = self._read(ref)
        return self.get(ref) if num_bytes(payload) <= self._idle_bytes else payload

    def open(self, refs: Iterable[Reference], jobs: int = 1) -> None:
        """So many more jobs need these."""
        for ref in refs:
            self._open_jobs[ref.content_hash] += jobs

    def close(self, refs: Iterable[Reference]) -> None:
        """A job has ended that needed these."""
        for ref in refs:
            self._open_jobs[ref.content_hash] -= 1
        self._drop_idle()

    def _drop_idle(self) -> None:
        idle = [name for name in self._kept if self._open_jobs[name] <= 0]
        newest = next(reversed(self._kept), None)
        held = sum(self._num_bytes[name] for name in idle)
        dropped = []
        for name in idle:
            if held <= self._idle_bytes or name == newest:
                break
            del self._kept[name]
            held -= self._num_bytes.pop(name)
            dropped.append(name)
        if dropped:
            self._forget(dropped)


def num_bytes(payload: Any) -> int:
    """Number of bytes of all arrays and byte strings in it."""
    if isinstance(payload, bytes | bytearray):
        return len(payload)
    if hasattr(payload, "nbytes"):
        return int(payload.nbytes)
    if dataclasses.is_dataclass(payload) and not isinstance(payload, type):
        return sum(num_bytes(getattr(payload, field.name)) for field in dataclasses.fields(payload))
    if isinstance(payload, Mapping):
        return sum(map(num_bytes, payload.values()))
    if isinstance(payload, list | tuple):
        return sum(num_bytes(each) for each in payload)
    return 0
