"""What a model says of images: frozen, in evaluation mode, unmodified and in full precision.

Batches are of sizes that do not change an image's last bits, so that a verdict never depends on who computed it.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn

from robustray.tasks.attacks.gradient.refusals import Model as Model
from robustray.tasks.attacks.gradient.refusals import describe, refuse_probabilities
from robustray.tasks.attacks.objective import ModelOutput
from robustray.tasks.attacks.precision import Arithmetic
from robustray.tasks.attacks.settings import MIN_BATCH
from robustray.tasks.errors import InputError


class FrozenModel:
    """A context: inside, the model is in evaluation mode; on leaving, each module's own mode is put back.

    (Switching the whole model back to training mode would unfreeze deliberately frozen batch norm.) Running statistics
    are not touched. Batches are padded to a multiple of 16 by repeating their first row: below 16 rows other kernels
    run and an image's last bits would depend on how many others came along.
    """

    def __init__(
        self, model: Model, *, needs_latent: bool = False, fake_relu: bool = False, no_relu: bool = False
    ) -> None:
        """Raises: InputError if the latent is needed and the model has no `forward_with_latent(images, fake_relu)`, and
        for fake_relu and no_relu at once.
        """
        self._model = model
        self.passes_per_verdict: int = getattr(model, "passes_per_verdict", 1)
        """Passes of each image that one look takes: several where draws of a random model vote (`draws`)."""
        self._modules = list(model.modules()) if isinstance(model, nn.Module) else []
        self._modes: list[bool] = []
        # Measured for ResNet-20 and network "S" on one core: 16 % faster per step, no image's bits depend on the batch.
        self._channels_last = any(isinstance(module, nn.Conv2d) for module in self._modules)
        if fake_relu and no_relu:
            raise InputError("fake_relu and no_relu exclude each other: give one")
        self._relu = latent_options(fake_relu, no_relu)
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
            output = self._forward(padded(images))
        self._refuse_non_finite(output)
        return first_rows(output, len(images))

    def _forward(self, inputs: Tensor, *, precision: Arithmetic = "fp32", stand_in: Any = None) -> ModelOutput:
        """stand_in: called in the model's place; with latents it returns (logits, latent)."""
        inputs = own_copy(inputs, channels_last=self._channels_last)
        latent = None
        with torch.autocast(inputs.device.type, dtype=torch.bfloat16, enabled=precision == "bf16"):
            if stand_in is not None:
                logits = stand_in(inputs)
                if self._with_latent is not None:
                    logits, latent = logits
            elif self._with_latent is not None:
                logits, latent = self._with_latent(inputs, **self._relu)
            else:
                logits = self._model(inputs)
        shape = shape_of(logits)
        if not isinstance(shape, tuple) or len(shape) != 2 or shape[0] != len(inputs):
            raise InputError(f"{describe(self._model)} must return logits ({len(inputs)}, classes), got {shape}")
        if not logits.is_floating_point():
            raise InputError(f"{describe(self._model)} returns {logits.dtype}, expected logits in floating point")
        # losses are fp32, whatever the model's own arithmetic
        return ModelOutput(logits.float(), None if latent is None else latent.float())

    def _refuse_non_finite(self, output: ModelOutput, loss: Tensor | None = None) -> None:
        """Raises: InputError."""
        if all_finite(output.logits, *([] if loss is None else [loss])):
            return
        if not all_finite(output.logits):
            raise InputError(f"{describe(self._model)} returns NaN or infinite logits")
        raise InputError("the objective's loss is NaN or infinite")


def predict_logits(model: Model, images: Tensor, *, batch_size: int = 128) -> Tensor:
    """Logits (b, classes) of images (b, ...) in [0, 1], in evaluation mode: the same bits as an attack sees.

    With no images: (0, 0). Raises: InputError for anything but finite logits, and for probabilities.
    """
    with FrozenModel(model) as view:
        parts = [view.evaluate(part).logits for part in images.split(batch_size)] if len(images) else []
    logits = torch.cat(parts) if parts else images.new_zeros(0, 0)
    refuse_probabilities(logits, model)
    return logits


def latent_options(fake_relu: bool, no_relu: bool) -> dict[str, bool]:
    """What `forward_with_latent` is called with: one's own model needs no `no_relu` before an objective asks for it."""
    return {"fake_relu": fake_relu, **({"no_relu": True} if no_relu else {})}


def own_copy(images: Tensor, *, channels_last: bool = False) -> Tensor:
    """What a model may change in place without touching the caller's memory; in channels_last if asked for."""
    handed = images.contiguous(memory_format=torch.channels_last) if channels_last and images.ndim == 4 else images
    return images.clone() if handed.data_ptr() == images.data_ptr() else handed


def all_finite(*tensors: Tensor) -> bool:
    """One question to the device for all of them: on a GPU each one waits for it."""
    return bool(torch.stack([torch.isfinite(tensor).all() for tensor in tensors]).all())


def shape_of(value: object) -> tuple[int, ...] | str:
    """Its shape, or what it is instead of a tensor."""
    return tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__


def padded(rows: Tensor) -> Tensor:
    """rows (n > 0, ...), filled up to a multiple of MIN_BATCH with copies of the first."""
    missing = -len(rows) % MIN_BATCH
    return torch.cat((rows, rows[:1].expand(missing, *rows.shape[1:]))) if missing else rows


def first_rows(output: ModelOutput, count: int) -> ModelOutput:
    return ModelOutput(output.logits[:count], None if output.latent is None else output.latent[:count])
