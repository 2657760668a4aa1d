"""Who may import whom (docs/design, "Three folders, one direction"), read from the syntax trees.

Imports inside functions and under `TYPE_CHECKING` count as well: the rule is about what a reader has to know.
"""

import ast
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from robustray.tasks.study import STUDIES

FOLDERS = ("tasks", "distributed", "tune_configs")
MAY_USE_GRIDS = ("distributed/cli.py", "distributed/tuning.py")


class Import(NamedTuple):
    """One imported module, by its full name: `from robustray.tasks import study` gives robustray.tasks.study."""

    line: int
    module: str


def imports_of(path: Path, root: Path) -> Iterator[Import]:
    """Every import of a file, relative ones resolved, and `import_module("...")` with a literal name."""
    package = ["robustray", *path.relative_to(root).parent.parts]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), filename=str(path))):
        if isinstance(node, ast.Import):
            yield from (Import(node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*start, *([node.module] if node.module else [])])
            yield from (Import(node.lineno, f"{base}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("import_module", "__import__") and isinstance(node.args[0].value, str):
                yield Import(node.lineno, node.args[0].value)


def broken_rule(importer: str, module: str) -> str | None:
    """Why the file (relative to the root) may not import the module; None where it may."""
    folder, parts = importer.split("/")[0], module.split(".")
    if parts[0] in FOLDERS:
        return f"write robustray.{parts[0]}: bare names belong to other packages"
    if parts[0] == "ray" and folder != "distributed":
        return "only distributed/ mentions Ray"
    if parts[0] != "robustray" or len(parts) < 2:
        return None
    study = parts[3] if parts[1:3] == ["tasks", "studies"] and len(parts) > 3 else None
    if parts[1] == folder == "tasks":
        if study is not None and not importer.startswith(f"tasks/studies/{study}/"):
            return "what two studies need lives in a shared room of tasks/"
        return None
    room = parts[1]
    if folder == "tasks" and room in FOLDERS:
        return "tasks/ stands alone"
    if folder == "distributed":
        if room == "tune_configs" and importer not in MAY_USE_GRIDS:
            return f"only {' and '.join(MAY_USE_GRIDS)} use the grids"
        if study is not None:
            return "distributed/ knows no particular study"
    if folder == "tune_configs" and room == "distributed":
        return "a grid is a list of values: it starts nothing"
    if (
        folder == "tune_configs"
        and room == "tasks"
        and not {
            "settings",
            "kinds",
            "study",
            "presets",
        }
        & set(parts[2:])
    ):
        return "a grid imports settings, kinds, presets and study modules only"
    return None


def violations(root: Path) -> list[str]:
    """Every import of the three folders under `root` that breaks a rule, as "file:line: module: rule"."""
    found = []
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*.py")):
            importer = path.relative_to(root).as_posix()
            for line, module in imports_of(path, root):
                if rule := broken_rule(importer, module):
                    found.append(f"{importer}:{line}: {module}: {rule}")
    return found


FORBIDDEN = [
    ("tasks/planted.py", "import ray"),
    ("tasks/planted.py", "import ray.data as data"),
    ("tasks/lab/planted.py", "def f():\n    from ray import remote"),
    ("tasks/attacks/planted.py", "from robustray.distributed.pool import Pool"),
    ("tasks/attacks/planted.py", "from robustray import distributed"),
    ("tasks/attacks/planted.py", "from ...distributed import pool"),
    ("tasks/planted.py", "from .. import tune_configs"),
    ("tasks/planted.py", "import importlib\nimportlib.import_module('ray')"),
    ("tasks/planted.py", "from tasks.lab import protocol"),
    ("tasks/attacks/planted.py", "from robustray.tasks.studies.planted import settings"),
    ("tasks/studies/other/planted.py", "from robustray.tasks.studies.planted.settings import Settings"),
    ("distributed/planted.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import tasks"),
    ("distributed/planted.py", "import distributed.pool"),
    ("distributed/planted.py", "from robustray.tune_configs import attack_sweep"),
    ("distributed/rllib/planted.py", "from ...tune_configs.grids import epsilons"),
    ("distributed/planted.py", "from robustray.tasks.studies.planted import study"),
    ("distributed/cli.py", "def f():\n    import robustray.tasks.studies.planted.settings"),
    ("distributed/planted.py", "from robustray.tasks.studies import planted"),
    ("tune_configs/planted.py", "import ray"),
    ("tune_configs/planted.py", "from robustray.distributed import tuning"),
    ("tune_configs/planted.py", "from robustray.tasks.attacks.search.rows import run_search"),
    ("tune_configs/planted.py", "from tune_configs import other"),
]

ALLOWED = [
    ("tasks/attacks/planted.py", "import torch\nfrom robustray.tasks.errors import InputError\nfrom . import settings"),
    ("tasks/studies/planted/planted.py", "from robustray.tasks.studies.planted import settings\nimport robustray"),
    ("tasks/planted.py", "import rayleigh\nfrom mylib import ray, tasks, distributed"),
    ("distributed/planted.py", "import ray\nfrom robustray.tasks.study import load_study\nfrom .pool import Pool"),
    ("distributed/planted.py", "from robustray.tasks.lab.protocol import Lab\nfrom robustray.tasks import study"),
    ("distributed/tuning.py", "from robustray.tune_configs import attack_sweep"),
    ("tune_configs/planted.py", "from robustray.tasks.studies.planted.settings import AttackSweep"),
    ("tune_configs/planted.py", "from robustray.tasks.studies.planted.study import STUDY\nimport math"),
    ("tune_configs/planted.py", "from robustray.tasks.policy_gradients.presets import preset"),
]


def numbered(cases: list[tuple[str, str]], start: str) -> list[tuple[str, str]]:
    """The cases with a file name each, so that all can be planted side by side."""
    return [(file.replace("planted.py", f"{start}_{n}.py"), source) for n, (file, source) in enumerate(cases)]


FORBIDDEN, ALLOWED = numbered(FORBIDDEN, "bad"), numbered(ALLOWED, "good")


@pytest.fixture(scope="module")
def reported(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What the checker says of a copy of the real folders with every case planted in it."""
    root = tmp_path_factory.mktemp("copy")
    for folder in FOLDERS:
        shutil.copytree(repository / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file, source in [*FORBIDDEN, *ALLOWED]:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text(source, encoding="utf-8")
    return violations(root)


@pytest.mark.parametrize(("file", "source"), FORBIDDEN)
def test_planted_violation_is_seen(reported: list[str], file: str, source: str) -> None:
    assert any(line.startswith(f"{file}:") for line in reported), f"{source!r} in {file} must be found"


@pytest.mark.parametrize(("file", "source"), ALLOWED)
def test_allowed_import_is_not_reported(reported: list[str], file: str, source: str) -> None:
    assert [line for line in reported if line.startswith(f"{file}:")] == []


def test_the_real_folders_keep_the_rules(repository: Path) -> None:
    assert violations(repository) == []


def test_distributed_names_no_study(repository: Path) -> None:
    """As a string of its own or in a command: "labels" alone is also a word."""
    named = [
        f"{path.relative_to(repository)}: {name}"
        for path in sorted((repository / "distributed").rglob("*.py"))
        for name in STUDIES
        if re.search(rf"""["'`]{name}["'`]|\b(?:run|show|resume) {name}\b""", path.read_text(encoding="utf-8"))
    ]
    assert not named, named


def test_every_study_is_known_by_its_file(repository: Path) -> None:
    """The rule for `distributed/` rests on it: each registered study lives in tasks/studies/ with a study.py."""
    for module, _ in STUDIES.values():
        assert module.startswith("robustray.tasks.studies.")
        assert (repository / "tasks/studies" / module.split(".")[3] / "study.py").is_file(), module


LIGHT = """
    import importlib, sys

    class Block:
        def find_spec(self, name, path=None, target=None):
            if name.split(".")[0] in {"torch", "torchvision", "ray", "pandas"}:
                raise ImportError(f"a settings module imports {name}")

    sys.meta_path.insert(0, Block())
    for name in sys.argv[1:]:
        importlib.import_module(name)
"""


def settings_modules(root: Path) -> list[str]:
    """Every `settings.py` in `tasks/`, as an importable name."""
    paths = sorted((root / "tasks").rglob("settings.py"))
    return [".".join(["robustray", *path.relative_to(root).with_suffix("").parts]) for path in paths]


def import_light(root: Path, modules: list[str]) -> subprocess.CompletedProcess[str]:
    """Import modules in a process where torch, Ray and pandas cannot be imported."""
    command = [sys.executable, "-c", textwrap.dedent(LIGHT), *modules]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)


def test_settings_modules_are_light(repository: Path) -> None:
    """`--help` reads them all, so they import neither torch nor Ray nor pandas, directly or through others."""
    modules = settings_modules(repository)
    assert modules, "no settings module was found: is the search still right?"
    for always in ("robustray.tasks.study", "robustray.tasks.lab.protocol"):
        modules.append(always)
    answer = import_light(repository, modules)
    assert answer.returncode == 0, answer.stderr


@pytest.mark.parametrize("library", ["torch", "torchvision", "ray", "pandas"])
def test_a_heavy_import_would_be_seen(tmp_path: Path, library: str) -> None:
    (tmp_path / "heavy.py").write_text(f"import {library}\n", encoding="utf-8")
    answer = import_light(tmp_path, ["heavy"])
    assert answer.returncode != 0 and f"a settings module imports {library}" in answer.stderr
