"""Networks as judges of images that other networks made: a judge never sees its own work."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from robustray.tasks.errors import InputError

if TYPE_CHECKING:
    from robustray.tasks.lab.protocol import Reference


def check_judge(judge: Reference, generators: Iterable[Reference]) -> None:
    """Raises: InputError for a judge that is one of the networks it judges, also under another name."""
    for generator in generators:
        if generator.content_hash == judge.content_hash:
            also = "" if generator.name == judge.name else f" ({generator.name} has the same weights)"
            raise InputError(
                f"the judge {judge.name} is itself judged{also}: images made by a network always please it; "
                "give one of another architecture or seed"
            )
