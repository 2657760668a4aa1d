"""Which pixels an answer hangs on: gradients of the answer's logit, and how much of them lies on the object
(paper, section 5, its saliency maps)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustray.tasks import figures
from robustray.tasks.attacks.blocks import load_images
from robustray.tasks.attacks.gradient.view import GradientView
from robustray.tasks.attacks.objective import ModelOutput, OnLogits
from robustray.tasks.kit.draws import chosen
from robustray.tasks.kit.frames import columns, shown
from robustray.tasks.kit.images import NEEDS
from robustray.tasks.lab.protocol import Context, block_function
from robustray.tasks.lab.protocol import Tensor as Column
from robustray.tasks.statistics import Estimate, mean_interval, mean_over_seeds
from robustray.tasks.study import Picture, Table

if TYPE_CHECKING:
    from robustray.tasks.data.images import ImageData
    from robustray.tasks.lab.protocol import Lab, Reference
    from robustray.tasks.studies.backgrounds.settings import Settings

BLOCK = 32
"""Images per block of work."""
SHARE = 0.99
"""Of a map's pixels that are drawn darker than white."""
Maps = Mapping[tuple[str, int], pd.DataFrame]
"""(network, seed) -> rows of `saliency_block`, all of the same images."""


@dataclass(frozen=True, kw_only=True)
class Answer(OnLogits):
    """The largest logit. Unlike a loss its gradient does not vanish where a network is sure."""

    def loss(self, output: ModelOutput, images: Tensor, state: Tensor) -> Tensor:
        return output.logits.amax(1)

    def success(self, output: ModelOutput, images: Tensor, state: Tensor) -> None:
        return None


@block_function(
    version=1,
    columns={
        "index": pa.int64(),
        "label": pa.int64(),
        "answer": pa.int64(),
        "map": Column("float32"),
        "on_object": pa.float64(),
        "area": pa.float64(),
    },
)
def saliency_block(indices: Sequence[int], context: Context) -> Mapping[str, Any]:
    """Saliency of "model" on images of "data", which has masks.

    map: (height, width), the size of the gradient of the answer's logit with respect to each pixel, over channels.
    on_object: the share of the map's sum that lies on the object; NaN where the gradient is 0. area: the object's share
    of the image, which is what pixels at random would give.
    """
    data: ImageData = context.load("data")
    assert data.masks is not None
    images, labels = load_images(indices, context)
    with GradientView(context.load("model")) as view:
        _, gradient, output = view.value_and_gradient(images, labels, Answer())
    maps = torch.linalg.vector_norm(gradient, dim=1).double()
    masks = torch.from_numpy(data.masks[np.asarray(indices)]).to(maps.device)
    return {
        "index": list(indices),
        "label": labels,
        "answer": output.logits.argmax(1),
        "map": maps.float(),
        "on_object": (maps * masks).sum((1, 2)) / maps.sum((1, 2)),
        "area": masks.double().mean((1, 2)),
    }


def ask(settings: Settings, lab: Lab, networks: Mapping[tuple[str, int], Reference], data: Reference) -> Maps:
    """Maps of all networks on the same images, drawn at random."""
    images: ImageData = lab.load(data)
    drawn = chosen(range(len(images)), settings.num_saliency, seed=settings.seed, what="saliency")
    handles = {
        network: lab.map("saliency", saliency_block, drawn, block=BLOCK, refs={"model": ref, "data": data}, needs=NEEDS)
        for network, ref in networks.items()
    }
    return {network: handle.result() for network, handle in handles.items()}


def kinds(maps: Maps) -> Iterator[tuple[str, list[pd.DataFrame]]]:
    """By kind of network, its seeds."""
    for name in dict.fromkeys(name for name, _ in maps):
        yield name, [rows for (each, _), rows in maps.items() if each == name]


def on_object(seeds: Sequence[pd.DataFrame]) -> Estimate:
    """Share of the gradient on the object, mean over seeds and over images whose gradient is not 0."""
    return mean_over_seeds([_mean(seed["on_object"]) for seed in seeds], limits=(0, 1))


def difference(first: Sequence[pd.DataFrame], second: Sequence[pd.DataFrame]) -> Estimate:
    """Share of the gradient on the object of the second kind of network minus that of the first, paired by seed and
    image."""
    pairs = zip(first, second, strict=True)
    return mean_over_seeds([_mean(b["on_object"] - a["on_object"]) for a, b in pairs], limits=(-1, 1))


def _mean(values: pd.Series) -> Estimate:
    known = values.dropna()
    return mean_interval(known) if len(known) else Estimate(value=float("nan"), lo=-np.inf, hi=np.inf, n=0)


def saliency_table(maps: Maps, num_seeds: int | None) -> Table | None:
    """num_seeds: None for a user's models, each of which is one network."""
    if not maps:
        return None
    over = "images" if num_seeds in (None, 1) else "seeds and images together (Student's t)"
    rows = []
    for name, seeds in kinds(maps):
        share = on_object(seeds)
        rows.append(
            {
                "network": name,
                **columns("on_object", share),
                "area": float(seeds[0]["area"].mean()),
                "n": share.n,
            }
        )
    return Table(
        name="saliency",
        title="How much of an answer hangs on the object",
        caption="On object: the share of the gradient of the answer's logit (its size at each pixel, summed) that lies "
        f"on the object, on the original images. Area: the object's share of the image. 95 % intervals "
        f"are over {over}.",
        frame=pd.DataFrame(rows),
        formats={**shown("on_object", "percent"), "area": "percent"},
    )


def saliency_picture(maps: Maps, images: NDArray[Any], classes: Sequence[str], *, num_examples: int) -> Picture | None:
    """The first seed's maps of a few images. images: those of the maps, (n, channels, height, width)."""
    if not maps or not num_examples:
        return None
    few = slice(0, num_examples)
    first = {name: seeds[0] for name, seeds in kinds(maps)}
    labels = next(iter(first.values()))["label"].iloc[few]
    rows: dict[str, NDArray[Any]] = {"image": images[few]}
    for name, found in first.items():
        stack = np.stack(found["map"].iloc[few].to_list())
        top = np.quantile(stack.reshape(len(stack), -1), SHARE, axis=1)[:, None, None]
        grey = np.clip(stack / np.where(top > 0, top, 1), 0, 1)[:, None].repeat(images.shape[1], axis=1)
        rows[name.replace(", ", ",\n")] = np.rint(grey * 255).astype(np.uint8)
    return figures.image_rows(
        name="saliency",
        title="Which pixels the answer hangs on",
        caption="Below each image the size of the gradient of the answer's logit at every pixel, bright where it is "
        f"large; each is scaled by itself, {SHARE:.0%} of its pixels lie below white. First seed; images drawn at "
        "random.",
        rows=rows,
        columns=[classes[int(label)] for label in labels],
    )
