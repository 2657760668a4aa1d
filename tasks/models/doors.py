"""Checks that a model fits the data, before anything is computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from robustray.tasks.data.own import describe
from robustray.tasks.errors import InputError
from robustray.tasks.lab.seeds import torch_left_alone

if TYPE_CHECKING:
    import torch

    from robustray.tasks.attacks.gradient.refusals import Model

COMPANY_TOLERANCE = 1e-4
"""Largest difference between the logits of an image in two batches, relative to the largest logit: beyond rounding."""
ALONE = 4
"""Images that are also looked at in a batch of nothing but themselves."""
BEYOND = 0.25
"""How far black and white pixels are moved out of [0, 1] to see whether a model clamps its input."""


def check_model(model: Model, images: torch.Tensor, num_classes: int | None, *, company: bool = True) -> list[str]:
    """Run a few images through `model` (a module or a function), in evaluation mode, in different company.

    What the calls change is put back: modes of modules, batch norm's statistics (also of networks that only a function
    knows), torch's generators.

    images: (b > 0, channels, height, width) in [0, 1], on any device; num_classes: of the data, None if they don't say.
    company: False for an audit, which says itself whether the images of a batch are independent.
    Returns: warnings, empty for a good model (one line if two passes differ).

    Raises: InputError when the model cannot take such images, does not return finite logits (b, num_classes) of two
    classes or more, returns probabilities, or when an image's logits depend on the other images of its batch.
    """
    import torch

    from robustray.tasks.attacks.gradient.refusals import refuse_one_output, refuse_probabilities
    from robustray.tasks.attacks.gradient.verdicts import own_copy, padded
    from robustray.tasks.models.watching import watched

    name = getattr(model, "__name__", type(model).__name__)
    if isinstance(model, torch.nn.Module) and (parameter := next(model.parameters(), None)) is not None:
        images = images.to(parameter.device)
    if len(images) == 1:  # a norm over the batch would fail on one, and be found out by two
        images = images.repeat(2, *[1] * (images.ndim - 1))
    with watched(model) as seen, torch.no_grad(), torch_left_alone():

        def logits(batch: torch.Tensor, seed: int = 0) -> torch.Tensor:
            torch.default_generator.manual_seed(seed)
            try:
                found: Any = model(own_copy(batch))
            except Exception as error:  # the model may be the user's own
                raise InputError(
                    f"the model ({name}) fails on images of shape {tuple(batch.shape)}: {describe(error)}"
                ) from error
            if not isinstance(found, torch.Tensor) or not found.is_floating_point():
                raise InputError(f"the model ({name}) returns {_kind(found)}, expected a float tensor of logits")
            if found.ndim != 2 or len(found) != len(batch):
                raise InputError(
                    f"the model ({name}) returns shape {tuple(found.shape)} for {len(batch)} images, expected "
                    f"({len(batch)}, {num_classes or 'classes'}) logits"
                )
            return found.float()

        first = logits(images)
        refuse_one_output(first.shape[1], model)
        if num_classes is not None and first.shape[1] != num_classes:
            raise InputError(f"the model has {first.shape[1]} outputs, the data {num_classes} classes")
        if not torch.isfinite(first).all():
            bad = int((~torch.isfinite(first)).any(1).nonzero()[0])
            raise InputError(f"the model returns NaN or infinite logits (first for image {bad} of the checked ones)")
        refuse_probabilities(first, model)
        if company and (moving := seen.in_training()):
            raise InputError(
                f"the model ({name}) has a {moving} in training mode, which normalises with the batch and changes its "
                "own statistics: call .eval() on the network that it runs"
            )
        warnings = []
        if gap := _gap(first, logits(images, seed=1)):
            warnings.append(
                f"the model gives other logits when it sees the same images again (up to {gap:.2g} apart): "
                "is a dropout or a noise layer still active? Its results cannot be reproduced"
            )
        batch = padded(images)
        usual = logits(batch)
        if company and torch.equal(
            usual, logits(batch)
        ):  # where noise of its own remains, company cannot be told from it
            gap = _company(logits, batch, usual)
            if not gap <= COMPANY_TOLERANCE * float(usual.abs().max()):
                raise InputError(
                    f"the model ({name}) gives an image other logits when the rest of its batch changes (up to "
                    f"{gap:.2g} apart): {seen.likely_mixer()}"
                )
    return warnings


def company_gap(logits: Callable[[torch.Tensor], torch.Tensor], images: torch.Tensor) -> float:
    """Largest difference between an image's logits in two batches, relative to the largest logit.

    logits: of a batch (b, ...), the same each time. images: (b > 0, ...) in [0, 1].
    """
    from robustray.tasks.attacks.gradient.verdicts import padded

    batch = padded(images)
    usual = logits(batch)
    return _company(logits, batch, usual) / max(float(usual.abs().max()), 1e-30)


def clamp_remark(model: Model, images: torch.Tensor) -> list[str]:
    """A line if `model` clamps its input to [0, 1]: nothing changes when black and white pixels go beyond it."""
    import torch

    from robustray.tasks.attacks.gradient.verdicts import FrozenModel

    outside = torch.where(images == 0, -BEYOND, torch.where(images == 1, 1 + BEYOND, images))
    if torch.equal(outside, images):
        outside, images = torch.full_like(images, 1 + BEYOND), torch.ones_like(images)
    try:
        with FrozenModel(model) as view:
            same = torch.equal(view.evaluate(images).logits, view.evaluate(outside).logits)
            unlike = torch.equal(view.evaluate(images).logits, view.evaluate(images / 2 + 0.25).logits)
    except Exception:  # a model may refuse pixels beyond [0, 1]: then it does not clamp them
        return []
    if not same or unlike:
        return []
    return [
        f"the model ({getattr(model, '__name__', type(model).__name__)}) clamps its input: the gradient of torch.clamp "
        "at exactly 0 and 1 is 1 up to torch 2.13 and 0 from 2.14 on (here "
        f"{torch.__version__.partition('+')[0]}), so first steps from black and white pixels differ between them; "
        "attacks stay within [0, 1] without the clamp"
    ]


def _company(logits: Callable[[torch.Tensor], torch.Tensor], batch: torch.Tensor, usual: torch.Tensor) -> float:
    """usual: the logits of `batch`. NaN where some are not finite."""
    dim = 0.25 + batch / 2  # so that mates have smaller and larger pixels
    return max(
        _gap(logits_here[rows], logits(company)[rows])
        for images_here, logits_here in ((batch, usual), (dim, logits(dim)))
        for rows, company in _companies(images_here)
    )


def _companies(batch: torch.Tensor) -> Iterator[tuple[slice, torch.Tensor]]:
    """Batches of the same size, each with the rows whose images are those of `batch`: among noise, and alone."""
    import torch

    kept = len(batch) // 2
    noise = torch.rand(batch[kept:].shape, generator=torch.Generator().manual_seed(0)).to(batch.device)
    yield slice(kept), torch.cat((batch[:kept], noise))
    for row in range(ALONE):
        yield slice(row, row + 1), batch[row : row + 1].expand_as(batch)


def _gap(a: torch.Tensor, b: torch.Tensor) -> float:
    """NaN where one of them is not finite."""
    return float((a - b).abs().max())


def _kind(value: object) -> str:
    return str(getattr(value, "dtype", type(value).__name__))
