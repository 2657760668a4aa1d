"""The campaign of random edits: each edit is one statement, and the same for the same seed."""

from __future__ import annotations

import ast
import importlib
import sys
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def edits(repository: Path) -> Any:
    sys.path.insert(0, str(repository))
    try:
        return importlib.import_module("benchmarks.staleness.edits")
    finally:
        sys.path.remove(str(repository))


SOURCE = '''"""Words."""
from __future__ import annotations
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    x = 1


def f(a: int = 3) -> int:
    """More words."""
    if a < 2 and a:
        raise ValueError(f"never {a}")
    for i in range(a):
        a -= i * 2
    return a
'''


def test_every_statement_is_drawn_and_nothing_else(edits: Any, tmp_path: Path) -> None:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "one.py").write_text(SOURCE)
    drawn = list(edits.draw_edits(tmp_path, 100, seed=0))
    assert sorted(edit.line for edit in drawn) == [8, 10, 11, 12, 13, 14]
    for edit in drawn:
        assert edit.file == "tasks/one.py"
        before, after = ast.unparse(ast.parse(SOURCE)).splitlines(), edit.source.splitlines()
        assert before != after and abs(len(before) - len(after)) <= 2
        ast.parse(edit.source)
    assert list(edits.draw_edits(tmp_path, 100, seed=0)) == drawn
    assert [edit.line for edit in edits.draw_edits(tmp_path, 3, seed=0)] == [edit.line for edit in drawn][:3]


def test_the_tree_itself_can_be_edited(edits: Any, repository: Path) -> None:
    for edit in edits.draw_edits(repository, 40, seed=5):
        original = (repository / edit.file).read_text()
        assert ast.dump(ast.parse(edit.source)) != ast.dump(ast.parse(original)), edit
        assert edit.line <= edit.last_line <= len(original.splitlines())
