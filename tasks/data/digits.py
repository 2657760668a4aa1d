"""The 1,797 handwritten digits that come with scikit-learn: real images, nothing to download."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray

from robustray.tasks.data.images import ImageData
from robustray.tasks.data.sources import check_rest


def open_source(name: str, rest: str, data_root: str | None) -> DigitsSource:
    """See `data.sources`. Raises: InputError for an unknown split."""
    check_rest(name, rest)
    return DigitsSource(split=cast(Literal["train", "test"], rest))


@dataclass(frozen=True, kw_only=True)
class DigitsSource:
    """8x8 grey images of the digits 0..9 (the UCI optical recognition test set of Alpaydin and Kaynak, 1998).

    Grey levels 0..16 become round(255 * level / 16). Split: of each class, in scikit-learn's order, the 5th, 10th, ...
    image is a test image: 1,442 to train, 355 to test, every class with the same share.
    """

    split: Literal["train", "test"]

    @property
    def modules(self) -> tuple[str, ...]:
        return ()

    def fingerprint(self) -> None:
        """Read in no time."""

    def fetch(self, name: str) -> ImageData:
        levels, labels = read_digits()
        is_test = np.zeros(len(labels), dtype=bool)
        for digit in range(10):
            is_test[np.flatnonzero(labels == digit)[4::5]] = True
        chosen = is_test if self.split == "test" else ~is_test
        pixels = np.rint(levels[chosen] * (255 / 16)).astype(np.uint8)
        return ImageData(
            name=name,
            images=np.ascontiguousarray(pixels[:, None]),
            labels=labels[chosen],
            classes=tuple(str(digit) for digit in range(10)),
        )


def read_digits() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Grey levels 0..16 (n, 8, 8) and labels (n,), in the order of scikit-learn's `load_digits`.

    From its file, without its package: that imports scipy.stats, a second of every process that needs the digits.
    """
    package = find_spec("sklearn")
    assert package is not None and package.submodule_search_locations, "scikit-learn is one of our dependencies"
    with gzip.open(Path(package.submodule_search_locations[0]) / "datasets" / "data" / "digits.csv.gz") as file:
        rows = np.loadtxt(file, delimiter=",", dtype=np.uint8)
    return rows[:, :-1].reshape(-1, 8, 8), rows[:, -1].astype(np.int64)
