"""How many images a run is about, counted before any are opened. Imports nothing heavy: settings modules call it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

KNOWN: Mapping[str, int] = {
    "digits:train": 1_442,
    "digits:test": 355,
    "cifar10:train": 50_000,
    "cifar10:test": 10_000,
    "cifar100:train": 50_000,
    "cifar100:test": 10_000,
}
"""Sizes of data sets that are the same wherever they are."""


def num_images(names: Iterable[str], *, otherwise: int, given: int = 0) -> tuple[dict[str, int], str]:
    """Images of each data set, and a remark on those of which that is not known: they count as `otherwise`.

    given: how many of each the settings ask for; 0 for all of them. The remark is empty, or a sentence with a space
    behind it: `"photos taken as 10,000 images. "`.
    """
    names = tuple(names)
    unknown = [name for name in names if not given and name not in KNOWN]
    remark = f"{', '.join(unknown)} taken as {otherwise:,} images. " if unknown else ""
    return {name: given or KNOWN.get(name, otherwise) for name in names}, remark
