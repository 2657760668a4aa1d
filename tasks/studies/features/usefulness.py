"""Useful features and robustly useful ones (arXiv:1905.02175, section 2), unit by unit.

A unit f of the last hidden layer is made a feature of one class against the rest: labels y = 1 and -1, both classes
weighted by a half, f standardised on D with the same weights, so that rho lies between -1 and 1. Its usefulness is
rho = E[y f(x)]; its robust usefulness gamma = E[min over |d| <= eps of y f(x + d)]. Class and sign are those that suit
the unit best on D; both numbers are of test images. The minimum is searched for, so gamma is measured too high rather
than too low: the lower of two searches counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from robustray.tasks.attacks.blocks import load_images
from robustray.tasks.inputs.settings import Ascent
from robustray.tasks.kit.draws import chosen
from robustray.tasks.kit.images import NEEDS
from robustray.tasks.lab.protocol import Context, block_function
from robustray.tasks.lab.seeds import stream
from robustray.tasks.latents.cache import latents, matrix
from robustray.tasks.studies.features.recipes import Source

if TYPE_CHECKING:
    import torch

    from robustray.tasks.lab.protocol import Handle, Lab, Reference
    from robustray.tasks.studies.features.sets import Part, Sources
    from robustray.tasks.studies.features.settings import Settings

KINDS: tuple[Source, ...] = ("standard", "robust")
NUM_STARTS = 3
"""Starts of the long search: the image itself, and random points of the sphere."""


# --- The searches -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Searches:
    """Settings of `unit_block`: steps of 2.5 eps / num_steps, as PGD takes them."""

    short: Ascent
    """The search that starts from the image itself."""
    long: Ascent
    """The search from `NUM_STARTS` points."""


def searches(settings: Settings) -> Searches:
    """The searches of a study."""
    short, long = (
        Ascent(
            step_size=2.5 * settings.eps_units / steps,
            num_steps=steps,
            eps=settings.eps_units,
            keep="best",
            precision=settings.precision,
        )
        for steps in (settings.unit_steps, settings.long_unit_steps)
    )
    return Searches(short=short, long=long)


@block_function(
    version=1,
    columns={
        "index": pa.int64(),
        "unit": pa.int32(),
        "side": pa.int8(),
        "clean": pa.float32(),
        "short": pa.float32(),
        "long": pa.float32(),
    },
)
def unit_block(items: Sequence[Sequence[int]], context: Context) -> Mapping[str, Any]:
    """How low a unit can be brought for its side of the classes: min of side * f(x + d), not standardised.

    Items: [image, unit, side], side 1 or -1 (the label, times the unit's sign). settings: `Searches`. clean: side *
    f(x). short, long: the lowest value that each search has come across, its starting points among them.
    """
    import torch

    from robustray.tasks.inputs.items import ascend
    from robustray.tasks.inputs.starts import on_sphere
    from robustray.tasks.latents.cache import look
    from robustray.tasks.studies.features.lowering import Lowered

    task: Searches = context.settings
    model = context.load("model")
    images, _ = load_images([item[0] for item in items], context)
    unit, side = (torch.tensor([item[place] for item in items], device=images.device) for place in (1, 2))
    state = {"unit": unit, "side": side}
    _, latent = look(model, images)
    clean = side * latent.gather(1, unit[:, None])[:, 0]

    def lowest(ascent: Ascent, starts: torch.Tensor) -> torch.Tensor:
        return -ascend(ascent, model, starts, state, objective=Lowered(), centre=images).loss

    short = torch.minimum(clean, lowest(task.short, images))
    long = clean
    where = torch.tensor([item[0] for item in items], device=images.device)  # the same start for all units of an image
    for number in range(NUM_STARTS):
        eps, seed = task.long.eps or 0.0, context.seed
        drawn = on_sphere(images, eps, seed=seed, what="features-units", number=number, indices=where)
        long = torch.minimum(long, lowest(task.long, drawn if number else images))
    return {
        "index": [item[0] for item in items],
        "unit": unit,
        "side": side,
        "clean": clean,
        "short": short,
        "long": long,
    }


# --- Which units, which images ----------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, eq=False)
class Best:
    """For each unit, the class that it distinguishes best from the rest."""

    label: NDArray[np.int64]
    """(width,): the class of each unit."""
    sign: NDArray[np.int64]
    """(width,) of 1 and -1: what the unit is multiplied with to be high for that class."""
    scale: NDArray[np.float64]
    """(width,) standard deviation, class and rest weighted by a half; infinite for a unit that never changes."""


def best_classes(latent: ArrayLike, labels: ArrayLike, num_classes: int) -> Best:
    """The best classes, found from the latents of D (n, width) and its labels (n,)."""
    f, y = np.asarray(latent, dtype=np.float64), np.asarray(labels)
    raw = np.stack([usefulness(f, y == label) for label in range(num_classes)])
    spread = np.stack([spread_of(f, y == label) for label in range(num_classes)])
    scale = np.where(spread > 0, spread, np.inf)
    found = raw / scale
    label = np.abs(found).argmax(0)
    sign = np.where(np.take_along_axis(found, label[None], 0)[0] < 0, -1, 1)
    return Best(label=label, sign=sign, scale=np.take_along_axis(scale, label[None], 0)[0])


def usefulness(f: ArrayLike, positive: ArrayLike) -> NDArray[np.float64]:
    """E[y f] with both classes weighted by a half: (n, width), (n,) boolean -> (width,); 0 without one of the classes.

    The mean of f cancels.
    """
    values, flags = np.asarray(f, dtype=np.float64), np.asarray(positive, dtype=bool)
    if flags.all() or not flags.any():
        return np.zeros(values.shape[1])
    found: NDArray[np.float64] = (values[flags].mean(0) - values[~flags].mean(0)) / 2
    return found


def spread_of(f: ArrayLike, positive: ArrayLike) -> NDArray[np.float64]:
    """Standard deviation with both classes weighted by a half: (n, width), (n,) boolean -> (width,); 0 without one of
    the classes."""
    values, flags = np.asarray(f, dtype=np.float64), np.asarray(positive, dtype=bool)
    if flags.all() or not flags.any():
        return np.zeros(values.shape[1])
    within = (values[flags].var(0) + values[~flags].var(0)) / 2
    found: NDArray[np.float64] = np.sqrt(within + np.square(usefulness(values, flags)))
    return found


def unit_images(labels: NDArray[np.int64], label: int, count: int, seed: int) -> list[int]:
    """Test images for the units of a class: half of them of that class, as far as there are so many; at random."""
    found: list[int] = []
    for place, members in enumerate((np.flatnonzero(labels == label), np.flatnonzero(labels != label))):
        order = stream(seed, "features-unit-images", label, place).permutation(members)
        found += order[: count // 2].tolist()
    return found


# --- In the run -------------------------------------------------------------------------------------------------------


def measure(settings: Settings, lab: Lab, parts: Mapping[int, Part], sources: Sources, test: Reference) -> pd.DataFrame:
    """One row for each chain, source ("standard", "robust") and unit; no rows where no units were asked for.

    Columns: label, sign, rho (on all test images), rho_here, gamma_short, gamma_long, gamma (on the unit's images; the
    lower of the two), n (its images).
    """
    keys: list[tuple[int, Source]] = [(chain, kind) for chain in parts for kind in KINDS if settings.num_units]
    test_labels = np.asarray(lab.load(test).labels)
    asked: dict[tuple[int, Source], tuple[Handle[pd.DataFrame], Handle[pd.DataFrame]]] = {
        (chain, kind): (
            latents(lab, sources[chain, kind], parts[chain].d, range(len(parts[chain].used))),
            latents(lab, sources[chain, kind], test, range(len(test_labels))),
        )
        for chain, kind in keys
    }
    searched: dict[tuple[int, Source], tuple[Best, NDArray[np.float32], Handle[pd.DataFrame]]] = {}
    for (chain, kind), (of_d, of_test) in asked.items():
        rows, d = of_d.result(), lab.load(parts[chain].d)
        best = best_classes(matrix(rows), rows.label, d.num_classes)
        seed = settings.seed + chain
        units = chosen(range(len(best.label)), settings.num_units, seed=seed, what="features-units")
        items = [
            [image, unit, int(best.sign[unit]) * (1 if test_labels[image] == best.label[unit] else -1)]
            for unit in units
            for image in unit_images(test_labels, int(best.label[unit]), settings.unit_images, seed)
        ]
        handle = lab.map(
            "units",
            unit_block,
            items,
            block=settings.block,
            seed=seed,
            settings=searches(settings),
            refs={"model": sources[chain, kind], "data": test},
            needs=NEEDS,
        )
        searched[chain, kind] = best, matrix(of_test.result()), handle
    return pd.DataFrame(
        row
        for (chain, kind), (best, of_test, handle) in searched.items()
        for row in unit_rows(best, of_test, test_labels, handle.result(), chain=chain, source=kind)
    )


def unit_rows(
    best: Best, of_test: NDArray[Any], labels: NDArray[np.int64], searched: pd.DataFrame, **about: object
) -> list[dict[str, object]]:
    """Rows of `measure` for one network, from its latents of test images (n, width) and the rows of `unit_block`."""
    rows = []
    for unit, found in searched.groupby("unit", sort=True):
        label, sign, scale = int(best.label[unit]), int(best.sign[unit]), float(best.scale[unit])
        rho = sign * usefulness(of_test[:, [unit]], labels == label)[0] / scale
        inside = labels[found["index"].to_numpy()] == label
        if inside.all() or not inside.any():
            continue  # the test images have none of the class, or nothing else

        def weighted(column: str, found: pd.DataFrame = found, inside: NDArray[np.bool_] = inside) -> float:
            values = found[column].to_numpy(dtype=np.float64)
            return float((values[inside].mean() + values[~inside].mean()) / 2)

        of = {name: weighted(name) / scale for name in ("clean", "short", "long")}
        rows.append(
            {
                **about,
                "unit": unit,
                "label": label,
                "sign": sign,
                "rho": rho,
                "rho_here": of["clean"],
                "gamma_short": of["short"],
                "gamma_long": of["long"],
                "gamma": min(of["short"], of["long"]),
                "n": len(found),
            }
        )
    return rows
