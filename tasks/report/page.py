"""The page of one run: a single HTML file that needs no other, opens from disk, prints, and reads on a phone."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robustray.tasks.report import numbers
from robustray.tasks.report.claims import MARKS, claim_sections, description_groups
from robustray.tasks.report.facts import SCALES, RunFacts, StepFacts
from robustray.tasks.report.tables import page_table
from robustray.tasks.study import Figure, Findings, Gallery, Picture, Table

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

LIMIT = 3_000_000
"""Bytes up to which a page is pleasant to send and to open."""


def render_page(findings: Findings, facts: RunFacts) -> str:
    """One HTML file. The same findings and facts give the same text.

    Nothing is left out of a page over 3 MB; it says at its top what makes it large.
    """
    page = _render(findings, facts, ())
    size = len(page.encode())
    if size <= LIMIT:
        return page
    return _render(findings, facts, (_too_large(findings, size),))


def _render(findings: Findings, facts: RunFacts, more_warnings: tuple[str, ...]) -> str:
    heads, rows = step_table(facts.steps)
    return fill(
        "page.html.j2",
        findings,
        tables=facts.tables,
        warnings=(*findings.warnings, *facts.warnings, *more_warnings),
        facts=facts,
        scale=SCALES[facts.size],
        day=facts.date[:10],
        paper_link=paper_link(facts.paper),
        step_heads=heads,
        steps=rows,
        evidence=(
            ("Settings", flat(facts.settings), ""),
            ("Data, weights and code (SHA-256)", flat(facts.hashes), "hash"),
            ("Hardware", flat(facts.hardware), ""),
            ("Versions", flat(facts.versions), ""),
        ),
    )


def fill(
    template: str,
    findings: Findings,
    *,
    tables: Mapping[str, str],
    warnings: Sequence[str],
    first_sections: Sequence[tuple[str, str]] = (),
    **more: Any,
) -> str:
    """A page of one kind with everything that was found. tables: name -> path relative to the page.

    first_sections: anchors and words of sections that the template puts before the others.
    """
    from markupsafe import Markup

    script = environment().get_template("script.html.j2").render().strip()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    claimed = claim_sections(findings.claims)
    present = (
        ("main-figure", "Main figure", findings.figures),
        ("in-short", "In short", [table for table in findings.tables if table.lead]),
        *((section["anchor"], section["short"], True) for section in claimed),
        ("described", "Described", findings.descriptions),
        ("figures", "More figures", findings.figures[1:]),
        ("tables", "Tables", [table for table in findings.tables if not table.lead]),
        ("pictures", "Pictures", findings.pictures),
        ("single", "Single images", findings.galleries),
        ("evidence", "Evidence", True),
    )
    return (
        environment()
        .get_template(template)
        .render(
            findings=findings,
            warnings=list(warnings),
            sections=[*first_sections, *((anchor, words) for anchor, words, things in present if things)],
            marks=MARKS,
            claimed=claimed,
            described=description_groups(findings.descriptions),
            figures=[_figure(figure) for figure in findings.figures],
            tables=[page_table(table, tables.get(table.name)) for table in findings.tables],
            pictures=[embedded(picture) for picture in findings.pictures],
            galleries=[_gallery(each) for each in findings.galleries],
            script=Markup(script),
            script_hash=f"sha256-{digest}",
            **more,
        )
    )


@cache
def environment() -> Environment:
    """The templates beside this file; everything put into them is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["value"] = numbers.format_value
    made.filters["interval"] = numbers.format_interval
    return made


def inline_svg(figure: Figure, scope: str, *, narrow: bool = False) -> Markup:
    """The figure's SVG for the middle of a page: its alt text on it, its ids under `scope` so that none comes twice."""
    from markupsafe import Markup, escape

    svg = figure.narrow if narrow else figure.svg
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{scope}-\1"', svg)
    svg = re.sub(r'href="#([^"]+)"', rf'href="#{scope}-\1"', svg)
    svg = re.sub(r"url\(#([^)]+)\)", rf"url(#{scope}-\1)", svg)
    return Markup(svg.replace("<svg", f'<svg aria-label="{escape(figure.alt)}"', 1))


def paper_link(paper: str) -> str | None:
    """The address behind "arXiv:1905.02175", None for a paper that is named in words."""
    match = re.fullmatch(r"arXiv:(\d{4}\.\d{4,5})", paper)
    return f"https://arxiv.org/abs/{match[1]}" if match else None


