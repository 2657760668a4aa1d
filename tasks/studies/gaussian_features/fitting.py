"""Robust maximum likelihood when every single x may be moved by at most eps: no closed form, but two ways to it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robustray.tasks.errors import InputError
from robustray.tasks.lab.seeds import integer, stream

Array = NDArray[np.float64]
BISECTIONS = 50
"""Each halves the interval that holds the multiplier of a sample."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """Two Gaussians, and how adversarial training fits them."""

    variances: tuple[float, ...]
    mean: tuple[float, ...]
    angle: float
    """Degrees by which the first two axes are turned, so that training does not know the axes."""
    num_steps: int
    batch_size: int
    lr: float
    """Learning rate of Adam; a tenth of it for the last third of the steps."""
    ascent_steps: int
    """Ascent steps of the adversary in every step of training."""


def worst_moves(z: Array, s: Array, eps: float) -> Array:
    """(n, d): the move of length eps that most raises each sample's loss at variances s; exact.

    A trust-region problem: (l I - M) move = M z with M = diag(1/s) and l > max(M), by bisection of the length in l. A
    sample without a component along the largest entry of M has no such l (the hard case): what is missing of its length
    goes along that entry.
    """
    m = 1 / s
    pull = m * z
    low = np.full(len(z), m.max())
    high = low + np.linalg.norm(pull, axis=1) / eps
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        length = np.divide(pull, middle[:, None] - m, out=np.zeros_like(pull), where=pull != 0)
        longer = np.sum(length**2, axis=1) > eps**2
        low, high = np.where(longer, middle, low), np.where(longer, high, middle)
    top = int(m.argmax())
    move = np.divide(pull, high[:, None] - m, out=np.zeros_like(pull), where=pull != 0)
    rest = np.sum(np.delete(move, top, axis=1) ** 2, axis=1)
    move[:, top] = np.where(z[:, top] < 0, -1, 1) * np.sqrt(np.maximum(eps**2 - rest, 0))
    return move


def within_ball(s: Array, eps: float, *, num_samples: int, seed: int, num_rounds: int = 60) -> Array:
    """Variances (d,) of the robust maximum likelihood over a sample of z ~ N(0, diag(s)).

    Convex in the inverse variances, so there is one optimum. The variances follow the second moments of moved samples
    in damped steps: undamped ones oscillate for large eps and end at different variances for equal axes.

    Raises: InputError where they have not converged to 1 %, as for eps far above every deviation.
    """
    z = stream(seed, "gaussian-features ball").standard_normal((num_samples, len(s))) * np.sqrt(s)
    fitted = s + eps**2 / len(s)
    for k in range(num_rounds):
        moments = np.mean((z + worst_moves(z, fitted, eps)) ** 2, axis=0)
        fitted = np.exp(np.log(fitted) + 0.5 / (1 + k / 20) * (np.log(moments) - np.log(fitted)))
    moments = np.mean((z + worst_moves(z, fitted, eps)) ** 2, axis=0)
    if np.abs(np.log(moments / fitted)).max() > 0.01:
        raise InputError(
            f"eps {eps:g}: the exact robust variances do not settle so far above the largest deviation, "
            f"{np.sqrt(s.max()):g}; take sizes up to about four times that"
        )
    return fitted


def train(training: Training, eps: float, seed: int) -> tuple[Array, Array]:
    """Adversarial training: Adam on the mean and on a factor A of the inverse covariance A A', over fresh batches.

    The adversary climbs by move <- eps M (z + move) / |M (z + move)|, starting with no move: along every axis of M it
    keeps the direction of z, as the exact worst move does. From random directions it is still away from that move after
    15 steps where eps is large. eps = 0 is plain maximum likelihood.

    Returns: mean (d,) and covariance (d, d), in the axes of the variances.
    """
    import torch

    turn = torch.from_numpy(rotation(training.angle, len(training.variances)))
    spread = torch.tensor(training.variances, dtype=torch.float64).sqrt()
    centre = turn @ torch.tensor(training.mean, dtype=torch.float64)
    generator = torch.Generator().manual_seed(integer(seed, "gaussian-features training"))
    shape = (training.batch_size, len(spread))

    def normal() -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    first = (normal() * spread) @ turn.T + centre
    scale = first.square().mean().sqrt()
    mean = torch.zeros(len(spread), dtype=torch.float64, requires_grad=True)
    factor = (torch.eye(len(spread), dtype=torch.float64) / scale).requires_grad_(True)
    optimizer = torch.optim.Adam([mean, factor], lr=training.lr)
    for step in range(training.num_steps):
        if step == 2 * training.num_steps // 3:
            for group in optimizer.param_groups:
                group["lr"] = training.lr / 10
        x = (normal() * spread) @ turn.T + centre  # y x: both classes are one by symmetry
        move = torch.zeros(shape, dtype=torch.float64)
        if eps:
            with torch.no_grad():
                inverse = factor @ factor.T
                for _ in range(training.ascent_steps):
                    move = eps * torch.nn.functional.normalize((x - mean + move) @ inverse, dim=1)
        loss = 0.5 * ((x - mean + move) @ factor).square().sum(1).mean() - torch.linalg.slogdet(factor).logabsdet
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    covariance = torch.linalg.inv(factor.detach() @ factor.detach().T)
    return (turn.T @ mean.detach()).numpy(), (turn.T @ covariance @ turn).numpy()


def rotation(angle: float, dimension: int) -> Array:
    """(d, d): turns the first two axes by `angle` degrees."""
    turn = np.eye(dimension)
    c, s = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    turn[:2, :2] = [[c, -s], [s, c]]
    return turn
