"""Timings and outcomes of trainings as a file that grows, and the comparisons read from it. Imports no torch."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.versus.records import ACCEPTED, QUIET
from robustray.tasks.statistics import Estimate, mean_interval

MODELS = ("cifar:resnet20", "cifar:resnet18-w16")
LOSSES = ("adversarial", "standard")

FP32, MIXED, BF16 = "robustray, fp32", "robustray, bf16 attack, fp32 update", "robustray, bf16"
LAST, BEST = "robustness, use_best=0", "robustness, use_best=1"
IN_MEMORY, LOADER = "plain loop, batches in memory", "plain loop, DataLoader"
TAKING_PART: Mapping[str, tuple[str, ...]] = {
    "adversarial": (FP32, MIXED, BF16, LAST, BEST),
    "standard": (FP32, BF16, IN_MEMORY, LOADER),
}
"""Contenders in the order of a first round."""

MARGIN = 1.0
"""Percentage points of robust accuracy by which bf16 may be below fp32 and still count as no worse."""
ENOUGH_SEEDS = 3
"""Number of seeds below which no verdict is given."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """One contender in one round."""

    loss: str
    """One of `LOSSES`."""
    model: str
    contender: str
    round: int
    images: int
    """Number of images that were timed: steps times the batch size."""
    threads: int
    wall: float
    """Wall-clock seconds."""
    cpu: float
    """Seconds of this process on all its threads."""
    foreign_load: float
    """CPUs that other processes used meanwhile, on average."""
    first_loss: float
    """Loss of the untrained model on the first batch, as the update sees it. Contenders that do the same work have the
    same loss."""
    code: str
    """Hash of the modules that were measured."""

    @property
    def cell(self) -> tuple[str, str]:
        return self.loss, self.model


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One training that was judged."""

    protocol: str
    """Network, recipe, images: outcomes of other protocols are not compared."""
    arm: str
    """"fp32" or "bf16": of attack and update; "mixed": bf16 attack, fp32 update."""
    seed: int
    images: int
    """Test images."""
    clean: int
    """Number of images classified correctly as they are."""
    robust: int
    """Number of images classified correctly after the attack."""
    code: str

    @property
    def accuracy(self) -> float:
        """Robust accuracy in percent."""
        return 100 * self.robust / self.images


@dataclass(kw_only=True)
class Document:
    """Content of the file of records."""

    machine: dict[str, Any] = field(default_factory=dict)
    speed: list[Record] = field(default_factory=list)
    quality: list[Outcome] = field(default_factory=list)


def load(path: Path) -> Document:
    """Empty if there is no file."""
    if not path.is_file():
        return Document()
    read = json.loads(path.read_text())
    return Document(
        machine=read["machine"],
        speed=[Record(**each) for each in read["speed"]],
        quality=[Outcome(**each) for each in read["quality"]],
    )


def save(path: Path, document: Document) -> None:
    """The old file or the new one, never half of it."""
    path.parent.mkdir(exist_ok=True, parents=True)
    parts = [f' "machine": {json.dumps(document.machine)}']
    for name, rows in (("speed", document.speed), ("quality", document.quality)):
        lines = ",\n".join("  " + json.dumps(asdict(row)) for row in rows)
        parts.append(f' "{name}": [\n{lines}\n ]')
    partial = path.with_suffix(".partial")
    partial.write_text("{\n" + ",\n".join(parts) + "\n}\n")
    partial.replace(path)


# --- Speed ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Line:
    """One line of the table."""

    loss: str
    ours: str
    rival: str
    aim: float | None = None


