"""Trainings as lines of JSON, one per arm and seed, and the comparison read from them. Imports no torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from robustray.tasks.statistics import Estimate, mean_interval, welch

ARMS = ("ppo", "sb3 ppo", "trpo", "sb3-contrib trpo")
PAIRS = (("ppo", "sb3 ppo"), ("trpo", "sb3-contrib trpo"))
SEEDS = 40
"""Per arm; before all are there, nothing is judged."""
STEPS, FROM, TO = 200_000, 150_000, 200_000
"""Environment steps of a training; its outcome is the mean raw return of the episodes that end in (FROM, TO]."""
MARGIN = 0.25
"""Share of the peer's mean by which ours may be below."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """One training of one arm."""

    arm: str
    seed: int
    environment: str
    outcome: float
    episodes: int
    """Episodes that ended in (FROM, TO]."""
    steps: int
    cpu: float
    """CPU-seconds of the process."""
    versions: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Ours against the peer, independent samples of seeds."""

    ours: str
    peer: str
    means: tuple[Estimate, Estimate]
    """Means with their 95 % intervals over seeds."""
    difference: Estimate
    """Its `lo` is the one-sided 95 % limit by Welch: the interval is of 90 %."""
    allowed: float

    @property
    def verdict(self) -> str:
        """The rule, fixed before the runs."""
        if min(mean.n for mean in self.means) < SEEDS:
            return f"not judged before {SEEDS} seeds"
        if self.difference.lo > -self.allowed:
            return "no worse"
        return "worse" if self.difference.hi < -self.allowed else "undecided"


def load(path: Path) -> list[Training]:
    """Empty if there is no file. A last line that was cut off is left out."""
    if not path.is_file():
        return []
    lines = path.read_text().splitlines(keepends=True)
    return [Training(**json.loads(line)) for line in lines if line.endswith("\n")]


def append(path: Path, training: Training) -> None:
    """Append one line after the last whole one."""
    kept = "".join(json.dumps(asdict(each)) + "\n" for each in [*load(path), training])
    partial = path.with_suffix(".partial")
    partial.write_text(kept)
    partial.replace(path)


def missing(trainings: Sequence[Training]) -> list[tuple[str, int]]:
    """The trainings that are missing, seed by seed, so that all arms have about as many."""
    there = {(each.arm, each.seed) for each in trainings}
    return [(arm, seed) for seed in range(SEEDS) for arm in ARMS if (arm, seed) not in there]


def compare(trainings: Sequence[Training]) -> list[Comparison]:
    """One comparison for each pair of arms with at least two seeds each."""
    found = []
    for ours, peer in PAIRS:
        mine, theirs = ([each.outcome for each in trainings if each.arm == arm] for arm in (ours, peer))
        if min(len(mine), len(theirs)) < 2:
            continue
        means = mean_interval(mine), mean_interval(theirs)
        found.append(
            Comparison(
                ours=ours,
                peer=peer,
                means=means,
                difference=welch(mine, theirs, level=0.90),
                allowed=MARGIN * means[1].value,
            )
        )
    return found


def render(trainings: Sequence[Training]) -> str:
    """The comparisons as Markdown."""
    rows = compare(trainings)
    if not rows:
        return "Not measured yet.\n"
    lines = [
        "| ours | seeds | mean return | peer | seeds | mean return | difference, one-sided 95 % limit | allowed | |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        ours, peer = (f"{m.n} | {m.value:.0f} [{m.lo:.0f}, {m.hi:.0f}]" for m in row.means)
        lines.append(
            f"| `like_sb3_{row.ours}` | {ours} | {row.peer} | {peer} | {row.difference.value:.0f}, above "
            f"{row.difference.lo:.0f} | {-row.allowed:.0f} | {row.verdict} |"
        )
    versions = ", ".join(f"{name} {version}" for name, version in sorted(trainings[-1].versions.items()))
    environments = ", ".join(sorted({each.environment for each in trainings}))
    lines.append(
        f"\n{environments}, {STEPS:,} steps; the outcome of a seed is the mean raw return of the episodes that end in "
        f"steps {FROM:,} to {TO:,}. Means over seeds with 95 % intervals (Student's t). The rule, fixed before the "
        f"runs, at {SEEDS} seeds: no worse if the one-sided 95 % limit of the difference (Welch) lies above "
        f"-{MARGIN:.0%} of the peer's mean. {versions}."
    )
    return "\n".join(lines) + "\n"
