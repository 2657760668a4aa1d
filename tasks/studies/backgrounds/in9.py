"""ImageNet-9: nine groups of ImageNet's classes, and 1,000 answers as nine (arXiv:2006.09994, appendix B).

A network of 1,000 classes is asked for its one best answer among all of them, and that is looked up: 370 classes belong
to a group, an answer among the other 630 is wrong. (Adding up probabilities by group, or looking at the 370 alone,
would be another and kinder test.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

UNMAPPED = -1
"""The answer is none of the nine."""
NUM_IMAGENET = 1_000
CLASSES = ("dog", "bird", "wheeled vehicle", "reptile", "carnivore", "insect", "musical instrument", "primate", "fish")
"""In the order of their labels, on which Mixed-Next depends; not alphabetical."""

_VEHICLES = (
    "407 408 428 436 444 468 511 547 555 561 565 569 573 586 603 609 612 627 656 661 665 670 671 675 690 705 717 734 "
    "751 757 791 802 803 817 820 829 847 864 866 867 870 880"
)
_INSTRUMENTS = "401 402 420 432 486 494 513 541 546 558 566 577 579 593 594 641 642 683 684 687 699 776 822 875 881 889"
GROUPS: Mapping[str, tuple[int, ...]] = {
    "dog": (*range(151, 171), *range(173, 269)),
    "bird": (*range(7, 25), *range(87, 101), *range(127, 147)),
    "wheeled vehicle": tuple(map(int, _VEHICLES.split())),
    "reptile": tuple(range(33, 69)),
    "carnivore": (*range(269, 281), *range(286, 300), *range(356, 363), *range(387, 389)),
    "insect": tuple(range(300, 327)),
    "musical instrument": tuple(map(int, _INSTRUMENTS.split())),
    "primate": tuple(range(365, 385)),
    "fish": (*range(7), *range(389, 398)),
}
"""Group -> ImageNet's classes (ILSVRC 2012, 0-based, by WordNet id)."""


def table() -> NDArray[np.int64]:
    """(1000,): ImageNet's class -> label in `CLASSES`, or `UNMAPPED`."""
    found = np.full(NUM_IMAGENET, UNMAPPED, dtype=np.int64)
    for label, group in enumerate(CLASSES):
        found[list(GROUPS[group])] = label
    return found


def is_in9(classes: Sequence[str]) -> bool:
    """Whether a data set's classes are the nine, by whatever prefix ("02_wheeled vehicle") they are ordered."""
    return len(classes) == len(CLASSES) and all(
        given.lower().lstrip("0123456789_- ").replace("_", " ") in (name, name.split()[-1])
        for given, name in zip(classes, CLASSES, strict=True)
    )


def mapped_words() -> str:
    """For a page."""
    count = sum(map(len, GROUPS.values()))
    return (
        f"the best of {NUM_IMAGENET:,} answers is looked up among nine groups: {count} classes belong to one, an "
        f"answer among the other {NUM_IMAGENET - count} is wrong"
    )
