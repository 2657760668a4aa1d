"""A model as attacks see it: frozen, in evaluation mode, one gradient with respect to its input.

Every prediction of an attack and of `predict_logits` is made here, in full precision and in batches whose size does not
change an image's last bits, so that verdicts never depend on who computed them.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn

from robustray.tasks.attacks.objective import ModelOutput, Objective
from robustray.tasks.attacks.settings import MIN_BATCH
from robustray.tasks.errors import InputError

Model = Callable[[Tensor], Tensor]
"""Images (batch, ...) in [0, 1] -> logits (batch, classes): a torch module or any function of tensors."""


class GradientView:
    """A context: inside, the model is in evaluation mode; on leaving, each module's own mode is put back.

    (Switching the whole model back to training mode would unfreeze deliberately frozen batch norm.) Parameters, their
    `.grad` and running statistics are not touched. Batches are padded to a multiple of 16 by repeating their first row:
    below 16 rows other kernels run and an image's last bits would depend on how many others came along.
    """

    def __init__(self, model: Model, *, needs_latent: bool = False, fake_relu: bool = False) -> None:
        """Raises: InputError if the latent is needed and the model has no `forward_with_latent(images, fake_relu)`."""
        self._model = model
        self._modules = list(model.modules()) if isinstance(model, nn.Module) else []
        self._modes: list[bool] = []
        # Measured for ResNet-20 and network "S" on one core: 16 % faster per step, no image's bits depend on the batch.
        self._channels_last = any(isinstance(module, nn.Conv2d) for module in self._modules)
        self._fake_relu = fake_relu
        self._with_latent: Any = getattr(model, "forward_with_latent", None) if needs_latent else None
        if needs_latent and self._with_latent is None:
            raise InputError(
                f"the objective needs latents, but {describe(model)} has no forward_with_latent(images, fake_relu)"
            )

    def __enter__(self) -> Self:
        self._modes = [module.training for module in self._modules]
        for module in self._modules:
            module.training = False
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for module, training in zip(self._modules, self._modes, strict=True):
            module.training = training

    def evaluate(self, images: Tensor) -> ModelOutput:
        """One forward pass of images (batch, ...). Raises: InputError for anything but finite logits."""
        with torch.no_grad():
            return self._forward(_padded(images), len(images))

    def value(self, images: Tensor, state: Tensor, objective: Objective) -> tuple[Tensor, ModelOutput]:
        """loss (batch,) and the output of one forward pass. Raises: InputError as `value_and_gradient`."""
        inputs = _padded(images)
        with torch.no_grad():
            output = self._forward(inputs, len(inputs))
            loss = _checked_loss(objective.loss(output, inputs, _padded(state)), len(inputs))
        return loss[: len(images)], _first(output, len(images))

    def value_and_gradient(
        self, images: Tensor, state: Tensor, objective: Objective
    ) -> tuple[Tensor, Tensor, ModelOutput]:
        """loss (batch,), its gradient (batch, ...) and the output of the same pass.

        The gradient is that of the summed loss, so an image's gradient does not shrink with the batch.
        Raises: InputError for anything but finite logits, losses and gradients.
        """
        inputs = _padded(images).detach().requires_grad_(True)
        with torch.enable_grad():
            output = self._forward(inputs, len(inputs))
            loss = _checked_loss(objective.loss(output, inputs, _padded(state)), len(inputs))
            if not loss.requires_grad:
                raise InputError(f"the output of {describe(self._model)} does not depend on the images: no gradient")
            (gradient,) = torch.autograd.grad(loss.sum(), inputs)
        if not torch.isfinite(gradient).all():
            raise InputError(f"the gradient of {type(objective).__name__} has NaN or infinite entries")
        count = len(images)
        return loss.detach()[:count], gradient[:count], _first(output, count)

    def _forward(self, inputs: Tensor, count: int) -> ModelOutput:
        if self._channels_last and inputs.ndim == 4:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        latent = None
        if self._with_latent is not None:
            logits, latent = self._with_latent(inputs, fake_relu=self._fake_relu)
        else:
            logits = self._model(inputs)
        shape = _shape(logits)
        if not isinstance(shape, tuple) or len(shape) != 2 or shape[0] != len(inputs):
            raise InputError(f"{describe(self._model)} must return logits ({len(inputs)}, classes), got {shape}")
        if not torch.isfinite(logits).all():
            raise InputError(f"{describe(self._model)} returns NaN or infinite logits")
        return _first(ModelOutput(logits, latent), count)


def predict_logits(model: Model, images: Tensor, *, batch_size: int = 128) -> Tensor:
    """Logits (b, classes) of images (b, ...) in [0, 1], in evaluation mode: the same bits as an attack sees.

    With no images: (0, 0). Raises: InputError for anything but finite logits, and for probabilities.
    """
    with GradientView(model) as view:
        parts = [view.evaluate(part).logits for part in images.split(batch_size)] if len(images) else []
    logits = torch.cat(parts) if parts else images.new_zeros(0, 0)
    refuse_probabilities(logits, model)
    return logits


def refuse_probabilities(logits: Tensor, model: Model) -> None:
    """Raises: InputError if every row is a distribution: a softmax hides gradients from the attack."""
    if len(logits) and logits.shape[1] > 1 and logits.min() >= 0 and ((logits.sum(1) - 1).abs() < 1e-3).all():
        raise InputError(f"{describe(model)} returns probabilities; attacks need logits: remove the softmax")


def _checked_loss(loss: Tensor, count: int) -> Tensor:
    """Raises: InputError unless loss is (count,) and finite."""
    if _shape(loss) != (count,):
        raise InputError(f"an objective's loss must have one entry per image, ({count},), got {_shape(loss)}")
    if not torch.isfinite(loss).all():
        raise InputError("the objective's loss is NaN or infinite")
    return loss


def describe(model: Model) -> str:
    return f"the model ({getattr(model, '__name__', type(model).__name__)})"


def _shape(value: object) -> tuple[int, ...] | str:
    """Its shape, or what it is instead of a tensor."""
    return tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__


def _padded(rows: Tensor) -> Tensor:
    """rows (n > 0, ...), filled up to a multiple of MIN_BATCH with copies of the first."""
    missing = -len(rows) % MIN_BATCH
    return torch.cat((rows, rows[:1].expand(missing, *rows.shape[1:]))) if missing else rows


def _first(output: ModelOutput, count: int) -> ModelOutput:
    return ModelOutput(output.logits[:count], None if output.latent is None else output.latent[:count])
