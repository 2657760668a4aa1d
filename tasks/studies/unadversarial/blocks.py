"""Patches: one canvas per class of which the central square shows, designed, drawn at random or taken from training.

A canvas is (channels, height, width) of the images' size; `PatchKind` says what its square shows and where it may land.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

from robustray.tasks.attacks.blocks import load_images
from robustray.tasks.compose.place import Placement
from robustray.tasks.corruptions.tables import Table
from robustray.tasks.inputs.settings import SharedAscent
from robustray.tasks.lab.optimise import optimisation
from robustray.tasks.lab.protocol import Context, Tensor, block_function

if TYPE_CHECKING:
    import torch

    from robustray.tasks.data.images import ImageData
    from robustray.tasks.inputs.shared import SharedParameter

Ground = Literal["image", "grey", "noise"]
START_MEAN, START_DEVIATION = 0.5, 0.1
"""Canvases begin as normal noise of these (arXiv:2012.12235, released code); clipped to [0, 1]."""
NO_PATCH = -1


@dataclass(frozen=True, kw_only=True)
class PatchKind:
    """Whose patches these are, how large, and where they may land."""

    classes: tuple[int, ...]
    """Canvas k is that of class classes[k]."""
    side: int
    placement: Placement


@dataclass(frozen=True, kw_only=True)
class DesignSettings:
    """How patches are designed."""

    kind: PatchKind
    ascent: SharedAscent


@dataclass(frozen=True, kw_only=True)
class Look:
    """How patched images are shown to a classifier."""

    kind: PatchKind
    ground: Ground = "image"
    """What a patch lies on; grey and noise show whether it is recognised by itself."""
    corruption: str = ""
    """Corruption of the whole image, patch included; empty for none."""
    severity: int = 0
    table: Table = "cifar10-c"


@optimisation(version=1)
def design(context: Context) -> SharedParameter:
    """Patches (k, channels, height, width) that lower the cross-entropy with the true class.

    settings: `DesignSettings`. The reference "data" is the training set; each patch is designed on the images of its
    own class only.
    """
    import numpy as np
    import torch

    from robustray.tasks.attacks.objective import CrossEntropy
    from robustray.tasks.compose.place import blended, centred_square, placed
    from robustray.tasks.inputs.shared import Design, SharedParameter, box

    settings: DesignSettings = context.settings
    data: ImageData = context.load("data")
    kind, seed, device = settings.kind, context.seed, context.device
    channels, height, width = data.shape
    square = centred_square(height, width, kind.side).to(device)
    slots = torch.full((data.num_classes,), NO_PATCH, device=device)
    slots[list(kind.classes)] = torch.arange(len(kind.classes), device=device)

    def place(step: int, indices: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"maps": kind.placement.maps(seed, step, indices, device), "slot": slots[labels]}

    def apply(parameter: torch.Tensor, images: torch.Tensor, placements: Any) -> torch.Tensor:
        return blended(images, *placed(parameter[placements["slot"]], square, placements["maps"]))

    return SharedParameter(
        name="patch",
        ascent=settings.ascent,
        model=context.load("model"),
        design=Design(apply=apply, place=place, project=box, objective=CrossEntropy(targeted=True)),
        data=data,
        indices=np.flatnonzero(np.isin(data.labels, kind.classes)).tolist(),
        parameter=_noise_canvas(seed, "unadversarial-start", len(kind.classes), (channels, height, width), device),
    )


def _noise_canvas(seed: int, what: str, count: int, shape: Sequence[int], device: str) -> torch.Tensor:
    import torch

    from robustray.tasks.attacks.search import noise

    drawn = noise.normal(seed, what, 0, torch.arange(count, device=device), shape, device)
    return (START_MEAN + START_DEVIATION * drawn).clamp(0, 1)


@block_function(version=1, columns={"item": pa.int64(), "patch": Tensor("float32")})
def plain_block(items: Sequence[Sequence[int]], context: Context) -> Mapping[str, Any]:
    """Patches (k, channels, height, width) that nobody designed; settings: `PatchKind`.

    An item is empty, for canvases of noise, or the indices of k training images, for these images shrunk to the square.
    """
    import torch
    from torch.nn import functional

    from robustray.tasks.compose.place import as_canvas

    kind: PatchKind = context.settings
    channels, height, width = context.load("data").shape
    made = []
    for item in items:
        if not item:
            shape = (channels, height, width)
            made.append(_noise_canvas(context.seed, "unadversarial-random", len(kind.classes), shape, context.device))
            continue
        images, _ = load_images(item, context)
        small = functional.interpolate(images, (kind.side, kind.side), mode="bicubic", antialias=True).clamp(0, 1)
        made.append(as_canvas(small, height, width))
    return {"item": range(len(items)), "patch": torch.stack(made)}


@block_function(
    version=1,
    columns={
        "index": pa.int64(),
        "slot": pa.int16(),
        "label": pa.int16(),
        "prediction": pa.int16(),
        "correct": pa.bool_(),
        "visible": pa.float32(),
    },
)
def look_block(items: Sequence[Sequence[int]], context: Context) -> Mapping[str, Any]:
    """What a classifier says of patched test images. Items: [index, slot], slot the canvas or -1 for none.

    settings: `Look`; "patch": the canvases, as an array "patch" (a design's) or a column "patch" of one row. The place
    of a patch depends on the seed and the image's index only: every patch lands at the same place, under every
    corruption. visible: the share of the square that lies in the image.
    """
    import torch

    from robustray.tasks.attacks.gradient.verdicts import predict_logits
    from robustray.tasks.compose.place import visible
    from robustray.tasks.corruptions.corrupt import corrupt

    look: Look = context.settings
    images, labels, masks, square = _shown(items, context)
    indices = torch.tensor([item[0] for item in items], device=images.device)
    if look.corruption:
        images = corrupt(images, look.corruption, look.severity, table=look.table, seed=context.seed, indices=indices)
    prediction = predict_logits(context.load("model"), images).argmax(1)
    return {
        "index": indices,
        "slot": [item[1] for item in items],
        "label": labels,
        "prediction": prediction,
        "correct": prediction == labels,
        "visible": visible(masks, square),
    }


@block_function(version=1, columns={"index": pa.int64(), "image": Tensor("float32")})
def picture_block(items: Sequence[Sequence[int]], context: Context) -> Mapping[str, Any]:
    """The images of `look_block` before any corruption, (channels, height, width) in [0, 1]."""
    return {"index": [item[0] for item in items], "image": _shown(items, context)[0]}


def _shown(
    items: Sequence[Sequence[int]], context: Context
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Images with their patches, labels, masks (0 where there is no patch), and the square before it was placed."""
    import numpy as np
    import torch

    from robustray.tasks.attacks.search import noise
    from robustray.tasks.compose.place import blended, centred_square, placed

    look: Look = context.settings
    images, labels = load_images([item[0] for item in items], context)
    indices, slot = (torch.tensor(column, device=images.device) for column in zip(*items, strict=True))
    if look.ground == "grey":
        images = torch.full_like(images, 0.5)
    elif look.ground == "noise":
        images = noise.uniform(context.seed, "unadversarial-ground", 0, indices, images.shape[1:], images.device)
    square = centred_square(images.shape[2], images.shape[3], look.kind.side).to(images.device)
    masks = torch.zeros_like(images[:, :1])
    carries = slot != NO_PATCH
    if carries.any():
        array = np.reshape(context.load("patch")["patch"], (-1, *images.shape[1:]))
        canvases = torch.from_numpy(array.copy()).to(images.device)
        maps = look.kind.placement.maps(context.seed, 0, indices[carries], images.device)
        weighted, there = placed(canvases[slot[carries]], square, maps)
        images, masks = images.clone(), masks.clone()
        images[carries], masks[carries] = blended(images[carries], weighted, there), there
    return images, labels, masks, square
