"""The 1,797 handwritten digits that come with scikit-learn: real images, nothing to download."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np

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
        from sklearn.datasets import load_digits

        bunch: Any = load_digits()
        labels = bunch.target.astype(np.int64)
        is_test = np.zeros(len(labels), dtype=bool)
        for digit in range(10):
            is_test[np.flatnonzero(labels == digit)[4::5]] = True
        chosen = is_test if self.split == "test" else ~is_test
        pixels = np.rint(bunch.images[chosen] * (255 / 16)).astype(np.uint8)
        return ImageData(
            name=name,
            images=np.ascontiguousarray(pixels[:, None]),
            labels=labels[chosen],
            classes=tuple(str(digit) for digit in range(10)),
        )
