"""Learning curves as TensorBoard files: `tensorboard/KEY/events.out.tfevents.0.robustray` in the store.

`tensorboard --logdir STORE/tensorboard` shows all trainings of a store side by side, by epoch. The file is written
whole after each epoch; a TensorBoard that is already open shows it after a restart.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from robustray.tasks.lab.store import Store
from robustray.tasks.training.state import Row

FOLDER = "tensorboard"


def write_curve(store: Store, key: str, curve: Sequence[Row]) -> None:
    """Replace the event file of a training. Raises: OSError."""
    store.write(f"{FOLDER}/{key}/events.out.tfevents.0.robustray", event_file(curve))


def event_file(curve: Sequence[Row]) -> bytes:
    """The numbers of each row, by epoch, in TensorBoard's format."""
    from tensorboardX.event_file_writer import EventsWriter
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.summary import scalar

    with tempfile.TemporaryDirectory() as folder:
        writer = EventsWriter(str(Path(folder, "curve")))
        for row in curve:
            for name, value in row.items():
                if name != "epoch" and isinstance(value, int | float):
                    summary = scalar(name, value)
                    writer.write_event(Event(wall_time=time.time(), step=row["epoch"], summary=summary))
        writer.close()
        (file,) = Path(folder).iterdir()
        return file.read_bytes()
