"""How words become settings: tyro on frozen dataclasses, with fractions, repeatable flags and errors of one line."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import re
import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

import tyro

from robustray.tasks.errors import InputError

T = TypeVar("T")

_REGISTRY = tyro.constructors.ConstructorRegistry()
_BOX = re.compile(r"[─╭╮╰╯│]+")


@_REGISTRY.primitive_rule
def _fraction(info: Any) -> Any:
    """Numbers may be written as fractions: `--eps-linf 2/255 8/255`."""
    if info.type is not float:
        return None

    def show(value: float) -> list[str]:
        numerator = round(value * 255)
        return [f"{numerator}/255" if 0 < numerator < 255 and value == numerator / 255 else f"{value:g}"]

    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="NUMBER",
        instance_from_str=lambda words: float(Fraction(words[0])) if "/" in words[0] else float(words[0]),
        is_instance=lambda value: isinstance(value, int | float),
        str_from_instance=show,
    )


def parse(kind: type[T], argv: Sequence[str], *, prog: str, default: T | None = None) -> T:
    """Read `argv` into a dataclass, starting from `default`.

    Raises: InputError for an unknown or malformed flag, naming the nearest known one. Ends the process for `--help`.
    """
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            return tyro.cli(
                kind,
                args=list(argv),
                default=tyro.MISSING_NONPROP if default is None else default,
                prog=prog,
                registry=_REGISTRY,
                config=(tyro.conf.FlagCreatePairsOff, tyro.conf.OmitArgPrefixes),
            )
    except SystemExit as ended:
        if ended.code in (0, None):
            raise
        raise InputError(_one_line(errors.getvalue(), prog)) from None


def _one_line(box: str, prog: str) -> str:
    """tyro's box as one line, without its frame and its titles."""
    lines = [_BOX.sub(" ", line).strip() for line in box.splitlines()]
    lines = [line for line in lines[1:] if line and not line.startswith(("For full helptext", "Argument helptext"))]
    return f"{' '.join(lines)} ({prog} --help explains)"


def gather(argv: Sequence[str], kind: type) -> list[str]:
    """Bring the values of a repeated flag together: `--model A --model B` is `--models A B`.

    Every field of `kind` that holds several values can be given so, in the singular or as it is called.
    """
    several = {f.name for f in dataclasses.fields(kind) if str(f.type).startswith("tuple")}
    spelled = {f"--{name.replace('_', '-')}": name for name in several}
    spelled |= {f"--{name.removesuffix('s').replace('_', '-')}": name for name in several if name.endswith("s")}
    values: dict[str, list[str]] = {}
    rest: list[str] = []
    current: list[str] | None = None
    for word in argv:
        flag, equals, value = word.partition("=")
        if flag.replace("_", "-") in spelled:
            current = values.setdefault(spelled[flag.replace("_", "-")], [])
            if equals:
                current.append(value)
        elif word.startswith("--"):
            current = None
            rest.append(word)
        else:
            (rest if current is None else current).append(word)
    for name, words in values.items():
        rest += [f"--{name.replace('_', '-')}", *words]
    return rest


def typed_as() -> str:
    """How the user starts robustray, for the commands that we print: `robustray` or `python -m robustray`."""
    if sys.orig_argv[1:3] == ["-m", "robustray"]:
        return f"{sys.orig_argv[0]} -m robustray"
    return sys.argv[0] if "/" in sys.argv[0] and not _on_path(sys.argv[0]) else Path(sys.argv[0]).name


def _on_path(program: str) -> bool:
    import shutil

    found = shutil.which(Path(program).name)
    return found is not None and Path(found).samefile(program)
