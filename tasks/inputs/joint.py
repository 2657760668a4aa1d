"""A shared parameter and the weights of the model, moved together.

    JointParameter(ascent=..., weights=WeightSteps(lr=0.05), model=model, design=design, data=data, indices=..., ...)

The parameter climbs `design.objective`, as it does without the weights. The weights climb `learns`: where that is the
usual loss, both sides help each other for an objective like it (patches and a network that learns to read them), and
work against each other for its opposite (training against a universal perturbation, arXiv:1811.11304).
"""

from __future__ import annotations

import copy
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from robustray.tasks.attacks.gradient.verdicts import latent_options, own_copy
from robustray.tasks.attacks.objective import CrossEntropy, ModelOutput, Objective
from robustray.tasks.attacks.precision import resolve_precision
from robustray.tasks.attacks.search.norms import GEOMETRIES
from robustray.tasks.errors import InputError
from robustray.tasks.inputs.settings import WeightSteps
from robustray.tasks.inputs.shared import SharedParameter, check_images
from robustray.tasks.lab import seeds
from robustray.tasks.lab.resumable import below
from robustray.tasks.training.sgd import SGD

WEIGHTS, MOMENTUM = "weights/", "momentum/"


@dataclass(kw_only=True, eq=False)
class JointParameter(SharedParameter):
    """As `SharedParameter`, with a copy of the model in training mode that is updated in every step; the model that was
    given stays as it was.

    Both gradients are of one pass, before either side has moved. What the network draws itself (dropout) depends on
    (seed, step). Raises: InputError as `SharedParameter`, for a model without parameters, and while steps are taken for
    losses that are not finite.
    """

    weights: WeightSteps
    learns: Objective = field(default_factory=lambda: CrossEntropy(targeted=True))
    """What the weights maximise, mean over the batch, with the labels of the images as its state; by default minus the
    cross-entropy."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.model, nn.Module) or not any(True for _ in self.model.parameters()):
            raise InputError("a model that learns with a shared parameter must be a torch module with parameters")
        self._network = copy.deepcopy(self.model).train().requires_grad_(True)
        self._optimizer = SGD(
            dict(self._network.named_parameters()),
            momentum=self.weights.momentum,
            weight_decay=self.weights.weight_decay,
        )

    @property
    def network(self) -> nn.Module:
        """The copy, as it is now."""
        return self._network

    def steps(self) -> Generator[dict[str, float], None, None]:
        """Take the steps that are left. Rows, of the pass before the step: objective, mean over the batch, and learnt,
        what the weights maximise."""
        sizes, geometry = self.ascent.step_sizes(), GEOMETRIES[self.ascent.norm]
        while self.step < self.ascent.num_steps:
            objective, learnt, gradient, moves = self._gradients()
            if self.ascent.gradients == "cumulative":
                gradient = self.gradient = self.gradient + gradient
            moved = self.parameter + sizes[self.step] * geometry.direction(gradient)
            self.parameter = self.design.project(moved).detach()
            for weight, move in zip(self._network.parameters(), moves, strict=True):
                weight.grad = None if move is None else -move
            self._optimizer.step(self.weights.rate(self.step, self.ascent.num_steps))
            self.step += 1
            yield {"objective": float(objective), "learnt": float(learnt)}

    def _gradients(self) -> tuple[Tensor, Tensor, Tensor, list[Tensor | None]]:
        """Mean objective, mean of what is learnt, and the gradients: of the summed objective with respect to the
        parameter, and of what is learnt with respect to each weight (None for one that has no part in it)."""
        images, labels, state, placements = self._batch()
        with torch.enable_grad(), seeds.torch_seeded(seeds.integer(self.ascent.seed, "joint", self.step)):
            leaf = self.parameter.detach().requires_grad_(True)
            carrying = self.design.apply(leaf, images, placements)
            check_images(carrying, images)
            output = self._pass(carrying)
            objective = self.design.objective.loss(output, carrying, state)
            learnt = self.learns.loss(output, carrying, labels).mean()
            if not torch.isfinite(objective).all() or not torch.isfinite(learnt):
                raise InputError(f"losses are not finite in step {self.step + 1}; lower lr ({self.weights.lr:g})")
            (gradient,) = torch.autograd.grad(objective.sum(), leaf, retain_graph=True)
            moves = torch.autograd.grad(learnt, list(self._network.parameters()), allow_unused=True)
        return objective.detach().mean(), learnt.detach(), gradient, list(moves)

    def _pass(self, images: Tensor) -> ModelOutput:
        precision = self.ascent.precision
        if precision == "auto":
            precision = resolve_precision(str(images.device))
        convolves = any(isinstance(module, nn.Conv2d) for module in self._network.modules())
        inputs = own_copy(images, channels_last=convolves)
        wanted = self.design.objective, self.learns
        with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=precision == "bf16"):
            if not any(each.needs_latent for each in wanted):
                return ModelOutput(self._network(inputs).float())
            options = latent_options(any(each.fake_relu for each in wanted), any(each.no_relu for each in wanted))
            network: Any = self._network
            logits, latent = network.forward_with_latent(inputs, **options)
        return ModelOutput(logits.float(), latent.float())

    def result(self) -> dict[str, Tensor]:
        """The parameter by its name, and the weights with "weights/" before theirs."""
        return super().result() | self._state()

    # --- Written down -------------------------------------------------------------------------------------------------

    def tensors(self) -> dict[str, Tensor]:
        """See `Resumable`."""
        found = super().tensors() | self._state()
        return found | {MOMENTUM + name: each.cpu().contiguous() for name, each in self._optimizer.momenta.items()}

    def load(self, tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> None:
        """See `Resumable`."""
        super().load(tensors, record)
        self._network.load_state_dict(below(WEIGHTS, tensors))
        self._optimizer.load(below(MOMENTUM, tensors))

    def _state(self) -> dict[str, Tensor]:
        state = self._network.state_dict()
        return {WEIGHTS + name: value.detach().cpu().clone().contiguous() for name, value in state.items()}
