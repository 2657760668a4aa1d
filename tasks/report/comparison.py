"""The page that puts two runs of one study side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from robustray.tasks.report.page import fill
from robustray.tasks.study import Findings, Scale


@dataclass(frozen=True, kw_only=True)
class Side:
    """One of the two runs."""

    label: str
    """"A" or "B"."""
    run: str
    answer: str
    size: Scale
    date: str
    """ISO 8601."""
    command: str
    link: str | None
    """The run's page relative to this one; None where no relative path leads there."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Something that is not the same in both runs."""

    kind: str
    """One of `ComparisonFacts.kinds`."""
    name: str
    a: str
    b: str


@dataclass(frozen=True, kw_only=True)
class ComparisonFacts:
    """What is said about the two runs, beside what was found."""

    study: str
    question: str
    sides: tuple[Side, Side]
    kinds: tuple[str, ...]
    """All that was looked at: "setting", "code" ..."""
    differences: tuple[Difference, ...]
    command: str
    date: str
    """ISO 8601."""
    warnings: tuple[str, ...] = ()
    tables: Mapping[str, str] = field(default_factory=dict)
    """Name -> path relative to the page."""

    @property
    def same(self) -> tuple[str, ...]:
        """Kinds in which nothing differs."""
        found = {difference.kind for difference in self.differences}
        return tuple(kind for kind in self.kinds if kind not in found)


def render_comparison(findings: Findings, facts: ComparisonFacts) -> str:
    """One HTML file that needs no other file but those of its links, the two runs' pages."""
    return fill(
        "comparison.html.j2",
        findings,
        tables=facts.tables,
        warnings=(*facts.warnings, *findings.warnings),
        first_sections=[("differences", "What differs")],
        facts=facts,
        evidence=(),
    )
