"""CODE changes with every line that results may depend on, and with nothing else."""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.metadata
import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from robustray.tasks.errors import InputError
from robustray.tasks.lab import code

_unique = itertools.count()

MODULES = {
    "entry.py": "import {p}.direct\nfrom {p} import package\ndef lazily():\n    from {p}.lazy import thing\n",
    "direct.py": "from .deeper import something as renamed\nimport numpy, torch, json\n",
    "deeper.py": "something = 1\n",
    "lazy.py": "import {p}.deepest\nthing = 2\n",
    "deepest.py": "value = 3\n",
    "package/__init__.py": "from .inner import one\n",
    "package/inner.py": "one = 1\ndef f():\n    from ..relative import far\n",
    "relative.py": "far = 1\n",
    "stranger.py": "value = 5\n",
}


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A user's package of a name of its own, in the search path."""
    folder = tmp_path / f"users_package_{next(_unique)}"
    for name, text in MODULES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.format(p=folder.name))
    monkeypatch.syspath_prepend(str(tmp_path))
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == folder.name]:
        del sys.modules[name]


def _hash(tree: Path, module: str = "entry") -> str:
    code.forget()
    return code.code_hash([f"{tree.name}.{module}"])


@pytest.mark.parametrize("name", [name for name in MODULES if name != "stranger.py"])
def test_a_change_anywhere_behind_the_function_changes_the_hash(tree: Path, name: str) -> None:
    before = _hash(tree)
    path = tree / name
    path.write_text(path.read_text() + "# a comment\n")
    assert _hash(tree) != before


def test_a_change_of_a_module_that_nobody_imports_does_not(tree: Path) -> None:
    before = _hash(tree)
    (tree / "stranger.py").write_text("value = 6\n")
    assert _hash(tree) == before


