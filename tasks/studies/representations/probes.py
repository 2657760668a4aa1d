"""What the study maps beside inversions and units: matching, paths, additions, directions, strange targets, maps.

Every optimisation is that of the paper's notebooks with fewer steps; starts are the same for all networks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from robustray.tasks.attacks.blocks import load_images
from robustray.tasks.lab.protocol import Context, Tensor, block_function
from robustray.tasks.lab.seeds import stream
from robustray.tasks.studies.representations.blocks import other_class

if TYPE_CHECKING:
    import torch

    from robustray.tasks.data.images import ImageData

NO_CLASS = 0
"""Label of images that are of no class, so that the rows can be data to a judge."""
MOST_STARTS = 1 << 20
"""More starts than anyone takes of one class: start `number` of a class has the noise number class * this + number."""


@block_function(
    version=1,
    columns={"index": pa.int64(), "start_index": pa.int64(), "before": pa.float32(), "distance": Tensor("float32")},
)
def match_block(indices: Sequence[int], context: Context) -> Mapping[str, Any]:
    """How near an image of another class comes to a target's latent within small balls (section 4 of the paper).

    settings: {"ascent", "sizes"}: its step size is a share of each ball's. distance: relative, of latents, the smallest
    on the way, (sizes,); before: at the start, where the ball has no size. No fake ReLU: gradients are the objective's.
    """
    import torch

    from robustray.tasks.attacks.objective import LatentMatching
    from robustray.tasks.inputs.items import ascend
    from robustray.tasks.latents.cache import look

    model, data = context.load("model"), context.load("data")
    targets, _ = load_images(indices, context)
    others = [other_class(data, context.seed, index) for index in indices]
    start = data.batch(others)[0].to(context.device)
    latents = look(model, targets)[1]
    found, ascent, sizes = [], context.settings["ascent"], context.settings["sizes"]
    for size in sizes:
        within = replace(ascent, eps=size, step_size=ascent.step_size * size, keep="best")
        found.append(ascend(within, model, start, latents, objective=LatentMatching()))
    return {
        "index": indices,
        "start_index": others,
        "before": -found[0].path_loss[:, 0],
        "distance": -torch.stack([each.loss for each in found], dim=1),
    }


@block_function(
    version=1,
    columns={
        "index": pa.int64(),
        "step": pa.int64(),
        "start_index": pa.int64(),
        "label": pa.int16(),
        "other_label": pa.int16(),
        "blend": Tensor("float32"),
        "image": Tensor("float32"),
        "distance": pa.float32(),
    },
)
def interpolate_block(items: Sequence[Sequence[int]], context: Context) -> Mapping[str, Any]:
    """Images whose latent lies between those of two images: items are [index, step], step 0 the image itself.

    settings: {"ascent", "points"}: the last step, points - 1, is the other image, of another class. From the blend of
    pixels, towards the same blend of latents. distance: relative, of latents.
    """
    import torch

    from robustray.tasks.attacks.objective import LatentMatching
    from robustray.tasks.inputs.items import ascend
    from robustray.tasks.latents.cache import look

    model, data = context.load("model"), context.load("data")
    indices, last = [index for index, _ in items], context.settings["points"] - 1
    share = torch.tensor([step / last for _, step in items], dtype=torch.float32, device=context.device)
    first, labels = load_images(indices, context)
    others = [other_class(data, context.seed, index) for index in indices]
    second, other_labels = (each.to(context.device) for each in data.batch(others))
    blend = (first + share.view(-1, 1, 1, 1) * (second - first)).clamp(0, 1)
    latents = [look(model, each)[1] for each in (first, second)]
    goal = latents[0] + share[:, None] * (latents[1] - latents[0])
    found = ascend(context.settings["ascent"], model, blend, goal, objective=LatentMatching(fake_relu=True))
    return {
        "index": indices,
        "step": [step for _, step in items],
        "start_index": others,
        "label": labels,
        "other_label": other_labels,
        "blend": blend,
        "image": found.images,
        "distance": -found.loss,
    }


@block_function(
    version=1,
    columns={
        "unit": pa.int64(),
        "number": pa.int64(),
        "start_index": pa.int64(),
        "label": pa.int16(),
        "level": pa.float32(),
        "start": Tensor("float32"),
        "image": Tensor("float32"),
        "activation_before": pa.float32(),
        "activation": pa.float32(),
        "distance": pa.float32(),
    },
)
def add_block(items: Sequence[Sequence[float]], context: Context) -> Mapping[str, Any]:
    """A coordinate of the latent added to test images until it reaches a level: items are [unit, number, level].

    The image of a number is the same for all units and networks. settings: {"ascent"}.
    """
    import torch

    from robustray.tasks.inputs.items import ascend
    from robustray.tasks.inputs.objectives import UnitUpTo
    from robustray.tasks.latents.cache import look

    model, data = context.load("model"), context.load("data")
    numbers = [int(number) for _, number, _ in items]
    chosen = [int(stream(context.seed, "added to", number).integers(len(data))) for number in numbers]
    start, labels = (each.to(context.device) for each in data.batch(chosen))
    state = {
        "unit": torch.tensor([int(unit) for unit, _, _ in items], device=context.device),
        "level": torch.tensor([level for _, _, level in items], dtype=torch.float32, device=context.device),
    }
    found = ascend(context.settings["ascent"], model, start, state, objective=UnitUpTo())
    before, after = (look(model, each)[1].gather(1, state["unit"][:, None])[:, 0] for each in (start, found.images))
    return {
        "unit": state["unit"],
        "number": numbers,
        "start_index": chosen,
        "label": labels,
        "level": state["level"],
        "start": start,
        "image": found.images,
        "activation_before": before,
        "activation": after,
        "distance": found.distance,
    }


@block_function(
    version=1,
    columns={
        "label": pa.int16(),
        "number": pa.int64(),
        "start": Tensor("float32"),
        "image": Tensor("float32"),
        "prediction": pa.int16(),
        "distance": pa.float32(),
    },
)
def direct_block(items: Sequence[Sequence[int]], context: Context) -> Mapping[str, Any]:
    """Images far along a class's direction of a linear head on the latents: items are [class, number].

    settings: {"ascent", "directions": (classes, width)}. From noise around grey, by (class, number). prediction: of the
    network itself.
    """
    import torch

    from robustray.tasks.attacks.gradient.verdicts import predict_logits
    from robustray.tasks.inputs.items import ascend
    from robustray.tasks.inputs.objectives import Along
    from robustray.tasks.inputs.starts import grey_noise

    model, data = context.load("model"), context.load("data")
    labels = [label for label, _ in items]
    places = torch.tensor([label * MOST_STARTS + number for label, number in items])
    start = grey_noise(context.seed, "direction start", places, data.shape).to(context.device)
    directions = torch.tensor(context.settings["directions"], dtype=torch.float32, device=context.device)
    found = ascend(context.settings["ascent"], model, start, directions[labels], objective=Along())
    return {
        "label": labels,
        "number": [number for _, number in items],
        "start": start,
        "image": found.images,
        "prediction": predict_logits(model, found.images).argmax(1),
        "distance": found.distance,
    }


@block_function(
    version=1,
    columns={
        "kind": pa.int64(),
        "number": pa.int64(),
        "label": pa.int16(),
        "target": Tensor("float32"),
        "image": Tensor("float32"),
        "before": pa.float32(),
        "after": pa.float32(),
    },
)
def strange_block(items: Sequence[Sequence[int]], context: Context) -> Mapping[str, Any]:
    """Inversions of images that belong to no class: items are [place in `STRANGE`, number]; from noise around grey.

    settings: {"ascent"}. before, after: relative distance of latents.
    """
    import torch

    from robustray.tasks.attacks.objective import LatentMatching
    from robustray.tasks.inputs.items import ascend
    from robustray.tasks.inputs.starts import grey_noise
    from robustray.tasks.latents.cache import look
    from robustray.tasks.studies.representations.kinds import STRANGE
    from robustray.tasks.studies.representations.strange import strange_image

    model, data = context.load("model"), context.load("data")
    targets = torch.stack([strange_image(STRANGE[kind], n, data.shape, seed=context.seed) for kind, n in items])
    targets = targets.to(context.device)
    places = torch.tensor([kind * MOST_STARTS + number for kind, number in items])
    start = grey_noise(context.seed, "strange start", places, data.shape).to(context.device)
    latents = look(model, targets)[1]
    found = ascend(context.settings["ascent"], model, start, latents, objective=LatentMatching(fake_relu=True))
    return {
        "kind": [kind for kind, _ in items],
        "number": [number for _, number in items],
        "label": [NO_CLASS] * len(items),
        "target": targets,
        "image": found.images,
        "before": -found.path_loss[:, 0],
        "after": -found.loss,
    }


@block_function(
    version=1,
    columns={
        "index": pa.int64(),
        "unit": pa.int64(),
        "loss_map": Tensor("float32"),
        "unit_map": Tensor("float32"),
        "seen": pa.float32(),
        "seen_other": pa.float32(),
    },
)
def map_block(indices: Sequence[int], context: Context) -> Mapping[str, Any]:
    """Sensitivity maps: the gradient of the cross-entropy with the label, and of the coordinate that the image excites
    most, with respect to the pixels.

    seen: correlation, over places, of the loss map's length with that of the image's own gradient of brightness;
    seen_other: with that of a random other image of the class, which knows where things of this class usually are.
    """
    import torch

    from robustray.tasks.attacks.gradient.verdicts import padded
    from robustray.tasks.attacks.gradient.view import GradientView
    from robustray.tasks.attacks.objective import CrossEntropy
    from robustray.tasks.inputs.objectives import Unit
    from robustray.tasks.latents.cache import look
    from robustray.tasks.studies.representations.measures import correlation

    model, data = context.load("model"), context.load("data")
    images, labels = load_images(indices, context)
    units = look(model, images)[1].argmax(1)
    rows = padded(torch.arange(len(indices), device=images.device))
    maps = {}
    for name, objective, state in (("loss_map", CrossEntropy(), labels), ("unit_map", Unit(), units)):
        needs = {"needs_latent": objective.needs_latent, "fake_relu": objective.fake_relu}
        with GradientView(model, **needs, no_relu=False, precision="fp32", shape=images.shape[1:]) as view:
            maps[name] = view.value_and_gradient(images[rows], state[rows], objective)[1][: len(indices)]
    others = data.batch([another(data, context.seed, index) for index in indices])[0]
    strength = maps["loss_map"].cpu().square().sum(1).sqrt().numpy()
    own, other = (edges(each).numpy() for each in (images.cpu(), others))
    columns = {"index": indices, "unit": units, **maps}
    return columns | {"seen": correlation(strength, own), "seen_other": correlation(strength, other)}


def another(data: ImageData, seed: int, index: int) -> int:
    """A random other image of the class of image `index`; decided by seed and index. The image itself where it is
    alone."""
    others = (data.labels == data.labels[index]).nonzero()[0]
    others = others[others != index]
    return int(others[stream(seed, "same class", index).integers(len(others))]) if len(others) else index


def edges(images: torch.Tensor) -> torch.Tensor:
    """(b, height, width): length of the Sobel gradient of the channels' mean."""
    import torch
    from torch.nn import functional

    kernel = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
    grey = functional.pad(images.mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    across, down = (functional.conv2d(grey, each[None, None]) for each in (kernel, kernel.T))
    return (across.square() + down.square()).sqrt()[:, 0]
