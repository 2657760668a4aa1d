"""The picture of all claims that the README shows: a mark for each one, written as SVG from the manifests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape

from robustray.tasks.report.claims import MARKS
from scripts.docs_tables.claims import paper_claims

FILE = "docs/images/claims.svg"
_COLOURS = {"supported": "#00694d", "contradicted": "#a34400", "undecided": "#ffffff"}
"""Those of the reports' pages; an undecided mark is hollow, a contradicted one crossed, so none needs its colour."""
_SIDE, _PITCH, _ROW, _LEFT, _TOP, _MARGIN = 11, 15, 23, 196, 58, 16
"""In pixels: side of a mark, from mark to mark, from row to row, room for names, room for the legend, margin."""
_STYLE = "font-family='system-ui, sans-serif' font-size='13' fill='#1b1e23'"


def picture(folder: str) -> str:
    """The SVG of all claims of the published runs in a folder."""
    return draw({study: [claim["verdict"] for claim in found] for study, found in paper_claims(folder).items()})


def draw(verdicts: Mapping[str, Iterable[str]]) -> str:
    """One row for each study, supported claims first, then contradicted and undecided ones."""
    rows = {study: sorted(found, key=list(MARKS).index) for study, found in verdicts.items()}
    width = _LEFT + max([30, *map(len, rows.values())]) * _PITCH + 44
    height = _TOP + len(rows) * _ROW + _MARGIN
    total = {verdict: sum(row.count(verdict) for row in rows.values()) for verdict in MARKS}
    said = ", ".join(f"{number} {verdict}" for verdict, number in total.items())
    lines = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' width='{width}' height='{height}' "
        f"role='img' aria-label='Claims of the papers tested here: {said}'>",
        f"<rect width='{width}' height='{height}' rx='8' fill='#ffffff' stroke='#dde1e6'/>",
        _text(_MARGIN, 32, "Claims of the papers, tested here"),
    ]
    x = _LEFT + 60
    for verdict, number in total.items():
        lines += [_mark(x, 22, verdict), _text(x + 17, 32, f"{number} {verdict}")]
        x += 130
    for place, (study, row) in enumerate(rows.items()):
        y = _TOP + place * _ROW
        lines.append(_text(_MARGIN, y + 10, study))
        lines += [_mark(_LEFT + number * _PITCH, y, verdict) for number, verdict in enumerate(row)]
        lines.append(_text(_LEFT + len(row) * _PITCH + 5, y + 10, str(len(row))))
    return "\n".join([*lines, "</svg>"]) + "\n"


def _mark(x: int, y: int, verdict: str) -> str:
    side, colour = _SIDE, _COLOURS[verdict]
    square = f"<rect x='{x}' y='{y}' width='{side}' height='{side}' rx='2' fill='{colour}' stroke='#5a626d'/>"
    if verdict != "contradicted":
        return square
    lines = f"M{x + 3} {y + 3}l{side - 6} {side - 6}m0 {6 - side}l{6 - side} {side - 6}"
    return f"{square}<path d='{lines}' stroke='#ffffff' stroke-width='1.6' fill='none'/>"


def _text(x: int, y: int, words: str) -> str:
    return f"<text x='{x}' y='{y}' {_STYLE}>{escape(words)}</text>"
