"""Progress of a run, drawn by the driver only: bars on a terminal, plain lines elsewhere, or nothing.

A step may be asked for in hundreds of handles; all of one name add up under one bar. Time is told once, for the whole
run (`remaining.py`), never for a step: nobody waits for a step.
"""

from __future__ import annotations

import sys
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TextIO

from robustray.tasks.cost import Part
from robustray.tasks.report.numbers import format_left
from robustray.tasks.report.remaining import Left, Remaining

if TYPE_CHECKING:
    from rich.progress import TaskID


class Progress(Protocol):
    """What the driver reports while it works."""

    def expect(self, parts: Sequence[Part], workers: int | None) -> None:
        """Before the first step: what the whole run will do. workers: see `Remaining`."""
        ...

    def start(self, step: str, total: int, done: int) -> None:
        """A handle of `step` was opened: `total` items, of which `done` were found in the store."""
        ...

    def advance(self, step: str, n: int, seconds: float) -> None:
        """`n` more items of `step` were computed, in so many seconds of one worker. A negative n: they are lost."""
        ...

    def finish(self, step: str) -> None:
        """One handle of `step` ended, well or badly."""
        ...

    def message(self, text: str) -> None:
        """One line for the reader: a retry, a warning."""
        ...

    def close(self) -> None:
        """Leave the terminal as it was found. More calls do nothing."""
        ...


_RECENT_S = 60.0
"""The pace is that since then: the last images of an attack may cost a hundred times the first."""


@dataclass(kw_only=True)
class Tally:
    """The sum over all handles of one step."""

    started: float
    moved: float
    """When an item was computed last; the clock of a finished step has stopped."""
    total: int = 0
    reused: int = 0
    computed: int = 0
    open_handles: int = 0
    _marks: deque[tuple[float, int]] = field(default_factory=deque)
    """When how many were computed: those of the last minute, and one before."""

    def advance(self, n: int, now: float) -> None:
        """`n` more items were computed."""
        self.computed += n
        self.moved = now
        self._marks.append((now, self.computed))
        while len(self._marks) > 1 and self._marks[1][0] <= now - _RECENT_S:
            self._marks.popleft()

    @property
    def done(self) -> int:
        return self.reused + self.computed

    @property
    def rate(self) -> float | None:
        """Computed items per second since the step began; what was read from the store doesn't count."""
        return _rate(self.computed, self.moved - self.started)

    @property
    def recent_rate(self) -> float | None:
        """The same of the last minute, or since the last item before."""
        old = bool(self._marks) and self._marks[0][0] <= self.moved - _RECENT_S
        began, before = self._marks[0] if old else (self.started, 0)
        return _rate(self.computed - before, self.moved - began)

    @property
    def words(self) -> str:
        """`"1,200/10,000 · 85.3/s"`: the recent pace, and when all is done that of all."""
        parts = [f"{self.done:,}/{self.total:,}"]
        rate = self.recent_rate if self.done < self.total else self.rate
        if rate is not None:
            parts.append(f"{rate:,.1f}/s" if rate >= 0.1 else f"{60 * rate:.1f}/min")
        if self.reused:
            parts.append(f"{self.reused:,} from the store")
        return " · ".join(parts)


def _rate(count: int, seconds: float) -> float | None:
    return count / seconds if count and seconds > 0 else None


class SilentProgress:
    """Says nothing, for `--json` and for tests."""

    def expect(self, parts: Sequence[Part], workers: int | None) -> None: ...
    def start(self, step: str, total: int, done: int) -> None: ...
    def advance(self, step: str, n: int, seconds: float) -> None: ...
    def finish(self, step: str) -> None: ...
    def message(self, text: str) -> None: ...
    def close(self) -> None: ...


