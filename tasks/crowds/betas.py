"""Mixtures of beta distributions for true selection frequencies: drawn from, integrated over, fitted to counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import linalg, optimize, special

from robustray.tasks.errors import InputError

Array = NDArray[np.float64]

SHAPES = (0.05, 2_000.0)
"""Bounds of fitted shapes. Without them a fit to plain binomial counts runs to shapes at which the difference of two
log beta functions has no correct digit left, and the likelihood it reports is nonsense."""
STARTS = (2.0, 9.0)
"""Shapes of random starts lie between these, as in the original analysis."""


@dataclass(frozen=True, kw_only=True)
class Betas:
    """A mixture of Beta(a, b) distributions on [0, 1]."""

    weight: tuple[float, ...]
    a: tuple[float, ...]
    b: tuple[float, ...]

    def draw(self, rng: np.random.Generator, num: int) -> Array:
        part = rng.choice(len(self.weight), size=num, p=self.weight)
        return rng.beta(np.array(self.a)[part], np.array(self.b)[part])

    def nodes(self, num: int = 120) -> tuple[Array, Array]:
        """Points and weights with which sums are integrals over this distribution (Gauss-Jacobi, by component).

        Exact for polynomials of degree below 2 num, for shapes below 1 too, where the density is infinite at an end.
        """
        points, weights = [], []
        for share, a, b in zip(self.weight, self.a, self.b, strict=True):
            x, w = _gauss_jacobi(num, a, b)
            points.append(x)
            weights.append(share * w)
        return np.concatenate(points), np.concatenate(weights)

    def mean(self) -> float:
        weight, a, b = (np.array(each) for each in (self.weight, self.a, self.b))
        return float(weight @ (a / (a + b)))

    def cdf(self, s: ArrayLike) -> Array:
        """P(frequency <= s), of the shape of s."""
        x = np.asarray(s, dtype=np.float64)[..., None]
        return np.asarray(special.betainc(np.array(self.a), np.array(self.b), x) @ np.array(self.weight))

    def counts(self, n: int) -> Array:
        """(n + 1,) chance of each count of n answers: a mixture of beta-binomials."""
        k = np.arange(n + 1)
        logs = _log_cells(k, np.full(n + 1, n), np.array(self.a), np.array(self.b)) + np.log(self.weight)
        return np.exp(special.logsumexp(logs, axis=1) + _log_choose(k, n))

    def given(self, k: int, n: int) -> Betas:
        """The distribution among images of which k of n answers are "yes" (Bayes' rule): betas again."""
        a, b = np.array(self.a), np.array(self.b)
        logs = _log_cells(np.array([k]), np.array([n]), a, b)[0] + np.log(self.weight)
        weight = special.softmax(logs)
        return Betas(weight=tuple(weight.tolist()), a=tuple((a + k).tolist()), b=tuple((b + n - k).tolist()))


def _gauss_jacobi(num: int, a: float, b: float) -> tuple[Array, Array]:
    """Points in [0, 1] and weights (sum 1) of Beta(a, b), from the eigenvalues of its recurrence (Golub and Welsch).

    SciPy's `roots_jacobi` multiplies by the beta function, which overflows for the large shapes of a fit.
    """
    alpha, beta = b - 1.0, a - 1.0
    k = np.arange(1.0, num)
    both = 2 * k + alpha + beta
    middle = np.empty(num)
    middle[0] = (beta - alpha) / (alpha + beta + 2)
    middle[1:] = (beta - alpha) * (beta + alpha) / (both * (both + 2))
    square = np.empty(num - 1)
    square[0] = 4 * (1 + alpha) * (1 + beta) / ((2 + alpha + beta) ** 2 * (3 + alpha + beta))
    k, both = k[1:], both[1:]
    square[1:] = 4 * k * (k + alpha) * (k + beta) * (k + alpha + beta) / (both**2 * (both + 1) * (both - 1))
    x, vectors = linalg.eigh_tridiagonal(middle, np.sqrt(square))
    return np.clip((x + 1) / 2, 0.0, 1.0), vectors[0] ** 2


@dataclass(frozen=True, kw_only=True)
class Fit:
    """The best of several starts."""

    betas: Betas
    log_likelihood: float
    """Per image, without the binomial coefficients."""
    num_failed: int
    """Starts whose optimum did not converge."""
    at_bound: bool
    """Whether a shape ended at a bound of `SHAPES`: the counts are as good as binomial, or piled up at an end."""


def fit_betas(
    n_selected: ArrayLike,
    n_shown: ArrayLike,
    *,
    num_components: int,
    weights: ArrayLike | None = None,
    num_starts: int = 8,
    seed: int = 0,
    initial: Betas | None = None,
) -> Fit:
    """Maximum likelihood of a mixture of beta-binomials, for images with any numbers of answers.

    n_selected, n_shown: (rows,), `weights` images each (None: one). Likelihoods of mixtures have several maxima: the
    best of `num_starts` random starts is taken. initial: start there alone, for resamples of what it was fitted to.
    Shapes stay within `SHAPES`. L-BFGS with exact gradients.

    Raises: InputError for more components than counts can tell apart: 2 B parameters of shape and B - 1 shares need
    3 B - 1 different counts of n answers, n + 1 > 3 B - 1.
    """
    selected, shown = np.broadcast_arrays(np.asarray(n_selected, np.int64), np.asarray(n_shown, np.int64))
    cells, member = np.unique(np.stack([selected, shown], axis=1), axis=0, return_inverse=True)
    held = np.bincount(member, weights=None if weights is None else np.asarray(weights, np.float64))
    if shown.max() < 3 * num_components - 1:
        raise InputError(
            f"a mixture of {num_components} betas needs {3 * num_components - 1} answers of some image, there are at "
            f"most {shown.max()}"
        )
    share = held / held.sum()

    def loss(point: Array) -> tuple[float, Array]:
        return _loss(point, cells[:, 0], cells[:, 1], share)

    bounds = [(-20.0, 20.0)] * num_components + [(np.log(SHAPES[0]), np.log(SHAPES[1]))] * (2 * num_components)
    found = [
        optimize.minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 500})
        for start in _starts(num_components, num_starts, seed, initial)
    ]
    best = min(found, key=lambda result: float(result.fun))
    logits, a, b = np.split(np.asarray(best.x), 3)
    betas = Betas(
        weight=tuple(special.softmax(logits).tolist()), a=tuple(np.exp(a).tolist()), b=tuple(np.exp(b).tolist())
    )
    shapes = np.exp(np.concatenate([a, b]))
    return Fit(
        betas=betas,
        log_likelihood=-float(best.fun),
        num_failed=sum(not result.success for result in found),
        at_bound=bool((shapes >= 0.999 * SHAPES[1]).any() or (shapes <= 1.001 * SHAPES[0]).any()),
    )