def test_the_place_of_the_checkout_does_not_matter(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = _hash(tree)
    elsewhere = tmp_path / "elsewhere" / tree.name
    shutil.copytree(tree, elsewhere)
    shutil.rmtree(tree)
    monkeypatch.syspath_prepend(str(elsewhere.parent))
    assert _hash(elsewhere) == before


def test_nothing_is_imported_to_find_out(tree: Path) -> None:
    """A lazily imported library may be slow, absent or broken: reading must not run it."""
    loud = "raise RuntimeError('imported')\n"
    (tree / "loud.py").write_text(loud)
    (tree / "loudpackage").mkdir()
    (tree / "loudpackage" / "__init__.py").write_text(loud)
    (tree / "loudpackage" / "part.py").write_text("x = 1\n")
    (tree / "entry.py").write_text(
        f"def f():\n    from {tree.name}.loud import a\n    from {tree.name}.loudpackage.part import x\n"
        "    import there_is_no_such_library.part\n    from there_is_no_such_library import another\n"
    )
    before = _hash(tree)
    (tree / "loudpackage" / "part.py").write_text("x = 2\n")
    assert _hash(tree) != before
    assert not [name for name in sys.modules if name.startswith(f"{tree.name}.")]


def test_no_library_is_loaded_to_find_out() -> None:
    """`from torch.nn import functional` in a block function does not load torch into a driver without need of it."""
    program = (
        "import sys; from robustray.tasks.lab.code import code_hash; code_hash(['robustray.tasks.attacks.blocks']); "
        "sys.exit('torch' in sys.modules or 'torchvision' in sys.modules)"
    )
    root = Path(__file__).resolve().parents[2]
    assert subprocess.run([sys.executable, "-c", program], cwd=root, check=False).returncode == 0


def test_circular_imports_end(tree: Path) -> None:
    (tree / "deeper.py").write_text(f"import {tree.name}.entry\nfrom . import deeper\n")
    assert len(_hash(tree)) == 12


def test_a_module_that_is_not_there_is_an_error(tree: Path) -> None:
    with pytest.raises(ModuleNotFoundError):
        _hash(tree, "misspelt")


ROBUSTRAY: list[tuple[str, bool]] = [
    ("robustray.tasks.attacks.search.rows", True),
    ("robustray.tasks.data.images", True),
    ("robustray.tasks.labels", True),  # begins like tasks.lab and is none of it
    ("robustray.tasks.labels.study", True),
    ("robustray.tasks.lab.pieces", True),  # it casts to the declared types
    ("robustray.tasks.lab.seeds", True),
    ("robustray.tasks.lab.code", False),
    ("robustray.tasks.lab.keys", False),
    ("robustray.tasks.report.page", False),
    ("robustray.tasks.figures.style", False),
    ("robustray.distributed.pool", False),
    ("json", False),
    ("numpy", False),
    ("torch.nn.functional", False),
]


@pytest.mark.parametrize(("name", "counts"), ROBUSTRAY, ids=[name for name, _ in ROBUSTRAY])
def test_how_pieces_are_kept_or_shown_does_not_count(
    name: str, counts: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    code.forget()
    spec: Callable[[str], object] = code._find_spec
    if name.startswith("robustray.tasks.labels"):  # a study that is still to come
        planned = importlib.machinery.ModuleSpec(name, None, origin=str(tmp_path / "planned.py"))
        monkeypatch.setattr(code, "_find_spec", lambda asked: planned if asked == name else spec(asked))
    assert (code._own_file(name) is not None) == counts
    code.forget()


def test_packages_of_another_environment_do_not_count(tmp_path: Path) -> None:
    """A .pth file brings them in, where an environment has the dependencies of another; torch would be read."""
    for folder, counts in (("site-packages", False), ("mine", True)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "other.py").write_text("def f(): pass\n")
        say = "from robustray.tasks.lab import code; print(code._own_file('other') is not None)"
        path = os.pathsep.join([str(Path(__file__).parents[2]), str(tmp_path / folder)])
        ran = subprocess.run(
            [sys.executable, "-c", say], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
        )
        assert ran.stdout.strip() == str(counts), ran.stderr


SETTINGS = """
from dataclasses import dataclass, field
from typing import Any

@dataclass(frozen=True)
class Leaf:
    eps: float = 0.1
"""


def test_settings_depend_on_the_modules_of_all_dataclasses_in_them(tree: Path) -> None:
    """An own attack inside the settings of a step, however deep."""
    (tree / "outer.py").write_text(SETTINGS.replace("eps: float = 0.1", "attack: Any = None"))
    (tree / "deep.py").write_text(SETTINGS)
    outer = importlib.import_module(f"{tree.name}.outer").Leaf
    deep = importlib.import_module(f"{tree.name}.deep").Leaf
    outermost, innermost = f"{tree.name}.outer:Leaf", f"{tree.name}.deep:Leaf"
    assert code.settings_roots(outer()) == {outermost}
    for within in (deep(), [deep()], {"attack": (1, deep())}, outer(attack=[{"a": deep()}])):
        assert code.settings_roots(outer(attack=within)) == {outermost, innermost}
        assert innermost in code.settings_roots({"settings": within})
    assert code.settings_roots(None) == code.settings_roots([1, "a", {"b": 2.0}]) == set()


def test_settings_without_a_module_to_import_are_refused(monkeypatch: pytest.MonkeyPatch, tree: Path) -> None:
    (tree / "deep.py").write_text(SETTINGS)
    leaf = importlib.import_module(f"{tree.name}.deep").Leaf
    monkeypatch.setattr(leaf, "__module__", "__main__")
    with pytest.raises(InputError, match="Leaf stands in __main__: move it to a module that can be imported"):
        code.settings_roots({"attack": leaf()})


def test_the_versions_of_torch_and_numpy_count(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = _hash(tree)
    for package in ("torch", "numpy"):
        real = importlib.metadata.version
        with monkeypatch.context() as patch:
            patch.setattr(importlib.metadata, "version", lambda p, k=package, r=real: "0.0" if p == k else r(p))
            assert _hash(tree) != before
    assert _hash(tree) == before
