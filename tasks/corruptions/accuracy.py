"""Accuracy by corruption and severity: what was right, image by image, and the means that may be taken of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from robustray.tasks.corruptions.settings import Corruption
from robustray.tasks.corruptions.tables import CORRUPTIONS, Table
from robustray.tasks.report.numbers import format_estimate
from robustray.tasks.statistics import Estimate, mean_interval, proportion

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True, eq=False)
class Corrupted:
    """One model on the corrupted images of one data set."""

    table: Table
    """Whose parameters."""
    correct: Mapping[tuple[str, int], NDArray[np.bool_]]
    """(corruption, severity) -> (n,), whether each image was classified correctly; all severities of each."""

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The corruptions, in their order."""
        return tuple(dict.fromkeys(name for name, _ in self.correct))

    @cached_property
    def severities(self) -> tuple[int, ...]:
        return tuple(sorted({severity for _, severity in self.correct}))

    @property
    def n(self) -> int:
        """Images."""
        return len(next(iter(self.correct.values())))

    def at(self, name: str, severity: int) -> Estimate:
        """Accuracy in one cell, with Wilson's 95 % interval over images."""
        return proportion(self.correct[name, severity])

    def over(self, names: Sequence[str], severities: Sequence[int]) -> Estimate:
        """Mean accuracy over cells. 95 % interval (Student's t) over images, each with its share of cells: corruptions
        and severities are taken as they are, not as a sample of others. A single cell is `at`."""
        if len(names) == len(severities) == 1:
            return self.at(names[0], severities[0])
        found = mean_interval(np.mean([self.correct[name, s] for name in names for s in severities], axis=0))
        return Estimate(value=found.value, lo=max(0.0, found.lo), hi=min(1.0, found.hi), n=found.n)

    @cached_property
    def counted(self) -> tuple[str, ...]:
        """The corruptions that the mean is over."""
        return tuple(name for name in self.names if name in CORRUPTIONS)

    @cached_property
    def mean(self) -> Estimate | None:
        """Mean accuracy over severities and over those of the 14 corruptions that are there; None without any."""
        return self.over(self.counted, self.severities) if self.counted else None

    @property
    def error(self) -> Estimate | None:
        """What `mean` leaves of 1: the mean corruption error, not normalised."""
        mean = self.mean
        return mean and Estimate(value=1 - mean.value, lo=1 - mean.hi, hi=1 - mean.lo, n=mean.n)

    @property
    def mean_words(self) -> str:
        """What `mean` is over. Never "mCE": that is over 15 corruptions, relative to AlexNet's errors."""
        all_of_them = set(self.counted) == set(CORRUPTIONS)
        return "mean over the 14 corruptions" if all_of_them else f"mean over {len(self.counted)} of 14 corruptions"

    def as_text(self) -> str:
        """Percent by corruption and severity, and the means with their intervals."""
        rows = [(name, [name]) for name in self.names] + [(self.mean_words, self.counted)] * bool(self.counted)
        wide = max(len(words) for words, _ in rows)
        lines = [
            f"  {f'accuracy in %, {self.table}':<{wide}}  " + "".join(f"{s:>6}" for s in self.severities) + "  mean"
        ]
        for words, names in rows:
            cells = "".join(f"{100 * self.over(names, [severity]).value:6.1f}" for severity in self.severities)
            mean = self.over(names, self.severities)
            lines.append(f"  {words:<{wide}}  {cells}  {format_estimate(mean.value, mean.interval, 'percent')}")
        if self.error:
            words = f"error, {self.mean_words}: {format_estimate(self.error.value, self.error.interval, 'percent')}"
            lines.append(f"  {words}")
        return "\n".join(lines)

    def to_frame(self) -> pd.DataFrame:
        """One row per number: corruption, severity, accuracy, lo, hi, n. Severity 0 is the mean over severities; the
        corruption of the last row is `mean_words`."""
        import pandas as pd

        rows = [
            (name, severity, self.at(name, severity) if severity else self.over([name], self.severities))
            for name in self.names
            for severity in (*self.severities, 0)
        ]
        if self.mean:
            rows.append((self.mean_words, 0, self.mean))
        return pd.DataFrame(
            [(name, severity, found.value, found.lo, found.hi, found.n) for name, severity, found in rows],
            columns=["corruption", "severity", "accuracy", "lo", "hi", "n"],
        )


def from_rows(rows: Mapping[Corruption, pd.DataFrame]) -> Corrupted:
    """Of the rows of `blocks.corrupted_block`. An image that was given up in one cell is left out of all."""
    import pandas as pd

    found = {(each.name, each.severity): frame.set_index("index").correct for each, frame in rows.items()}
    whole = pd.concat(found, axis=1).dropna().astype(bool).sort_index()
    return Corrupted(
        table=next(iter(rows)).table,
        correct={key: whole[key].to_numpy() for key in found},
    )
