"""Both type checkers see every folder: one planted error in each must be reported by both.

Pointed at the wrong paths, either can skip the linked folders and report success. The commands are those of
`make lint`; the tree holds the real configuration and links and, for speed, only the planted files.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PLACES = (
    "distributed/planted_in_distributed.py",
    "distributed/rllib/planted_below_distributed.py",
    "robustray/planted_in_robustray.py",
    "scripts/planted_in_scripts.py",
    "tasks/planted_in_tasks.py",
    "tasks/attacks/planted_below_tasks.py",
    "tests/planted_in_tests.py",
    "tests/tasks/planted_below_tests.py",
    "tune_configs/planted_in_tune_configs.py",
)
HELPER = 'def double(number: int) -> int:\n    """An import across folders."""\n    return 2 * number\n'
ERROR = 'from robustray.tasks.helper import double\n\nvalue: int = double("two")\n'


@pytest.fixture(scope="module")
def planted(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("planted") / "checkout"
    root.mkdir()
    shutil.copy(repository / "pyproject.toml", root)
    only_links = shutil.ignore_patterns("__pycache__", "*.py")  # the code imports what this tree does not have
    shutil.copytree(repository / "robustray", root / "robustray", symlinks=True, ignore=only_links)
    (root / "robustray" / "__init__.py").touch()
    for place in PLACES:
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).write_text(ERROR, encoding="utf-8")
    (root / "tasks" / "helper.py").write_text(HELPER, encoding="utf-8")
    return root


def lint_command(repository: Path, tool: str) -> list[str]:
    """The arguments that `make lint` gives a tool, without the interpreter."""
    lines = (repository / "Makefile").read_text(encoding="utf-8").splitlines()
    (line,) = [line for line in lines if f"-m {tool}" in line]
    words = line.replace('"$(RUN)"', sys.executable).split()
    return [sys.executable, *words[1:]]


@pytest.mark.parametrize("tool", ["mypy", "pyright"])
def test_planted_errors_are_seen_once_in_every_folder(repository: Path, planted: Path, tool: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    answer = subprocess.run(
        lint_command(repository, tool), cwd=planted, env=environment, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 1, answer.stdout + answer.stderr
    errors = [line for line in answer.stdout.splitlines() if "error:" in line]
    reported = {place: sum(Path(place).name in line for line in errors) for place in PLACES}
    assert reported == dict.fromkeys(PLACES, 1), answer.stdout
    assert len(errors) == len(PLACES), answer.stdout


@pytest.mark.parametrize(("command", "finding"), [("check", "TID251"), ("format --check", "File would be reformatted")])
def test_ruff_visits_each_file_once(planted: Path, command: str, finding: str) -> None:
    for place in PLACES:
        (planted / place).write_text("import  os\nfrom tasks import nothing\n", encoding="utf-8")
    answer = subprocess.run(
        [sys.executable, "-m", "ruff", *command.split(), "."], cwd=planted, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 1, answer.stderr
    assert answer.stdout.count(finding) == len(PLACES), answer.stdout
