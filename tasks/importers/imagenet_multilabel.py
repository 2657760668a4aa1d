"""`robustray import imagenet-multilabel`: the answers behind "From ImageNet to Image Classification"."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from robustray.tasks.errors import InputError
from robustray.tasks.flags import optional
from robustray.tasks.importers import Written


@dataclass(frozen=True, kw_only=True)
class Flags:
    """Convert MadryLab/ImageNetMultiLabel's folder data to votes.parquet, contains.parquet where its file is there,
    and images.parquet where labels are given. Its pickles are read as data: nothing in them is run."""

    output: Annotated[str | None, optional("FOLDER")] = None
    """Folder to write to; the source if not given."""
    labels: Annotated[str | None, optional("FILE.parquet")] = None
    """Labels of ImageNet's validation images, columns image and given: what image_info.pkl does not hold."""


def run(source: Path, flags: Flags) -> Written:
    """Raises: InputError as `import_votes`, `import_contains` and `import_splits`."""
    from robustray.tasks.crowds.label_imports import import_contains, import_splits, import_votes

    answers = source / "annotations_classify_task.pkl"
    if not answers.is_file():
        raise InputError(f"import imagenet-multilabel: there is no {answers}; SOURCE is the repository's folder data")
    folder = Path(flags.output).expanduser() if flags.output else source
    votes, images = folder / "votes.parquet", folder / "images.parquet"
    lines = [f"wrote {votes} ({import_votes(answers, votes):,} answers)"]
    following = f"run labels --votes {shlex.quote(str(votes))}"
    asked, contains = source / "annotations_contains_task.pkl", folder / "contains.parquet"
    if asked.is_file():
        lines.append(f"wrote {contains} ({import_contains(asked, contains):,} images and labels)")
        following += f" --contains {shlex.quote(str(contains))}"
    if flags.labels is None:
        lines.append("not written: images.parquet (all 10,000 images), whose labels --labels FILE.parquet would give")
    else:
        count = import_splits(source / "image_info.pkl", Path(flags.labels).expanduser(), images)
        lines.append(f"wrote {images} ({count:,} images)")
        following += f" --images {shlex.quote(str(images))}"
    return Written(lines=lines, next=following)
