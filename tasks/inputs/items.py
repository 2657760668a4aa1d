"""Every image on its own: objectives without a ball or within one, with a schedule of steps and a recorded path."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from robustray.tasks.attacks.gradient.verdicts import Model, padded
from robustray.tasks.attacks.gradient.view import GradientView
from robustray.tasks.attacks.objective import Objective, State, each
from robustray.tasks.attacks.precision import resolve_precision
from robustray.tasks.attacks.search.norms import GEOMETRIES
from robustray.tasks.errors import InputError
from robustray.tasks.inputs.settings import Ascent


@dataclass(frozen=True, kw_only=True, eq=False)
class Ascended:
    """One entry per image, in their order. b = number of images."""

    images: Tensor
    """(b, ...) float32 in [0, 1]: the iterate that `Ascent.keep` names."""
    loss: Tensor
    """(b,) the objective at `images`, by the unmodified model in fp32; it was maximised."""
    path_loss: Tensor
    """(b, num_steps + 1): the objective at x_0 ... x_T, in the precision of the search."""
    path: Tensor
    """(b, recorded, ...): the iterates asked for, in the order of `record`."""
    distance: Tensor
    """(b,) l2 distance of `images` from the start, in pixel units."""


def ascend(
    ascent: Ascent,
    model: Model,
    images: Tensor,
    state: State,
    *,
    objective: Objective,
    centre: Tensor | None = None,
    mask: Tensor | None = None,
    record: Sequence[int] = (),
) -> Ascended:
    """Move every image along the gradient of its own objective; the model is left as it was.

    images: (b, ...) float32 in [0, 1], the start x_0. state: what the objective compares with, one tensor or several by
    name, one entry per image each. centre: (b, ...) of the ball, the start if None. mask: (b, 1 or channels, height,
    width) of 0 and 1; pixels at 0 stay as they are in the start. record: steps t in 0 .. num_steps whose iterates are
    returned in `path`.

    An image's result depends on its own start, state, centre and mask only: not on its batch. There is no noise here;
    starts that need some draw it themselves (`starts`).

    Raises: InputError for arguments that do not fit, a start outside [0, 1] or outside its ball, a model without finite
        logits, and what `GradientView` refuses.
    """
    centre = images if centre is None else centre
    _check(ascent, images, state, centre, mask, record)
    precision = resolve_precision(str(images.device)) if ascent.precision == "auto" else ascent.precision
    parts = []
    with GradientView(
        model,
        needs_latent=objective.needs_latent,
        fake_relu=objective.fake_relu,
        no_relu=objective.no_relu,
        precision=precision,
        shape=images.shape[1:],
    ) as view:
        for rows in torch.arange(len(images), device=images.device).split(ascent.batch_size) if len(images) else ():
            part = _Part.of(images, state, centre, mask, rows)
            parts.append(_ascend(ascent, view, part, objective, record))
    if not parts:
        empty, num = images.new_zeros(0), ascent.num_steps + 1
        path = images.new_zeros(0, len(record), *images.shape[1:])
        return Ascended(images=images, loss=empty, path_loss=images.new_zeros(0, num), path=path, distance=empty)
    return Ascended(**{name: torch.cat([part[name] for part in parts]) for name in parts[0]})


@dataclass(frozen=True, eq=False)
class _Part:
    """The images of one batch with all that belongs to them, padded to a size that fixes their bits."""

    count: int
    start: Tensor
    state: State
    centre: Tensor
    mask: Tensor | None

    @classmethod
    def of(cls, images: Tensor, state: State, centre: Tensor, mask: Tensor | None, rows: Tensor) -> _Part:
        rows, count = padded(rows), len(rows)
        return cls(
            count,
            images[rows].detach().contiguous(),
            each(state, lambda tensor: tensor[rows].detach()),
            centre[rows].detach(),
            None if mask is None else mask[rows].to(images.dtype),
        )


def _ascend(
    ascent: Ascent, view: GradientView, part: _Part, objective: Objective, record: Sequence[int]
) -> dict[str, Tensor]:
    geometry = GEOMETRIES[ascent.norm]
    sizes = ascent.step_sizes()
    x, losses, path = part.start, [], {}
    best, highest = x, x.new_full((len(x),), -torch.inf)
    for step in range(ascent.num_steps + 1):
        if step in record:
            path[step] = x
        gradient = None
        if step < ascent.num_steps:
            loss, gradient, _ = view.value_and_gradient(x, part.state, objective)
        else:
            loss, _ = view.estimate(x, part.state, objective)
        losses.append(loss)
        if ascent.keep == "best":
            higher = loss > highest
            best = torch.where(higher.view(-1, *[1] * (x.ndim - 1)), x, best)
            highest = torch.where(higher, loss, highest)
        if gradient is not None:
            moved = x + sizes[step] * geometry.direction(gradient if part.mask is None else gradient * part.mask)
            x = moved.clamp(0, 1) if ascent.eps is None else geometry.project(moved, part.centre, ascent.eps)
            if part.mask is not None:  # the clip of a ball around another centre would move pixels of the start
                x = torch.where(part.mask == 1, x, part.start)
    chosen = best if ascent.keep == "best" else x
    loss, _ = view.value(chosen, part.state, objective)
    recorded = torch.stack([path[step] for step in record], dim=1) if record else x.new_zeros(len(x), 0, *x.shape[1:])
    found = {
        "images": chosen,
        "loss": loss,
        "path_loss": torch.stack(losses, dim=1),
        "path": recorded,
        "distance": GEOMETRIES["l2"].size(chosen - part.start),
    }
    return {name: values[: part.count] for name, values in found.items()}


def _check(
    ascent: Ascent, images: Tensor, state: State, centre: Tensor, mask: Tensor | None, record: Sequence[int]
) -> None:
    """Raises: InputError."""
    for name, pixels in (("images", images), ("centre", centre)):
        if pixels.dtype != torch.float32 or pixels.shape != images.shape or images.ndim < 2:
            raise InputError(
                f"{name} must be float32 of shape (batch, ...), all alike, got {pixels.dtype} {tuple(pixels.shape)}"
            )
        if pixels.numel() and not ((pixels >= 0) & (pixels <= 1)).all():  # also false for NaN
            raise InputError(f"{name} must lie in [0, 1]: clip the start, and leave normalisation to the model")
    for name, rows in ({"state": state} if isinstance(state, Tensor) else state).items():
        if len(rows) != len(images):
            raise InputError(f"{name} has {len(rows)} entries for {len(images)} images")
    if ascent.eps is not None and len(images):
        furthest = float(GEOMETRIES[ascent.norm].size(images - centre).max())
        if furthest > ascent.eps * (1 + 1e-5):
            raise InputError(f"a start lies {furthest:g} from the centre of its ball, eps is {ascent.eps:g}")
    if mask is not None:
        fits = mask.ndim == images.ndim and all(
            m in (1, n) for m, n in zip(mask.shape[1:], images.shape[1:], strict=True)
        )
        if not fits or len(mask) != len(images) or not ((mask == 0) | (mask == 1)).all():
            raise InputError(
                f"mask must be 0 (pixel stays) and 1 (pixel may change) and fit images of shape {tuple(images.shape)}, "
                f"got shape {tuple(mask.shape)}"
            )
    outside = [step for step in record if not 0 <= step <= ascent.num_steps]
    if outside:
        raise InputError(f"record: there is no step {outside[0]}, they go from 0 to {ascent.num_steps}")
