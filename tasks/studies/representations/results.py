"""What a run found, before it is put into words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from robustray.tasks.studies.representations.kinds import Start
from robustray.tasks.studies.representations.settings import Settings
from robustray.tasks.training.twins import Kind

if TYPE_CHECKING:
    import pandas as pd

    from robustray.tasks.data.images import ImageData


@dataclass(frozen=True, kw_only=True, eq=False)
class Baselines:
    """Images that know nothing of a target but its class, or not even that. c = classes of the training data."""

    means: NDArray[Any]
    """(c + 1, channels, height, width): the mean training image of every class, then that of all."""
    latents: NDArray[Any]
    """(c + 1, width): the judge's."""
    predictions: NDArray[Any]
    """(c + 1,): predictions of the judge."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Units:
    """Visualised units of one network."""

    rows: pd.DataFrame
    """Rows of `unit_block`, by unit and then by number of the start."""
    judged: pd.DataFrame
    """Rows of `latent_block` with the judge, in the same order."""
    latents: NDArray[Any]
    """(test images, width): of the network itself."""
    chosen: Sequence[int]
    """Coordinates, in the order in which they were drawn."""


Key = tuple[Kind, int]
"""Kind and seed of a network."""
Judged = tuple["pd.DataFrame", "pd.DataFrame"]
"""Rows of a block, and of `latent_block` with the judge on their images, in the same order."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Probes:
    """What was asked of every network beside inversions and units."""

    matched: Mapping[Key, pd.DataFrame]
    """Rows of `match_block`."""
    paths: Mapping[Key, Judged]
    """Rows of `interpolate_block`, by pair and then by step."""
    blends: pd.DataFrame
    """The judge's rows of the blends of pixels, in the same order."""
    added: Mapping[Key, Judged]
    """Rows of `add_block`, for networks with units."""
    directed: Mapping[Key, Judged]
    """Rows of `direct_block`, by class and then by number."""
    strange: Mapping[Key, Judged]
    """Rows of `strange_block`, by kind and then by number."""
    strange_targets: NDArray[Any]
    """(targets, width): the judge's latents of these targets, in the same order."""
    maps: Mapping[Key, pd.DataFrame]
    """Rows of `map_block`."""
    sensed: Mapping[Key, tuple[Sequence[str], pd.DataFrame]]
    """Taps of the network, and rows of `sense_block`."""
    latents: Mapping[Key, NDArray[Any]]
    """(test images, width): the networks' own."""
    means: Mapping[Key, NDArray[Any]]
    """(classes, width): of training images; NaN for a class without any."""
    answers: NDArray[Any] | None
    """(test images, classes): how many people chose each class; None where no table was given."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Results:
    """The rows of all steps."""

    settings: Settings
    images: ImageData
    """Test images."""
    targets: Sequence[int]
    """Indices of the images that were inverted."""
    names: Mapping[tuple[str, int], str]
    """(kind or "judge", seed) -> "run:KEY"."""
    accuracies: Mapping[tuple[str, int], float]
    """Clean accuracy on the test images."""
    inversions: Mapping[tuple[Kind, int, Start], tuple[pd.DataFrame, pd.DataFrame]]
    """Rows of `invert_block`, and of `latent_block` with the judge, both in the order of the targets."""
    syntheses: Mapping[int, tuple[pd.DataFrame, pd.DataFrame]]
    """Seed -> the same of `class_block` with the robust network."""
    baselines: Baselines
    natural: NDArray[Any]
    """(test images, width): the judge's latents."""
    units: Mapping[tuple[Kind, int], Units]
    """Networks with at least two units that are ever active."""
    probes: Probes
