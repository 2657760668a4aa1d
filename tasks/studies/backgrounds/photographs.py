"""From photographs of any sizes to versions of one size: the block functions behind `--boxes` (paper, appendix A).

Every photograph is read, judged, segmented and tiled at its native size, then brought to the side of the versions by
taking the nearest pixels: photograph, mask, box and tiled background alike. A version puts these parts together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from robustray.tasks.compose.cut import SMALLEST_OBJECT, box_masks, tiled
from robustray.tasks.compose.photographs import Photographs
from robustray.tasks.compose.segment import box_reason, nearest_square, segmented
from robustray.tasks.data.images import boxes_of
from robustray.tasks.errors import InputError
from robustray.tasks.lab.protocol import Context, Tensor, block_function
from robustray.tasks.studies.backgrounds.blocks import NO_OTHER, VERSION_COLUMNS, composed
from robustray.tasks.studies.backgrounds.settings import Segment

BLOCK = 8
"""Photographs per block of work: GrabCut takes up to seconds for one."""


@dataclass(frozen=True, kw_only=True)
class Cutting:
    """How photographs are cut."""

    side: int
    """Pixels of a side of what comes out."""
    segment: Segment
    attempts: int
    """Times that GrabCut is tried with another seed before a photograph is given up."""


@dataclass(frozen=True, kw_only=True)
class Cut:
    """The parts of a photograph, at the side of the versions."""

    image: NDArray[np.uint8]
    """(3, side, side)."""
    mask: NDArray[np.bool_]
    """(side, side)."""
    box: NDArray[np.int64]
    """x0, y0, x1, y1 in this square."""
    tiled: NDArray[np.uint8]
    """(3, side, side): the background without the object."""
    height: int
    width: int
    native_box: Sequence[int]
    mask_share: float
    """Of its box that the mask covers, at native size."""
    attempts: int


class Rejected(Exception):
    """A photograph is in no version; the reason as a phrase."""


def cut(photographs: Photographs, index: int, how: Cutting, seed: int) -> Cut:
    """Raises: Rejected."""
    try:
        pixels = photographs.pixels(index)
        mask = photographs.mask(index)
    except InputError as error:
        raise Rejected(str(error).removeprefix(f"{photographs.names[index]} ")) from error
    height, width = pixels.shape[:2]
    annotated = photographs.boxes(index, height, width)
    if annotated is None:
        raise Rejected("there is no annotation")
    boxes, size = annotated
    if reason := box_reason(boxes, height, width, size):
        raise Rejected(reason)
    box, attempts = np.array(boxes[0]), 0
    inside = box_masks(box[None], height, width)[0]
    if mask is not None and mask.shape != (height, width):
        raise Rejected(f"its mask has {mask.shape[1]} x {mask.shape[0]} pixels, the photograph {width} x {height}")
    if mask is not None and (mask & ~inside).any():
        raise Rejected("its mask reaches over its box")
    if mask is None and how.segment == "box":
        mask = inside
    elif mask is None:
        found = segmented(pixels, box, name=photographs.names[index], seed=seed, attempts=how.attempts)
        if found.reason:
            raise Rejected(found.reason)
        mask, attempts = found.mask, found.attempts
    if mask.sum() < SMALLEST_OBJECT * inside.sum():
        raise Rejected(f"the mask covers less than {SMALLEST_OBJECT:.0%} of its box")
    small = nearest_square(mask, how.side)
    if not small.any():
        raise Rejected("nothing of the object is left when the centre of the image is cut out")
    image = pixels.transpose(2, 0, 1)
    return Cut(
        image=nearest_square(image, how.side),
        mask=small,
        box=boxes_of(nearest_square(inside, how.side)[None])[0],
        tiled=nearest_square(tiled(image, box), how.side),
        height=height,
        width=width,
        native_box=[int(each) for each in box],
        mask_share=float(mask.sum() / inside.sum()),
        attempts=attempts,
    )


def _nothing(side: int) -> Cut:
    """In the rows of photographs that are in no version."""
    blank = np.zeros((3, side, side), np.uint8)
    none = np.zeros((side, side), bool)
    return Cut(
        image=blank, mask=none, box=np.zeros(4, np.int64), tiled=blank, height=0, width=0, native_box=[0] * 4,
        mask_share=0.0, attempts=0,
    )  # fmt: skip


@block_function(
    version=1,
    columns={
        "index": pa.int64(),
        "reason": pa.string(),
        "attempts": pa.int64(),
        "height": pa.int64(),
        "width": pa.int64(),
        "native_box": Tensor("int64"),
        "mask_share": pa.float64(),
        "image": Tensor("uint8"),
        "mask": Tensor("bool"),
        "box": Tensor("int64"),
        "tiled": Tensor("uint8"),
    },
)
def cut_block(indices: Sequence[int], context: Context) -> Mapping[str, Any]:
    """The parts of photographs of "photographs", cut as `context.settings` says; a reason where that can't be done."""
    photographs: Photographs = context.load("photographs")
    found, reasons = [], []
    for index in indices:
        try:
            found.append(cut(photographs, index, context.settings, context.seed))
            reasons.append("")
        except Rejected as rejected:
            found.append(_nothing(context.settings.side))
            reasons.append(str(rejected))
    return {
        "index": list(indices),
        "reason": reasons,
        "attempts": [each.attempts for each in found],
        "height": [each.height for each in found],
        "width": [each.width for each in found],
        "native_box": np.array([each.native_box for each in found], np.int64),
        "mask_share": [each.mask_share for each in found],
        **{name: np.stack([getattr(each, name) for each in found]) for name in ("image", "mask", "box", "tiled")},
    }


@dataclass(frozen=True, kw_only=True)
class Putting:
    """Which version is put together, and the label of every row of the parts."""

    version: str
    labels: tuple[int, ...]


@block_function(version=1, columns=VERSION_COLUMNS)
def photo_version_block(pairs: Sequence[Sequence[int]], context: Context) -> Mapping[str, Any]:
    """The version `context.settings` of the pairs [foreground, background], rows of "parts": what `cut_block` found."""
    parts: Mapping[str, NDArray[Any]] = context.load("parts")
    chosen, others = np.array(pairs, dtype=np.int64).T
    sources = np.where(others == NO_OTHER, chosen, others)
    labels = np.array(context.settings.labels)
    own = parts["image"][chosen], parts["mask"][chosen], parts["box"][chosen]
    return {
        "index": chosen,
        "background": others,
        "label": labels[chosen],
        "background_label": labels[sources],
        "image": composed(context.settings.version, *own, lambda: parts["tiled"][sources]),
        "mask": own[1],
        "box": own[2],
    }
