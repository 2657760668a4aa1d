"""Learning curves as TensorBoard files: `tensorboard/KEY/events.out.tfevents.0.robustray` in the store.

`tensorboard --logdir STORE/tensorboard` shows all long jobs of a store side by side. The file is written whole each
time; a TensorBoard that is already open shows it after a restart.
"""

from __future__ import annotations

import math
import struct
import time
from collections.abc import Mapping, Sequence
from typing import Any

from robustray.tasks.lab.store import Store

FOLDER = "tensorboard"


def write_curve(store: Store, key: str, curve: Sequence[Mapping[str, Any]], *, by: str) -> None:
    """Replace the event file of a job: the rows of its curve so far, by their whole number `by`. Raises: OSError."""
    store.write(f"{FOLDER}/{key}/events.out.tfevents.0.robustray", event_file(curve, by=by))


def event_file(curve: Sequence[Mapping[str, Any]], *, by: str) -> bytes:
    """The numbers of each row in TensorBoard's format; those that are not finite are left out."""
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.summary import scalar

    events = [Event(wall_time=time.time(), file_version="brain.Event:2")]
    for row in curve:
        for name, value in row.items():
            if name != by and isinstance(value, int | float) and math.isfinite(value):
                events.append(Event(wall_time=time.time(), step=row[by], summary=scalar(name, value)))
    return b"".join(_record(event.SerializeToString()) for event in events)


def _record(data: bytes) -> bytes:
    """A record of the TFRecord format: length and data, each with its checksum. In memory: tensorboardX's own writer
    wants a file and syncs it to the disk, which took as long as a small training."""
    from tensorboardX.record_writer import masked_crc32c

    header = struct.pack("<Q", len(data))
    return header + struct.pack("<I", masked_crc32c(header)) + data + struct.pack("<I", masked_crc32c(data))
