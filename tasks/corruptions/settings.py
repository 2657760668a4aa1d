"""What a study's settings say about corruptions, and one of them by itself. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from robustray.tasks.corruptions.tables import ALL, CORRUPTIONS, FROST, SEVERITIES, TABLES, Table
from robustray.tasks.errors import InputError
from robustray.tasks.kit import checks

EVERY = "all"
"""The word for `tables.CORRUPTIONS`."""
AUTO: tuple[Literal["auto"], ...] = ("auto",)
LARGE = 100
"""Pixels of the shorter side from which on "auto" takes the parameters of ImageNet-C (224), not of CIFAR-10-C (32)."""


@dataclass(frozen=True, kw_only=True)
class Corruption:
    """One corruption at one severity: settings of `blocks.corrupted_block`."""

    name: str
    severity: int
    table: Table


@dataclass(frozen=True, kw_only=True)
class Corrupting:
    """Settings of a study that also looks at corrupted images; it may inherit from these."""

    corruptions: tuple[str, ...] = ()
    """Common corruptions: all (the 14 of ImageNet-C and CIFAR-10-C that need no photographs), or gaussian-noise,
    shot-noise, impulse-noise, defocus-blur, glass-blur, motion-blur, zoom-blur, snow, fog, brightness, contrast,
    elastic-transform, pixelate, jpeg-compression; procedural-frost stands apart. No corruption if not given."""
    severities: tuple[int, ...] = SEVERITIES
    """Severities of each corruption, 1 to 5."""
    table: Literal["auto", "imagenet-c", "cifar10-c"] = "auto"
    """Whose parameters of corruptions: cifar10-c is made for images of 32 pixels, imagenet-c for 224; auto is
    imagenet-c from 100 pixels up."""

    def __post_init__(self) -> None:
        named(self.corruptions)
        graded(self.severities)
        checks.choices((*AUTO, *TABLES), table=self.table)

    def cells(self, height: int, width: int) -> list[Corruption]:
        """Every corruption at every severity, for images of this size."""
        table = table_for(self.table, height, width)
        return [
            Corruption(name=name, severity=severity, table=table)
            for name in named(self.corruptions)
            for severity in self.severities
        ]

    @property
    def num_cells(self) -> int:
        """How many corrupted versions of each image are looked at."""
        return len(named(self.corruptions)) * len(self.severities)

    def idle(self) -> dict[str, str]:
        """Fields that do nothing beside the others, and why (`study.refuse_idle`)."""
        unused = "there are no corruptions: name some, or all, with --corruptions"
        return {} if self.corruptions else dict.fromkeys(("severities", "table"), unused)


def named(given: Sequence[str]) -> tuple[str, ...]:
    """The corruptions that the words mean; "all" may stand beside the frost. Raises: InputError."""
    if "frost" in given:
        raise InputError(f"corruptions: frost is made of photographs, which are not here; {FROST} is a computed one")
    checks.choices((EVERY, *ALL), corruptions=given)
    if EVERY in given and (more := next((word for word in given if word in CORRUPTIONS), None)):
        raise InputError(f"corruptions: {EVERY} names {more} already")
    if given:
        checks.several(corruptions=given)
    return tuple(name for word in given for name in (CORRUPTIONS if word == EVERY else (word,)))


def graded(severities: Sequence[int]) -> tuple[int, ...]:
    """Severities in their order. Raises: InputError for none, one twice, or one that there is not."""
    checks.several(severities=severities)
    for severity in severities:
        if isinstance(severity, bool) or severity not in SEVERITIES:
            raise InputError(f"severities must be 1 to 5, got {severity}")
    return tuple(sorted(severities))


def table_for(table: str, height: int, width: int) -> Table:
    """Raises: InputError for a table that there is not."""
    checks.choices((*AUTO, *TABLES), table=table)
    if table == "auto":
        return "imagenet-c" if min(height, width) >= LARGE else "cifar10-c"
    return next(known for known in TABLES if known == table)
