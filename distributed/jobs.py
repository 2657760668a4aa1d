"""Ray Jobs: a command line sent to a cluster, and its output back. Each way in which that can fail has its own words.

The folder of the command travels as the job's working directory, without what `.rayignore` and `.gitignore` list and
without `EXCLUDED`. robustray itself travels along where that folder does not hold it, so that what runs there is what
was typed here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import robustray
from robustray.distributed.start import token_file
from robustray.tasks.errors import InputError, WorkFailed

if TYPE_CHECKING:
    from ray.job_submission import JobDetails, JobSubmissionClient

EXCLUDED = (
    *(".git/", ".venv/", "venv/", "__pycache__/", "*.egg-info/", "/runs/"),
    *(".mypy_cache/", ".ruff_cache/", ".pytest_cache/", ".hypothesis/"),
)
"""Never part of a working directory, in the syntax of .gitignore; ./runs is the store where none is named."""
AGENT_WITHIN_S = 60.0
"""Right after its start a cluster answers for a while that it has no agent for jobs."""
SILENT_FOR_S = 60.0
"""A cluster that does not answer for so long while a job runs is given up; the job may well go on."""
_THIS_MACHINE = ("127.0.0.1", "localhost", "::1")
_PAUSE_S = 2.0
_LARGEST = 3
"""Entries of a folder that is too large, in a message."""


@dataclass(frozen=True, kw_only=True)
class Submission:
    """A command line for a cluster, and what travels with it."""

    words: Sequence[str]
    """What is typed behind `robustray`."""
    folder: Path
    """The working directory of the job; absolute."""
    exclude: Sequence[str] = ()
    """What of it stays here, in the syntax of .gitignore, beside `EXCLUDED`."""
    environment: Mapping[str, str] = field(default_factory=dict)
    python: str = "python"
    """How Python is called on the cluster."""

    @property
    def entrypoint(self) -> str:
        """The command as the cluster's shell gets it."""
        return shlex.join([self.python, "-m", "robustray", *self.words])

    @property
    def runtime_env(self) -> dict[str, Any]:
        """What Ray prepares for the job."""
        found: dict[str, Any] = {
            "working_dir": str(self.folder),
            "excludes": [*EXCLUDED, *self.exclude],
            "env_vars": {"PYTHONUNBUFFERED": "1", **self.environment},  # its lines come as they are printed
        }
        if not (self.folder / "robustray" / "__main__.py").is_file():
            found["py_modules"] = [str(Path(robustray.__file__).parent)]
        return found


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a job ended."""

    status: str
    """SUCCEEDED, FAILED or STOPPED."""
    exit_code: int
    """That of the command; 1 where it never ran or was stopped."""
    message: str
    """What Ray says of it."""


def use_token() -> str:
    """Have Ray send the token of this machine, if there is one, as every other command of robustray does.

    Returns: where it was found, "" where there is none. To be called before Ray is imported.
    """
    named = next((name for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH") if os.environ.get(name)), "")
    found = named or (str(token_file()) if token_file().is_file() else "")
    if found:
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    return found


def travels_in_the_open(address: str) -> bool:
    """Whether a token would cross a network unencrypted: plain http to another machine."""
    url = urlsplit(address)
    return url.scheme == "http" and url.hostname not in _THIS_MACHINE


class JobServer:
    """The job server of a cluster: its dashboard, at http://HEAD:8265."""

    def __init__(self, address: str) -> None:
        """Connect. Raises: InputError where nobody answers, no Ray does, the token is refused, or Ray is another."""
        self.address = address
        import ray

        logging.getLogger("ray.dashboard.modules.job.sdk").setLevel(logging.WARNING)
        self._client = self._connect()
        theirs = str(getattr(self._client, "_server_ray_version", None) or ray.__version__)
        if theirs.split(".")[:2] != ray.__version__.split(".")[:2]:
            raise InputError(
                f"--to {address}: the cluster runs Ray {theirs}, this robustray needs {ray.__version__}: install the "
                "same packages on its nodes"
            )

    def _connect(self) -> JobSubmissionClient:
        import requests
        from ray.exceptions import AuthenticationError
        from ray.job_submission import JobSubmissionClient

        try:
            with _no_other_address():
                return JobSubmissionClient(self.address)
        except AuthenticationError as error:
            raise InputError(_refused(self.address, str(error))) from error
        except (ConnectionError, requests.exceptions.RequestException, RuntimeError, ValueError) as error:
            if "status code 4" in str(error) or "404" in str(error) or isinstance(error, ValueError):
                raise InputError(
                    f"--to {self.address}: what answers there is no Ray dashboard ({_line(error)}); its address is "
                    "printed by `ray start --head`"
                ) from error
            named = urlsplit(self.address).hostname
            host = "HEAD" if named in _THIS_MACHINE else named
            raise InputError(
                f"--to {self.address}: nobody answers ({_line(error)}); the dashboard listens on its own machine only: "
                f"go there, or open a tunnel: `ssh -N -L 8265:127.0.0.1:8265 {host}`"
            ) from error

    def send(self, submission: Submission, say: Callable[[str], None]) -> str:
        """Upload the folder and start the job. Returns its name.

        Raises: InputError where Ray does not take it, WorkFailed where the cluster has no agent for it.
        """
        until = time.monotonic() + AGENT_WITHIN_S
        while True:
            try:
                return self._client.submit_job(entrypoint=submission.entrypoint, runtime_env=submission.runtime_env)
            except ValueError as error:
                if "exceeds the maximum size" not in str(error):
                    raise InputError(f"Ray does not take the job: {_line(error)}") from error
                largest = ", ".join(largest_entries(submission.folder))
                raise InputError(
                    f"{submission.folder} is too large to travel with a job ({_line(error).split('. ')[0]}): list what "
                    f"is not needed in .rayignore, or name it with --exclude; the largest here: {largest}"
                ) from error
            except RuntimeError as error:
                if "No available agent" not in str(error):
                    raise WorkFailed(f"the cluster did not take the job: {_line(error)}") from error
                if time.monotonic() > until:
                    raise WorkFailed(
                        f"the cluster has no agent for jobs after {AGENT_WITHIN_S:.0f} s; `ray status` on its head "
                        "tells which nodes it has"
                    ) from error
                say("the cluster has no agent for jobs yet; asking again")
                time.sleep(_PAUSE_S)

    def follow(self, job: str, write: Callable[[str], None]) -> Ended:
        """Pass on what the job prints until it ends. A connection that breaks is made again.

        Raises: WorkFailed where the cluster does not answer any more.
        """
        from aiohttp import ClientError

        log = _Log(write)
        while True:
            try:
                asyncio.run(self._pass_on(job, log))
                info = self._client.get_job_info(job)
                log.heard = time.monotonic()
                if info.status.is_terminal():
                    return _ended(info)
            except (OSError, RuntimeError, ClientError) as error:
                if time.monotonic() - log.heard > SILENT_FOR_S:
                    raise WorkFailed(
                        f"{self.address} has not answered for {SILENT_FOR_S:.0f} s ({_line(error)}); the job may go "
                        f"on: `ray job logs {job} --follow` there tells"
                    ) from error
            time.sleep(_PAUSE_S)

    async def _pass_on(self, job: str, log: _Log) -> None:
        """From its beginning, as each connection tells it."""
        log.at = 0
        async for text in self._client.tail_job_logs(job):
            log.take(text)


