"""The page that shows a data set: a contact sheet, what is known of single images, and counts by class."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field

from robustray.tasks.report.page import embedded, fill
from robustray.tasks.study import Findings


@dataclass(frozen=True, kw_only=True)
class DataFacts:
    """What is said about the data set, beside what the tables and pictures show."""

    name: str
    """The name as the user wrote it: "scenes:test,multi=0.3"."""
    content_hash: str
    """SHA-256 (hex), as `ImageData` is hashed for the keys of steps."""
    command: str
    date: str
    """ISO 8601."""
    notes: tuple[str, ...] = ()
    """What was done to the pictures when they were read."""
    tables: Mapping[str, str] = field(default_factory=dict)
    """Name -> path relative to the page."""


def render_dataset(findings: Findings, facts: DataFacts) -> str:
    """One HTML file that needs no other file but those of its links, the tables beside it."""
    return fill(
        "dataset.html.j2",
        dataclasses.replace(findings, pictures=()),  # they stand before the tables here
        tables=facts.tables,
        warnings=findings.warnings,
        first_sections=[("sheets", "Pictures")],
        facts=facts,
        sheets=[embedded(picture) for picture in findings.pictures],
        evidence=(),
    )
