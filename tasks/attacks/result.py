"""What an attack returns."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from robustray.tasks.attacks.precision import Arithmetic


@dataclass(frozen=True, kw_only=True, eq=False)
class AttackResult:
    """One entry per image, in the order of the images, on their device. b = number of images, possibly 0."""

    images: Tensor
    """(b, ...) float32 in [0, 1], within eps of the clean ones; the clean image itself where that already succeeds."""
    success: Tensor
    """(b,) bool: the goal is reached at `images` (untargeted: wrong prediction; targeted: the target is predicted). For
    an objective without a goal of its own: the prediction is wrong."""
    loss: Tensor
    """(b,) float32: the objective at `images`; attacks maximise it."""
    distance: Tensor
    """(b,) float32: from the clean image, in the attack's norm, in pixel units."""
    predictions: Tensor
    """(b,) int64: class of highest logit at `images`."""
    clean_predictions: Tensor
    """(b,) int64: class of highest logit at the clean images."""
    num_evaluations: Tensor
    """(b,) int64: passes of this image through the model, forward or forward and backward, the clean one included. The
    passes of the check for a stochastic model are not in it: they belong to the call and not to an image."""
    first_gradient: Tensor | None = None
    """(b,) float32: largest entry, by size, of the first gradient that was taken of the image; 0 says that the attack
    had nothing to follow, inf that this gradient or a later one had entries that are not finite (which were taken for
    0). Of a cascade the largest finite one of its stages. NaN where none was taken: the clean image already
    succeeds, or the attack follows no gradients. None: one's own attack that does not tell."""
    warnings: tuple[str, ...] = ()
    """What a reader of these numbers has to know; empty for a model that gives the same logits every time."""
    precision: Arithmetic = "fp32"
    """Of the gradients. Everything above is fp32."""
    folded: bool = False
    """Gradients came from a copy of the model with batch norm folded into the layers before it."""
