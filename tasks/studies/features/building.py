"""`--build FOLDER`: the four sets as files that anybody can read, with a record of every image."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from robustray.tasks.data.export import ensure_exported
from robustray.tasks.errors import InputError
from robustray.tasks.lab.keys import digest
from robustray.tasks.studies.features.recipes import Recipes
from robustray.tasks.studies.features.results import BUILT

if TYPE_CHECKING:
    import pandas as pd

    from robustray.tasks.data.images import ImageData

NOTE = """# Training sets of robust and of non-robust features

Made from {name} ({count:,} of its images) by robustray, after Ilyas et al., arXiv:1905.02175, section 3.
D_rand and D_det: l2 perturbations of at most {eps:g} in units of pixels in [0, 1].

A set is under the licence of the data that it was made from: these are changed copies of those images.

`D_R`, `D_NR`, `D_rand`, `D_det` hold Parquet files with PNGs (no loss). `records/SET.parquet` has a row for each image,
in the same order: its place in the data that it was made from (`image`), the image that it began as (`start`, D_R and
D_NR), its label and the one it had (`original`), how far it was moved, and what the source sees in what is stored.

    import io
    import pyarrow.parquet as pq
    from PIL import Image

    table = pq.read_table("D_det").to_pydict()
    images = [Image.open(io.BytesIO(one["bytes"])) for one in table["image"]]  # labels: table["label"]
"""


def export(
    folder: Path,
    sets: Mapping[str, ImageData],
    rows: Mapping[str, pd.DataFrame],
    used: Sequence[int],
    *,
    name: str,
    eps: float,
    recipe: str,
) -> Path:
    """Write the four sets, their records and a note. used: places of D's images in the training data `name`. recipe:
    as of `recipe_of`.

    Returns: the folder. Raises: InputError where it can't be written, or holds other sets.
    """
    try:
        (folder / "records").mkdir(parents=True, exist_ok=True)
        recipe_file(folder).write_text(recipe + "\n", encoding="utf-8")  # first: what was interrupted can go on
        for one, place in folders(folder).items():
            ensure_exported(sets[one], place)
        for one in BUILT:
            records(rows[one], used).to_parquet(folder / "records" / f"{one}.parquet", index=False)
        (folder / "README.md").write_text(NOTE.format(name=name, count=len(used), eps=eps), encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot write to {folder}: {error.strerror or error}") from error
    return folder


def records(rows: pd.DataFrame, used: Sequence[int]) -> pd.DataFrame:
    """All columns but the pixels; places in D are replaced by places in the training data."""
    places = np.asarray(used)
    found = rows.drop(columns=["image", "index"])
    found.insert(0, "image", places[rows["index"].to_numpy()])
    return found.assign(start=places[rows.start.to_numpy()]) if "start" in rows else found


def folders(folder: Path) -> dict[str, Path]:
    """Where each set goes."""
    return {name: folder / name for name in BUILT}


def check_folder(folder: Path) -> None:
    """Look, without a trace, whether sets could be written there. Raises: InputError: it would be found out after the
    trainings."""
    there = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    if not there.is_dir():
        raise InputError(f"--build {folder}: {there} is a file; give a folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise InputError(f"--build {folder}: cannot write to {there}; give another folder")


def recipe_of(settings: Recipes, content_hash: str) -> str:
    """A name for all that is asked for of the sets. settings: settled; content_hash: of the training data."""
    free = ("train_data", "build", "num_chains", "block", "early_epochs", "num_avoided")
    asked = {f.name: getattr(settings, f.name) for f in dataclasses.fields(Recipes) if f.name not in free}
    return digest({"data": content_hash, **asked})


def recipe_file(folder: Path) -> Path:
    """Where its name is kept beside the sets."""
    return folder / "records" / "recipe.txt"


def check_sets(folder: Path, recipe: str) -> None:
    """Raises: InputError where sets lie already that were asked for in another way; it would be found out after the
    trainings."""
    there = [name for name, place in folders(folder).items() if any(place.glob("train-*.parquet"))]
    kept = recipe_file(folder)
    if there and (not kept.exists() or kept.read_text(encoding="utf-8").strip() != recipe):
        raise InputError(
            f"--build {folder}: {', '.join(there)} there were made with other settings or data: remove them or give "
            "another folder"
        )


def complete(folder: Path) -> bool:
    """Whether all of it is there."""
    return all(any(place.glob("train-*.parquet")) for place in folders(folder).values()) and all(
        (folder / "records" / f"{name}.parquet").exists() for name in BUILT
    )
