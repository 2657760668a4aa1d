"""Procedural textures: what an image depends on, and that its family can be told by its form alone."""

from __future__ import annotations

import numpy as np
import pytest

from robustray.tasks.data.reference import open_data
from robustray.tasks.data.textures import FAMILIES, PERIODS, TexturesSource, draw
from robustray.tasks.errors import InputError


def fetch(name: str) -> np.ndarray:
    return open_data(name, data_root=None).fetch().images


def test_an_image_depends_on_its_number_seed_and_split_only() -> None:
    few, more = fetch("textures:train,n=12"), fetch("textures:train,n=23")
    assert few.shape == (12, 3, 32, 32) and few.dtype == np.uint8
    np.testing.assert_array_equal(few, more[:12])
    for other in ("textures:test,n=12", "textures:train,n=12,seed=1"):
        assert not any(np.array_equal(*pair) for pair in zip(few, fetch(other), strict=True))
    assert open_data("textures:train,n=12", data_root=None).fetch().labels.tolist() == [*range(10), 0, 1]


def test_sizes_show_the_same_pattern() -> None:
    """Half as many pixels a side see every second pixel of it, up to noise."""
    large, small = (draw(TexturesSource(split="train", n=10, size=side), 0).astype(float) for side in (64, 32))
    assert np.corrcoef(large[:, ::2, ::2].ravel(), small.ravel())[0, 1] > 0.9


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_two_tones_and_repeats(family: str) -> None:
    """Values in [0, 1] that use most of the range, wherever the pattern lies."""
    rng = np.random.default_rng(0)
    for start in (0.0, 17.3):
        v, u = (axis / np.mean(PERIODS) + start for axis in np.mgrid[:32, :32])
        form = FAMILIES[family](u, v, rng)
        assert form.shape == (32, 32) and form.min() >= 0 and form.max() <= 1 and np.ptp(form) > 0.8


def test_families_are_not_told_by_their_mean_colour() -> None:
    """Nearest class mean of the mean colours of 500 training images: chance is 10 %."""
    train, test = (open_data(f"textures:{split},n=500", data_root=None).fetch() for split in ("train", "test"))
    mean, other = (each.images.mean((2, 3)) for each in (train, test))
    centres = np.stack([mean[train.labels == label].mean(0) for label in range(10)])
    guessed = np.square(other[:, None] - centres).sum(2).argmin(1)
    assert (guessed == test.labels).mean() < 0.2


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("textures:valid", "names no split"),
        ("textures:train,n=5", "n must be"),
        ("textures:train,sise=32", "did you mean 'size'"),
        ("textures:train,n=many", "whole number"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_words(name: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        open_data(name, data_root=None)
