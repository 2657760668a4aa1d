"""One measurement, and how it is taken."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType

import psutil

from benchmarks.load import ForeignLoad

MIB = 2**20
_EVERY_S = 0.05


@dataclass(frozen=True, kw_only=True)
class Record:
    """One measurement of one contender in one round."""

    part: str
    """"items", "attack" or "store"."""
    case: str
    """Who did it."""
    size: int
    """Items, images or pieces."""
    what: str
    value: float
    unit: str
    foreign_load: float
    """CPUs that processes outside this benchmark used meanwhile, on average."""
    round: int = 0


@dataclass(kw_only=True)
class Case:
    """Collects the records of one contender."""

    part: str
    case: str
    size: int
    records: list[Record] = field(default_factory=list)

    def add(self, what: str, value: float, unit: str, foreign_load: float) -> None:
        self.records.append(
            Record(
                part=self.part,
                case=self.case,
                size=self.size,
                what=what,
                value=round(value, 6),
                unit=unit,
                foreign_load=foreign_load,
            )
        )

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Seconds of what happens inside."""
        foreign, began = ForeignLoad(), time.perf_counter()
        yield
        self.add(what, time.perf_counter() - began, "s", foreign.cpus())

    def print(self) -> None:
        """For the process that started this one."""
        print(json.dumps([asdict(record) for record in self.records]))


class PeakMemory:
    """The most memory of its own (resident and not shared) that this process has meanwhile, above its start, in MiB."""

    def __enter__(self) -> PeakMemory:
        self._ended = threading.Event()
        self._start = self._peak = own_memory()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._ended.wait(_EVERY_S):
            self._peak = max(self._peak, own_memory())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        self._peak = max(self._peak, own_memory())

    @property
    def growth(self) -> float:
        return self._peak - self._start


def own_memory() -> float:
    memory = psutil.Process().memory_info()
    return (memory.rss - memory.shared) / MIB


def in_new_process(script: Path, *words: str) -> list[Record]:
    """What `script --one WORDS` measures in a process of its own, so that nothing is left over from another case."""
    command = [sys.executable, str(script), "--one", *words]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=os.environ)
    return [Record(**record) for record in json.loads(done.stdout.splitlines()[-1])]
