"""Puts the parts of a report together as `Findings`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeAlias, TypeVar

from robustray.tasks.study import Claim, Description, Document, Figure, Findings, Gallery, Picture, Table

Piece: TypeAlias = Claim | Description | Table | Figure | Picture | Gallery | Document
Part: TypeAlias = "Piece | str | Iterable[Part] | None"
"""A string is a warning; None is left out, so a part that does not apply needs no `if` around it."""

T = TypeVar("T")


def compose(answer: str, *parts: Part) -> Findings:
    """Findings of parts in the order of the page, nested as they come: `compose(answer, claims(r), tables(r), ...)`.

    Raises: ValueError for two tables, or two figures or pictures, of one name: one would overwrite the other's file.
    """
    flat = list(_flat(parts))

    def of(kind: type[T]) -> tuple[T, ...]:
        return tuple(part for part in flat if isinstance(part, kind))

    tables, figures, pictures = of(Table), of(Figure), of(Picture)
    _distinct("tables", [table.name for table in tables])
    documents = of(Document)
    _distinct("documents", [document.path for document in documents])
    _distinct("figures", [figure.name for figure in figures] + [picture.name for picture in pictures])
    return Findings(
        answer=answer,
        claims=of(Claim),
        descriptions=of(Description),
        tables=tables,
        figures=figures,
        pictures=pictures,
        galleries=of(Gallery),
        documents=documents,
        warnings=tuple(dict.fromkeys(of(str))),
    )


def _flat(parts: Iterable[Part]) -> Iterator[Piece | str]:
    for part in parts:
        if isinstance(part, Piece | str):
            yield part
        elif part is not None:
            yield from _flat(part)


def _distinct(what: str, names: list[str]) -> None:
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ValueError(f"two {what} are named {sorted(twice)[0]!r}")
