"""Timings as a file that grows by rounds, and the ratios read from it. Imports no torch."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
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
"""Speed of our PPO over that of a peer on Hopper-v5: the aim, and what is accepted."""


ONE_TRIAL, TWO_TRIALS = "one trial", "two trials at once"
ONE_PROCESS, TWO_RUNNERS = "one process", "two env runners"
OUR_TRIAL, LOCAL, REMOTE, TUNE_TRIAL = (
    "robustray PPO on RLlib",
    "stock RLlib PPO, local runner",
    "stock RLlib PPO, its two default runners",
    "`robustray tune`",
)
SIMULATOR, GYMNASIUM, MADE, OUR_DOOR, ROLLOUT, UPDATE, FRAME = (
    "`mj_step`",
    "Gymnasium's environment",
    "the wrappers of `gymnasium.make`",
    "our checks of what it returns",
    "policy, filters, keeping the steps",
    "the update",
    "RLlib's frame, metrics, the curve",
)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The bound that was set for the ratio of one case over another; None where there is none."""

    case: str
    over: str
    bound: float | None
    at_most: bool = False


@dataclass(frozen=True, kw_only=True)
class Section:
    """A measurement other than speed in one process."""

    unit: str
    cases: tuple[str, ...]
    asked: tuple[Asked, ...]
    about: str
    """Begins the line below the table."""


SECTIONS = {
    "trials": Section(
        unit="steps/s",
        cases=(ONE_TRIAL, TWO_TRIALS),
        asked=(Asked(case=TWO_TRIALS, over=ONE_TRIAL, bound=1.5),),
        about="Hopper-v5, by wall time on two cores, eight iterations of each trial a round",
    ),
    "runners": Section(
        unit="steps/s",
        cases=(ONE_PROCESS, TWO_RUNNERS),
        asked=(Asked(case=TWO_RUNNERS, over=ONE_PROCESS, bound=1.7),),
        about="Hopper-v5 with 5 ms more a step, four streams of 512 steps, by wall time",
    ),
    "memory": Section(
        unit="MiB at the peak",
        cases=(REMOTE, LOCAL, OUR_TRIAL, TUNE_TRIAL),
        asked=(
            Asked(case=OUR_TRIAL, over=REMOTE, bound=0.6, at_most=True),
            Asked(case=OUR_TRIAL, over=LOCAL, bound=1.0, at_most=True),
            Asked(case=TUNE_TRIAL, over=LOCAL, bound=None),
        ),
        about="Memory that only the trial's processes have (USS), the largest of their sums, taken ten times a second; "
        "Hopper-v5, five iterations",
    ),
}


@dataclass(frozen=True, kw_only=True)
class Record:
    """One contender in one round."""

    environment: str
    case: str
    round: int
    steps: int
    wall: float
    """Wall-clock seconds."""
    cpu: float
    """CPU-seconds of the process."""
    foreign_load: float
    """CPUs that other processes used meanwhile, on average."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One case of a section in one round."""

    section: str
    case: str
    round: int
    value: float
    """Measured value in the section's unit."""
    foreign_load: float


@dataclass(kw_only=True)
class Document:
    """Content of the file of records."""

    machine: dict[str, Any] = field(default_factory=dict)
    """Versions of the software and the machine."""
    records: list[Record] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)


def load(path: Path) -> Document:
    if not path.is_file():
        return Document()
    read = json.loads(path.read_text())
    return Document(
        machine=read["machine"],
        records=[Record(**each) for each in read["records"]],
        samples=[Sample(**each) for each in read["samples"]],
    )


def save(path: Path, document: Document) -> None:
    """The old file or the new one, never half of it."""

    def lines(rows: Sequence[Any]) -> str:
        return ",\n".join("  " + json.dumps(asdict(row)) for row in rows)

    partial = path.with_suffix(".partial")
    partial.write_text(
        f'{{\n "machine": {json.dumps(document.machine)},\n "records": [\n{lines(document.records)}\n ],\n '
        f'"samples": [\n{lines(document.samples)}\n ]\n}}\n'
    )
    partial.replace(path)


def ratio(ours: Sequence[float], theirs: Sequence[float], *, draws: int = 10_000) -> tuple[float, float, float]:
    """(median of the rounds' ratios theirs / ours, and its 95 % percentile bootstrap interval over rounds)."""
    each = np.asarray(theirs) / np.asarray(ours)
    chosen = np.random.default_rng(0).integers(len(each), size=(draws, len(each)))
    low, high = np.quantile(np.median(each[chosen], axis=1), (0.025, 0.975))
    return float(np.median(each)), float(low), float(high)