def flat(nested: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """`{"attack": {"eps": 0.5}}` -> `[("attack.eps", "0.5")]`; lists of plain values stay in one line."""
    lines: list[tuple[str, str]] = []
    for key, value in nested.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            lines += flat(value, f"{name}.")
        elif isinstance(value, list | tuple) and any(isinstance(entry, Mapping) for entry in value):
            for i, entry in enumerate(value):
                lines += flat(entry if isinstance(entry, Mapping) else {"": entry}, f"{name}[{i}].")
        elif isinstance(value, list | tuple):
            lines.append((name, ", ".join(map(numbers.exact, value)) or "none"))
        else:
            lines.append((name, "none" if value is None or value == {} else numbers.exact(value)))
    return lines


def step_table(steps: tuple[StepFacts, ...]) -> tuple[list[str], list[list[str]]]:
    """Heads, and one row per step with its name first. A column that says nothing of any step is left out: a grid,
    say, has no blocks beside its cells, and most runs retry nothing.
    """
    seconds = numbers.pad_decimals([numbers.format_digits(step.seconds, ",.1f") for step in steps])
    speeds = numbers.pad_decimals([numbers.format_digits(step.items_per_second) for step in steps])
    always = {"items", "computed", "from the store"}
    columns = {
        "items": [step.items for step in steps],
        "blocks": [step.blocks for step in steps],
        "computed": [step.computed_blocks for step in steps],
        "from the store": [step.reused_blocks for step in steps],
        "old": [step.old_blocks for step in steps],
        "retried": [step.retried for step in steps],
        "failed items": [step.failed_items for step in steps],
    }
    shown = {
        head: [numbers.format_digits(value) for value in values]
        for head, values in columns.items()
        if head in always or (any(values) and (head != "blocks" or values != columns["items"]))
    }
    if any(step.seconds is not None for step in steps):
        shown |= {"seconds": seconds, "items/s": speeds}
    rows = [list(row) for row in zip([step.name for step in steps], *shown.values(), strict=True)]
    return list(shown), rows


def _figure(figure: Figure) -> dict[str, Any]:
    return {
        "name": figure.name,
        "title": figure.title,
        "caption": figure.caption,
        "svg": inline_svg(figure, figure.name),
        "narrow": inline_svg(figure, f"{figure.name}-narrow", narrow=True) if figure.narrow else None,
    }


def embedded(picture: Picture) -> dict[str, Any]:
    """A picture as a template shows it, with its pixels in the page."""
    return {
        "name": picture.name,
        "title": picture.title,
        "caption": picture.caption,
        "alt": picture.alt,
        "width": picture.width,
        "height": picture.height,
        "src": _source(picture),
    }


def _source(picture: Picture | Gallery) -> str:
    """The address of the pixels, which holds them: as WebP where there is one, since a page has to be sent."""
    kind, pixels = ("webp", picture.webp) if picture.webp else ("png", picture.png)
    return f"data:image/{kind};base64,{base64.b64encode(pixels).decode()}"


def _gallery(gallery: Gallery) -> dict[str, Any]:
    cells = [
        {"model": model, "size": size, "fell": [list(ways) for ways in fell], "seen": list(seen)}
        for (model, size), (fell, seen) in gallery.cells.items()
    ]
    shown = {
        "side": gallery.side,
        "perRow": gallery.per_row,
        "classes": list(gallery.classes),
        "indices": list(gallery.indices),
        "labels": list(gallery.labels),
        "ways": list(gallery.ways),
        "cells": cells,
        "start": list(gallery.start),
    }
    return {
        "name": gallery.name,
        "title": gallery.title,
        "caption": gallery.caption,
        "src": _source(gallery),
        "shown": shown,
    }


def _too_large(findings: Findings, size: int) -> str:
    def weight(part: Figure | Picture | Gallery | Table) -> int:
        if isinstance(part, Figure):
            return len(part.svg.encode()) + len(part.narrow.encode())
        return len(_source(part)) if isinstance(part, Picture | Gallery) else int(part.frame.size) * 60 * part.on_page

    parts: list[Figure | Picture | Gallery | Table] = [*findings.figures, *findings.pictures, *findings.galleries]
    parts += findings.tables
    largest = max(parts, key=weight, default=None)
    named = f"; its largest part is {largest.name!r}" if largest else ""
    return f"This page has {size / 1e6:.1f} MB, more than the {LIMIT / 1e6:.0f} MB that are pleasant to send{named}."
