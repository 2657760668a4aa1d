"""A model as attacks see it: frozen, in evaluation mode, one gradient with respect to its input.

Verdicts come from the unmodified model (`verdicts`). Gradients may come from a faster stand-in (batch norm folded,
bf16): what it claims counts once the unmodified model has confirmed it.
"""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor, nn

from robustray.tasks.attacks.following import is_lost
from robustray.tasks.attacks.gradient.agreement import OTHER_GRADIENTS
from robustray.tasks.attacks.gradient.folding import fast_copy
from robustray.tasks.attacks.gradient.refusals import describe, input_gradient, refuse_inference_mode
from robustray.tasks.attacks.gradient.verdicts import FrozenModel, Model, all_finite, first_rows, padded, shape_of
from robustray.tasks.attacks.objective import ModelOutput, Objective, State, each
from robustray.tasks.attacks.precision import Arithmetic
from robustray.tasks.attacks.settings import MIN_BATCH
from robustray.tasks.errors import InputError


class GradientView(FrozenModel):
    """A frozen model with gradients for its images: a context, as `FrozenModel`.

    Parameters and their `.grad` are not touched.
    """

    folded: bool
    """Gradients come from a copy without batch norms."""
    why_not_folded: str
    """Empty if it is folded."""
    exact: bool
    """Gradients come from the unmodified model in fp32: what their output says needs no confirmation."""
    precision: Arithmetic
    """Of gradients and of `estimate`: "fp32" too where "bf16" was asked for and the model cannot run in it."""
    why_not_bf16: str
    """Empty unless that happened."""

    def __init__(
        self,
        model: Model,
        *,
        needs_latent: bool = False,
        fake_relu: bool = False,
        no_relu: bool = False,
        precision: Arithmetic = "fp32",
        shape: torch.Size | None = None,
        samples: int = 1,
    ) -> None:
        """precision: of `value_and_gradient` and `estimate`; "bf16" by autocast. shape: that of the images (channels,
        ...), if these two may use a folded copy of the model; None for the model itself. samples: passes over which a
        loss, its gradient and the logits beside it are averaged, for a model that draws random numbers.

        Raises: InputError as `FrozenModel`.
        """
        super().__init__(model, needs_latent=needs_latent, fake_relu=fake_relu, no_relu=no_relu)
        self.precision, self.why_not_bf16 = precision, ""
        self.folded, self.why_not_folded, self.exact = False, "", precision == "fp32"
        self._shape, self._samples = shape, samples
        self._stand_in: Any = None
        """Called like the model; with latents it returns (logits, latent)."""

    def __enter__(self) -> Self:
        super().__enter__()
        if self._shape is None:
            self.why_not_folded = "nobody asked for it"
        elif not isinstance(self._model, nn.Module):
            self.why_not_folded = "only modules can be traced"
        else:
            latent = self._with_latent is not None
            made = fast_copy(self._model, self._shape, latent=latent, **self._relu)
            self.folded, self.why_not_folded = made.num_folded > 0, made.reason
            self._stand_in = made.module
        if self.precision == "bf16" and self._shape is not None and (why := self._fails_in_bf16(self._shape)):
            self.precision, self.why_not_bf16 = "fp32", why
        # In fp32 a copy with nothing folded gains nothing.
        self._stand_in = self._stand_in if self.folded or self.precision == "bf16" else None
        self.exact = self.precision == "fp32" and self._stand_in is None
        return self

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a reader of numbers has to know of how gradients were had."""
        found = []
        if self.why_not_folded.startswith(OTHER_GRADIENTS):
            found.append(f"attacks follow the gradients of {describe(self._model)} itself: {self.why_not_folded}")
        if self.why_not_bf16:
            found.append(f"{describe(self._model)} cannot run in bf16 ({self.why_not_bf16}): gradients are fp32")
        return tuple(found)

    # --- Verdicts: the unmodified model in fp32, as `evaluate` --------------------------------------------------------

    def value(self, images: Tensor, state: State, objective: Objective) -> tuple[Tensor, ModelOutput]:
        """loss (batch,) and the output of one forward pass. Raises: InputError as `value_and_gradient`."""
        return self._value(images, state, objective, exact=True)

    # --- Search: its stand-in, if there is one, in the precision of the view ------------------------------------------

    def estimate(self, images: Tensor, state: State, objective: Objective) -> tuple[Tensor, ModelOutput]:
        """As `value`, but as fast as it gets: unless the view is `exact`, its success is one to be confirmed."""
        return self._value(images, state, objective, exact=False)

    def value_and_gradient(
        self, images: Tensor, state: State, objective: Objective
    ) -> tuple[Tensor, Tensor, ModelOutput]:
        """loss (batch,), its gradient (batch, ...) and the output of the same pass, all float32.

        The gradient is that of the summed loss, so an image's gradient does not shrink with the batch. Unless the view
        is `exact`, a success in the output is one to be confirmed by `value`.
        Raises: InputError for anything but finite logits, losses and gradients.
        """
        loss, gradient, largest, output = self.follow(images, state, objective)
        if torch.isinf(largest).any():
            raise InputError(f"the gradient of {type(objective).__name__} has NaN or infinite entries")
        return loss, gradient, output

    def follow(self, images: Tensor, state: State, objective: Objective) -> tuple[Tensor, Tensor, Tensor, ModelOutput]:
        """As `value_and_gradient`, for searches that count the images whose gradient tells them nothing: (loss,
        gradient, largest, output).

        largest: (batch,), the largest entry of each gradient by size; inf where some entries were not finite, which
        are 0 in the gradient, so that its other entries can be followed.
        """
        count, inputs, state = len(images), padded(images), each(state, padded)
        loss, gradient, largest, output = self._gradient(inputs, state, objective, self.precision)
        if self.precision == "bf16":
            # Matrix units take the smallest floats for zero: where all of a gradient was lost, fp32 may still find one.
            lost = is_lost(largest[:count]).nonzero()[:, 0]
            if len(lost):
                rows = padded(lost)
                _, found, sizes, _ = self._gradient(
                    inputs[rows], each(state, lambda all_rows: all_rows[rows]), objective, "fp32"
                )
                gradient = gradient.index_copy(0, lost, found[: len(lost)])
                largest = largest.index_copy(0, lost, sizes[: len(lost)])
        return loss[:count], gradient[:count], largest[:count], first_rows(output, count)

    def _value(self, images: Tensor, state: State, objective: Objective, exact: bool) -> tuple[Tensor, ModelOutput]:
        inputs = padded(images)
        with torch.no_grad():
            output = self._forward(inputs) if exact else self._quick(inputs, self.precision)
            loss = _loss(objective, output, inputs, each(state, padded))
        self._refuse_non_finite(output, loss)
        return loss[: len(images)], first_rows(output, len(images))

    def _gradient(
        self, inputs: Tensor, state: State, objective: Objective, precision: Arithmetic
    ) -> tuple[Tensor, Tensor, Tensor, ModelOutput]:
        """loss, gradient, its largest entry per image (as in `follow`), output; means over the samples."""
        loss, gradient, largest, output = self._one_gradient(inputs, state, objective, precision)
        if self._samples == 1:
            return loss, gradient, largest, output
        logits, infinite = output.logits, torch.isinf(largest)
        for _ in range(self._samples - 1):
            more_loss, more_gradient, more_largest, more = self._one_gradient(inputs, state, objective, precision)
            loss, gradient, logits = loss + more_loss, gradient + more_gradient, logits + more.logits
            infinite = infinite | torch.isinf(more_largest)
        gradient = gradient / self._samples
        largest = gradient.flatten(1).abs().amax(dim=1).masked_fill(infinite, torch.inf)
        return loss / self._samples, gradient, largest, ModelOutput(logits / self._samples, output.latent)

    def _one_gradient(
        self, inputs: Tensor, state: State, objective: Objective, precision: Arithmetic
    ) -> tuple[Tensor, Tensor, Tensor, ModelOutput]:
        """Those of one pass."""
        refuse_inference_mode(self._model, self._modules)
        inputs = inputs.detach().requires_grad_(True)
        with torch.enable_grad():
            output = self._quick(inputs, precision)
            loss = _loss(objective, output, inputs, state)
            gradient = None
            if loss.requires_grad:  # its parameters may ask for gradients where the images have none
                gradient = input_gradient(loss.sum(), inputs, self._model)
        if gradient is None:
            raise InputError(
                f"{describe(self._model)} passes no gradient to its images (detach, NumPy, no_grad or integers between "
                "them and the logits?): attacks that need none are square, nes and noise"
            )
        gradient = gradient.contiguous()  # as the images are: mixed layouts make each step slower
        largest = gradient.flatten(1).abs().amax(dim=1)  # passes NaN on
        if not all_finite(output.logits, loss, largest):
            self._refuse_non_finite(output, loss)
            gradient, largest = gradient.nan_to_num(0, 0, 0), largest.nan_to_num(torch.inf, torch.inf)
        output = ModelOutput(output.logits.detach(), None if output.latent is None else output.latent.detach())
        return loss.detach(), gradient, largest, output

    def _quick(self, inputs: Tensor, precision: Arithmetic) -> ModelOutput:
        return self._forward(inputs, precision=precision, stand_in=self._stand_in)

    def _fails_in_bf16(self, shape: torch.Size) -> str:
        """Why gradients cannot be had in bf16; empty if they can, or if the model passes none in any arithmetic."""
        if torch.is_inference_mode_enabled():
            return ""
        at = next((p for module in self._modules for p in module.parameters(recurse=False)), torch.empty(0)).device
        images = torch.rand(MIN_BATCH, *shape, generator=torch.Generator().manual_seed(0)).to(at).requires_grad_(True)
        try:
            with torch.enable_grad(), torch.random.fork_rng(devices=[]):
                logits = self._quick(images, self.precision).logits
                if logits.requires_grad:
                    torch.autograd.grad(logits.sum(), images, allow_unused=True)
        except InputError:  # it will be said where the model is used
            return ""
        except Exception as error:  # an operation without bf16: the library's or the user's own
            return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        return ""


def repeat_warnings(model: Model, view: GradientView, images: Tensor, first: Tensor, second: Tensor) -> tuple[str, ...]:
    """A warning if the model gives these images other logits each time. first: those of the images as a batch of their
    own; second: those they got in a larger one."""
    if torch.equal(first, second):
        return ()
    # Batches of other sizes may differ by rounding (GPU); the same batch again may not.
    gap = float((view.evaluate(images).logits - first).abs().max())
    if gap == 0:
        return ()
    return (
        f"{describe(model)} gives other logits when it sees the same images again (up to {gap:.2g} apart): "
        "a success may be a lucky draw, and results cannot be repeated",
    )


def _loss(objective: Objective, output: ModelOutput, inputs: Tensor, state: State) -> Tensor:
    """Raises: InputError unless it has one entry per image."""
    loss = objective.loss(output, inputs, state)
    if shape_of(loss) != (len(inputs),):
        raise InputError(f"an objective's loss must have one entry per image, ({len(inputs)},), got {shape_of(loss)}")
    return loss
