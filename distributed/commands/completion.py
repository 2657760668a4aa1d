"""`robustray completion SHELL`: the script by which a shell completes commands, studies and flags."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Union

import tyro

from robustray.distributed.commands.parsing import parse, typed_as
from robustray.distributed.commands.run import RunFlags
from robustray.tasks.errors import InputError
from robustray.tasks.study import STUDIES, load_outline
from robustray.tasks.words import nearest

SHELLS: Mapping[str, str] = {
    "bash": "> ~/.local/share/bash-completion/completions/robustray",
    "zsh": "> ~/.zfunc/_robustray      (in ~/.zshrc: fpath+=~/.zfunc; autoload -Uz compinit; compinit)",
    "tcsh": "> ~/.robustray.tcsh      (in ~/.tcshrc: source ~/.robustray.tcsh)",
}
"""Shell -> how its script is put where it is found."""


@dataclass(frozen=True, kw_only=True)
class Nothing:
    """A command whose words are names, not flags."""


FLAGS: Mapping[str, tuple[str, str]] = {
    "list": ("listing", "Flags"),
    "audit": ("audit", "Flags"),
    "data": ("data", "Flags"),
    "evaluate": ("evaluate", "Flags"),
    "tune": ("tune", "Flags"),
    "submit": ("submit", "Flags"),
    "status": ("status", "Flags"),
    "resume": ("resume", "ResumeFlags"),
    "report": ("report", "ReportFlags"),
    "compare": ("compare", "Flags"),
    "verify": ("verify", "VerifyFlags"),
    "prune": ("prune", "Flags"),
    "doctor": ("doctor", "Flags"),
}
"""Command -> (module in `commands/`, its flags); `run` and `show` have those of every study."""


def main(argv: list[str]) -> int:
    """Print the script of one shell."""
    if argv and argv[0] in ("-h", "--help"):
        print(
            f"usage: {typed_as()} completion SHELL     prints the script by which SHELL completes robustray's words\n"
        )
        print("\n".join(f"  {typed_as()} completion {shell} {rest}" for shell, rest in SHELLS.items()))
        return 0
    if len(argv) != 1 or argv[0] not in SHELLS:
        raise InputError(f"completion for which shell? {', '.join(SHELLS)}{nearest(argv[0] if argv else '', SHELLS)}")
    parse(whole(), ["--tyro-print-completion", argv[0]], prog="robustray")  # prints, and ends the command
    return 0


def whole() -> Any:
    """All commands as one type for tyro: the commands themselves read their words one by one."""
    from robustray.distributed.cli import COMMANDS

    studies = _either([_study(name) for name in STUDIES])
    members: list[Any] = []
    for name in COMMANDS:
        if name in ("run", "show"):
            members.append(_member(name, studies))
        elif name in FLAGS:
            module, flags = FLAGS[name]
            kind = getattr(importlib.import_module(f"robustray.distributed.commands.{module}"), flags)
            members.append(_member(name, kind, kind()))
        else:
            members.append(_member(name, Nothing, Nothing()))
    return _either(members)


def _either(kinds: Sequence[Any]) -> Any:
    union: Any = Union  # its members are known when it runs only
    return union[tuple(kinds)]


def _study(name: str) -> Any:
    outline = load_outline(name)
    both = dataclasses.make_dataclass("Command", [("run", RunFlags), ("study", outline.settings)], kw_only=True)
    return _member(name, both, both(run=RunFlags(), study=outline.sizes["quick"]))


def _member(name: str, kind: Any, default: Any = None) -> Any:
    return Annotated[
        kind, tyro.conf.subcommand(name) if default is None else tyro.conf.subcommand(name, default=default)
    ]
