"""Pictures: every pixel a whole square, in reading order, the same bytes every time."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from robustray.tasks import figures
from robustray.tasks.figures.pictures import DENSITY, as_uint8
from robustray.tasks.report.page import embedded

WORDS: dict[str, Any] = {"title": "Title", "caption": "What to see. What was measured.", "alt": "Words for it"}


def grid(images: np.ndarray, num_rows: int, num_columns: int, scale: int = 3, labelled: bool = True) -> Image.Image:
    picture = figures.image_grid(
        name="grid",
        **WORDS,
        images=images,
        rows=[f"row {i}" if labelled else "" for i in range(num_rows)],
        columns=[f"column\n{i}" if labelled else "" for i in range(num_columns)],
        scale=scale,
    )
    sheet = Image.open(io.BytesIO(picture.png))
    assert sheet.format == "PNG"
    assert sheet.size == (DENSITY * picture.width, DENSITY * picture.height)
    return sheet


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("scale", [1, 3])
def test_every_pixel_becomes_a_whole_square(channels: int, scale: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (1, channels, 40, 50), dtype=np.uint8)
    sheet = np.asarray(grid(images, 1, 1, scale, labelled=False))
    cell = scale * DENSITY
    expected = np.moveaxis(images[0].repeat(cell, 1).repeat(cell, 2), 0, 2).repeat(3 // channels, 2)
    y, x = (int(axis) for axis in np.argwhere((sheet == expected[0, 0]).all(2))[0])
    found = sheet[y : y + expected.shape[0], x : x + expected.shape[1]]
    assert (found == expected).all()
    assert x % DENSITY == 0 and y % DENSITY == 0, "squares must lie on whole CSS pixels"


def test_images_stand_in_reading_order() -> None:
    images = np.stack([np.full((1, 4, 4), 40 * i, dtype=np.uint8) for i in range(6)])
    sheet = np.asarray(grid(images, 2, 3, scale=16))
    centres = {}
    for i in range(1, 6):
        ys, xs = np.nonzero((sheet == 40 * i).all(2))
        centres[i] = (float(np.median(ys)), float(np.median(xs)))
    assert centres[1][1] < centres[2][1] and centres[1][0] == centres[2][0]
    assert centres[3][0] == centres[4][0] == centres[5][0] > centres[2][0]


def test_a_picture_is_the_same_every_time() -> None:
    images = np.zeros((2, 3, 8, 8))
    assert grid(images, 1, 2).tobytes() == grid(images, 1, 2).tobytes()


@pytest.mark.parametrize(
    "images, num",
    [
        (np.zeros((2, 3, 4, 4)), 1),
        (np.zeros((1, 2, 4, 4)), 1),
        (np.zeros((1, 4, 4)), 1),
        (np.full((1, 3, 4, 4), 1.5), 1),
        (np.full((1, 3, 4, 4), np.nan), 1),
        (np.zeros((1, 3, 4, 4), dtype=np.int64), 1),
    ],
)
def test_what_is_no_grid_of_images_is_refused(images: np.ndarray, num: int) -> None:
    with pytest.raises(AssertionError):
        grid(images, num, 1)


def test_floats_are_rounded_to_the_nearest_level() -> None:
    levels = np.arange(256)
    assert (as_uint8((levels / 255).reshape(1, 1, 16, 16)).ravel() == levels).all()


def test_magnified_is_grey_for_nothing_and_cut_at_the_ends() -> None:
    assert figures.magnified(np.array([0.0, 0.01, -0.01, 1.0, -1.0]), 10).tolist() == pytest.approx(
        [0.5, 0.6, 0.4, 1, 0]
    )


@pytest.mark.parametrize("channels", [1, 3])
def test_one_image_is_its_pixels(channels: int) -> None:
    pixels = np.arange(channels * 20, dtype=np.uint8).reshape(channels, 4, 5) * 4
    found = figures.one_image(name="x", title="", caption="", alt="", image=pixels)
    read = np.asarray(Image.open(io.BytesIO(found.png)))
    assert np.array_equal(read, pixels[0] if channels == 1 else np.moveaxis(pixels, 0, 2))
    assert (found.width, found.height) == (5, 4)


def test_the_page_gets_the_same_pixels_in_fewer_bytes() -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 24, 24), dtype=np.uint8)
    found = figures.image_grid(name="x", title="", caption="", images=images, rows=[""], columns=["a", "b"], scale=3)
    png, webp = (Image.open(io.BytesIO(pixels)) for pixels in (found.png, found.webp))
    assert (png.format, webp.format) == ("PNG", "WEBP") and 0 < len(found.webp) < 0.9 * len(found.png)
    assert np.array_equal(np.asarray(png.convert("RGB")), np.asarray(webp.convert("RGB")))
    assert embedded(found)["src"].startswith("data:image/webp;base64,")
    assert embedded(replace(found, webp=b""))["src"].startswith("data:image/png;base64,")
