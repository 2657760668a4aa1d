"""How far single blocks follow their image: the sensitivity of what they put out, block by block.

R(f) = E max over |x' - x| <= eps of ||f(x') - f(x)||, relative to E ||f(x1) - f(x2)|| of two images (the answers in "A
discussion of 'Adversarial examples are not bugs, they are features'", Distill 2019). The maximum is searched for, from
a random point of the sphere: R is measured too low rather than too high.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from robustray.tasks.attacks.blocks import load_images
from robustray.tasks.kit.frames import columns
from robustray.tasks.lab.protocol import Context, Tensor, block_function
from robustray.tasks.lab.seeds import stream
from robustray.tasks.latents.cache import matrix
from robustray.tasks.latents.taps import LATENT
from robustray.tasks.statistics import Estimate
from robustray.tasks.studies.representations.probed import Values, difference, over_networks
from robustray.tasks.studies.representations.results import Key, Results
from robustray.tasks.training.twins import KINDS

FEW = 2
"""Images of the pass that finds a network's blocks."""


@block_function(version=1, columns={"index": pa.int64(), "apart": Tensor("float32"), "moved": Tensor("float32")})
def sense_block(indices: Sequence[int], context: Context) -> Mapping[str, Any]:
    """settings: {"ascent", "sizes", "taps"}: its step size is a share of each ball's. apart: distance of each tap's
    output from that of another random image (taps,). moved: the largest one found within each ball (taps, sizes)."""
    import torch

    from robustray.tasks.inputs.items import ascend
    from robustray.tasks.inputs.objectives import Departure
    from robustray.tasks.inputs.starts import on_sphere
    from robustray.tasks.latents.cache import look
    from robustray.tasks.latents.taps import tapped

    model, data, asked = context.load("model"), context.load("data"), context.settings
    images, _ = load_images(indices, context)
    others = data.batch([_other(len(data), context.seed, index) for index in indices])[0].to(context.device)
    where = torch.tensor(indices, device=images.device)
    apart, moved = [], []
    for tap in asked["taps"]:
        network = tapped(model, tap)
        as_it_is, of_other = look(network, images)[1], look(network, others)[1]
        apart.append(torch.linalg.vector_norm(of_other - as_it_is, dim=1))
        found = []
        for size in asked["sizes"]:
            within = replace(asked["ascent"], eps=size, step_size=asked["ascent"].step_size * size, keep="best")
            start = on_sphere(images, size, seed=context.seed, what="sense", number=0, indices=where)
            found.append(ascend(within, network, start, as_it_is, objective=Departure(), centre=images).loss)
        moved.append(torch.stack(found, dim=1))
    return {"index": indices, "apart": torch.stack(apart, dim=1), "moved": torch.stack(moved, dim=1)}


def _other(count: int, seed: int, index: int) -> int:
    """Another random image; decided by seed and index."""
    found = int(stream(seed, "apart", index).integers(count - 1))
    return found + (found >= index)


def sensed(results: Results, tap: str, eps: float) -> Values:
    """R of each image, for the networks that have this tap."""
    place = results.settings.sense_eps.index(eps)
    found: dict[Key, np.ndarray] = {}
    for key, (taps, rows) in results.probes.sensed.items():
        if tap in taps:
            here = taps.index(tap)
            typical = matrix(rows, "apart").astype(np.float64)[:, here].mean()
            found[key] = matrix(rows, "moved").astype(np.float64)[:, here, place] / max(typical, 1e-12)
    return found


def layer_values(results: Results) -> dict[str, Values]:
    """R by tap and size, as `probed.every_row` takes them."""
    return {
        f"{tap} within {eps:g}": sensed(results, tap, eps)
        for tap in all_taps(results)
        for eps in results.settings.sense_eps
    }


def all_taps(results: Results) -> list[str]:
    """Of all networks, in their order; the latent comes last."""
    taps = dict.fromkeys(tap for names, _ in results.probes.sensed.values() for tap in names if tap != LATENT)
    return [*taps, LATENT]


def layer_table(results: Results) -> pd.DataFrame:
    """Rows: blocks in their order, sizes of balls, both kinds of network."""
    rows = []
    for tap in all_taps(results):
        for eps in results.settings.sense_eps:
            values = sensed(results, tap, eps)
            for kind in reversed(KINDS):
                mine = [len(each) for (of, _), each in values.items() if of == kind]
                if mine:
                    found = columns("moves", over_networks(values, kind), "moves_lo", "moves_hi")
                    rows.append(
                        {
                            "block": tap.removeprefix("backbone."),
                            "eps": eps,
                            "what": kind,
                            **found,
                            "seeds": len(mine),
                            "n": min(mine),
                        }
                    )
    return pd.DataFrame(rows)


def last_difference(results: Results) -> Estimate:
    """R of the latent at the largest size, robust minus standard."""
    settings = results.settings
    return difference(sensed(results, LATENT, settings.sense_eps[-1]), settings.seeds())
