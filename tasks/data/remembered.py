"""Hashes that took long to compute, stored in the user's cache folder (`$XDG_CACHE_HOME/robustray`, ~/.cache)."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from robustray.tasks.data.files import write_atomically
from robustray.tasks.errors import InputError

_HASH = re.compile(r"[0-9a-f]{64}")


def remembered(what: Sequence[object], compute: Callable[[], str]) -> str:
    """`compute()`, a SHA-256 in hex, found out once for the same `what`.

    what: JSON values on which alone the answer depends. Where the folder can't be used, it is computed each time.
    """
    name = hashlib.sha256(json.dumps(what).encode()).hexdigest()
    try:
        path = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "robustray" / "data" / name
    except RuntimeError:  # there is no home
        return compute()
    with contextlib.suppress(OSError, UnicodeDecodeError):
        if _HASH.fullmatch(text := path.read_text()):
            return text
    found = compute()
    with contextlib.suppress(InputError):
        write_atomically(path, lambda temporary: _write(temporary, found))
    return found


def _write(path: Path, text: str) -> None:
    path.write_text(text)
