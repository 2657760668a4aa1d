"""The page over several runs: a card for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from robustray.tasks.report.claims import MARKS
from robustray.tasks.report.page import environment, flat, inline_svg
from robustray.tasks.study import Figure, Scale


@dataclass(frozen=True, kw_only=True)
class Card:
    """One run on the index page."""

    study: str
    question: str
    answer: str
    size: Scale
    date: str
    """ISO 8601."""
    link: str
    """Path of the run's page relative to the index page."""
    figure: Figure | None = None
    """The main figure, shown small."""
    run: str = ""
    """Its id."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Resolved settings. Those that differ among the cards of one study are shown."""
    verdicts: Sequence[str] = ()
    """Of the paper's claims that the run tested, one each."""


def render_index(cards: Sequence[Card], title: str = "Runs") -> str:
    """One HTML file that needs no other file but those of its links; cards are in the given order."""
    shown = [
        {
            "study": card.study,
            "question": card.question,
            "answer": card.answer,
            "size": card.size,
            "date": card.date,
            "link": card.link,
            "run": card.run,
            "settings": own,
            "verdicts": [(each, list(card.verdicts).count(each)) for each in MARKS if each in card.verdicts],
            "thumbnail": inline_svg(card.figure, f"card-{i}") if card.figure else None,
        }
        for i, (card, own) in enumerate(zip(cards, _telling(cards), strict=True))
    ]
    return environment().get_template("index.html.j2").render(cards=shown, title=title, marks=MARKS)


def _telling(cards: Sequence[Card]) -> list[list[tuple[str, str]]]:
    """For each card, its settings that are not the same in all cards of its study."""
    plain = [dict(flat(card.settings)) for card in cards]
    shown = []
    for card, own in zip(cards, plain, strict=True):
        others = [settings for other, settings in zip(cards, plain, strict=True) if other.study == card.study]
        shown.append([(name, words) for name, words in own.items() if any(o.get(name) != words for o in others)])
    return shown
