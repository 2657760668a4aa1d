"""What a run found, before it is put into words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from robustray.tasks.studies.synthesis.fields import Settings
from robustray.tasks.studies.synthesis.kinds import Edit, Labels, Law
from robustray.tasks.training.twins import Kind

if TYPE_CHECKING:
    import pandas as pd

    from robustray.tasks.data.images import ImageData


@dataclass(frozen=True, kw_only=True, eq=False)
class Generations:
    """Generations of one network from one law."""

    rows: pd.DataFrame
    """Rows of `generate_block`, by class and number."""
    judged: Mapping[Kind, pd.DataFrame]
    """Kind of judge -> rows of `latent_block`, in the same order."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Edits:
    """Edits by one network, with one rule for the class that is asked for."""

    rows: pd.DataFrame
    """Rows of the task's block (`EDIT_BLOCKS`), by index."""
    judged: Mapping[Kind, pd.DataFrame]
    """Kind of judge -> rows of `latent_block` on `mended`, in the same order."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Baseline:
    """Pictures that no network has touched, in the order of the edits."""

    images: NDArray[Any]
    predictions: Mapping[Kind, NDArray[Any]]
    """Predictions of each kind of judge."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Paintings:
    """Paintings by one network."""

    rows: pd.DataFrame
    """Rows of `paint_block`, by index."""
    high: NDArray[Any]
    """(width,): what each coordinate exceeds on one test image of a hundred."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Results:
    """The rows of all steps."""

    settings: Settings
    images: ImageData
    """Test images."""
    names: Mapping[tuple[str, Kind, int], str]
    """("twin" or "judge", kind, seed) -> "run:KEY"."""
    accuracies: Mapping[tuple[str, Kind, int], float]
    """Clean accuracy on the test images."""
    natural: Mapping[Kind, pd.DataFrame]
    """Kind of judge -> rows of `latent_block` on all test images."""
    real: Sequence[int]
    """Test images to compare the generations with, as many of each class."""
    reference: Sequence[int]
    """Other test images, as many again, from which generations and anchor are measured."""
    train_features: NDArray[Any]
    """(training images, width): the standard judge's; (0, 0) where nothing is generated."""
    seeds: Mapping[Law, Mapping[Kind, pd.DataFrame]]
    """Law, kind of judge -> rows of `latent_block` on the seeds themselves."""
    generations: Mapping[tuple[Law, Kind, int], Generations]
    edits: Mapping[tuple[Edit, Kind, int, Labels], Edits]
    baselines: Mapping[tuple[Edit, str], Baseline]
    """(task, "original", "damaged" or "bicubic"), as of `edited.BASELINES`."""
    paintings: Mapping[tuple[Kind, int], Paintings]
    """Networks with a coordinate that is ever active."""
