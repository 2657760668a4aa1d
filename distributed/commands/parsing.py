"""How words become settings: tyro on frozen dataclasses, with fractions, repeatable flags and errors of one line."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import itertools
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

import tyro

from robustray.tasks.errors import InputError
from robustray.tasks.flags import optional as optional
from robustray.tasks.typed import spell_commands
from robustray.tasks.words import nearest

T = TypeVar("T")
Switch = Annotated[bool, tyro.conf.FlagCreatePairsOff]
"""A flag that is off unless given: `--json`, without a `--no-json`."""

_REGISTRY = tyro.constructors.ConstructorRegistry()
_FRAME = re.compile(r"[\s─╭╮╰╯│|+=-]*")
"""A line of tyro's box that holds nothing but its frame, drawn in boxes or, on an ASCII terminal, in dashes."""


def show_number(value: float) -> str:
    """As one would type it: 0.1, and 8/255 for what has no short decimal form."""
    numerator = round(value * 255)
    short = f"{value:.4g}"
    return f"{numerator}/255" if value == numerator / 255 and value != float(short) else short


def _number(word: str) -> float:
    try:
        return float(Fraction(word)) if "/" in word else float(word)
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"{word!r} is no number (0.1, 8/255)") from None


def _whole(word: str) -> int:
    try:
        return int(word)
    except ValueError:
        raise ValueError(f"{word!r} is no whole number") from None


def _word(word: str) -> str:
    if not word.strip():  # an unset variable of the shell: --store "$STORE"
        raise ValueError("it is empty: give a value, or leave the flag out")
    return word


@_REGISTRY.primitive_rule
def _primitive(info: Any) -> Any:
    """Numbers may be written as fractions: `--eps-linf 2/255 8/255`. And "None" is a word like any other."""
    kinds: dict[Any, tuple[str, Callable[[str], Any], Callable[[Any], str]]] = {
        float: ("NUMBER", _number, show_number),
        int: ("NUMBER", _whole, str),
        str: ("NAME", _word, str),
    }
    inner, several, empty = info.type, False, False
    if info.type_origin is tuple and get_args(info.type)[1:] == (...,):
        inner, several = get_args(info.type)[0], True
    elif type(None) in get_args(info.type):
        inner, empty = next(kind for kind in get_args(info.type) if kind is not type(None)), True
    if inner not in kinds:
        return None
    metavar, read, show = kinds[inner]

    def fits(value: Any) -> bool:
        return isinstance(value, int | float if inner is float else inner)

    return tyro.constructors.PrimitiveConstructorSpec(
        nargs="*" if several else 1,
        metavar=f"{metavar} ..." if several else metavar,
        instance_from_str=lambda words: tuple(map(read, words)) if several else read(words[0]),
        is_instance=lambda value: isinstance(value, tuple) if several else (empty and value is None) or fits(value),
        str_from_instance=lambda value: (
            ([show(each) for each in value] or ["none"]) if several else ["None" if value is None else show(value)]
        ),
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
                config=(tyro.conf.OmitArgPrefixes,),
            )
    except SystemExit as ended:
        if ended.code in (0, None):
            raise
        raise InputError(_one_line(errors.getvalue(), prog)) from None


def _one_line(box: str, prog: str) -> str:
    """tyro's box as one line: without its frame, its titles and the flag's help."""
    inside = [line for line in box.splitlines()[1:] if not _FRAME.fullmatch(line)]
    lines = [re.sub(r"^[│|]|[│|]$", "", line.strip()).strip() for line in inside]
    said = list(
        itertools.takewhile(lambda line: not line.startswith(("Argument helptext", "For full", "Perhaps")), lines)
    )
    words = re.sub(r"^Error parsing (run: |study: |Flags: )?", "", " ".join(filter(None, said)))
    return f"{words} ({prog} --help explains)"


def several_flags(*kinds: type) -> dict[str, str]:
    """The flags of `kinds` that hold several values, as they are called and in the singular -> their fields.

    A singular that is another field's name is that field's.
    """
    fields = [field for kind in kinds for field in dataclasses.fields(kind)]
    names = dict.fromkeys(field.name for field in fields)
    several = {f"--{name.replace('_', '-')}": name for name in names if _holds_several(name, fields)}
    singular = {flag.removesuffix("es" if flag.endswith("sses") else "s"): name for flag, name in several.items()}
    return several | {flag: name for flag, name in singular.items() if flag[2:].replace("-", "_") not in names}


def gather(argv: Sequence[str], *kinds: type) -> list[str]:
    """Bring the values of a repeated flag together: `--model A --model B` is `--models A B`.

    Every field of `kinds` that holds several values can be given so, in the singular or as it is called.

    Raises: InputError for a flag that none of `kinds` has, naming the nearest.
    """
    fields = [field for kind in kinds for field in dataclasses.fields(kind)]
    flags = {f"--{field.name.replace('_', '-')}": field.name for field in fields}
    several = several_flags(*kinds)
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


def split_names(argv: list[str], kind: type) -> tuple[list[str], list[str]]:
    """What is named (runs, models, data sets, agents), before or behind the flags of `kind`; and the flags with their
    values.

    All words behind a flag that holds several values are its values.
    """
    several = several_flags(kind)
    switches = {"-h", "--help"}
    switches |= {f"--{f.name.replace('_', '-')}" for f in dataclasses.fields(kind) if isinstance(f.default, bool)}
    names: list[str] = []
    flags: list[str] = []
    flag = ""
    for word in argv:
        before = flags[-1] if flags else ""
        flag = word if word.startswith("--") else flag
        takes_value = before.startswith("--") and "=" not in before and before not in switches
        (flags if word.startswith("-") or takes_value or flag in several else names).append(word)
    return names, flags


def _holds_several(name: str, fields: Sequence[dataclasses.Field[Any]]) -> bool:
    return any(field.name == name and str(field.type).startswith("tuple") for field in fields)


def typed_as() -> str:
    """How the user starts robustray, for the commands that we print: `robustray` or `python -m robustray`."""
    for i, pair in enumerate(itertools.pairwise(sys.orig_argv)):
        if pair == ("-m", "robustray"):
            return shlex.join(sys.orig_argv[: i + 2])
    return shlex.quote(sys.argv[0]) if "/" in sys.argv[0] and not _on_path(sys.argv[0]) else Path(sys.argv[0]).name


def as_typed(text: str, store: str | None = None) -> str:
    """Commands in a text of `tasks/`, which can't know how robustray was started, as the user would type them."""
    return spell_commands(text, typed_as(), store)


def again(words: str, **flags: str | None) -> str:
    """A command to be typed next: `words` behind what the user typed, and the flags that were given."""
    given = [f"--{name.replace('_', '-')} {shlex.quote(value)}" for name, value in flags.items() if value is not None]
    return " ".join([typed_as(), words, *given])


def _on_path(program: str) -> bool:
    import shutil

    found = shutil.which(Path(program).name)
    # A relative program is not there any more once the folder was changed.
    return found is not None and Path(program).exists() and Path(found).samefile(program)
