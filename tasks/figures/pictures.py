"""Pictures made of pixels: a grid of images with words, enlarged by a whole factor without smoothing."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from robustray.tasks.study import Picture

if TYPE_CHECKING:
    from PIL import Image
    from PIL.ImageFont import FreeTypeFont

# The grid has a dark ground of its own: pixels beside pixels are judged on the same ground in light and dark pages, and
# the words keep their contrast (12 : 1).
GROUND, WORDS = (27, 29, 33), (226, 228, 232)
DENSITY = 2
"""PNG pixels per CSS pixel, so that the words are sharp on dense screens; each image pixel stays a whole square."""
GAP, PADDING, TYPE_SIZE = 8, 14, 13


def image_grid(
    *,
    name: str,
    title: str,
    caption: str,
    alt: str = "",
    images: npt.ArrayLike,
    rows: Sequence[str],
    columns: Sequence[str],
    scale: int,
) -> Picture:
    """Images in reading order as `len(rows)` x `len(columns)` cells with a label before each row and above each column.

    Args:
        images: `(len(rows) * len(columns), channels, height, width)`, uint8 or float in [0, 1]; 1 or 3 channels.
        rows, columns: labels; "\\n" breaks a line.
        scale: CSS pixels per image pixel, a whole number.
        alt: by default, how many images there are, and the labels of rows and columns.
    """
    from PIL import Image, ImageDraw

    pixels = as_uint8(images)
    num, channels, height, width = pixels.shape
    assert num == len(rows) * len(columns), f"{num} images for {len(rows)} rows of {len(columns)}"
    assert channels in (1, 3), f"{channels} channels; a picture has 1 or 3"
    assert scale >= 1, f"scale must be a whole number of pixels, got {scale}"

    font = _font()
    line = DENSITY * (TYPE_SIZE + 5)
    gap, padding, cell = DENSITY * GAP, DENSITY * PADDING, DENSITY * scale
    left = max((_extent(font, row) for row in rows), default=0)
    head = line * max((column.count("\n") + 1 for column in columns if column), default=0)
    steps = [max(width * cell, _extent(font, column)) for column in columns]
    image_height = max(height * cell, line * max((row.count("\n") + 1 for row in rows), default=1))

    x0 = padding + (left + gap if left else 0)
    y0 = padding + (head + gap // 2 if head else 0)
    size = (x0 + sum(steps) + gap * (len(steps) - 1) + padding, y0 + len(rows) * (image_height + gap) - gap + padding)
    size = (size[0] + size[0] % DENSITY, size[1] + size[1] % DENSITY)
    sheet = Image.new("RGB", size, GROUND)
    pen = ImageDraw.Draw(sheet)
    for i, row in enumerate(rows):
        y = y0 + i * (image_height + gap)
        pen.text((padding, y + image_height // 2), row, fill=WORDS, font=font, anchor="lm", spacing=5 * DENSITY)
        x = x0
        for j, step in enumerate(steps):
            image = pixels[i * len(columns) + j].repeat(cell, axis=1).repeat(cell, axis=2)
            tile = Image.fromarray(np.moveaxis(image.repeat(3 // channels, axis=0), 0, 2))
            sheet.paste(tile, (x, y))
            if i == 0:
                pen.text((x, y0 - gap // 2), columns[j], fill=WORDS, font=font, anchor="ld", spacing=5 * DENSITY)
            x += step + gap
    png, webp = encoded(sheet)
    return Picture(
        name=name,
        title=title,
        caption=caption,
        alt=alt or _labels(rows, columns),
        png=png,
        webp=webp,
        width=size[0] // DENSITY,
        height=size[1] // DENSITY,
    )


def image_rows(
    *,
    name: str,
    title: str,
    caption: str,
    alt: str = "",
    rows: Mapping[str, npt.ArrayLike],
    columns: Sequence[str],
    side: int = 96,
) -> Picture:
    """An `image_grid` row by row, enlarged to about `side` CSS pixels: what was done to the same few images.

    rows: label -> (len(columns), channels, height, width), uint8 or float in [0, 1]; all of one shape.
    """
    parts = [as_uint8(part) for part in rows.values()]
    return image_grid(
        name=name,
        title=title,
        caption=caption,
        alt=alt,
        images=np.concatenate(parts),
        rows=list(rows),
        columns=columns,
        scale=max(1, side // max(parts[0].shape[2:])),
    )


def one_image(*, name: str, title: str, caption: str, alt: str = "", image: npt.ArrayLike) -> Picture:
    """One image as it is, pixel for pixel and without a ground: a file to go on with.

    image: `(channels, height, width)`, uint8 or float in [0, 1]; 1 or 3 channels. alt: by default, the title.
    """
    from PIL import Image

    pixels = as_uint8(np.asarray(image)[None])[0]
    channels, height, width = pixels.shape
    assert channels in (1, 3), f"{channels} channels; a picture has 1 or 3"
    png, webp = encoded(Image.fromarray(pixels[0] if channels == 1 else np.moveaxis(pixels, 0, 2)))
    return Picture(
        name=name, title=title, caption=caption, alt=alt or title, png=png, webp=webp, width=width, height=height
    )


def encoded(sheet: Image.Image) -> tuple[bytes, bytes]:
    """The picture as PNG, which every program opens, and as lossless WebP, which every browser does: the same pixels.

    The second is empty where it is no smaller, or where this Pillow was built without WebP.
    """
    from PIL import features

    png, webp = io.BytesIO(), io.BytesIO()
    sheet.save(png, format="PNG", optimize=True)
    if features.check("webp"):
        # of these bytes 30 % less than of the PNG's, in about its time; more effort gains 2 %
        sheet.save(webp, format="WEBP", lossless=True, quality=30, method=3)
    smaller = webp.tell() < png.tell()
    return png.getvalue(), webp.getvalue() if smaller else b""


def magnified(delta: npt.ArrayLike, factor: float) -> npt.NDArray[np.float64]:
    """A perturbation (any shape, in pixel units) around mid-grey: `0.5 + factor * delta`, cut to [0, 1].

    The factor belongs into the label of the row or column that shows it.
    """
    return np.clip(0.5 + factor * np.asarray(delta, dtype=np.float64), 0.0, 1.0)


def signed(values: npt.ArrayLike, *, share: float = 0.99) -> npt.NDArray[np.float64]:
    """Images of signed numbers (images, channels, height, width), gradients for example, around mid-grey.

    Each is scaled by itself, so that `share` of its entries lie within black and white: sizes do not compare.
    """
    array = np.asarray(values, dtype=np.float64)
    size = np.quantile(np.abs(array).reshape(len(array), -1), share, axis=1)
    return magnified(array / np.where(size > 0, size, 1.0)[:, None, None, None], 0.5)


def as_uint8(images: npt.ArrayLike) -> npt.NDArray[np.uint8]:
    """uint8 as it is; floats in [0, 1] rounded to the nearest of 256 levels."""
    array = np.asarray(images)
    assert array.ndim == 4, f"images are (batch, channels, height, width), got shape {array.shape}"
    if array.dtype == np.uint8:
        return array
    assert np.issubdtype(array.dtype, np.floating), f"images are uint8 or float, got {array.dtype}"
    assert array.size == 0 or (array.min() >= 0 and array.max() <= 1), "float images lie in [0, 1]"
    return np.rint(array.astype(np.float64) * 255).astype(np.uint8)


def _labels(rows: Sequence[str], columns: Sequence[str]) -> str:
    """What a grid says to somebody who can't see it: `"2 images a row; rows: image, noise; columns: cat, dog"`."""
    parts = [f"{len(columns)} {'image' if len(columns) == 1 else 'images'} a row"]
    for side, labels in (("rows", rows), ("columns", columns)):
        named = [" ".join(label.split()) for label in labels if label.strip()]
        parts += [f"{side}: {', '.join(named)}"] if named else []
    return "; ".join(parts)


def _font() -> FreeTypeFont:
    """DejaVu Sans from Matplotlib's own data: the same on every machine."""
    import matplotlib
    from PIL import ImageFont

    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    # The basic layout does not depend on whether libraqm is installed.
    return ImageFont.truetype(str(path), TYPE_SIZE * DENSITY, layout_engine=ImageFont.Layout.BASIC)


def _extent(font: FreeTypeFont, words: str) -> int:
    return max((round(font.getlength(line)) for line in words.split("\n")), default=0)
