"""`robustray show STUDY`: what a run would do. It refuses the words that `run` refuses, and opens no model or data.

The text also says how long, by a measurement of a second; `--json` holds only what is the same on every machine.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
from typing import Any

from robustray.distributed.commands.parsing import again, show_number
from robustray.distributed.commands.run import RunFlags, check_flags, read_command
from robustray.tasks.cost import Work
from robustray.tasks.lab.keys import plain
from robustray.tasks.study import Outline


def check_names(outline: Outline, settings: Any) -> None:
    """Look whether settings name what can exist. Raises: InputError for a model or data that `run` could not find,
    whatever is on the disk."""
    from robustray.tasks.data import sources
    from robustray.tasks.models import registry
    from robustray.tasks.models.published import PUBLISHED

    for field, kind in outline.names.items():
        given = getattr(settings, field)
        for name in filter(None, [given] if isinstance(given, str) else given):
            if kind == "data":
                sources.check_name(name)
            elif not name.startswith(("run:", "twin:")) and name not in PUBLISHED and "/" not in name.partition("@")[0]:
                registry.model_entry(name.partition("@")[0])


def _time(work: Work, flags: RunFlags) -> str:
    """How long it would take here."""
    from robustray.tasks.kit.pace import time_words

    if flags.address or os.environ.get("RAY_ADDRESS"):
        return "time: not estimated (a cluster's machines are not measured from here)"
    if flags.device != "cpu":
        import torch

        if torch.cuda.is_available():
            return "time: not estimated (a second on one core says nothing of a GPU; --device cpu gives that of CPUs)"
    return time_words(work, (os.cpu_count() or 1) if flags.workers is None else flags.workers)


def main(argv: list[str]) -> int:
    """Print what a run would do."""
    outline, flags, settings = read_command(argv, "show")
    check_flags(flags, outline.name)
    check_names(outline, settings)
    work = outline.estimate(settings)
    resolved = plain(settings)
    resolved.pop("type")
    if flags.json:
        print(json.dumps({"study": outline.name, "settings": resolved, "work": dataclasses.asdict(work)}, indent=1))
        return 0
    print(f"{outline.name}: {outline.question} ({outline.paper})\n")
    width = max(map(len, resolved))
    for name, value in resolved.items():
        words = (
            " ".join(show_number(v) if isinstance(v, float) else str(v) for v in value)
            if isinstance(value, list)
            else value
        )
        print(f"  {name:<{width}}  {words}")
    print(f"\n{work.words}", flush=True)
    print(_time(work, flags))
    print(f"nothing was run; to run it: {again('run')} {shlex.join(argv)}")
    return 0
