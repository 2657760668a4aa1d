"""Block functions: trainings, samples of Theorem 1, and exact robust likelihoods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from robustray.tasks.lab.protocol import Context, Tensor, block_function
from robustray.tasks.lab.seeds import stream
from robustray.tasks.studies.gaussian_features.fitting import train, within_ball


@block_function(version=1, columns={"eps": pa.float64(), "mean": Tensor("float64"), "covariance": Tensor("float64")})
def train_block(items: Sequence[Sequence[Any]], context: Context) -> Mapping[str, Any]:
    """Adversarial trainings. Items: [eps, seed]; settings: a `Training`. In the axes of the variances."""
    found = [train(context.settings, eps, seed) for eps, seed in items]
    return {
        "eps": [eps for eps, _ in items],
        "mean": np.stack([mean for mean, _ in found]),
        "covariance": np.stack([covariance for _, covariance in found]),
    }


@block_function(version=1, columns={"eps": pa.float64(), "variances": Tensor("float64")})
def ball_block(items: Sequence[Sequence[Any]], context: Context) -> Mapping[str, Any]:
    """Robust variances within a ball. Items: [eps, seed]; settings: (variances, number of samples)."""
    variances, num_samples = context.settings
    s = np.array(variances)
    return {
        "eps": [eps for eps, _ in items],
        "variances": np.stack([within_ball(s, eps, num_samples=num_samples, seed=seed) for eps, seed in items]),
    }


@block_function(version=1, columns={"seed": pa.int64(), "rise": pa.float64()})
def rise_block(items: Sequence[int], context: Context) -> Mapping[str, Any]:
    """Theorem 1 by sampling: mean rise of the loss. Items: seeds; settings: (variances, penalty, number of samples)."""
    variances, penalty, num_samples = context.settings
    s = np.array(variances)
    rises = []
    for seed in items:
        z = stream(seed, "gaussian-features rise").standard_normal((num_samples, len(s))) * np.sqrt(s)
        moved = z + z / s / (penalty - 1 / s)
        rises.append(0.5 * float(np.mean(np.sum((moved**2 - z**2) / s, axis=1))))
    return {"seed": list(items), "rise": rises}
