"""One random edit of one statement: a constant, an operator, a comparison or a condition is changed, or the statement
is deleted."""

from __future__ import annotations

import ast
import copy
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

FOLDERS = ("tasks", "distributed", "tune_configs")
_SWAPS: dict[type, type] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.Lt: ast.GtE,
    ast.GtE: ast.Lt,
    ast.Gt: ast.LtE,
    ast.LtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.USub: ast.UAdd,
}
_DELETED = (ast.Assign, ast.AugAssign, ast.Expr, ast.Raise, ast.Assert, ast.Return, ast.If, ast.For, ast.With)
_PASSED_OVER = (ast.Import, ast.ImportFrom, ast.Pass, ast.Global)


@dataclass(frozen=True, kw_only=True)
class Edit:
    """A file with one statement changed."""

    file: str
    """Path of the file within the repository."""
    line: int
    last_line: int
    before: str
    after: str
    """First line of the statement."""
    source: str
    """The whole file, edited."""


def draw_edits(root: Path, count: int, seed: int) -> Iterator[Edit]:
    """`count` edits, each of another statement, all statements of the tree being equally likely.

    Docstrings, imports and what only a type checker reads are no statements here.
    """
    generator = random.Random(seed)
    files = [path for folder in FOLDERS for path in sorted((root / folder).rglob("*.py"))]
    places = [(path, number) for path in files for number in range(len(statements(ast.parse(path.read_text()))))]
    generator.shuffle(places)
    made = 0
    for path, number in places:
        if made == count:
            return
        edit = _edit(root, path, number, generator)
        if edit is not None:
            made += 1
            yield edit


def statements(tree: ast.Module) -> list[ast.stmt]:
    """Those that can be edited, in order."""
    hidden = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for inner in ast.walk(node)
    }
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.stmt)
        and not isinstance(node, _PASSED_OVER)
        and id(node) not in hidden
        and not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
    ]


def _edit(root: Path, path: Path, number: int, generator: random.Random) -> Edit | None:
    """None where nothing of the statement can be changed: `return x`, say, is never deleted into the same thing."""
    tree = ast.parse(path.read_text())
    chosen = statements(tree)[number]
    before = copy.deepcopy(chosen)
    changes: list[Callable[[], None]] = [_change(node, generator) for node in _own_nodes(chosen) if _can(node)]
    if isinstance(chosen, _DELETED):
        changes.append(lambda: None)
    if not changes:
        return None
    change = generator.choice(changes)
    if isinstance(chosen, _DELETED) and change is changes[-1]:
        _delete(tree, chosen)
        after = "pass"
    else:
        change()
        after = _first_line(chosen)
    return Edit(
        file=path.relative_to(root).as_posix(),
        line=chosen.lineno,
        last_line=chosen.end_lineno or chosen.lineno,
        before=_first_line(before),
        after=after,
        source=ast.unparse(ast.fix_missing_locations(tree)),
    )


def _own_nodes(statement: ast.stmt) -> Iterator[ast.AST]:
    """The nodes of a statement without the statements inside it, annotations and the words of errors."""
    waiting: list[ast.AST] = [statement]
    while waiting:
        node = waiting.pop()
        yield node
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns", "type_comment") or isinstance(node, ast.JoinedStr):
                continue
            inner: Sequence[object] = value if isinstance(value, list) else [value]
            waiting.extend(each for each in inner if isinstance(each, ast.AST) and not isinstance(each, ast.stmt))


def _can(node: ast.AST) -> bool:
    if isinstance(node, ast.Constant):
        return isinstance(node.value, bool | int | float | str)
    if isinstance(node, ast.Compare):
        return type(node.ops[0]) in _SWAPS
    if isinstance(node, ast.BinOp | ast.AugAssign | ast.BoolOp | ast.UnaryOp):
        return type(node.op) in _SWAPS
    return isinstance(node, ast.If | ast.While | ast.IfExp)


def _change(node: ast.AST, generator: random.Random) -> Callable[[], None]:
    def change() -> None:
        if isinstance(node, ast.Constant):
            node.value = _other(node.value)
        elif isinstance(node, ast.Compare):
            node.ops[0] = _SWAPS[type(node.ops[0])]()
        elif isinstance(node, ast.BinOp | ast.AugAssign | ast.BoolOp | ast.UnaryOp):
            node.op = _SWAPS[type(node.op)]()
        elif isinstance(node, ast.If | ast.While | ast.IfExp):
            node.test = ast.UnaryOp(op=ast.Not(), operand=node.test)

    return change


def _other(value: object) -> bool | int | float | str:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return value * 1.25 + 0.125
    return f"{value}x"


def _delete(tree: ast.Module, statement: ast.stmt) -> None:
    for node in ast.walk(tree):
        for _, value in ast.iter_fields(node):
            if isinstance(value, list) and any(each is statement for each in value):
                value[[each is statement for each in value].index(True)] = ast.Pass()


def _first_line(statement: ast.stmt) -> str:
    return ast.unparse(statement).splitlines()[0][:100]
