"""Checkpoints in a lab's store: `checkpoints/KEY/STEP-CODE-SHA.safetensors`, the last two of a long job.

One file is one state: tensors, and everything else as JSON in the header. It appears whole or not at all, is checked
against the hash in its name when it is read, and nothing in it is ever unpickled. Only states of the same code are
used: half a job by one code and half by another would be a result of neither.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from robustray.tasks.lab import arrays
from robustray.tasks.lab.resumable import Resumable
from robustray.tasks.lab.store import Store, sha256

FOLDER = "checkpoints"
KEPT = 2
"""The newest, and the one before it in case the newest is damaged."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """How often a state is written: after so many steps or so many seconds, whichever comes first.

    At most one interval of work is repeated after a kill.
    """

    steps: int | None = None
    seconds: float | None = 60.0


@dataclass(kw_only=True)
class Checkpoints:
    """Where one long job keeps its states, and finds those of an earlier attempt."""

    store: Store
    key: str
    code: str
    interval: Interval = Interval()
    say: Callable[[str], None] = print
    """Told what a person should know: where a training went on, and what could not be read or written."""
    _last_step: int = 0
    _last_time: float = field(default_factory=lambda: time.monotonic())

    def due(self, step: int) -> bool:
        """Is it time to write?"""
        steps, seconds = self.interval.steps, self.interval.seconds
        enough_steps = steps is not None and step - self._last_step >= steps
        return enough_steps or (seconds is not None and time.monotonic() - self._last_time >= seconds)

    def save(self, state: Resumable) -> None:
        """Write a state and drop all but the last two. A disk that is full is said, and tried again when next due."""
        data = arrays.packed(state.tensors(), state.record())
        name = f"{self._folder}/{state.step:09d}-{self.code}-{sha256(data, arrays.SHA_LENGTH)}.safetensors"
        self._last_step, self._last_time = state.step, time.monotonic()
        try:
            self.store.write(name, data)
            for old in self._names()[:-KEPT]:
                self.store.delete(old)
        except OSError as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            self.say(f"no checkpoint at step {state.step}: {reason}; the work goes on and tries again")

    def restore(self, state: Resumable) -> None:
        """Bring a fresh state to the newest readable checkpoint; damaged ones are said and removed. Where none can be
        read the state stays as it is, and that is said too."""
        self.store.sweep(self._folder)
        names = self._names()
        if not names and self.store.list(self._folder):
            self.say("its checkpoints were written by other code and are not used")
        for name in reversed(names):
            data = self._read(name)
            if data is None:
                instead = "it starts from the beginning" if name == names[0] else "the one before it is"
                self.say(f"checkpoint {name} is damaged and is not used; {instead}")
                self.store.delete(name)
                continue
            _restore(state, data)
            self._last_step, self._last_time = state.step, time.monotonic()
            self.say(f"goes on from its checkpoint after step {state.step}")
            return

    def clear(self) -> None:
        """Remove all of this job, whatever code wrote them: its result is published, or it starts afresh."""
        for name in self.store.list(self._folder):
            self.store.delete(f"{self._folder}/{name}")

    @property
    def _folder(self) -> str:
        return f"{FOLDER}/{self.key}"

    def _names(self) -> list[str]:
        """Those of this code, oldest step first."""
        parts = {name: name.removesuffix(".safetensors").split("-") for name in self.store.list(self._folder)}
        return [f"{self._folder}/{name}" for name, each in parts.items() if len(each) == 3 and each[1] == self.code]

    def _read(self, name: str) -> bytes | None:
        try:
            data = self.store.read(name)
        except OSError:  # gone, or a disk that does not give it back
            return None
        return data if arrays.is_whole(name, data) else None


def _restore(state: Resumable, data: bytes) -> None:
    from safetensors.torch import load

    state.load(load(data), arrays.about(data))
