"""Data by name."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from robustray.tasks.data.folder import FolderSource
from robustray.tasks.data.images import ImageData, hash_arrays
from robustray.tasks.data.own import OwnSource, load_function, looks_like_own
from robustray.tasks.data.parquet import ParquetSource, find_shards
from robustray.tasks.data.photo_sets import LAYOUTS
from robustray.tasks.data.photographs import LARGEST_SIDE
from robustray.tasks.data.picture import SUFFIXES, PictureSource
from robustray.tasks.data.remembered import remembered
from robustray.tasks.data.sources import SOURCES, known
from robustray.tasks.errors import InputError
from robustray.tasks.lab.code import code_hash
from robustray.tasks.words import nearest


class Source(Protocol):
    """Where the images of one split come from. Small and picklable."""

    @property
    def modules(self) -> tuple[str, ...]:
        """The user's own modules behind it."""
        ...

    def fingerprint(self) -> Sequence[object] | None:
        """The hashes of the files, and all else that decides what is read: JSON values, never a path or a time. By it
        the content's hash is remembered; None where reading is the only way to know.

        Raises: InputError.
        """
        ...

    def fetch(self, name: str) -> ImageData:
        """Decode everything once and check it. Raises: InputError."""
        ...


@dataclass(frozen=True, kw_only=True)
class DataRef:
    """A data set by name: a `robustray.tasks.lab.protocol.Reference` whose object is an `ImageData`."""

    name: str
    """The name as the user wrote it: "cifar10:test"."""
    source: Source

    @property
    def content_hash(self) -> str:
        """SHA-256 (hex) of pixels, labels and class names, whatever holds them. Raises: InputError."""
        return self._hash

    @cached_property  # not `content_hash` itself: to pyright a cached property is none in the protocol `Reference`
    def _hash(self) -> str:
        fingerprint = self.source.fingerprint()
        if fingerprint is None:
            return hash_arrays(self.fetch())
        return remembered([*fingerprint, code_hash(self.modules)], lambda: hash_arrays(self.fetch()))

    @property
    def modules(self) -> tuple[str, ...]:
        """Roots of CODE: where the images come from, how they are decoded and cut into batches."""
        kind = type(self.source)
        return (f"{__name__}:{type(self).__name__}", f"{kind.__module__}:{kind.__qualname__}", *self.source.modules)

    def fetch(self) -> ImageData:
        """Raises: InputError naming file and row of what is missing, damaged or does not fit."""
        return self.source.fetch(self.name)

    def build(self, payload: ImageData, device: str) -> ImageData:
        """The payload itself: images stay in (shared) memory on the host, batches go to `device` one by one."""
        return payload

    def __getstate__(self) -> dict[str, Any]:
        # the hash travels along: files of the driver's machine need not exist on an actor's
        return {**self.__dict__, "_hash": self.content_hash}


def open_data(text: str, *, data_root: str | None) -> DataRef:
    """Turn a name into a reference. Nothing is decoded yet.

    text: a name of `SOURCES` (`digits:test`, `scenes:train,rho=0.9`); a Parquet file; a folder of Parquet shards, with
    `:SPLIT` behind it if it holds several; a folder of class folders (also `folder:PATH`); one picture, `photo.png`;
    the user's own `my_pkg.my_mod:function`. `FOLDER,size=224`: pictures of any sizes in class folders. data_root: the
    folder in which CIFAR is looked for (`--data-root`, ROBUSTRAY_DATA).

    Raises: InputError for an unknown name, or one whose files or function are not there.
    """
    return DataRef(name=text, source=_open(text, data_root))


