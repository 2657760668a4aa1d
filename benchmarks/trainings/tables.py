"""The comparisons as Markdown, for the terminal and the documentation. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.trainings.records import (
    ENOUGH_SEEDS,
    LOSSES,
    MARGIN,
    Comparison,
    Difference,
    Document,
    Outcome,
    Record,
    compare,
    differences,
)
from benchmarks.versus.records import ACCEPTED, QUIET
from robustray.tasks.statistics import Estimate

TITLES = {
    "adversarial": "PGD-7 training, linf 8/255, batch 128",
    "standard": "Standard training, batch 128",
}


def render(document: Document) -> str:
    """All tables of what was measured."""
    return speed(document.speed) + "\n" + quality(document.quality)


def speed(records: Sequence[Record]) -> str:
    """One table for each loss, then how it was measured."""
    if not records:
        return "Not measured yet.\n"
    comparisons, parts = compare(records), []
    head = ("model", "ours", "against", "ratio", "aim", "accepted", "", "images/s, ours", "theirs", "first loss, both")
    for loss in LOSSES:
        rows = [comparison for comparison in comparisons if comparison.line.loss == loss]
        if rows:
            parts.append(f"**{TITLES[loss]}**\n\n" + _table(head, [_speed(row) for row in rows]))
    rounds = sorted({comparison.rounds for comparison in comparisons})
    by = " and ".join(sorted({f"{each.by.replace('cpu', 'CPU')} time" for each in comparisons}, reverse=True))
    threads = sorted({record.threads for record in records})
    parts.append(
        f"Ratios and rates by {by} (CPU time where other processes used more than {QUIET:g} CPUs; here at most "
        f"{max(record.foreign_load for record in records):.2f}). Medians of {_span(rounds)} rounds; in brackets the "
        f"smallest and largest ratio within a round. {_span(threads)} thread{'s' if threads != [1] else ''}. Accepted "
        f"is {ACCEPTED:g} of the aim. The first loss is that of the first update, from the same weights. The "
        "DataLoader draws its own crops."
    )
    return "\n\n".join(parts) + "\n"


def _speed(row: Comparison) -> tuple[str, ...]:
    aim = row.line.aim
    return (
        f"`{row.model}`",
        row.line.ours.removeprefix("robustray, "),
        row.line.rival,
        f"{row.ratio:.2f} ({row.low:.2f}–{row.high:.2f})",
        "" if aim is None else f"{aim:.2f}",
        "" if aim is None else f"{ACCEPTED * aim:.2f}",
        row.verdict,
        f"{row.rate:.0f}",
        f"{row.rival_rate:.0f}",
        f"{row.first_loss:.4f} / {row.rival_first_loss:.4f}",
    )


def quality(outcomes: Sequence[Outcome]) -> str:
    """Low precision against fp32, paired by seed; then every training."""
    rows = differences(outcomes)
    if not rows:
        return "Not measured yet.\n"
    parts = []
    for protocol in dict.fromkeys(row.protocol for row in rows):
        here = [row for row in rows if row.protocol == protocol]
        parts.append(f"**{protocol} test images**\n\n" + _differences(here))
        trained = [(o.arm, o.seed, o) for o in outcomes if o.protocol == protocol]
        lines = [
            (arm, str(seed), f"{100 * o.clean / o.images:.2f}", f"{o.accuracy:.2f}")
            for arm, seed, o in sorted(trained, key=lambda each: (each[1], each[0]))
        ]
        parts.append(_table(("", "seed", "accuracy, %", "robust accuracy, %"), lines))
    parts.append(
        "Differences are paired by seed (same initial weights, same batches); 95 % intervals over seeds, Student's t. "
        f"The rule, fixed before the runs: no worse if the whole interval lies above -{MARGIN:g} points, worse if it "
        f"lies below 0, else undecided, as with fewer than {ENOUGH_SEEDS} seeds. Verdicts of the attack are "
        "fp32 for all."
    )
    return "\n\n".join(parts) + "\n"


def _differences(rows: Sequence[Difference]) -> str:
    head = ("", "seeds", "robust accuracy, %", "fp32, %", "difference, points", "")
    lines = [
        (
            row.arm,
            str(len(row.seeds)),
            f"{row.accuracy.value:.2f}",
            f"{row.fp32_accuracy.value:.2f}",
            _interval(row.points),
            row.verdict,
        )
        for row in rows
    ]
    return _table(head, lines)


def _interval(estimate: Estimate) -> str:
    """A value with its interval: -0.12 [-0.80, 0.56]."""
    return f"{estimate.value:.2f} [{estimate.lo:.2f}, {estimate.hi:.2f}]"


def _span(numbers: Sequence[int]) -> str:
    return f"{numbers[0]}" if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])
