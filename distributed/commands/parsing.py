"""How words become settings: tyro on frozen dataclasses, with fractions, repeatable flags and errors of one line."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import itertools
import re
import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

import tyro

from robustray.tasks.errors import InputError
from robustray.tasks.words import nearest

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
    """tyro's box as one line: without its frame, its titles and the flag's help."""
    lines = [_BOX.sub(" ", line).strip() for line in box.splitlines()[1:]]
    said = list(itertools.takewhile(lambda line: not line.startswith(("Argument helptext", "For full helptext")), lines))
    words = re.sub(r"^Error parsing \w+: (?=\w+:)", "", " ".join(filter(None, said)))
    return f"{words} ({prog} --help explains)"


def gather(argv: Sequence[str], *kinds: type) -> list[str]:
    """Bring the values of a repeated flag together: `--model A --model B` is `--models A B`.

    Every field of `kinds` that holds several values can be given so, in the singular or as it is called.

    Raises: InputError for a flag that none of `kinds` has, naming the nearest.
    """
    fields = [field for kind in kinds for field in dataclasses.fields(kind)]
    flags = {f"--{field.name.replace('_', '-')}": field.name for field in fields}
    several = {flag: name for flag, name in flags.items() if _holds_several(name, fields)}
    several |= {flag.removesuffix("s"): name for flag, name in several.items()}
    switches = {f"--no-{flag.removeprefix('--')}" for flag in flags}
    values: dict[str, list[str]] = {}
    rest: list[str] = []
    current = rest
    for word in argv:
        flag, equals, value = word.partition("=")
        flag = flag.replace("_", "-")
        if not flag.startswith("--"):
            current.append(word)
        elif flag in several:
            current = values.setdefault(several[flag], [])
            current += [value] if equals else []
        elif flag in flags or flag in switches or flag == "--help":
            current = rest
            rest.append(word)
        else:
            raise InputError(f"there is no flag {flag}{nearest(flag, {*flags, *several})}")
    for name, words in values.items():
        rest += [f"--{name.replace('_', '-')}", *words]
    return rest


def _holds_several(name: str, fields: Sequence[dataclasses.Field[Any]]) -> bool:
    return any(field.name == name and str(field.type).startswith("tuple") for field in fields)


def typed_as() -> str:
    """How the user starts robustray, for the commands that we print: `robustray` or `python -m robustray`."""
    if sys.orig_argv[1:3] == ["-m", "robustray"]:
        return f"{sys.orig_argv[0]} -m robustray"
    return sys.argv[0] if "/" in sys.argv[0] and not _on_path(sys.argv[0]) else Path(sys.argv[0]).name


def _on_path(program: str) -> bool:
    import shutil

    found = shutil.which(Path(program).name)
    return found is not None and Path(found).samefile(program)
