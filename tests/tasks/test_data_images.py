"""`ImageData`: batches, and the door that every value passes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from robustray.tasks.data.images import ImageData, checked, hash_arrays
from robustray.tasks.errors import InputError


def make(images: np.ndarray, labels: list[int] | None = None, classes: tuple[str, ...] = ("a", "b")) -> ImageData:
    given = np.zeros(len(images), np.int64) if labels is None else np.array(labels, np.int64)
    return ImageData(name="toy", images=images, labels=given, classes=classes)


def random_bytes(n: int = 6) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, 3, 4, 5), dtype=np.uint8)


def test_a_batch_is_float_in_the_order_asked_for_and_exact() -> None:
    data = make(random_bytes(), [0, 1, 0, 1, 0, 1])
    images, labels = data.batch([4, 1, 1])
    assert images.dtype == torch.float32 and labels.dtype == torch.int64
    assert labels.tolist() == [0, 1, 1]
    # correctly rounded division, so that every device starts from the same pixels
    assert np.array_equal(images.numpy(), data.images[[4, 1, 1]].astype(np.float32) / np.float32(255))
    assert (data.shape, data.num_classes, len(data)) == ((3, 4, 5), 2, 6)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_a_batch_is_a_copy_even_of_read_only_memory(dtype: type) -> None:
    pixels = random_bytes().astype(dtype) if dtype == np.uint8 else (random_bytes() / 255).astype(np.float32)
    before = pixels.copy()
    pixels.flags.writeable = False
    images, labels = make(pixels)[range(6)]
    images.zero_()
    labels.fill_(7)
    assert np.array_equal(pixels, before)


@pytest.mark.parametrize("indices", [[6], [-1], [0, 99]])
def test_indices_outside_the_set_are_refused(indices: list[int]) -> None:
    with pytest.raises(IndexError, match=r"0\.\.5"):
        make(random_bytes()).batch(indices)


def test_no_indices_give_an_empty_batch() -> None:
    images, labels = make(random_bytes()).batch([])
    assert images.shape == (0, 3, 4, 5) and labels.shape == (0,)


def floats(**changes: float) -> np.ndarray:
    pixels = np.full((2000, 1, 2, 2), 0.5, np.float32)
    if changes:
        pixels[1500, 0, 1, 1] = changes["value"]
    return pixels


BAD = {
    "channels last": (lambda: make(np.zeros((2, 4, 4, 3), np.uint8)), "transpose to NCHW"),
    "two channels": (lambda: make(np.zeros((2, 2, 4, 4), np.uint8)), "expected \\(n, 1 or 3"),
    "no batch": (lambda: make(np.zeros((3, 4, 4), np.uint8)), "expected \\(n, 1 or 3"),
    "double": (lambda: make(np.zeros((2, 3, 4, 4))), "float64"),
    "fewer labels": (lambda: make(random_bytes(3), [0, 1]), "labels"),
    "empty": (lambda: checked(make(random_bytes(0))), "no images"),
    "NaN": (lambda: checked(make(floats(value=np.nan))), "image 1500 holds the pixel value nan"),
    "infinite": (lambda: checked(make(floats(value=np.inf))), "image 1500 holds the pixel value inf"),
    "negative": (lambda: checked(make(floats(value=-0.01))), "image 1500 holds the pixel value -0.01"),
    "0..255": (lambda: checked(make(floats(value=200))), "looks like 0..255: divide by 255"),
    "label too large": (lambda: checked(make(random_bytes(3), [0, 2, 0])), "image 1 has label 2"),
    "negative label": (lambda: checked(make(random_bytes(3), [0, 0, -1])), "image 2 has label -1"),
    "equal names": (lambda: checked(make(random_bytes(), classes=("a", "a"))), "class names"),
    "no names": (lambda: checked(make(random_bytes(), classes=())), "class names"),
}


@pytest.mark.parametrize("case", BAD)
def test_unusable_arrays_are_refused_in_one_line(case: str) -> None:
    make_it, says = BAD[case]
    with pytest.raises(InputError, match=says) as caught:
        make_it()
    assert "\n" not in str(caught.value)


def test_the_hash_sees_pixels_labels_names_and_kind() -> None:
    base = make(random_bytes(), [0, 1, 0, 1, 0, 1])
    other_pixel = base.images.copy()
    other_pixel[0, 0, 0, 0] ^= 1
    variants = [
        base,
        make(other_pixel, [0, 1, 0, 1, 0, 1]),
        make(base.images, [1, 1, 0, 1, 0, 1]),
        make(base.images, [0, 1, 0, 1, 0, 1], ("a", "c")),
        make(base.images.reshape(6, 3, 5, 4), [0, 1, 0, 1, 0, 1]),
    ]
    assert len({hash_arrays(each) for each in variants}) == len(variants)
    assert hash_arrays(base) == hash_arrays(make(base.images.copy(), [0, 1, 0, 1, 0, 1]))


def test_a_batch_has_the_ordinary_strides_whatever_those_of_the_array() -> None:
    odd = np.lib.stride_tricks.as_strided(np.zeros((40, 1, 8, 8), np.uint8), (40, 1, 8, 8), (64, 0, 8, 1))
    for images in (odd, np.zeros((40, 1, 8, 8), np.uint8), np.zeros((40, 1, 8, 8), np.float32)):
        data = ImageData(name="odd", images=images, labels=np.zeros(40, np.int64), classes=("a",))
        assert data.batch(range(17))[0].stride() == (64, 64, 8, 1)
