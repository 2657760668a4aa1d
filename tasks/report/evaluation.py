"""The page of one `robustray evaluate`: accuracy of a model as it is, under attacks and under corruptions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from robustray.tasks.report.page import fill
from robustray.tasks.study import Findings


@dataclass(frozen=True, kw_only=True)
class EvaluationFacts:
    """What is said about an evaluation, beside what it found."""

    model: str
    data: str
    """Both as the user wrote them."""
    content_hash: str
    """SHA-256 (hex) of the data."""
    seed: int
    command: str
    date: str
    """ISO 8601."""
    tables: Mapping[str, str] = field(default_factory=dict)
    """Name -> path relative to the page."""


def render_evaluation(findings: Findings, facts: EvaluationFacts) -> str:
    """One HTML file that needs no other file but those of its links, the tables beside it."""
    return fill(
        "evaluation.html.j2", findings, tables=facts.tables, warnings=findings.warnings, facts=facts, evidence=()
    )