class _Tallies(ABC):
    """Keeps the sums; what is shown, and when, is up to the two ways of showing."""

    def __init__(self, stream: TextIO, clock: Callable[[], float]) -> None:
        self.stream = stream
        self.clock = clock
        self.tallies: dict[str, Tally] = {}
        self.remaining = Remaining(began=clock())
        self.closed = False

    def expect(self, parts: Sequence[Part], workers: int | None) -> None:
        self.remaining = Remaining(parts=parts, workers=workers, began=self.clock())

    def start(self, step: str, total: int, done: int) -> None:
        assert 0 <= done <= total, f"{done} of {total} items done"
        now = self.clock()
        tally = self.tallies.setdefault(step, Tally(started=now, moved=now))
        tally.total += total
        tally.reused += done
        tally.open_handles += 1
        self.remaining.asked(step, total, done, now)
        self._changed(step, tally)

    def advance(self, step: str, n: int, seconds: float) -> None:
        tally, now = self.tallies[step], self.clock()
        tally.advance(n, now)
        self.remaining.computed(step, n, seconds, now)
        self._changed(step, tally)

    def finish(self, step: str) -> None:
        tally = self.tallies[step]
        tally.open_handles -= 1
        assert tally.open_handles >= 0, f"step {step!r} was finished more often than started"
        self._changed(step, tally)
        if tally.open_handles == 0:
            self._ended(step, tally)

    @property
    def left(self) -> Left | None:
        """Time left of the whole run, now."""
        return self.remaining.left(self.clock())

    @abstractmethod
    def _changed(self, step: str, tally: Tally) -> None:
        """The sums of `step` are others now."""

    @abstractmethod
    def _ended(self, step: str, tally: Tally) -> None:
        """No handle of `step` is open any more."""


class LineProgress(_Tallies):
    """Plain lines: one per step every `every` seconds while it moves, and one when all its handles have ended. Each
    ends with the time left of the whole run.

    A step that ends again and again (a study that opens one handle after the other) says so only every `every` seconds,
    and for the last time when all is closed.
    """

    def __init__(
        self, stream: TextIO | None = None, every: float = 5.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(stream or sys.stderr, clock)
        self.every = every
        self._told: dict[str, float] = {}
        self._last_line: dict[str, str] = {}

    def message(self, text: str) -> None:
        print(text, file=self.stream, flush=True)

    def close(self) -> None:
        if not self.closed:
            for step, tally in self.tallies.items():
                self._tell(step, tally)
        self.closed = True

    def _changed(self, step: str, tally: Tally) -> None:
        now = self.clock()
        if now - self._told.setdefault(step, now) >= self.every and not self.closed:
            self._tell(step, tally)

    def _ended(self, step: str, tally: Tally) -> None:
        if step not in self._last_line or self.clock() - self._told[step] >= self.every:
            self._tell(step, tally)

    def _tell(self, step: str, tally: Tally) -> None:
        line = f"{step}: {tally.words}"
        if not self.closed and line != self._last_line.get(step):
            self._told[step], self._last_line[step] = self.clock(), line
            left = self.left
            whole = "" if left is None or left.seconds <= 0 else f" · whole run: {format_left(*left)}"
            print(line + whole, file=self.stream, flush=True)


class BarProgress(_Tallies):
    """One Rich bar per step name, and one line below them for the whole run."""

    def __init__(self, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bars

        super().__init__(stream or sys.stderr, clock)
        self.console = Console(file=self.stream)
        self._bars = Bars(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=28),
            TextColumn("{task.fields[words]}", markup=False, style="dim"),
            console=self.console,
            refresh_per_second=4,
        )
        self._ids: dict[str, TaskID] = {}
        self._whole: TaskID | None = None

    def message(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False)

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._bars.stop()

    def _changed(self, step: str, tally: Tally) -> None:
        if self.closed:
            return
        if step not in self._ids:
            self._bars.start()  # not before there is something to draw; a second start does nothing
            if self._whole is not None:  # stays the last one
                self._bars.remove_task(self._whole)
            self._ids[step] = self._bars.add_task(step, total=tally.total, words="")
            self._whole = self._bars.add_task("whole run", total=1.0, words="")
        self._bars.update(self._ids[step], total=tally.total, completed=tally.done, words=tally.words)
        self._show_whole()

    def _show_whole(self) -> None:
        left = self.left
        if self._whole is not None and left is not None:
            spent = self.clock() - self.remaining.began
            share = spent / ((spent + left.seconds) or 1.0)
            self._bars.update(self._whole, completed=share, words=format_left(*left) if left.seconds > 0 else "")

    def _ended(self, step: str, tally: Tally) -> None:
        pass  # the finished bar stays as it is


def make_progress(stream: TextIO | None = None, *, silent: bool = False) -> Progress:
    """Bars when `stream` (stderr by default) is a terminal, plain lines when it is not."""
    if silent:
        return SilentProgress()
    out: TextIO = stream or sys.stderr
    return BarProgress(out) if out.isatty() else LineProgress(out)