@contextlib.contextmanager
def _no_other_address() -> Iterator[None]:
    """Ray's client takes these variables before the address that it is given."""
    names = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
    before = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(before)


@dataclass
class _Log:
    """What a job has printed, each part passed on once."""

    write: Callable[[str], None]
    written: int = 0
    at: int = 0
    """Characters told by the present connection."""
    heard: float = field(default_factory=time.monotonic)

    def take(self, text: str) -> None:
        new = text[max(0, self.written - self.at) :]
        self.at += len(text)
        self.written = max(self.written, self.at)
        self.heard = time.monotonic()
        if new:
            self.write(new)


def _ended(info: JobDetails) -> Ended:
    succeeded = info.status.value == "SUCCEEDED"
    return Ended(
        status=info.status.value,
        exit_code=0 if succeeded else info.driver_exit_code or 1,
        message=" ".join((info.message or "").split()),
    )


def largest_entries(folder: Path) -> list[str]:
    """The entries of a folder that take most room, with their size: `"data/ (812 MB)"`."""
    sizes: dict[str, int] = {}
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            files = (Path(root, name) for root, _, names in os.walk(entry.path) for name in names)
            sizes[f"{entry.name}/"] = sum(path.lstat().st_size for path in files)
        else:
            sizes[entry.name] = entry.stat(follow_symlinks=False).st_size
    largest = sorted(sizes, key=lambda name: -sizes[name])[:_LARGEST]
    return [f"{name} ({sizes[name] / 1e6:,.0f} MB)" for name in largest]


def _refused(address: str, why: str) -> str:
    """Words for a token that is missing or wrong."""
    if "401" in why or "Missing" in why or "required" in why:
        return (
            f"--to {address}: the cluster wants a token and there is none here: copy ~/.ray/auth_token from its head, "
            "same place, readable by you alone"
        )
    return (
        f"--to {address}: the cluster has another token than the one here (~/.ray/auth_token, or RAY_AUTH_TOKEN): copy "
        "that of its head"
    )


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
