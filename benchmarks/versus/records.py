"""Timings of attacks as a file that grows round by round, and the comparisons read from it. Imports no torch."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

OURS = "robustray"
ACCEPTED = 0.85
"""Share of an aim that is accepted, as a rule."""
QUIET = 0.15
"""CPUs that others may use before wall time is no longer believed."""
EQUAL_POINTS = 1.0
"""Percentage points by which robust accuracies may differ and still count as equal; one image always may."""

STANDARD = ("cifar:resnet20",)
ROBUST = ("small:linf8", "small:l2_05")
CONSTRUCTED = (*STANDARD, "small:l2_05")
"""Models with whose latents images are constructed."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """One contender in one round."""

    kind: str
    """One of `MEASURED`."""
    model: str
    norm: str
    contender: str
    precision: str
    """"fp32" or "bf16", of the gradients."""
    round: int
    images: int
    threads: int
    wall: float
    """Wall-clock seconds."""
    cpu: float
    """Seconds of this process on all its threads."""
    foreign_load: float
    """CPUs that other processes used meanwhile, on average."""
    standing: str
    """Hexadecimal: bit i is 1 where the unmodified model in fp32 classifies the result of image i as its label."""
    code: str
    """Hash of the attack modules that were measured."""

    @property
    def cell(self) -> Cell:
        return Cell(self.kind, self.model, self.norm)

    @property
    def stand(self) -> list[bool]:
        bits = int(self.standing or "0", 16)
        return [bool(bits >> i & 1) for i in range(self.images)]

    @property
    def accuracy(self) -> float:
        """Accuracy in percent."""
        return 100 * sum(self.stand) / self.images


@dataclass(frozen=True, order=True)
class Cell:
    """What is compared with what: all records of a cell were taken in the same rounds."""

    kind: str
    model: str
    norm: str


@dataclass(frozen=True)
class Line:
    """One line of the table of aims."""

    kind: str
    """Kind of the records that it compares: two lines may share the rounds of their rivals."""
    words: str
    ours: str = OURS
    """The contender that is ours."""
    aims: Mapping[tuple[str, str], float] = field(default_factory=dict)
    """Aims by ("standard" or "robust", precision): how many times the speed of the fastest rival."""
    accepted: float = ACCEPTED
    """Share of the aim that is accepted."""
    all_steps: bool = False
    """Its time is that of gradient steps: it ends where their convolutions do."""
    rivals: tuple[str, ...] = ()
    """Contenders that it is compared with; none: all that are not ours."""

    def aim(self, model: str, precision: str) -> float | None:
        return self.aims.get(("standard" if model in STANDARD else "robust", precision))


LAST, FIRST = f"{OURS}, last iterate", f"{OURS}, first success"
BOTH = ("standard", "robust")
MEASURED = ("pgd", "apgd", "autoattack", "bound", "strength", "sharded", "construct")
MATCHING = "Latents matched in 100 l2 steps (robust accuracy: images that end farther than 0.3 from theirs)"
_TWICE = {(m, p): a for m in BOTH for p, a in (("fp32", 1.3), ("bf16", 2.0))}
LINES = (
    Line(
        "pgd",
        "PGD-20, last iterate",
        LAST,
        {(m, p): a for m in BOTH for p, a in (("fp32", 1.5), ("bf16", 2.7))},
        all_steps=True,
    ),
    Line("pgd", "PGD-20, exit at first success", FIRST, {("standard", "bf16"): 15.0, ("robust", "bf16"): 3.5}),
    Line("apgd", "APGD-CE, 100 steps", aims={("robust", "fp32"): 2.7, ("robust", "bf16"): 4.5}, all_steps=True),
    Line("autoattack", "AutoAttack standard", aims={("robust", "bf16"): 3.0}),
    Line("bound", "Gradient step, share of its convolutions alone", aims={(m, "bf16"): 0.8 for m in BOTH}),
    Line("sharded", "Two actors, share of the best without a lab", aims={("standard", "bf16"): 0.9}, accepted=1.0),
    *(
        Line("construct", f"{MATCHING}, against {rival}", aims=_TWICE, rivals=(rival,))
        for rival in ("robustness", "plain loop")
    ),
    Line("construct", f"{MATCHING}, against a plain loop under autocast", rivals=("plain loop, autocast",)),
)
PASSES: Mapping[str, int] = {"bound": 20}
"""Gradient passes that a record times, where the rate is that of passes and not of whole attacks."""


def standing(stand: Sequence[bool]) -> str:
    """Which images remain correct, in hexadecimal as in `Record.standing`."""
    return f"{sum(1 << i for i, stands in enumerate(stand) if stands):x}"


# --- The file ---------------------------------------------------------------------------------------------------------


def load(path: Path) -> tuple[dict[str, Any], list[Record]]:
    """The machine and all records; empty if there is no file."""
    if not path.is_file():
        return {}, []
    document = json.loads(path.read_text())
    return document["machine"], [Record(**record) for record in document["records"]]


def save(path: Path, machine: Mapping[str, Any], records: Sequence[Record]) -> None:
    path.parent.mkdir(exist_ok=True, parents=True)
    lines = ",\n".join("  " + json.dumps(asdict(record)) for record in records)
    text = f'{{\n "machine": {json.dumps(machine)},\n "records": [\n{lines}\n ]\n}}\n'
    partial = path.with_suffix(".partial")
    partial.write_text(text)
    partial.replace(path)


def still_good(records: Sequence[Record], cell: Cell, images: int, threads: int, code: str) -> list[Record]:
    """The records of a cell that new rounds may be added to: same images, threads and code."""
    wanted = (cell, images, threads, code)
    return [r for r in records if (r.cell, r.images, r.threads, r.code) == wanted]


# --- Comparisons ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Ours in one precision against its fastest rival of the cell."""

    line: Line
    cell: Cell
    precision: str
    rival: str
    ratio: float
    """Seconds of the rival / seconds of ours, medians over rounds."""
    low: float
    high: float
    """Smallest and largest ratio within a round."""
    by: str
    """"wall", or "cpu" where other processes were busy."""
    rate: float
    """Ours: images (passes of an image, for "bound") per second of `by`."""
    rounds: int
    images: int
    accuracy: float
    rival_accuracy: float
    """Percent of the images that remain correct; 0 where it means nothing."""
    same_images: float
    """Percent of the images on which both agree whether they remain correct."""
    foreign_load: float
    """Largest load by other processes over all timings."""
    ceiling: float | None = None
    """The ratio if a gradient step took no longer than its convolutions alone; None where "bound" was not measured, or
    where other things take time too."""

    @property
    def aim(self) -> float | None:
        return self.line.aim(self.cell.model, self.precision)

    @property
    def verdict(self) -> str:
        """Whether the aim is reached, or enough of it."""
        if self.aim is None:
            return ""
        return (
            "aim" if self.ratio >= self.aim else "accepted" if self.ratio >= self.line.accepted * self.aim else "below"
        )


