"""`robustray submit run STUDY ...`: the same command line, on a cluster, by Ray Jobs."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from robustray.distributed.commands.parsing import Switch, gather, optional, parse, typed_as
from robustray.distributed.start import check_workers
from robustray.tasks.errors import InputError
from robustray.tasks.words import nearest

SENT = ("run", "tune", "resume", "verify", "agent", "compare", "report", "data", "status", "prune", "doctor")
"""Commands that make sense on a cluster."""
COMPUTE = ("run", "tune", "resume", "verify")
"""Those of them that compute on its nodes, and so need a store that all of these reach."""
TAKE_VALUES = ("--to", "--working-dir", "--exclude", "--env", "--python")
"""Our own flags behind which a word is their value, whatever it is."""
HERE = "http://127.0.0.1:8265"


@dataclass(frozen=True, kw_only=True)
class Flags:
    """Send a command line to a Ray cluster and show what it prints; its exit code is that of the command there.

    robustray submit [flags] run STUDY [...]: from the name of the command on, all is sent as it is."""

    to: Annotated[str | None, optional("URL")] = None
    """The cluster's dashboard; RAY_API_SERVER_ADDRESS or RAY_ADDRESS if set, else http://127.0.0.1:8265."""
    working_dir: Annotated[str, optional("FOLDER")] = "."
    """Travels with the job: your own modules. What .rayignore and .gitignore list stays, and ./runs."""
    exclude: Annotated[tuple[str, ...], optional("PATTERN ...")] = ()
    """More of that folder that stays, in the syntax of .gitignore."""
    env: Annotated[tuple[str, ...], optional("NAME[=VALUE] ...")] = ()
    """Environment variables for the command; without =VALUE those of this shell. The dashboard shows them."""
    python: Annotated[str, optional("PROGRAM")] = "python"
    """How Python is called on the cluster."""
    no_wait: Switch = False
    """Return once the job has started."""


def main(argv: list[str]) -> int:
    """Check here what can be checked, send the rest, and follow it."""
    ours, words = split(argv)
    flags = parse(Flags, gather(ours, Flags), prog=f"{typed_as()} submit", default=Flags())
    if not words:
        raise InputError(f"submit which command? `{typed_as()} submit run STUDY --store /shared/runs`")
    address = dashboard(flags.to)
    check_words(words)
    folder = Path(flags.working_dir).expanduser().resolve()
    if not folder.is_dir():
        raise InputError(f"--working-dir {flags.working_dir}: there is no such folder")
    environment = variables(flags.env)

    from robustray.distributed.jobs import JobServer, Submission, travels_in_the_open, use_token

    if use_token() and travels_in_the_open(address):
        _say(f"the token crosses the network unencrypted to {address}; a tunnel (ssh -N -L) or https would hide it")
    server = JobServer(address)
    submission = Submission(
        words=words, folder=folder, exclude=flags.exclude, environment=environment, python=flags.python
    )
    job = server.send(submission, _say)
    at = f"--address {shlex.quote(address)}"
    _say(f"job {job} at {address}: {submission.entrypoint}")
    if flags.no_wait:
        print(f"follow it: ray job logs {job} --follow {at}\nstop it:   ray job stop {job} {at}")
        return 0
    try:
        ended = server.follow(job, _pass_on)
    except KeyboardInterrupt:
        _say(f"the job goes on; follow it: `ray job logs {job} --follow {at}`, stop it: `ray job stop {job} {at}`")
        return 130
    if ended.status != "SUCCEEDED":
        _say(f"job {job} {ended.status.lower()}, exit code {ended.exit_code}: {ended.message}")
    return ended.exit_code


def dashboard(to: str | None) -> str:
    """The URL that is named by --to, or else by the environment. Raises: InputError for what is none."""
    set_here = ((f"{name}=", os.environ.get(name)) for name in ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS"))
    named = [("--to ", to), *set_here, ("", HERE)]
    source, address = next((source, address) for source, address in named if address)
    if not address.startswith(("http://", "https://")):
        raise InputError(f"{source}{address}: give the URL of the cluster's dashboard, as in --to {HERE}")
    return address


def split(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Our own flags, and the command line that is sent, which begins with the first word that names a command."""
    for i, word in enumerate(argv):
        if word == "--":
            return list(argv[:i]), list(argv[i + 1 :])
        if word in SENT and (not i or argv[i - 1] not in TAKE_VALUES):
            return list(argv[:i]), list(argv[i:])
    return list(argv), []


def check_words(words: Sequence[str]) -> None:
    """What can be known of a command line before it is sent. For `run` that is everything but models and data.

    Raises: InputError.
    """
    command, *rest = words
    if command not in SENT:
        raise InputError(f"submit {command}: there is no such command to send{nearest(command, SENT)}")
    if "-h" in rest or "--help" in rest:
        raise InputError(f"submit {command} --help: `{typed_as()} {command} --help` says the same here")
    if value(rest, "--address") is not None:
        raise InputError("submit: leave --address out of the command that is sent: a job finds its own cluster")
    if command not in COMPUTE:
        return
    workers = value(rest, "--workers")
    if workers is not None and workers.isdigit():
        check_workers(int(workers), "of the job")
    store = value(rest, "--store")
    if store is None or not ("://" in store or store.startswith("/")):
        given = "no --store" if store is None else f"--store {store}"
        raise InputError(f"submit {command} with {given}: give one that every node reaches, absolute or a URL")
    if command == "run":
        from robustray.distributed.commands.run import read_command

        read_command(list(rest), "run")


def value(words: Sequence[str], flag: str) -> str | None:
    """The value of a flag in a command line; the last one counts."""
    found = None
    for i, word in enumerate(words):
        if word.startswith(f"{flag}="):
            found = word.partition("=")[2]
        elif word == flag and i + 1 < len(words):
            found = words[i + 1]
    return found


def variables(given: Sequence[str]) -> dict[str, str]:
    """Environment variables of `NAME=VALUE`, or of `NAME` and this shell. Raises: InputError where that has none."""
    found = {}
    for word in given:
        name, equals, text = word.partition("=")
        if not name.isidentifier():
            raise InputError(f"--env {word}: give NAME=VALUE, or the NAME of a variable of this shell")
        if not equals and name not in os.environ:
            raise InputError(f"--env {name}: this shell has no such variable; give {name}=VALUE")
        found[name] = text if equals else os.environ[name]
    return found


def _pass_on(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _say(text: str) -> None:
    print(f"robustray: {text}", file=sys.stderr, flush=True)
