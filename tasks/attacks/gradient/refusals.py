"""What no attack can work with, in words that say what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from robustray.tasks.errors import InputError

Model = Callable[[Tensor], Tensor]
"""Images (batch, ...) in [0, 1] -> logits (batch, classes): a torch module or any function of tensors."""


def describe(model: Model) -> str:
    return f"the model ({getattr(model, '__name__', type(model).__name__)})"


def refuse_one_output(num_outputs: int, model: Model) -> None:
    """Raises: InputError for a model with a single output: its prediction could never be another one."""
    if num_outputs == 1:
        raise InputError(
            f"{describe(model)} has one output, which is always the largest: give two classes their logits, for a "
            "yes-or-no z by torch.cat([torch.zeros_like(z), z], dim=1)"
        )


def refuse_probabilities(logits: Tensor, model: Model) -> None:
    """Raises: InputError if every row is a distribution: a softmax hides gradients from the attack."""
    if len(logits) and logits.shape[1] > 1 and logits.min() >= 0 and ((logits.sum(1) - 1).abs() < 1e-3).all():
        raise InputError(f"{describe(model)} returns probabilities; attacks need logits: remove the softmax")


def refuse_inference_mode(model: Model, modules: Iterable[nn.Module]) -> None:
    """modules: of the model. Raises: InputError where autograd is switched off for good."""
    if torch.is_inference_mode_enabled():
        raise InputError("inside torch.inference_mode() there are no gradients: call this outside of it")
    if any(x.is_inference() for module in modules for x in module.parameters(recurse=False)):
        raise InputError(
            f"the weights of {describe(model)} were made inside torch.inference_mode(), which forbids gradients "
            "through them: build it outside, or attack copy.deepcopy(model)"
        )


def input_gradient(loss: Tensor, inputs: Tensor, model: Model) -> Tensor | None:
    """None where the inputs are not among what `loss` was made of. Raises: InputError for reentrant checkpoints."""
    try:
        return torch.autograd.grad(loss, inputs, allow_unused=True)[0]
    except RuntimeError as error:
        if "use_reentrant" not in str(error):
            raise
        raise InputError(
            f"{describe(model)} checkpoints activations with use_reentrant=True, which can give no gradient of the "
            "images alone: set use_reentrant=False, or switch checkpointing off"
        ) from error
