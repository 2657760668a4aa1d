"""The logistic head of one source, as a block function."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from robustray.tasks.lab.protocol import Context, Tensor, block_function
from robustray.tasks.latents.head import fit_head


@block_function(
    version=1,
    columns={
        "strength": pa.float64(),
        "validation": pa.float64(),
        "converged": pa.bool_(),
        "prediction": Tensor("int64"),
    },
)
def head_block(seeds: Sequence[int], context: Context) -> Mapping[str, Any]:
    """A head for each seed of its held-out part, fitted on the latents behind "train"; its predictions on "test" (n,).

    Settings: the share of the training latents on which C is chosen. validation: accuracy there, at the chosen C. No
    label of a test image is looked at.
    """
    train, test = context.load("train"), context.load("test")
    heads = [fit_head(train["latent"], train["label"], seed=seed, held_out=context.settings) for seed in seeds]
    return {
        "strength": [head.strength for head in heads],
        "validation": [head.held_out_accuracy[head.strength] for head in heads],
        "converged": [head.converged for head in heads],
        "prediction": [head.predict(test["latent"]) for head in heads],
    }
