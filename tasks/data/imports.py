"""`robustray import cifar10`: the published originals -> lossless Parquet shards under the data root."""

from __future__ import annotations

import contextlib
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

from robustray.tasks.data.cifar import CIFAR10_CLASSES, ORIGINAL_FOLDERS, SHAPE, Split, read_original
from robustray.tasks.data.export import write_shards
from robustray.tasks.data.files import first_line, read_file
from robustray.tasks.data.parquet import ParquetSource, find_shards
from robustray.tasks.errors import InputError

_SPLITS: tuple[Split, Split] = ("train", "test")


def import_cifar10(source: Path, data_root: Path) -> list[Path]:
    """Write `data_root/cifar10/{train,test}-*.parquet` and return the files.

    source: `cifar-10-python.tar.gz`, the folder `cifar-10-batches-py` extracted from it (only the published bytes are
    ever unpickled), or a folder of Parquet shards in the Hugging Face layout, which are decoded, checked and copied.
    The target folder appears whole, by one rename, or not at all. Images stay lossless (PNG); `index` is the position
    in the original order.

    Raises: InputError when the source is none of these, is damaged, or the target exists.
    """
    target = data_root / "cifar10"
    if target.exists():
        raise InputError(f"{target} exists already: remove it first or give another --data-root")
    if not source.exists():
        raise InputError(f"{source} is missing: give cifar-10-python.tar.gz, its extracted folder or Parquet shards")
    made = [folder for folder in (data_root, *data_root.parents) if not folder.exists()]
    try:
        data_root.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".cifar10.", dir=data_root))
    except OSError as error:
        raise InputError(f"cannot write to {data_root}: {error.strerror or error}") from error
    try:
        names = _copy_shards(source, scratch) if source.is_dir() and _shards_in(source) else _convert(source, scratch)
        scratch.chmod(0o755)
        scratch.rename(target)
    except OSError as error:
        raise InputError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        if not target.exists():
            with contextlib.suppress(OSError):  # no longer empty: someone else's
                for folder in made:
                    folder.rmdir()
    return [target / name for name in names]


def _convert(source: Path, scratch: Path) -> list[str]:
    members = _members(source)
    written = []
    for split in _SPLITS:
        data, names = read_original("cifar10", split, members, str(source))
        if data.classes != CIFAR10_CLASSES:
            raise InputError(f"{source}: classes are {data.classes}, expected {CIFAR10_CLASSES}")
        written += write_shards(scratch, split, data.images, data.labels, names, data.classes)
    return written


def _members(source: Path) -> Callable[[str], bytes]:
    """How to read one published file, from the extracted folder or from the archive."""
    inner = ORIGINAL_FOLDERS["cifar10"]
    if source.is_dir():
        folder = source / inner if (source / inner).is_dir() else source
        if not (folder / "batches.meta").is_file():
            raise InputError(f"{source} holds neither {{train,test}}-*.parquet nor {inner}/batches.meta")
        return lambda file: read_file(folder / file)
    try:
        with tarfile.open(source, "r:gz") as archive:  # one pass: going back in a .tar.gz starts from its beginning
            held = {
                Path(member.name).name: stream.read()
                for member in archive
                if Path(member.name).parent.name == inner and (stream := archive.extractfile(member)) is not None
            }
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise InputError(f"{source} is not a whole cifar-10-python.tar.gz: {first_line(error)}") from error

    def read(file: str) -> bytes:
        if file not in held:
            raise InputError(f"{source} holds no {inner}/{file}: it is not the published cifar-10-python.tar.gz")
        return held[file]

    return read


def _shards_in(source: Path) -> Path | None:
    """The folder with shards of both splits: `source` or one directly in it (the hub puts them in `plain_text`)."""
    for folder in (source, *sorted(source.iterdir())):
        if folder.is_dir() and all(any(folder.glob(f"{split}-*.parquet")) for split in _SPLITS):
            return folder
    return None


def _copy_shards(source: Path, scratch: Path) -> list[str]:
    folder = _shards_in(source)
    assert folder is not None
    written = []
    for split in _SPLITS:
        files = find_shards(folder, split)
        ParquetSource(files=files, classes=CIFAR10_CLASSES, shape=SHAPE).fetch(f"cifar10:{split}")
        for file in files:
            shutil.copyfile(file, scratch / Path(file).name)
            written.append(Path(file).name)
    return written
