"""Learning curves as TensorBoard files: `tensorboard/KEY/events.out.tfevents.0.robustray` in the store.

`tensorboard --logdir STORE/tensorboard` shows all long jobs of a store side by side. The file is written whole each
time; a TensorBoard that is already open shows it after a restart.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from robustray.tasks.lab.store import Store

FOLDER = "tensorboard"


def write_curve(store: Store, key: str, curve: Sequence[Mapping[str, Any]], *, by: str) -> None:
    """Replace the event file of a job: the rows of its curve so far, by their whole number `by`. Raises: OSError."""
    store.write(f"{FOLDER}/{key}/events.out.tfevents.0.robustray", event_file(curve, by=by))


def event_file(curve: Sequence[Mapping[str, Any]], *, by: str) -> bytes:
    """The numbers of each row in TensorBoard's format; those that are not finite are left out."""
    from tensorboardX.event_file_writer import EventsWriter
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.summary import scalar

    with tempfile.TemporaryDirectory() as folder:
        writer = EventsWriter(str(Path(folder, "curve")))
        for row in curve:
            for name, value in row.items():
                if name != by and isinstance(value, int | float) and math.isfinite(value):
                    summary = scalar(name, value)
                    writer.write_event(Event(wall_time=time.time(), step=row[by], summary=summary))
        writer.close()
        (file,) = Path(folder).iterdir()
        return file.read_bytes()
