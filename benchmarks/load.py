"""How much of the CPU other processes used during a measurement."""

from __future__ import annotations

import time

import psutil


class ForeignLoad:
    """CPU time of everything that is not this process or its children."""

    def __init__(self) -> None:
        self._start = self._read()

    def cpus(self) -> float:
        """CPUs that others used since the start, on average."""
        (then, busy_then), (now, busy_now) = self._start, self._read()
        return round(max(0.0, busy_now - busy_then) / max(now - then, 1e-9), 2)

    @staticmethod
    def _read() -> tuple[float, float]:
        times = psutil.cpu_times()
        busy = times.user + times.system + times.nice
        here = psutil.Process()
        own = 0.0
        for process in (here, *here.children(recursive=True)):
            try:
                spent = process.cpu_times()
            except psutil.NoSuchProcess:  # ended between being listed and being asked
                continue
            # with those of its children that have ended
            own += spent.user + spent.system + spent.children_user + spent.children_system
        return time.perf_counter(), busy - own
