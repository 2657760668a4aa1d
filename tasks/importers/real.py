"""`robustray import real`: the reassessed labels of ImageNet and what raters said."""

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
    """Convert google-research/reassessed-imagenet's real.json, or raters.npz, to a Parquet table."""

    labels: Annotated[str | None, optional("FILE.parquet")] = None
    """Labels of ImageNet's validation images, columns image and given: neither file holds them."""
    output: Annotated[str | None, optional("FILE.parquet")] = None
    """File to write; accepted.parquet or ratings.parquet beside the source if not given."""


def run(source: Path, flags: Flags) -> Written:
    """Raises: InputError without labels, for another kind of file, and as `import_accepted` and `import_ratings`."""
    from robustray.tasks.crowds.label_imports import import_accepted, import_ratings

    if source.suffix not in (".json", ".npz"):
        raise InputError(f"import real: {source} is neither real.json nor raters.npz")
    if flags.labels is None:
        raise InputError("import real: the file has no labels of the images: give --labels FILE.parquet (image, given)")
    ratings = source.suffix == ".npz"
    name = "ratings" if ratings else "accepted"
    target = Path(flags.output).expanduser() if flags.output else source.with_name(f"{name}.parquet")
    read = import_ratings if ratings else import_accepted
    count = read(source, Path(flags.labels).expanduser(), target)
    return Written(
        lines=[f"wrote {target} ({count:,} {'answers' if ratings else 'images'})"],
        next=f"run labels --votes VOTES.parquet --predictions MODELS.parquet --{name} {shlex.quote(str(target))}",
    )
