"""Fine-tuning: start from a trained model's weights, with a new head, and keep parts of it as they are."""

from __future__ import annotations

import torch
from torch import nn

from robustray.tasks.errors import InputError
from robustray.tasks.models.normalised import Normalised
from robustray.tasks.models.weights import head_key, load_weights, misfit, weights_of
from robustray.tasks.training.settings import ALL_BUT_HEAD, TrainSpec


def start_from(model: nn.Module, initial: nn.Module, spec: TrainSpec) -> None:
    """Give `model` weights, running statistics and normalisation of `initial`; its head stays as it was drawn where
    the number of classes differs or the spec wants a new one.

    Raises: InputError for another architecture, or no linear head that could be new.
    """
    weights, own = weights_of(initial), weights_of(model)
    head = head_key(model)
    if spec.new_head and head is None:
        raise InputError(f"new_head: {spec.model} has no linear layer, so there is no head to draw anew")
    if head is not None and head in weights:
        # Shapes that differ in more than the number of classes are another architecture: `misfit` says so.
        differs = weights[head].shape[0] != own[head].shape[0] and weights[head].shape[1:] == own[head].shape[1:]
        if spec.new_head or differs:
            weights |= {key: own[key] for key in _of_layer(head) if key in own}
    if why := misfit(weights, model):
        raise InputError(f"initial {spec.initial_name} does not fit {spec.model}: {why}")
    load_weights(model, weights)
    if isinstance(model, Normalised) and isinstance(initial, Normalised):
        with torch.no_grad():
            model.mean.copy_(initial.mean)
            model.std.copy_(initial.std)


def freeze(model: nn.Module, spec: TrainSpec) -> None:
    """No gradients for `spec.frozen`, and evaluation mode for every module that lies in it as a whole, unless
    `spec.frozen_mode` is training.

    Raises: InputError for a part that the model lacks.
    """
    state = model.state_dict(keep_vars=True)
    held: set[int] = set()
    for part in spec.frozen:
        if part == ALL_BUT_HEAD:
            found = list(_body(model, spec).values())
        else:
            found = [value for key, value in state.items() if key == part or key.startswith(f"{part}.")]
        if not found:
            begin = ", ".join(dict.fromkeys(key.partition(".")[0] for key in state))
            raise InputError(f"frozen: {spec.model} has no {part!r}; names of its weights begin with {begin}")
        for value in found:
            value.requires_grad_(False)
        held |= {id(value) for value in found}
    if spec.frozen_mode == "training":
        return
    for module in model.modules():
        inside = module.state_dict(keep_vars=True).values()
        if held and inside and all(id(value) in held for value in inside):
            module.eval()


def _body(model: nn.Module, spec: TrainSpec) -> dict[str, torch.Tensor]:
    """All of a model's state but its head. Raises: InputError for a model without one."""
    head = head_key(model)
    if head is None:
        raise InputError(f"frozen: {spec.model} has no linear layer, so there is no head to train alone")
    return {key: value for key, value in model.state_dict(keep_vars=True).items() if key not in _of_layer(head)}


def _of_layer(weight: str) -> tuple[str, str]:
    """Keys of a linear layer's weight and bias; it may have none."""
    return weight, weight.removesuffix("weight") + "bias"


def normalisation(model: nn.Module) -> dict[str, list[float]]:
    """{"mean", "std"}, one number per channel, of a model that has its normalisation inside; else {}."""
    if not isinstance(model, Normalised):
        return {}
    return {"mean": model.mean.flatten().tolist(), "std": model.std.flatten().tolist()}
