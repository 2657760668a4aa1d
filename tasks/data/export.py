"""Images on disk without loss, in the layout that `--data` reads: Parquet shards with PNGs in them."""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from robustray.tasks.data.images import ImageData, hash_arrays
from robustray.tasks.data.parquet import ParquetSource, find_shards
from robustray.tasks.errors import InputError

SHARD_ROWS = 10_000
_FILE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def export_data(data: ImageData, folder: Path, split: str = "train") -> list[Path]:
    """Write a data set as `folder/SPLIT-00000-of-0000N.parquet` (`--data FOLDER`, or `FOLDER:SPLIT` beside others).

    Each file appears whole or not at all. `robustray run ... --data FOLDER` reads the same pixels, labels, class names,
    masks and boxes in the same order. Returns: the files.

    Raises: InputError when there are such files already, the folder can't be written, or pixels are floats that no
    8-bit image holds exactly.
    """
    if any(folder.glob(f"{split}-*.parquet")):
        raise InputError(f"{folder} holds {split}-*.parquet already: remove them or give another folder")
    images = eight_bits(data)
    names = [f"{row:06d}.png" for row in range(len(data))]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{split}.", dir=folder))
    except OSError as error:
        raise InputError(f"cannot write to {folder}: {error.strerror or error}") from error
    try:
        files = write_shards(
            scratch, split, images, data.labels, names, data.classes, masks=data.masks, boxes=data.boxes
        )
        for file in files:
            (scratch / file).replace(folder / file)
    except OSError as error:
        raise InputError(f"cannot write to {folder}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return [folder / file for file in files]


def ensure_exported(data: ImageData, folder: Path, split: str = "train") -> list[Path]:
    """Like `export_data`, but files that exist already and hold the same are left, so that a run may be resumed or
    repeated. Raises: InputError as well when they hold something else."""
    if not any(folder.glob(f"{split}-*.parquet")):
        return export_data(data, folder, split)
    files = find_shards(folder, split)
    found = ParquetSource(files=files).fetch(str(folder))
    if hash_arrays(found) != hash_arrays(dataclasses.replace(data, images=eight_bits(data))):
        raise InputError(f"{folder} holds other {split}-*.parquet already: remove them or give another folder")
    return [Path(file) for file in files]


def eight_bits(data: ImageData) -> NDArray[np.uint8]:
    """The pixels as uint8, when that loses nothing. Raises: InputError."""
    if data.images.dtype == np.uint8:
        return data.images
    levels = np.rint(data.images * 255).astype(np.uint8)
    wrong = np.flatnonzero((levels.astype(np.float32) / np.float32(255) != data.images).any((1, 2, 3)))
    if wrong.size:
        raise InputError(
            f"{data.name}: image {wrong[0]} has pixels between the 256 levels of an 8-bit image, and would not be the "
            "same when read again: round to n/255 before"
        )
    return levels


def write_shards(
    folder: Path,
    split: str,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    names: Sequence[str],
    classes: Sequence[str],
    shard_rows: int = SHARD_ROWS,
    *,
    masks: NDArray[np.bool_] | None = None,
    boxes: NDArray[np.int64] | None = None,
) -> list[str]:
    """Write images (n, 1 or 3, height, width) as PNG into Parquet shards of the Hugging Face layout.

    names: a file name per image, written to `path`. Masks become PNGs of 0 and 255 in the column `mask`, boxes lists of
    four numbers in `box`. Returns: the names of the files.
    """
    count = max(1, -(-len(labels) // shard_rows))
    features: dict[str, Any] = {
        "image": {"_type": "Image"},
        "label": {"names": list(classes), "_type": "ClassLabel"},
        **({} if masks is None else {"mask": {"_type": "Image"}}),
    }
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    written = []
    for shard in range(count):
        rows = range(shard * shard_rows, min((shard + 1) * shard_rows, len(labels)))
        columns = {
            "image": pa.array([{"bytes": _png(images[row]), "path": names[row]} for row in rows], _FILE),
            "label": pa.array(labels[rows.start : rows.stop], pa.int64()),
            "index": pa.array(rows, pa.int64()),
        }
        if masks is not None:
            pictures = masks.astype(np.uint8) * np.uint8(255)
            columns["mask"] = pa.array(
                [{"bytes": _png(pictures[row, None]), "path": names[row]} for row in rows], _FILE
            )
        if boxes is not None:
            columns["box"] = pa.array(boxes[rows.start : rows.stop].tolist(), pa.list_(pa.int64(), 4))
        written.append(f"{split}-{shard:05}-of-{count:05}.parquet")
        # PNG is compressed already; page checksums cost nothing and find most later damage
        pq.write_table(
            pa.table(columns).replace_schema_metadata(metadata),
            folder / written[-1],
            compression="none",
            row_group_size=1000,
            write_page_checksum=True,
        )
    return written


def _png(image: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0)).save(buffer, "png")
    return buffer.getvalue()
