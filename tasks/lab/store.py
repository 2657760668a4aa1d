"""The store: a folder (or a URL that pyarrow's file systems know) in which files appear whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pyarrow.fs as pafs

from robustray.tasks.errors import InputError

Names = list[str]
_LEFTOVER_AGE_S = 24 * 3600.0
"""A temporary file older than this belongs to a writer that died."""


def sha256(data: bytes, length: int = 64) -> str:
    return hashlib.sha256(data).hexdigest()[:length]


@dataclass(frozen=True, kw_only=True)
class StoredFile:
    """What a listing says of a finished file."""

    name: str
    bytes: int
    written: float
    """Seconds since 1970; infinity where the file system does not say."""


class Store:
    """Whole files under relative names with forward slashes.

    A write is complete or absent: on a local path a temporary name in the same folder and one rename, on an object
    store its own atomic put. Nothing is ever changed in place.
    """

    def __init__(self, url: str | os.PathLike[str]) -> None:
        """A store at a local path or URL; nothing is written yet. Raises: InputError when it can't be one."""
        url = os.fspath(url)
        if not url.strip():
            raise InputError("the store's name is empty: give a folder or a URL")
        if "://" in url and "@" in urlsplit(url).netloc:  # it would be written into every run.json
            raise InputError(
                f"--store {urlsplit(url).scheme}://…: a name and a secret in a URL would be kept with each run; "
                "leave them out and set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile"
            )
        if url.startswith("file://"):  # a local path by another name: it gets the local, atomic writes
            url = unquote(urlsplit(url).path)
        self.url = url
        self.local = "://" not in url
        self._made: list[Path] = []
        try:
            if self.local:
                self.url = str(Path(url).expanduser().absolute())
                self._fs, self._root = pafs.LocalFileSystem(), self.url
            else:
                self._fs, self._root = pafs.FileSystem.from_uri(url)
            kind = self._fs.get_file_info(self._root).type
        except (OSError, pa.ArrowException) as error:
            raise InputError(f"--store {url}: cannot be opened ({_short(error)}); give a folder or a URL") from error
        if kind == pafs.FileType.File:
            raise InputError(f"--store {url}: this is a file; give a folder")

    def create(self) -> None:
        """Make the folder if there is none, and try to write. Raises: InputError."""
        if self.local:
            folders = (Path(self.url), *Path(self.url).parents)
            self._made = [*(folder for folder in folders if not folder.exists()), *self._made]
        try:
            self._fs.create_dir(self._root, recursive=True)
            self.write(".probe", b"robustray")
            self.delete(".probe")
        except (OSError, pa.ArrowException) as error:
            self.abandon()
            raise InputError(
                f"--store {self.url}: cannot be written to ({_short(error)}); give a folder you may write to"
            ) from error

    def abandon(self) -> None:
        """Remove the folders that `create` made, as far as they are empty: the store was refused after all.

        Only on a local path; elsewhere an empty folder is nothing.
        """
        with contextlib.suppress(OSError):  # not empty, or gone
            while self._made:
                self._made[0].rmdir()
                self._made.pop(0)
        self._made.clear()

    def __repr__(self) -> str:
        return f"Store({self.url!r})"

    def path(self, name: str) -> str:
        """The full name, for a person (and, on a local store, for any other program)."""
        place, mark, options = self.url.partition("?") if not self.local else (self.url, "", "")
        return f"{place.rstrip('/')}/{name}{mark}{options}"

    def write(self, name: str, data: bytes) -> None:
        """Publish `data` under `name`, replacing what was there. Raises: OSError (disk full, no permission)."""
        target = f"{self._root}/{name}"
        self._fs.create_dir(target.rpartition("/")[0], recursive=True)
        if not self.local:
            with self._fs.open_output_stream(target) as stream:
                stream.write(data)
            return
        temporary = f"{target}.{os.getpid()}-{secrets.token_hex(4)}.tmp"
        try:
            with open(temporary, "wb") as file:
                file.write(data)
            os.replace(temporary, target)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise

    def read(self, name: str) -> bytes:
        """Raises: FileNotFoundError."""
        with self._fs.open_input_stream(f"{self._root}/{name}") as stream:
            return stream.read()

    def list(self, folder: str) -> Names:
        """The names (without the folder) of the finished files right in `folder`, sorted; [] where there is none."""
        if not self.local:
            return [file.name for file in self.files(folder)]
        try:  # names alone: nothing is asked of each file, which takes seven times as long
            with os.scandir(f"{self._root}/{folder}") as entries:
                return sorted(each.name for each in entries if not each.name.endswith(".tmp") and each.is_file())
        except FileNotFoundError:
            return []

    def files(self, folder: str) -> Sequence[StoredFile]:
        """The finished files right in `folder` with size and time, sorted by name; none where there is no folder."""
        selector = pafs.FileSelector(f"{self._root}/{folder}".rstrip("/"), allow_not_found=True)
        found = [
            StoredFile(
                name=info.base_name,
                bytes=info.size or 0,
                written=math.inf if info.mtime_ns is None else info.mtime_ns / 1e9,
            )
            for info in self._fs.get_file_info(selector)
            if info.type == pafs.FileType.File and not info.base_name.endswith(".tmp")
        ]
        return sorted(found, key=lambda file: file.name)

    def newest(self, names: Sequence[str]) -> Names:
        """These files, the one that was written last first; those that are gone are left out."""
        infos = self._fs.get_file_info([f"{self._root}/{name}" for name in names])
        times = {name: info.mtime_ns for name, info in zip(names, infos, strict=True) if info.mtime_ns is not None}
        return sorted(times, key=lambda name: (times[name], name), reverse=True)

    def folders(self, folder: str = "") -> Names:
        """The names of the folders right in `folder`, sorted."""
        selector = pafs.FileSelector(f"{self._root}/{folder}".rstrip("/"), allow_not_found=True)
        return sorted(i.base_name for i in self._fs.get_file_info(selector) if i.type == pafs.FileType.Directory)

    def delete(self, name: str) -> None:
        """Remove a file; that it is gone already is fine (another driver may have been faster)."""
        with contextlib.suppress(FileNotFoundError):
            self._fs.delete_file(f"{self._root}/{name}")

    def remove_if_empty(self, folder: str) -> None:
        """Remove a folder that holds nothing. Only on a local path; elsewhere an empty folder is nothing."""
        if self.local:
            with contextlib.suppress(OSError):  # not empty, or gone
                Path(self.path(folder)).rmdir()

    def sweep(self, folder: str) -> int:
        """Remove the leftovers of writers that died more than a day ago. Returns how many."""
        selector = pafs.FileSelector(f"{self._root}/{folder}", allow_not_found=True)
        old = [
            info.path
            for info in self._fs.get_file_info(selector)
            if info.base_name.endswith(".tmp") and info.mtime and time.time() - info.mtime.timestamp() > _LEFTOVER_AGE_S
        ]
        for path in old:
            with contextlib.suppress(FileNotFoundError):  # another driver swept at the same time
                self._fs.delete_file(path)
        return len(old)


def _short(error: BaseException) -> str:
    return str(error).strip().split("\n")[0].removesuffix(".")
