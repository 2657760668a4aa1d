"""Timings as a file that grows by rounds, and the ratios read from it. Imports no torch."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.versus.records import QUIET

PPO, TRPO, SB3, RLLIB, RAW = (
    "robustray PPO",
    "robustray TRPO",
    "stable-baselines3 PPO",
    "stock RLlib PPO",
    "mj_step alone",
)
CASES = (PPO, TRPO, SB3, RLLIB, RAW)
AIMS = {SB3: (5.5, 4.0), RLLIB: (9.0, 7.0)}
"""Of our PPO over a peer on Hopper-v5: the aim, and what is accepted."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """One contender in one round."""

    environment: str
    case: str
    round: int
    steps: int
    wall: float
    """Seconds."""
    cpu: float
    """Seconds of the process."""
    foreign_load: float
    """CPUs that other processes used meanwhile, on average."""


def load(path: Path) -> tuple[dict[str, Any], list[Record]]:
    if not path.is_file():
        return {}, []
    read = json.loads(path.read_text())
    return read["machine"], [Record(**each) for each in read["records"]]


def save(path: Path, machine: dict[str, Any], records: Sequence[Record]) -> None:
    """The old file or the new one, never half of it."""
    lines = ",\n".join("  " + json.dumps(asdict(record)) for record in records)
    partial = path.with_suffix(".partial")
    partial.write_text(f'{{\n "machine": {json.dumps(machine)},\n "records": [\n{lines}\n ]\n}}\n')
    partial.replace(path)


def ratio(ours: Sequence[float], theirs: Sequence[float], *, draws: int = 10_000) -> tuple[float, float, float]:
    """(median of the rounds' ratios theirs / ours, and its 95 % percentile bootstrap interval over rounds)."""
    each = np.asarray(theirs) / np.asarray(ours)
    chosen = np.random.default_rng(0).integers(len(each), size=(draws, len(each)))
    low, high = np.quantile(np.median(each[chosen], axis=1), (0.025, 0.975))
    return float(np.median(each)), float(low), float(high)


def render(machine: dict[str, Any], records: Sequence[Record]) -> str:
    """One table per environment: steps per second, and our PPO over each of the others."""
    parts = []
    for environment in dict.fromkeys(record.environment for record in records):
        here = [record for record in records if record.environment == environment]
        load = max(record.foreign_load for record in here)
        by = "wall" if load <= QUIET else "cpu"
        of = {c: {r.round: getattr(r, by) / r.steps for r in here if r.case == c} for c in CASES}
        lines = ["| | rounds | steps/s | our PPO is faster by | aim | accepted | |", "|---|---|---|---|---|---|---|"]
        for case in CASES:
            if not of[case]:
                continue
            rate = 1 / statistics.median(of[case].values())
            shared = sorted(of[PPO].keys() & of[case].keys())
            cells = ["", "", "", ""]
            if case != PPO and shared:
                middle, low, high = ratio([of[PPO][n] for n in shared], [of[case][n] for n in shared])
                cells[0] = f"{middle:.2f} [{low:.2f}, {high:.2f}]"
                if case in AIMS and environment == "Hopper-v5":
                    aim, accepted = AIMS[case]
                    verdict = "aim" if middle >= aim else "accepted" if middle >= accepted else "below"
                    cells[1:] = [f"{aim:g}", f"{accepted:g}", verdict]
            lines.append(f"| {case} | {len(of[case])} | {rate:,.0f} | {' | '.join(cells)} |")
        lines.append(
            f"\n{environment}; by {'wall' if by == 'wall' else 'CPU'} time (other processes used at most {load:.2f} "
            "CPUs); medians over rounds, of paired ratios with 95 % bootstrap intervals."
        )
        parts.append("\n".join(lines))
    versions = ", ".join(f"{name} {version}" for name, version in machine.items())
    return "\n\n".join([*parts, versions]) + "\n" if parts else "Not measured yet.\n"