def _open(text: str, data_root: str | None) -> Source:
    head, _, rest = text.partition(":")
    if head in SOURCES:
        opened: Source = importlib.import_module(SOURCES[head].module).open_source(head, rest, data_root)
        return opened
    if (sized := _sized(text)) is not None:
        return sized
    if head == "folder":
        return _open_folder(Path(rest).expanduser())
    path = Path(text).expanduser()
    if path.is_dir():
        return (
            ParquetSource(files=find_shards(path.absolute(), None))
            if any(path.glob("*.parquet"))
            else _open_folder(path)
        )
    if path.is_file() or text.endswith(".parquet"):
        if path.suffix.lower() in SUFFIXES:
            return PictureSource(file=str(path.absolute()))
        if path.suffix != ".parquet":
            raise InputError(
                f"{path} is neither Parquet file nor picture: give a .parquet file, a folder of shards or of class "
                f"folders, or one picture ({', '.join(SUFFIXES)})"
            )
        if not path.exists():
            raise InputError(f"{path} is missing")
        return ParquetSource(files=(str(path.absolute()),))
    if _is_photographs(Path(head).expanduser()):
        raise InputError(
            f"{text}: {head} is a folder of class folders, which has no splits; give {head}, or {head},size=224 for "
            f"pictures of any sizes. (:{rest} is for folders of Parquet shards)"
        )
    if looks_like_own(text) and not any(Path(head).glob(f"{rest}-*.parquet")):
        return _open_own(text)
    folder, separator, split_name = text.rpartition(":")
    if separator and Path(folder).expanduser().is_dir():
        return ParquetSource(files=find_shards(Path(folder).expanduser().absolute(), split_name))
    if os.sep in text or path.suffix.lower() in SUFFIXES:
        raise InputError(f"there is no file or folder {text}")
    before, comma, option = text.partition(",")
    if comma and Path(before).expanduser().is_dir():
        raise InputError(f"{text!r}: {option!r} is no option of a folder; it takes size=, as in {before},size=224")
    raise InputError(f"there is no data set {text!r}{nearest(text, known())}")


def _is_photographs(path: Path) -> bool:
    """Whether a folder holds class folders: neither Parquet shards nor a package of one's own."""
    if not path.is_dir() or any(path.glob("*.parquet")) or any(path.glob("*.py")):
        return False
    return any(entry.is_dir() for entry in path.iterdir())


def _sized(text: str) -> FolderSource | None:
    """`FOLDER,size=224`: a folder of pictures of any sizes; None where `text` has another form."""
    folder, separator, size = text.rpartition(",size=")
    if not separator or Path(text).expanduser().exists():
        return None
    if not size.isdecimal() or not 1 <= int(size) <= LARGEST_SIDE:
        raise InputError(f"{text!r}: size is a whole number of pixels, 1 to {LARGEST_SIDE:,}")
    path = Path(folder.removeprefix("folder:")).expanduser()
    if path.is_dir() and any(path.glob("*.parquet")):
        raise InputError(f"{text!r}: size= is for folders of pictures, {path} holds Parquet shards")
    return _open_folder(path, int(size))


def photograph_notes(refs: Iterable[object], load: Callable[[DataRef], ImageData]) -> dict[str, list[str]]:
    """Name -> what was done to its pictures, for the references to folders that are read at a size; others are not
    loaded. load: as `Lab.load`."""
    sized = {
        ref.name: ref
        for ref in refs
        if isinstance(ref, DataRef) and isinstance(ref.source, FolderSource) and ref.source.side
    }
    return {name: list(load(ref).notes) for name, ref in sized.items()}


def at_size(text: str, side: int) -> str:
    """The name of the same pictures at `side` pixels, if `text` names pictures of any sizes (a folder of class folders,
    or a set of photographs by its name); else `text` itself."""
    if text.partition(":")[0] in LAYOUTS and ",size=" not in text:
        return f"{text},size={side}"
    path = Path(text.removeprefix("folder:")).expanduser()
    if ",size=" in text or not path.is_dir() or any(path.glob("*.parquet")):
        return text
    return f"{text},size={side}"


def _open_folder(path: Path, side: int = 0) -> FolderSource:
    if not path.is_dir():
        raise InputError(f"{path} is {'no folder' if path.exists() else 'missing'}: expected a folder of class folders")
    source = FolderSource(root=str(path.absolute()), side=side)
    source.listing()  # class names and order are checked before any work starts
    return source


def _open_own(text: str) -> OwnSource:
    try:
        load_function(text)
    except InputError as error:
        if isinstance(error.__cause__, ModuleNotFoundError):  # more likely a misspelt name than a lost module
            raise InputError(f"{error}, and there is no data set of that name{nearest(text, known())}") from error
        raise
    return OwnSource(function=text)
