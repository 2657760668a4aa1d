"""What a lab maps over images to look into attacks: how the loss grows step by step, and where it points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from robustray.tasks.attacks.blocks import load_images
from robustray.tasks.lab.protocol import Context, Tensor, block_function

if TYPE_CHECKING:
    import torch

    from robustray.tasks.attacks.gradient.view import GradientView
    from robustray.tasks.attacks.settings import Plan

UNBROKEN = -1
"""Value of `broken_at` for an image that was not broken."""


@block_function(
    version=1,
    columns={"index": pa.int64(), "label": pa.int16(), "loss": Tensor("float32"), "broken_at": pa.int16()},
)
def trace_block(indices: Sequence[int], context: Context) -> Mapping[str, Any]:
    """The cross-entropy at every iterate x_0 ... x_T of the PGD `context.settings`, which never stops early.

    loss: (num_steps + 1,) per image. broken_at: the first t at which x_t is not classified as its label, 0 for an image
    that is wrong without an attack, `UNBROKEN` if there is none. Everything in fp32 on the unmodified model; no random
    start, one run.
    """
    import torch

    from robustray.tasks.attacks.gradient.view import GradientView

    plan = context.settings.plan()
    assert not plan.random_start and plan.num_restarts == 1, "a trace starts at the image itself"
    images, labels = load_images(indices, context)
    parts = []
    with GradientView(context.load("model")) as view:
        for rows in torch.arange(len(images), device=images.device).split(plan.batch_size):
            parts.append(_trace(plan, view, images[rows], labels[rows]))
    losses, broken_at = (torch.cat(column) for column in zip(*parts, strict=True))
    return {"index": indices, "label": labels, "loss": losses, "broken_at": broken_at}


def _trace(
    plan: Plan, view: GradientView, images: torch.Tensor, labels: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    import torch

    from robustray.tasks.attacks.objective import CrossEntropy
    from robustray.tasks.attacks.search.norms import GEOMETRIES

    geometry, objective = GEOMETRIES[plan.norm], CrossEntropy()
    losses = images.new_zeros(len(images), plan.num_steps + 1)
    broken_at = torch.full_like(labels, UNBROKEN)
    x = images
    for t in range(plan.num_steps + 1):
        losses[:, t], gradient, output = view.value_and_gradient(x, labels, objective)
        broken_at[(broken_at == UNBROKEN) & (output.logits.argmax(1) != labels)] = t
        x = geometry.project(x + plan.step_size * geometry.direction(gradient), images, plan.eps)
    return losses, broken_at


@block_function(
    version=1,
    columns={
        "index": pa.int64(),
        "label": pa.int16(),
        "prediction": pa.int16(),
        "image": Tensor("float32"),
        "gradient": Tensor("float32"),
    },
)
def gradient_block(indices: Sequence[int], context: Context) -> Mapping[str, Any]:
    """Images (channels, height, width) in [0, 1] and the gradient of their cross-entropy with respect to the pixels."""
    from robustray.tasks.attacks.gradient.view import GradientView
    from robustray.tasks.attacks.objective import CrossEntropy

    images, labels = load_images(indices, context)
    with GradientView(context.load("model")) as view:
        _, gradient, output = view.value_and_gradient(images, labels, CrossEntropy())
    return {
        "index": indices,
        "label": labels,
        "prediction": output.logits.argmax(1),
        "image": images,
        "gradient": gradient,
    }
