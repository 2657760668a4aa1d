"""The same networks and losses in PyTorch: the hand-written gradients are tested against them, and exported agents are
made of them.

Nothing of a training on CPUs runs here. `Network` is also the module that RLlib sees, and the one that an agent is
exported as.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, Independent, Normal

from robustray.tasks.policy_gradients.mlp import Layout


class Network(nn.Module):
    """A multilayer perceptron (batch, in) -> (batch, out) with the parameters of a `Layout`, in its order."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.layout = layout
        pairs = zip(layout.sizes, layout.sizes[1:], strict=False)
        self.layers = nn.ModuleList(nn.utils.skip_init(nn.Linear, n, m) for n, m in pairs)
        self.free = nn.Parameter(torch.zeros(layout.extra)) if layout.extra else None
        """Log standard deviations of a Gaussian policy."""

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            x = torch.relu(layer(x)) if self.layout.activation == "relu" else torch.tanh(layer(x))
        return self.layers[-1](x)

    def load_flat(self, flat: NDArray[Any]) -> Network:
        """Take the parameters of a flat vector, and its dtype. Returns itself."""
        with torch.no_grad():
            self.to(torch.from_numpy(flat).dtype)
            for layer, (weights, biases) in zip(self.layers, self.layout.layers(flat), strict=True):
                assert isinstance(layer, nn.Linear)
                layer.weight.copy_(torch.from_numpy(weights))
                layer.bias.copy_(torch.from_numpy(biases))
            if self.free is not None:
                self.free.copy_(torch.from_numpy(self.layout.free(flat)))
        return self

    def share_flat(self, flat: NDArray[Any]) -> Network:
        """Become a view of a flat vector: whatever changes one changes the other. Returns itself."""
        whole = torch.from_numpy(flat)
        at = 0
        for parameter in self.ordered_parameters():
            parameter.data = whole[at : at + parameter.numel()].view(parameter.shape)
            at += parameter.numel()
        return self

    def flat(self, what: Literal["value", "gradient"] = "value") -> NDArray[Any]:
        """All parameters, or their gradients, as one vector."""
        parts = []
        for parameter in self.ordered_parameters():
            found = parameter.grad if what == "gradient" else parameter
            parts.append((torch.zeros_like(parameter) if found is None else found).detach().reshape(-1).numpy())
        return np.concatenate(parts)

    def ordered_parameters(self) -> list[nn.Parameter]:
        """Parameters in the order of the flat vector."""
        found = [parameter for layer in self.layers for parameter in layer.parameters()]
        return found + ([self.free] if self.free is not None else [])


def distribution(outputs: Tensor, free: Tensor | None) -> Distribution:
    """Distribution of actions: a diagonal Gaussian where there are log standard deviations, else a categorical one over
    logits."""
    if free is None:
        return Categorical(logits=outputs)
    return Independent(Normal(outputs, free.exp().expand_as(outputs)), 1)


def surrogate_loss(
    network: Network,
    observations: Tensor,
    actions: Tensor,
    old_log_probs: Tensor,
    advantages: Tensor,
    *,
    clip: float | None,
    entropy_bonus: float,
) -> Tensor:
    """The loss whose gradient `steps.surrogate_gradient` gives."""
    now = distribution(network(observations), network.free)
    ratios = (now.log_prob(actions) - old_log_probs).exp()
    gains = ratios * advantages
    if clip is not None:
        gains = torch.minimum(gains, ratios.clamp(1 - clip, 1 + clip) * advantages)
    return -gains.mean() - entropy_bonus * now.entropy().mean()


def value_loss(network: Network, observations: Tensor, targets: Tensor, old: Tensor, *, clip: float | None) -> Tensor:
    """The loss whose gradient `steps.value_gradient` gives."""
    values = network(observations)[:, 0]
    squares = (values - targets).square()
    if clip is None:
        return squares.mean()
    limited = old + (values - old).clamp(-clip, clip)
    return torch.maximum(squares, (limited - targets).square()).mean()


def mean_kl(network: Network, observations: Tensor, old_outputs: Tensor, old_free: Tensor | None) -> Tensor:
    """Mean KL(old || now)."""
    now = distribution(network(observations), network.free)
    return torch.distributions.kl_divergence(distribution(old_outputs, old_free), now).mean()
