"""CIFAR-10 and CIFAR-100 under the data root: Parquet shards, else the original files as torchvision extracts them."""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

from robustray.tasks.data.files import read_file
from robustray.tasks.data.images import ImageData, checked
from robustray.tasks.data.parquet import ParquetSource, find_shards
from robustray.tasks.data.sources import check_rest
from robustray.tasks.errors import InputError

Cifar = Literal["cifar10", "cifar100"]
Split = Literal["train", "test"]

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
ORIGINAL_FOLDERS = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}
SHAPE = (3, 32, 32)


def open_source(name: str, rest: str, data_root: str | None) -> ParquetSource | OriginalSource:
    """See `data.sources`. Raises: InputError as `open_cifar`."""
    check_rest(name, rest)
    return open_cifar(cast(Cifar, name), cast(Split, rest), data_root)


def open_cifar(name: Cifar, split: Split, data_root: str | None) -> ParquetSource | OriginalSource:
    """Raises: InputError naming the files that were looked for and the command that makes them."""
    remedy = f"`robustray import {name} SOURCE --data-root DIR` makes them from the published archive"
    if name == "cifar100":
        remedy = "extract the published cifar-100-python.tar.gz there"
    if data_root is None:
        raise InputError(
            f"{name}:{split} needs a data root: give --data-root DIR or set ROBUSTRAY_DATA to a folder with "
            f"{name}/{split}-*.parquet or {ORIGINAL_FOLDERS[name]}/; {remedy}"
        )
    shards, original = Path(data_root) / name, Path(data_root) / ORIGINAL_FOLDERS[name]
    if any(shards.glob(f"{split}-*.parquet")):
        files = find_shards(shards.absolute(), split)
        if name == "cifar10":
            return ParquetSource(files=files, classes=CIFAR10_CLASSES, shape=SHAPE)
        return ParquetSource(files=files, num_classes=100, shape=SHAPE)
    if original.is_dir():
        return OriginalSource(set=name, split=split, folder=str(original.absolute()))
    raise InputError(f"found neither {shards}/{split}-*.parquet nor {original}/: {remedy}")


def published(name: Cifar, split: Split) -> tuple[dict[str, str], tuple[str, str], str]:
    """What the authors published: {file: MD5} of the split in order, (label names' file, MD5), key of the label names.

    The sums are those that torchvision ships with its own downloader.
    """
    from torchvision.datasets import CIFAR10, CIFAR100

    torchvision_class = CIFAR10 if name == "cifar10" else CIFAR100
    files = torchvision_class.train_list if split == "train" else torchvision_class.test_list
    meta = torchvision_class.meta
    return {file: md5 for file, md5 in files}, (meta["filename"], meta["md5"]), meta["key"]


@dataclass(frozen=True, kw_only=True)
class OriginalSource:
    """The authors' Python pickles, as torchvision extracts them.

    Nothing but the published bytes is ever unpickled, and that by an unpickler which knows arrays only. (torchvision
    compares the same sums, but then opens the file a second time to unpickle it.)
    """

    set: Cifar
    split: Split
    folder: str

    @property
    def modules(self) -> tuple[str, ...]:
        return ()

    def fingerprint(self) -> tuple[object, ...]:
        files, meta, _ = published(self.set, self.split)  # `fetch` accepts no other bytes
        return (self.set, *files.values(), meta[1])

    def fetch(self, name: str) -> ImageData:
        """Raises: InputError for a missing file, or one whose MD5 is not the published one."""
        data, _ = read_original(self.set, self.split, lambda file: read_file(Path(self.folder) / file), self.folder)
        return ImageData(name=name, images=data.images, labels=data.labels, classes=data.classes)


def read_original(name: Cifar, split: Split, read: Callable[[str], bytes], where: str) -> tuple[ImageData, list[str]]:
    """Images of one split and their file names; `read(file)` gives the bytes of one published file."""
    files, (meta_file, meta_md5), names_key = published(name, split)
    batches = [_unpickle(f"{where}/{file}", read(file), md5) for file, md5 in files.items()]
    classes = tuple(str(each) for each in _unpickle(f"{where}/{meta_file}", read(meta_file), meta_md5)[names_key])
    labels_key = "labels" if name == "cifar10" else "fine_labels"
    data = ImageData(
        name=f"{name}:{split}",
        images=np.concatenate([batch["data"].reshape(-1, *SHAPE) for batch in batches]),
        labels=np.array([label for batch in batches for label in batch[labels_key]], dtype=np.int64),
        classes=classes,
    )
    return checked(data), [str(file) for batch in batches for file in batch["filenames"]]


def _unpickle(where: str, data: bytes, md5: str) -> dict[str, Any]:
    found = hashlib.md5(data, usedforsecurity=False).hexdigest()
    if found != md5:
        raise InputError(f"{where} is not the published file (MD5 {found}, expected {md5}): extract the archive again")
    result: dict[str, Any] = _ArraysOnly(io.BytesIO(data), encoding="latin1").load()
    return result


class _ArraysOnly(pickle.Unpickler):
    """Second lock behind the MD5: a pickle names functions to call, and only those that rebuild arrays exist here."""

    def find_class(self, module: str, name: str) -> Any:
        reconstruct = np.empty(0).__reduce__()[0]
        allowed = {("numpy", "ndarray"): np.ndarray, ("numpy", "dtype"): np.dtype}
        for home in ("numpy.core.multiarray", "numpy._core.multiarray"):  # numpy 1 and 2
            allowed[home, "_reconstruct"] = reconstruct  # type: ignore[assignment]
        if (module, name) not in allowed:
            raise InputError(f"the pickle asks for {module}.{name}: nothing was run, this is not the published file")
        return allowed[module, name]
