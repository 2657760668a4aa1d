"""`robustray import cifar10h`: how many people chose each class, to the table of `run replication --counts`."""

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
    """Convert CIFAR-10H's cifar10h-counts.npy to a Parquet table (its licence: CC BY-NC-SA 4.0)."""

    labels: Annotated[str | None, optional("FILE")] = None
    """The labels of the CIFAR-10 test set in its order: a .npy file, a JSON list, or Parquet with a column label."""
    output: Annotated[str | None, optional("FILE.parquet")] = None
    """File to write; the source's name with .parquet if not given."""


def run(source: Path, flags: Flags) -> Written:
    """Raises: InputError without labels, and as `import_cifar10h`."""
    from robustray.tasks.crowds.imports import import_cifar10h

    if flags.labels is None:
        raise InputError(
            "import cifar10h: the counts come without labels, give --labels FILE (.npy, .json or .parquet)"
        )
    target = Path(flags.output).expanduser() if flags.output else source.with_suffix(".parquet")
    done = import_cifar10h(source, Path(flags.labels).expanduser(), target)
    return Written(
        lines=[f"wrote {target} ({done.rows:,} images)"],
        next=f"run replication --counts {shlex.quote(str(target))} --predictions MODELS.parquet",
    )
