"""The command line: which command, how its words become settings, and what its exit code means.

Exit codes: 0 done; 1 work failed (what finished is kept); 2 bad input (nothing was started); 130 interrupted.
"""

from __future__ import annotations

import importlib
import io
import os
import select
import signal
import sys
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import NoReturn

from robustray.tasks.errors import InputError, WorkFailed
from robustray.tasks.study import STUDIES
from robustray.tasks.words import nearest

_FIRST = next(iter(STUDIES))
COMMANDS: Mapping[str, tuple[str, str]] = {
    "list": ("listing", "studies, grids, models, data sources and attacks by name"),
    "run": ("run", f"run a study: robustray run {_FIRST} --size quick"),
    "show": ("show", "what a run would do: resolved settings, the work and its time here; nothing is run"),
    "audit": ("audit", "what speaks against a robust accuracy of a model: robustray audit MODEL --data NAME"),
    "data": ("data", "look at a data set: a page with a contact sheet, and what is known of every image"),
    "evaluate": ("evaluate", "accuracy of one model under attacks and common corruptions"),
    "tune": ("tune", "run a grid of settings as trials of Ray Tune: robustray tune GRID"),
    "submit": ("submit", "send a command to a Ray cluster as a job: robustray submit run STUDY ..."),
    "agent": ("agent", "trained agents: evaluate, render or export one"),
    "status": ("status", "the runs of a store"),
    "resume": ("resume", "continue a run; --failed tries again what was given up"),
    "report": ("report", "write the page of a finished run again; of several runs, an index page"),
    "compare": ("compare", "two finished runs of one study: what differs, and paired differences of their results"),
    "verify": ("verify", "compute a random 1 % of a run's blocks again and compare"),
    "prune": ("prune", "remove from a store the finished blocks that no run refers to"),
    "import": ("imports", "convert public data sets and weights to the formats used here"),
    "completion": ("completion", "print the script by which bash, zsh or tcsh completes all of this"),
    "doctor": ("doctor", "check Python, torch, devices, Ray, data and disk: each OK, or the fix"),
}
"""Command -> (module in `commands/`, one line)."""


def main(argv: Sequence[str]) -> int:
    """Run one command. Never shows a traceback for what the user can mend."""
    # The user's own modules are found in the folder where the command is typed, before installed packages.
    if sys.path[:1] != [os.getcwd()]:
        sys.path.insert(0, os.getcwd())
    _listen()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # an ASCII terminal shows ? for what it has not, and nothing breaks
            stream.reconfigure(errors="replace" if stream is sys.stdout else "backslashreplace")
    try:
        if not argv or argv[0] in ("-h", "--help", "help"):
            print(_help(), flush=True)
            return 0
        if argv[0] == "--version":
            import robustray

            print(f"robustray {robustray.__version__}")
            return 0
        name = argv[0]
        if name not in COMMANDS:
            raise InputError(f"there is no command {name!r}{nearest(name, COMMANDS)}")
        command = importlib.import_module(f"robustray.distributed.commands.{COMMANDS[name][0]}")
        code = int(command.main(list(argv[1:])))
        sys.stdout.flush()
        return code
    except SystemExit as ended:  # `--help` of a command was printed
        return int(ended.code or 0)
    except InputError as error:
        return _say(f"error: {error}", 2)
    except (WorkFailed, OSError) as error:
        if isinstance(error, BrokenPipeError) and _reader_has_left():
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is still to be flushed goes nowhere
            return 128 + signal.SIGPIPE
        return _say(f"failed: {error}", 1)
    except KeyboardInterrupt:
        _be_deaf()
        return _say("interrupted; everything finished is kept, the same command goes on from there", 130)


def _say(text: str, code: int) -> int:
    from robustray.distributed.commands.parsing import as_typed

    print(f"robustray: {as_typed(' '.join(text.split()))}", file=sys.stderr)
    return code


def _reader_has_left() -> bool:
    """Whether stdout is a pipe that nobody reads any more: `| head` has seen enough."""
    poll = select.poll()
    poll.register(1, 0)
    return bool(poll.poll(0))


# -- Ctrl-C and SIGTERM ------------------------------------------------------------------------------------------------


def _listen() -> None:
    """SIGTERM (a cluster takes the node back) ends a run as cleanly as Ctrl-C does."""
    signal.signal(signal.SIGTERM, _stop)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where a shell has it ignored
        signal.signal(signal.SIGINT, _stop)


def _stop(signum: int, frame: FrameType | None) -> NoReturn:
    """End cleanly the first time, and at once from then on, whatever the clean end is waiting for."""
    for number in (signal.SIGTERM, signal.SIGINT):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop_at_once)
    raise KeyboardInterrupt


def _stop_at_once(signum: int, frame: FrameType | None) -> NoReturn:
    """Without cleaning up: Ray's processes end with their driver, and a file in the store is whole or absent."""
    visible = b"\x1b[?25h" if sys.stderr.isatty() else b""  # a bar that was being drawn has hidden the cursor
    os.write(2, visible + b"\nrobustray: ended at once; everything finished is kept\n")
    os._exit(130)


def _be_deaf() -> None:
    """Ignore signals from here on: all is cleaned up, and nothing may change the exit code of a process that is about
    to end."""
    for number in (signal.SIGTERM, signal.SIGINT):
        if signal.getsignal(number) in (_stop, _stop_at_once):
            signal.signal(number, signal.SIG_IGN)


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {words}" for name, (_, words) in COMMANDS.items()]
    return "\n".join(
        [
            "robustray: the experiments of adversarial robustness research, on one laptop or on a Ray cluster",
            "",
            "usage: robustray COMMAND [...]        robustray COMMAND --help explains one",
            "",
            *lines,
            "",
            f"start with: robustray run {_FIRST} --size quick      (under a minute, embedded data, ends with a report)",
            "exit codes: 0 done, 1 work failed (the rest is kept), 2 bad input, 130 interrupted (type it again)",
        ]
    )