LINES = (
    Line("adversarial", FP32, LAST, 1.45),
    Line("adversarial", MIXED, LAST),
    Line("adversarial", BF16, LAST, 2.3),
    Line("adversarial", FP32, BEST),
    Line("adversarial", MIXED, BEST),
    Line("adversarial", BF16, BEST),
    Line("standard", FP32, IN_MEMORY),
    Line("standard", BF16, IN_MEMORY),
    Line("standard", FP32, LOADER),
    Line("standard", BF16, LOADER),
)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Ours against a rival, on one model."""

    line: Line
    model: str
    ratio: float
    """Seconds of the rival / seconds of ours, medians over rounds."""
    low: float
    high: float
    """Smallest and largest ratio within a round."""
    by: str
    """"wall", or "cpu" where other processes were busy."""
    rate: float
    """Ours: images per second of `by`."""
    rival_rate: float
    rounds: int
    first_loss: float
    rival_first_loss: float
    foreign_load: float
    """Largest of all timings of the model with this loss."""

    @property
    def verdict(self) -> str:
        """Whether the aim is reached, or 85 % of it."""
        aim = self.line.aim
        if aim is None:
            return ""
        return "aim" if self.ratio >= aim else "accepted" if self.ratio >= ACCEPTED * aim else "below"


def compare(records: Sequence[Record]) -> list[Comparison]:
    """One comparison for each line and model whose two sides have a round in common."""
    found = []
    for line in LINES:
        for model in dict.fromkeys(record.model for record in records if record.loss == line.loss):
            here = [record for record in records if record.cell == (line.loss, model)]
            sides = [{r.round: r for r in here if r.contender == name} for name in (line.ours, line.rival)]
            shared = sorted(sides[0].keys() & sides[1].keys())
            if shared:
                load = max(record.foreign_load for record in here)
                ours, rival = ([side[number] for number in shared] for side in sides)
                found.append(_against(line, model, ours, rival, load))
    return found


def _against(line: Line, model: str, ours: Sequence[Record], rival: Sequence[Record], load: float) -> Comparison:
    by = "wall" if load <= QUIET else "cpu"
    mine, theirs = ([getattr(record, by) for record in side] for side in (ours, rival))
    each = [b / a for a, b in zip(mine, theirs, strict=True)]
    return Comparison(
        line=line,
        model=model,
        ratio=statistics.median(theirs) / statistics.median(mine),
        low=min(each),
        high=max(each),
        by=by,
        rate=ours[0].images / statistics.median(mine),
        rival_rate=rival[0].images / statistics.median(theirs),
        rounds=len(each),
        first_loss=ours[0].first_loss,
        rival_first_loss=rival[0].first_loss,
        foreign_load=load,
    )


# --- Quality ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Difference:
    """An arm minus fp32, paired by seed: same initial weights, same batches."""

    protocol: str
    arm: str
    seeds: tuple[int, ...]
    accuracy: Estimate
    """Robust accuracy of the arm in percent, mean over seeds."""
    fp32_accuracy: Estimate
    points: Estimate
    """Difference in percentage points; 95 % interval over seeds (Student's t), on the same test images."""
    images: int

    @property
    def verdict(self) -> str:
        """Fixed before any run: "no worse" if the whole interval lies above -`MARGIN`, "worse" if it lies below 0."""
        if len(self.seeds) < ENOUGH_SEEDS:
            return "undecided"
        if self.points.lo > -MARGIN:
            return "no worse"
        return "worse" if self.points.hi < 0 else "undecided"


def differences(outcomes: Sequence[Outcome]) -> list[Difference]:
    """One difference for each protocol and arm with at least two seeds that fp32 has too, since one seed has no
    interval."""
    found = []
    for protocol, arm in dict.fromkeys((o.protocol, o.arm) for o in outcomes if o.arm != "fp32"):
        of = {name: {o.seed: o for o in outcomes if (o.protocol, o.arm) == (protocol, name)} for name in (arm, "fp32")}
        seeds = sorted(of[arm].keys() & of["fp32"].keys())
        if len(seeds) < 2:
            continue
        mine, theirs = ([of[name][seed].accuracy for seed in seeds] for name in (arm, "fp32"))
        found.append(
            Difference(
                protocol=protocol,
                arm=arm,
                seeds=tuple(seeds),
                accuracy=mean_interval(mine),
                fp32_accuracy=mean_interval(theirs),
                points=mean_interval([a - b for a, b in zip(mine, theirs, strict=True)]),
                images=of[arm][seeds[0]].images,
            )
        )
    return found