def render(document: Document) -> str:
    """One table per environment: steps per second, and our PPO over each of the others."""
    parts, records = [], document.records
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
    return "\n\n".join([*parts, _versions(document)]) + "\n" if parts else "Not measured yet.\n"


def render_section(document: Document, name: str) -> str:
    """Each case's median and range over rounds, and the bound that was set for the ratio of two."""
    if name == "shares":
        return render_shares(document)
    section = SECTIONS[name]
    of = {case: {s.round: s for s in document.samples if (s.section, s.case) == (name, case)} for case in section.cases}
    lines = [f"| | rounds | {section.unit} (range) | | ratio | asked | |", "|---|---|---|---|---|---|---|"]
    for case in section.cases:
        values = [sample.value for sample in of[case].values()]
        if not values:
            return "Not measured yet.\n"
        spread = f"{statistics.median(values):,.0f} ({min(values):,.0f}–{max(values):,.0f})"
        rows = [["", "", "", ""]]
        for asked in (each for each in section.asked if each.case == case):
            shared = sorted(of[case].keys() & of[asked.over].keys())
            middle, low, high = ratio([of[asked.over][n].value for n in shared], [of[case][n].value for n in shared])
            met = asked.bound is None or (middle <= asked.bound if asked.at_most else middle >= asked.bound)
            bound = "" if asked.bound is None else f"{'≤' if asked.at_most else '≥'} {asked.bound:g}"
            verdict = "" if asked.bound is None else "met" if met else "not met"
            rows.append([f"over {asked.over}", f"{middle:.2f} [{low:.2f}, {high:.2f}]", bound, verdict])
        for number, cells in enumerate(rows[1:] or rows):
            first = [case, str(len(values)), spread] if not number else ["", "", ""]
            lines.append(f"| {' | '.join([*first, *cells])} |")
    loads = [sample.foreign_load for each in of.values() for sample in each.values()]
    lines.append(
        f"\n{section.about}; other processes used {statistics.median(loads):.2f} CPUs (at most {max(loads):.2f}); "
        "medians over rounds, of paired ratios with 95 % bootstrap intervals."
    )
    return "\n".join(lines) + "\n"


LAYERS = (SIMULATOR, GYMNASIUM, MADE, OUR_DOOR, ROLLOUT)
"""Layers of an iteration, each with all before it; the last one is a whole rollout."""


def render_shares(document: Document) -> str:
    """What each layer adds to an iteration, and how far that leaves it from the aims."""
    found = {
        case: np.asarray([s.value for s in document.samples if (s.section, s.case) == ("shares", case)])
        for case in (*LAYERS, UPDATE, FRAME)
    }
    if not all(len(values) for values in found.values()):
        return "Not measured yet.\n"
    adds = {SIMULATOR: found[SIMULATOR]}
    adds |= {case: found[case] - found[before] for before, case in pairwise(LAYERS)}
    adds |= {UPDATE: found[UPDATE], FRAME: found[FRAME] - found[ROLLOUT] - found[UPDATE]}
    whole = float(np.median(found[FRAME]))
    lines = ["| | µs a step (range) | share |", "|---|---|---|"]
    for case, values in adds.items():
        middle = float(np.median(values))
        lines.append(f"| {case} | {middle:.1f} ({values.min():.1f}–{values.max():.1f}) | {middle / whole:.0%} |")
    lines.append(f"| an iteration of `Algorithm.train()` | {whole:.1f} | |")
    loads = [s.foreign_load for s in document.samples if s.section == "shares"]
    lines.append(
        f"\nMedians of {len(found[FRAME])} rounds, of differences within rounds, by CPU time; Hopper-v5 after 30 "
        f"updates, the same 2,048 steps replayed; other processes used at most {max(loads):.2f} CPUs."
    )
    fixed = float(np.median(found[GYMNASIUM]))
    for peer, (aim, _) in AIMS.items():
        times = [r.cpu / r.steps * 1e6 for r in document.records if (r.environment, r.case) == ("Hopper-v5", peer)]
        if times:
            theirs = statistics.median(times)
            lines.append(
                f"\n{peer} takes {theirs:.0f} µs a step. To be {aim:g} times as fast, a step may take "
                f"{theirs / aim:.0f} µs; simulator and Gymnasium's environment take {fixed:.0f} of them, which leaves "
                f"{theirs / aim - fixed:.0f} µs for all else, where ours takes {whole - fixed:.0f}. With nothing else "
                f"at all it would be {theirs / fixed:.1f} times."
            )
    return "\n".join(lines) + "\n"


def _versions(document: Document) -> str:
    return ", ".join(f"{name} {version}" for name, version in document.machine.items())
