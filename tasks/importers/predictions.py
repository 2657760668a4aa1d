"""`robustray import predictions`: folders of predictions of CIFAR-10.1 and ImageNetV2, to one table."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from robustray.tasks.flags import optional
from robustray.tasks.importers import Written


@dataclass(frozen=True, kw_only=True)
class Flags:
    """Convert a folder of published predictions to a Parquet table: MODEL_predictions.json as CIFAR-10.1 has them, or
    MODEL.npy as ImageNetV2 has them."""

    output: Annotated[str | None, optional("FILE.parquet")] = None
    """File to write; the folder's name with .parquet if not given."""
    dataset: Annotated[str | None, optional("FILE.json")] = None
    """ImageNetV2's data/datasets/NAME.json, which names the images and their classes."""
    labels: Annotated[str | None, optional("FILE")] = None
    """Labels of the images of a folder of CIFAR-10.1: a .npy file, a JSON list, or Parquet with a column label."""
    correctness: bool = False
    """Write whether each prediction is right (for `run replication --correctness`) instead of the predicted classes."""


def run(source: Path, flags: Flags) -> Written:
    """Raises: InputError as `import_predictions`."""
    from robustray.tasks.crowds.imports import import_predictions

    target = Path(flags.output).expanduser() if flags.output else source.with_suffix(".parquet")
    done = import_predictions(
        source,
        target,
        dataset=Path(flags.dataset).expanduser() if flags.dataset else None,
        labels=Path(flags.labels).expanduser() if flags.labels else None,
        correctness=flags.correctness,
    )
    lines = [f"wrote {target} ({done.rows:,} images, {len(done.models)} models)"]
    if done.reversed:
        lines.append(
            f"turned round, stored worst first (their last column is right more often): {', '.join(done.reversed)}"
        )
    name = shlex.quote(str(target))
    if flags.correctness:
        following = f"run replication --data STUDY.parquet --correctness {name}"
    elif flags.dataset:
        following = f"run labels --votes VOTES.parquet --predictions {name}"
    else:
        following = f"run replication --counts COUNTS.parquet --predictions {name}"
    return Written(lines=lines, next=following)
