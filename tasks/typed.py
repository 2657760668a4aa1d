"""Commands inside texts. `tasks/` writes them as `robustray resume RUN`, in back quotes; where a text leaves, to the
terminal or onto a page, it is spelt as the user starts robustray, and with the store that was given."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

_COMMAND = re.compile(r"`robustray (?P<words>(?P<verb>[a-z]+)[^`]*)`")
_WITH_STORE = ("run", "show", "status", "resume", "report", "compare", "list", "doctor")
"""Commands that have the flag `--store`."""


def spell_commands(text: str, program: str, store: str | None = None) -> str:
    """Every command in `text` as one would type it: behind `program`, with `--store` where the command has that flag
    and the text does not give it already."""

    def spell(found: re.Match[str]) -> str:
        asks = store is not None and found["verb"] in _WITH_STORE and "--store" not in found["words"]
        return f"`{program} {found['words']}{f' --store {shlex.quote(store)}' if asks and store else ''}`"

    return _COMMAND.sub(spell, text)


def spell_like(text: str, command: str) -> str:
    """Every command in `text` as `command`, with which a run was started, begins: a page shows no path of a machine
    that its own command does not show. Unchanged where `command` is a call from Python."""
    words = [] if command.startswith("robustray.run(") else shlex.split(command)
    if "run" not in words:
        return text
    at = words.index("run")
    return spell_commands(text, shlex.join(words[:at]), store_of(words[at:]))


def store_of(words: Sequence[str]) -> str | None:
    """The value of the last `--store` among the words of a command."""
    store = None
    for word, following in zip(words, [*words[1:], None], strict=True):
        if word == "--store":
            store = following
        elif word.startswith("--store="):
            store = word.removeprefix("--store=")
    return store
