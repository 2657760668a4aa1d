"""The page over several runs: a card for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from robustray.tasks.report.facts import Scale
from robustray.tasks.report.page import environment, inline_svg
from robustray.tasks.study import Figure


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


def render_index(cards: Sequence[Card], title: str = "Runs") -> str:
    """One HTML file that stands alone but for its links; cards in the given order."""
    shown = [
        {
            "study": card.study,
            "question": card.question,
            "answer": card.answer,
            "size": card.size,
            "date": card.date,
            "link": card.link,
            "thumbnail": inline_svg(card.figure, f"card-{i}") if card.figure else None,
        }
        for i, card in enumerate(cards)
    ]
    return environment().get_template("index.html.j2").render(cards=shown, title=title)
