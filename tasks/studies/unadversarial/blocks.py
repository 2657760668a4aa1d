"""Patches that nobody designed, and what a classifier says of images that carry patches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

from robustray.tasks.attacks.blocks import load_images
from robustray.tasks.corruptions.tables import Table
from robustray.tasks.lab.protocol import Context, Tensor, block_function
from robustray.tasks.studies.unadversarial.design import PatchKind, noise_canvas

if TYPE_CHECKING:
    import torch
    from torch import nn

Ground = Literal["image", "grey", "noise"]
NO_PATCH = -1


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
    learnt: bool = False
    """By the weights of the reference "weights", which learnt along with a patch, instead of the model's own."""


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
            made.append(noise_canvas(context.seed, "unadversarial-random", len(kind.classes), shape, context.device))
            continue
        images, _ = load_images(item, context)
        small = functional.interpolate(images, (kind.side, kind.side), mode="bicubic", antialias=True).clamp(0, 1)
        made.append(as_canvas(small, height, width))
    return {"item": range(len(items)), "patch": torch.stack(made)}


@block_function(
    version=2,
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
    from robustray.tasks.corruptions.corrupt import corrupt

    look: Look = context.settings
    images, labels, visible = _shown(items, context)
    indices = torch.tensor([item[0] for item in items], device=images.device)
    if look.corruption:
        images = corrupt(images, look.corruption, look.severity, table=look.table, seed=context.seed, indices=indices)
    prediction = predict_logits(_network(context), images).argmax(1)
    return {
        "index": indices,
        "slot": [item[1] for item in items],
        "label": labels,
        "prediction": prediction,
        "correct": prediction == labels,
        "visible": visible,
    }


@block_function(version=1, columns={"index": pa.int64(), "image": Tensor("float32")})
def picture_block(items: Sequence[Sequence[int]], context: Context) -> Mapping[str, Any]:
    """The images of `look_block` before any corruption, (channels, height, width) in [0, 1]."""
    return {"index": [item[0] for item in items], "image": _shown(items, context)[0]}


def _network(context: Context) -> nn.Module:
    """The classifier, or a copy of it with weights that learnt along."""
    import copy

    import torch

    from robustray.tasks.inputs.joint import WEIGHTS

    model: nn.Module = context.load("model")
    if not context.settings.learnt:
        return model
    arrays = context.load("weights")
    state = {name.removeprefix(WEIGHTS): array for name, array in arrays.items() if name.startswith(WEIGHTS)}
    copied = copy.deepcopy(model)
    copied.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in state.items()})
    return copied.eval()


def _shown(items: Sequence[Sequence[int]], context: Context) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Images with their patches, labels, and the share of each patch that lies in its image (0 where there is none)."""
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
    visible = torch.zeros(len(images), device=images.device)
    carries = slot != NO_PATCH
    if carries.any():
        array = np.reshape(context.load("patch")["patch"], (-1, *images.shape[1:]))
        canvases = torch.from_numpy(array.copy()).to(images.device)
        maps = look.kind.placement.maps(context.seed, 0, indices[carries], images.device)
        weighted, there = placed(canvases[slot[carries]], square, maps)
        images = images.clone()
        images[carries] = blended(images[carries], weighted, there)
        visible[carries] = visible_share(maps, look.kind.side / images.shape[3])
    return images, labels, visible


def visible_share(maps: torch.Tensor, share: float) -> torch.Tensor:
    """(batch,): how much of a centred square lies in the image, to 1/1,024. maps: of `Placement.maps`; share: of the
    canvas's side that the square takes.

    Counted in points of the square, which the inverse map takes to the image; the sum of a mask that was moved over
    pixels is off by a fifth for a few pixels.
    """
    import torch

    points = ((torch.arange(32, device=maps.device) + 0.5) / 16 - 1) * share
    square = torch.cartesian_prod(points, points).T
    there = torch.linalg.solve(maps[:, :, :2], square - maps[:, :, 2:])
    return (there.abs() <= 1).all(1).float().mean(1)