def _starts(num_components: int, num_starts: int, seed: int, initial: Betas | None) -> Sequence[Array]:
    if initial is not None:
        clipped = np.clip(np.array([*initial.a, *initial.b]), *SHAPES)
        return [np.concatenate([np.log(np.maximum(initial.weight, 1e-8)), np.log(clipped)])]
    shapes = np.random.default_rng(seed).uniform(*STARTS, (num_starts, 2 * num_components))
    return [np.concatenate([np.zeros(num_components), np.log(each)]) for each in shapes]


def _loss(point: Array, k: NDArray[np.int64], n: NDArray[np.int64], share: Array) -> tuple[float, Array]:
    """Minus the mean log-likelihood, and its gradient by logits of the shares, log a and log b."""
    logits, log_a, log_b = np.split(point, 3)
    a, b = np.exp(log_a), np.exp(log_b)
    log_share = special.log_softmax(logits)
    logs = _log_cells(k, n, a, b) + log_share
    total = special.logsumexp(logs, axis=1)
    part = share[:, None] * np.exp(logs - total[:, None])  # responsibilities, by the share of each cell
    both = special.digamma(a + b) - special.digamma(n[:, None] + a + b)
    by_a = (part * (special.digamma(k[:, None] + a) - special.digamma(a) + both)).sum(axis=0) * a
    by_b = (part * (special.digamma((n - k)[:, None] + b) - special.digamma(b) + both)).sum(axis=0) * b
    by_logit = part.sum(axis=0) - np.exp(log_share)
    return -float(share @ total), -np.concatenate([by_logit, by_a, by_b])


def _log_cells(k: NDArray[np.int64], n: NDArray[np.int64], a: Array, b: Array) -> Array:
    """(rows, components) log of E[s^k (1 - s)^(n - k)] under each Beta(a, b)."""
    return np.asarray(special.betaln(k[:, None] + a, (n - k)[:, None] + b) - special.betaln(a, b))


def _log_choose(k: NDArray[np.int64], n: int) -> Array:
    return np.asarray(-special.betaln(k + 1, n - k + 1) - np.log(n + 1))
