"""`robustray import cifar10`: the published archive to Parquet shards under a data root."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from robustray.tasks.errors import InputError
from robustray.tasks.flags import optional
from robustray.tasks.importers import Written


@dataclass(frozen=True, kw_only=True)
class Flags:
    """Convert a public data set to Parquet shards under a data root."""

    data_root: Annotated[str | None, optional("FOLDER")] = None
    """Folder of data sets; ROBUSTRAY_DATA if not given."""


def run(source: Path, flags: Flags) -> Written:
    """Raises: InputError without a data root, and as `import_cifar10`."""
    from robustray.tasks.data.imports import import_cifar10

    root = flags.data_root or os.environ.get("ROBUSTRAY_DATA")
    if not root:
        raise InputError("import cifar10: where to? give --data-root DIR, or set ROBUSTRAY_DATA")
    files = import_cifar10(source, Path(root).expanduser())
    return Written(
        lines=[f"wrote {file}" for file in files],
        next="run attack-sweep --data cifar10:test --model NAME@WEIGHTS.safetensors --data-root " + shlex.quote(root),
    )
