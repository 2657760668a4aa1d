"""Connects a process to Ray, one started on this machine or an existing cluster, and explains what can prevent it."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import robustray
from robustray.tasks.errors import InputError, WorkFailed

SOCKET_BYTES = 103 if sys.platform == "darwin" else 107
"""The longest path that the system takes for a socket."""
_SOCKET = "session_2026-01-01_00-00-00_000000_{pid}/sockets/plasma_store"
"""The longest of the sockets that Ray makes in its temporary folder."""
STARTS = 2
PAUSE_S = 5.0
"""Between two tries to start Ray: a machine that was too busy may be less so."""


def ray_folder() -> tuple[str, Path]:
    """The environment variable that decides where Ray keeps logs and sockets ("" for none), and that folder."""
    names = ("RAY_TMPDIR", "TMPDIR") if sys.platform.startswith("linux") else ("RAY_TMPDIR",)
    variable = next((name for name in names if name in os.environ), "")
    return variable, Path(os.environ.get(variable, "/tmp"), "ray")


def token_file() -> Path:
    """Where Ray keeps the token that guards its ports."""
    given = os.environ.get("RAY_AUTH_TOKEN_PATH")
    return Path(given) if given else Path.home() / ".ray" / "auth_token"


def others_read(token: Path) -> bool:
    """Whether other users of the machine may read the token: Ray 2.60 makes it with the umask of whoever starts it."""
    return token.is_file() and bool(token.stat().st_mode & 0o077)


def keep_token_private() -> None:
    """Take the token from other users of the machine, as far as it is ours."""
    with contextlib.suppress(OSError):
        if others_read(token_file()):
            token_file().chmod(0o600)


def check_ray_folder() -> None:
    """Raises: InputError when the folder's path is too long for sockets, naming the variable that mends it."""
    variable, folder = ray_folder()
    length = len(os.fsencode(folder / _SOCKET.format(pid=os.getpid())))
    if length > SOCKET_BYTES:
        raise InputError(
            f"{variable}={folder.parent} is too long: Ray's sockets would lie at paths of {length} bytes, the system "
            f"allows {SOCKET_BYTES}; `export RAY_TMPDIR=/tmp` (or another short, local folder), or --workers 0"
        )


def check_workers(workers: int | None, address: str | None) -> None:
    """Raises: InputError for a number of workers that cannot be, or 0 together with a cluster."""
    if workers is not None and workers < 0:
        raise InputError(f"--workers {workers}: 0 computes in this process, 1 or more on actors")
    if workers == 0 and address:
        raise InputError(
            f"--workers 0 computes in this process, but --address (or RAY_ADDRESS) {address} names a cluster"
        )


def ray_is_up() -> bool:
    """Whether this process is connected to Ray already: by the user, in a notebook, or as a task that runs in it."""
    ray = sys.modules.get("ray")
    return ray is not None and ray.is_initialized()


@contextlib.contextmanager
def one_document(json: bool) -> Iterator[None]:
    """Keep stdout for the one document of --json: within it everything else goes to stderr.

    Ray prints paragraphs about workers and nodes that died, and some of them when it lets a cluster go. So a connection
    that was made within is let go before the end.
    """
    before = ray_is_up()
    with contextlib.redirect_stdout(sys.stderr) if json else contextlib.nullcontext():
        try:
            yield
        finally:
            if ray_is_up() and not before:
                sys.modules["ray"].shutdown()


def search_path() -> str:
    """A PYTHONPATH with which workers on this machine find modules where this process does: the current folder first,
    then the checkout that this is, and what else was put in front of the installed packages."""
    root = Path(robustray.__file__).resolve().parents[1]
    own = [str(Path.cwd()), *([] if root.name == "site-packages" else [str(root)])]
    given = [*os.environ.get("PYTHONPATH", "").split(os.pathsep), *map(os.path.abspath, sys.path)]
    outside = [folder for folder in given if folder and os.path.isdir(folder) and not _is_installed(Path(folder))]
    return os.pathsep.join(dict.fromkeys([*own, *outside]))


def _is_installed(folder: Path) -> bool:
    """Whether a folder lies in this Python or its environment. `venv-tools` beside `venv` does not."""
    return folder.is_relative_to(sys.prefix) or folder.is_relative_to(sys.base_prefix)


def start_ray(*, address: str | None, workers: int | None, dashboard: bool = False) -> str:
    """Start a new Ray (`address` None: a Ray that happens to run here is never joined), or join a cluster.

    Returns: where the dashboard listens, on this machine only; "" without one.

    Raises: InputError when the cluster can't be reached, or Ray can't have its sockets in the folder that it was given;
    WorkFailed when a new Ray does not start.
    """
    # Set before Ray is imported for the first time: no usage report leaves, and CPU-only actors don't warn about GPUs.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    ours = signal.getsignal(signal.SIGTERM)
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address is None:
        check_ray_folder()
        os.environ["PYTHONPATH"] = search_path()  # for the workers, which are children of this process
        cpus = max(workers or 1, os.cpu_count() or 1)
        url = _start_here(num_cpus=cpus, include_dashboard=dashboard, dashboard_host="127.0.0.1", **quiet)
        keep_token_private()
        _take_back_sigterm(ours)
        return url
    from robustray.distributed.cluster import check_answers

    check_answers(address)
    try:
        ray.init(address=address, **quiet)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise InputError(
            f"--address {address}: no Ray cluster answers there ({_first_line(error)}); `ray status` on its head tells"
        ) from error
    _take_back_sigterm(ours)
    return ""


def _start_here(**how: Any) -> str:
    """Start a Ray of our own, once more where it did not come up: on a busy machine its processes are not there in
    time, and Ray itself gives up after half a minute."""
    import ray

    for left in reversed(range(STARTS)):
        try:
            return str(ray.init(address="local", **how).dashboard_url or "")
        except Exception as error:  # Ray raises bare Exceptions, RuntimeError, TimeoutError, OSError, ...
            ray.shutdown()
            if not left:
                raise WorkFailed(
                    f"Ray did not start on this machine, {STARTS} times ({_first_line(error)}); if it is busy or short "
                    "of memory, try again when it is less so, or compute in this process: --workers 0; `robustray "
                    "doctor` looks for other reasons"
                ) from error
        time.sleep(PAUSE_S)
    raise AssertionError("the last try returns or raises")


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _take_back_sigterm(ours: Any) -> None:
    """Ray puts two handlers over ours: one in Python that exits with code 15, and one in C++ that ends the process."""
    if ours is not None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, ours)
