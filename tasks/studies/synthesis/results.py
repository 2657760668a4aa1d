"""What a run found, before it is put into words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from robustray.tasks.studies.synthesis.settings import Edit, Labels, Law, Settings
from robustray.tasks.training.twins import Kind

if TYPE_CHECKING:
    import pandas as pd

    from robustray.tasks.data.images import ImageData


@dataclass(frozen=True, kw_only=True, eq=False)
class Generations:
    """Of one network from one law."""

    rows: pd.DataFrame
    """Of `generate_block`, by class and number."""
    judged: Mapping[Kind, pd.DataFrame]
    """Kind of judge -> rows of `latent_block`, in the same order."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Edits:
    """Of one network, with one rule for the class that is asked for."""

    rows: pd.DataFrame
    """Of `inpaint_block` or `enlarge_block`, by index."""
    judged: pd.DataFrame
    """Of `latent_block` with the standard judge on `mended`, in the same order."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Baseline:
    """Pictures that no network has touched, in the order of the edits."""

    images: NDArray[Any]
    predictions: NDArray[Any]
    """The standard judge's."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Results:
    """Rows of all steps."""

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
    """Test images that stand beside the generations: as many of each class."""
    seeds: Mapping[Law, Mapping[Kind, pd.DataFrame]]
    """Law, kind of judge -> rows of `latent_block` on the seeds themselves."""
    generations: Mapping[tuple[Law, Kind, int], Generations]
    edits: Mapping[tuple[Edit, Kind, int, Labels], Edits]
    baselines: Mapping[tuple[Edit, str], Baseline]
    """(task, "original", "damaged" or "bicubic")."""
