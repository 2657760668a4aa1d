"""What a pool tells Ray's dashboard and whoever scrapes its metrics (Prometheus), through `ray.util.metrics`."""

from __future__ import annotations

from typing import Any, Literal

Event = Literal["blocks_done", "items_done", "blocks_failed", "workers_died", "worker_restarts"]
WORDS: dict[Event, str] = {
    "blocks_done": "Blocks of work that were computed",
    "items_done": "Items of those blocks; their rate is items per second",
    "blocks_failed": "Blocks that raised an error, or did not fit into memory",
    "workers_died": "Workers that died with a block, by their own fault or their node's",
    "worker_restarts": "Workers that Ray has started again after their death, on the same place or another",
}
"""Metric, without its prefix -> description. Each is a counter, by step."""
PREFIX = "robustray_"
"""Ray puts `ray_` before it, and Prometheus counters end in `_total`."""


class PoolMetrics:
    """Counters of this process. Ray exports them while it is up, and nothing in a run depends on them."""

    def __init__(self) -> None:
        from ray.util.metrics import Counter

        self._counters: dict[Event, Any] = {
            name: Counter(PREFIX + name, description=words, tag_keys=("step",)) for name, words in WORDS.items()
        }

    def count(self, event: Event, step: str, number: int = 1) -> None:
        """step: of the job; "" for what belongs to none."""
        if number > 0:  # Ray refuses a counter that does not rise
            self._counters[event].inc(number, tags={"step": step or "-"})
