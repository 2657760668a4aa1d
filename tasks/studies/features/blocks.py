"""How an image of each set is made. Images are stored with 8 bits, and everything that is reported is measured on the
stored images.

Items are lists that begin with the image's index in D; "model" is a source, "data" is D.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from robustray.tasks.attacks.blocks import load_images
from robustray.tasks.errors import InputError
from robustray.tasks.inputs.settings import Ascent
from robustray.tasks.lab.protocol import Context, Tensor, block_function

if TYPE_CHECKING:
    import torch


@block_function(
    version=1,
    columns={
        "index": pa.int64(),
        "start": pa.int64(),
        "label": pa.int16(),
        "image": Tensor("uint8"),
        "distance": pa.float32(),
        "first_gap": pa.float32(),
        "last_gap": pa.float32(),
        "prediction": pa.int16(),
    },
)
def match_block(items: Sequence[Sequence[int]], context: Context) -> Mapping[str, Any]:
    """D_R and D_NR (arXiv:1905.02175 section 3.1): the image `start`, moved until its latent is that of `index`.

    Items: [index, start]. settings: the `Ascent`. The label is that of `index`. distance: l2 from the start. first_gap,
    last_gap: ||g(x) - goal|| / ||goal|| at the start and on the stored image, where goal is the latent of `index`.
    """
    import torch

    from robustray.tasks.attacks.objective import LatentMatching
    from robustray.tasks.inputs.items import ascend
    from robustray.tasks.latents.cache import look

    model = context.load("model")
    images, labels = load_images([item[0] for item in items], context)
    starts, _ = load_images([item[1] for item in items], context)
    _, goal = look(model, images)
    moved = ascend(context.settings, model, starts, goal, objective=LatentMatching())
    stored = eight_bits(moved.images)
    logits, latent = look(model, shown(stored))
    length = torch.linalg.vector_norm(goal, dim=1).clamp_min(1e-12)
    return {
        "index": [item[0] for item in items],
        "start": [item[1] for item in items],
        "label": labels,
        "image": stored,
        "distance": l2(shown(stored) - starts),
        "first_gap": -moved.path_loss[:, 0],
        "last_gap": torch.linalg.vector_norm(latent - goal, dim=1) / length,
        "prediction": logits.argmax(1),
    }


LONGEST_STEP = 256.0
"""The longest step that is tried along a random direction, in units of the length that is wanted: on an image whose
pixels are nearly all at 0 or 1 most of a step is clipped."""

_PERTURBED = {
    "index": pa.int64(),
    "original": pa.int16(),
    "label": pa.int16(),
    "image": Tensor("uint8"),
    "moved": pa.float32(),
    "distance": pa.float32(),
    "prediction": pa.int16(),
}


@block_function(version=2, columns=_PERTURBED)
def perturb_block(items: Sequence[Sequence[int]], context: Context) -> Mapping[str, Any]:
    """D_rand and D_det (section 3.2): the image, perturbed until the source sees it as its new label, and so labelled.

    Items: [index, new label]. settings: the `Ascent`. moved, distance: l2 from the image, before it is rounded to 8
    bits and as it is stored; the former is within the ball. Raises: InputError for a label that the model lacks.
    """
    from robustray.tasks.attacks.objective import CrossEntropy
    from robustray.tasks.inputs.items import ascend

    model = context.load("model")
    images, original = load_images([item[0] for item in items], context)
    labels = _targets(items, model, images)
    moved = ascend(context.settings, model, images, labels, objective=CrossEntropy(targeted=True))
    return _perturbed(items, model, images, original, labels, moved.images)


@block_function(version=1, columns=_PERTURBED)
def avoid_block(items: Sequence[Sequence[int]], context: Context) -> Mapping[str, Any]:
    """Like `perturb_block`, with perturbations that do not fool further networks, "avoided 0", "avoided 1" and so on.

    The gradient is that of the target's loss on "model" plus the mean over the others of the true label's (Nakkiran,
    "Adversarial examples are just bugs, too", Distill 2019). settings: an `Avoiding`.
    """
    from robustray.tasks.inputs.items import ascend
    from robustray.tasks.studies.features.avoiding import NotTransferable, SideBySide

    task: Avoiding = context.settings
    model = context.load("model")
    images, original = load_images([item[0] for item in items], context)
    labels = _targets(items, model, images)
    together = SideBySide([model, *(context.load(f"avoided {number}") for number in range(task.count))])
    state = {"target": labels, "label": original}
    moved = ascend(task.ascent, together, images, state, objective=NotTransferable(num_models=task.count + 1))
    return _perturbed(items, model, images, original, labels, moved.images)


@dataclass(frozen=True, kw_only=True)
class Avoiding:
    """Settings of `avoid_block`."""

    ascent: Ascent
    count: int
    """Networks to leave alone."""


def _targets(items: Sequence[Sequence[int]], model: Any, images: torch.Tensor) -> torch.Tensor:
    """The new labels. Raises: InputError."""
    import torch

    from robustray.tasks.attacks.gradient.verdicts import predict_logits

    labels = torch.tensor([item[1] for item in items], device=images.device)
    num_classes = predict_logits(model, images[:1]).shape[1]
    wrong = labels[(labels < 0) | (labels >= num_classes)]
    if len(wrong):
        raise InputError(f"there is no class {int(wrong[0])} to perturb towards: the source has 0..{num_classes - 1}")
    return labels


def _perturbed(
    items: Sequence[Sequence[int]],
    model: Any,
    images: torch.Tensor,
    original: torch.Tensor,
    labels: torch.Tensor,
    moved: torch.Tensor,
) -> Mapping[str, Any]:
    from robustray.tasks.attacks.gradient.verdicts import predict_logits

    stored = eight_bits(moved)
    return {
        "index": [item[0] for item in items],
        "original": original,
        "label": labels,
        "image": stored,
        "moved": l2(moved - images),
        "distance": l2(shown(stored) - images),
        "prediction": predict_logits(model, shown(stored)).argmax(1),
    }


@block_function(
    version=2,
    columns={
        "index": pa.int64(),
        "original": pa.int16(),
        "label": pa.int16(),
        "image": Tensor("uint8"),
        "distance": pa.float32(),
        "prediction": pa.int16(),
    },
)
def noise_block(items: Sequence[Sequence[Any]], context: Context) -> Mapping[str, Any]:
    """The control: a perturbation of the same length in a random direction.

    Items: [index, label, length]. Clipping to [0, 1] would shorten it: the direction is followed until what is left has
    the length, or no pixel can move any further.
    """
    import torch

    from robustray.tasks.attacks.gradient.verdicts import predict_logits
    from robustray.tasks.attacks.search import noise

    indices = [item[0] for item in items]
    images, original = load_images(indices, context)
    where = torch.tensor(indices, device=images.device)
    drawn = noise.normal(context.seed, "features-control", 0, where, images.shape[1:], images.device)
    length = torch.tensor([item[2] for item in items], dtype=images.dtype, device=images.device)
    stored = eight_bits(moved_by(images, drawn, length))
    return {
        "index": indices,
        "original": original,
        "label": [item[1] for item in items],
        "image": stored,
        "distance": l2(shown(stored) - images),
        "prediction": predict_logits(context.load("model"), shown(stored)).argmax(1),
    }


def moved_by(images: torch.Tensor, direction: torch.Tensor, length: torch.Tensor) -> torch.Tensor:
    """Images (n, ...) moved along their directions and clipped to [0, 1], so that they end at distance `length` (n,);
    at the farthest point of the box where it is nearer. The distance grows with the step: bisection finds it."""
    import torch

    unit = direction / l2(direction).view(-1, 1, 1, 1)

    def at(step: torch.Tensor) -> torch.Tensor:
        return (images + step.view(-1, 1, 1, 1) * unit).clamp(0, 1)

    low, high = length, length * LONGEST_STEP
    for _ in range(40):
        middle = (low + high) / 2
        short = l2(at(middle) - images) < length
        low, high = torch.where(short, middle, low), torch.where(short, high, middle)
    exact = l2(at(length) - images) >= length * (1 - 1e-6)  # nothing was clipped
    return at(torch.where(exact, length, high))


def eight_bits(images: torch.Tensor) -> torch.Tensor:
    """(n, ...) in [0, 1] as uint8, to the nearest level: an l2 error of at most sqrt(pixels) / 510."""
    import torch

    return (images * 255).round().to(torch.uint8)


def shown(stored: torch.Tensor) -> torch.Tensor:
    """Stored pixels as a network sees them."""
    import torch

    return stored.to(torch.float32) / 255


def l2(difference: torch.Tensor) -> torch.Tensor:
    """l2 norms: (n, ...) -> (n,)."""
    import torch

    return torch.linalg.vector_norm(difference.flatten(1), dim=1)