def compare(records: Sequence[Record]) -> list[Comparison]:
    """One comparison for each line, cell and precision. "strength" has no speeds and no line.

    A rival whose robust accuracy is more than a point, and an image, above ours (the median of each) does less and does
    not count.
    """
    found = []
    for line in LINES:
        for cell in sorted({record.cell for record in records if record.kind == line.kind}):
            mine = [record for record in records if record.cell == cell]
            for precision in ("fp32", "bf16"):
                ours = _rounds(r for r in mine if r.contender == line.ours and r.precision == precision)
                # parts of ours are compared in one precision; other libraries are what they are
                rest = [r for r in mine if not r.contender.startswith(OURS)]
                if line.kind in ("bound", "sharded"):
                    rest = [r for r in rest if r.precision == precision]
                if line.rivals:
                    rest = [r for r in rest if r.contender in line.rivals]
                if ours and rest:
                    found += _against(line, cell, precision, ours, rest)
    shares = {(c.cell.model, c.cell.norm, c.precision): c.ratio for c in found if c.line.kind == "bound"}
    return [_with_ceiling(c, shares.get((c.cell.model, c.cell.norm, c.precision))) for c in found]


def _with_ceiling(comparison: Comparison, share: float | None) -> Comparison:
    """share: of a gradient step's time that its convolutions alone take."""
    if share is None or not comparison.line.all_steps:
        return comparison
    return replace(comparison, ceiling=comparison.ratio / share)


def _against(
    line: Line, cell: Cell, precision: str, ours: dict[int, Record], others: Sequence[Record]
) -> list[Comparison]:
    load = max(record.foreign_load for record in [*ours.values(), *others])
    by = "wall" if load <= QUIET or cell.kind == "sharded" else "cpu"

    def seconds(record: Record) -> float:
        return record.wall if by == "wall" else record.cpu

    def middle(rounds: Mapping[int, Record]) -> float:
        return statistics.median(seconds(record) for record in rounds.values())

    accuracy = statistics.median(r.accuracy for r in ours.values())
    equal = max(EQUAL_POINTS, 100 / others[0].images) + 1e-9
    rivals = {}
    for name in dict.fromkeys(record.contender for record in others):
        rounds = _rounds(r for r in others if r.contender == name)
        if statistics.median(r.accuracy for r in rounds.values()) <= accuracy + equal:
            rivals[name] = rounds
    if not rivals:
        return []
    rival = min(rivals, key=lambda name: middle(rivals[name]))
    shared = sorted(ours.keys() & rivals[rival].keys())
    each = [seconds(rivals[rival][number]) / seconds(ours[number]) for number in shared]
    first = ours[shared[0]]
    both = zip(first.stand, rivals[rival][shared[0]].stand, strict=True)
    return [
        Comparison(
            line=line,
            cell=cell,
            precision=precision,
            rival=rival,
            ratio=middle(rivals[rival]) / middle(ours),
            low=min(each),
            high=max(each),
            by=by,
            rate=first.images * PASSES.get(cell.kind, 1) / middle(ours),
            rounds=len(shared),
            images=first.images,
            accuracy=accuracy,
            rival_accuracy=statistics.median(r.accuracy for r in rivals[rival].values()),
            same_images=100 * statistics.fmean(a == b for a, b in both),
            foreign_load=load,
        )
    ]


def _rounds(records: Iterable[Record]) -> dict[int, Record]:
    return {record.round: record for record in records}
