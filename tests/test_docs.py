"""The documentation is true: its code blocks run as they stand, its links and files exist."""

from __future__ import annotations

import importlib
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import robustray
from robustray.distributed.cli import COMMANDS, main
from robustray.distributed.tuning import load_grid
from robustray.tasks.grids import cells
from robustray.tasks.lab.serial import SerialLab
from robustray.tasks.lab.store import Store

BUDGET = shlex.split("--workers 0 --num-images 24 --eps-linf 0.2 --norms linf --num-examples 1 --num-steps 3")
BLOCK = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)
LINK = re.compile(r"\]\(([^)#\s]+)")


def pages(repository: Path) -> list[Path]:
    return [repository / "README.md", repository / "CHANGELOG.md", *sorted((repository / "docs").rglob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    return [text for kind, text in BLOCK.findall(page.read_text()) if kind == language]


def modules(page: Path) -> dict[str, str]:
    """Python blocks whose first line names their file."""
    found = {}
    for text in blocks(page, "python"):
        first = text.splitlines()[0]
        if re.fullmatch(r"# \w+\.py", first):
            found[first.removeprefix("# ")] = text
    return found


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("page", "module", "command"),
    [
        ("README.md", "my_mod.py", "robustray run attack-sweep --model my_mod:build --data my_mod:data --workers 0"),
        ("docs/your-own.md", "my_attack.py", "robustray run attack-sweep --attack pgd --attack my_attack:brighter"),
    ],
)
def test_your_own_code_runs_as_printed(
    page: str, module: str, command: str, folder: Path, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (repository / page).read_text()
    assert command in text
    (folder / module).write_text(modules(repository / page)[module])
    assert main([*shlex.split(command)[1:], *BUDGET, "--store", str(folder / "store")]) == 0
    assert "n = 24" in capsys.readouterr().out


def test_an_attack_takes_twenty_lines_and_works_in_a_notebook(folder: Path, repository: Path) -> None:
    text = modules(repository / "docs/your-own.md")["my_attack.py"]
    assert len([line for line in text.splitlines() if line.strip()]) <= 20
    (folder / "my_attack.py").write_text(text)
    attack = importlib.import_module("my_attack").Brighter(norm="linf", eps=0.3)
    found = robustray.evaluate("digits:mlp", "digits:test", attack, num_images=16)
    assert found.n == 16 and found.attacks[0].robust.value <= found.clean.value
    assert (
        "`robustray.evaluate(model, (images, labels), Brighter(norm=" in (repository / "docs/your-own.md").read_text()
    )


def test_a_study_of_ones_own_runs_as_printed_and_its_runs_find_it_again(
    folder: Path, repository: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    page = repository / "docs/your-own-study.md"
    for name, text in modules(page).items():
        (folder / name).write_text(text)
    (commands,) = blocks(page, "bash")
    for line in commands.splitlines():
        assert main([*shlex.split(line)[1:], *(["--workers", "0"] if " run " in line else [])]) == 0
    printed = capsys.readouterr().out
    assert "With 20% outliers" in printed and "With 30% outliers" in printed and "400,000 samples" in printed
    (run, _) = sorted((folder / "runs").glob("outliers-study-*"))
    assert main(["resume", run.name]) == 0 and main(["report", run.name]) == 0
    assert "is finished; nothing is left to do" in capsys.readouterr().out
    importlib.import_module("test_outliers").test_equal_errors_differ_by_nothing()


def test_a_study_of_ones_own_that_trains_runs_as_printed(
    folder: Path, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = repository / "docs/your-own-study.md"
    (folder / "longer.py").write_text(modules(page)["longer.py"])
    assert "`robustray run longer:study`" in page.read_text()
    assert main(["run", "longer:study", "--workers", "0", "--epochs", "1", "4"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "Longer training changes accuracy by" in printed and "n = 355 images" in printed and "Accuracy by" in printed


def test_the_example_of_which_number_prints_what_it_shows(
    folder: Path, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With fewer images; the lines are those of the page, the figures are not."""
    page = repository / "docs/which-number.md"
    (code,), (shown,) = blocks(page, "python"), blocks(page, "text")
    assert "num_images=100" in code and "n = 100" in shown
    exec(code.replace("num_images=100", "num_images=12"), {})
    assert names(capsys.readouterr().out) == names(shown)


def test_the_bootstrap_of_the_statistics_page_runs(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = blocks(repository / "docs/statistics.md", "python")
    exec(code, {})
    assert "n=100" in capsys.readouterr().out, "images are the units, not image x model pairs"


def test_the_study_of_the_replication_page_runs(
    folder: Path, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exec(modules(repository / "docs/studies/replication.md")["my_study.py"], {})
    command = "run replication --data study.parquet --correctness correct.parquet --workers 0"
    assert main([*shlex.split(command), "--num-resamples", "200", "--store", str(folder / "store")]) == 0
    assert "600 + 600 images" in " ".join(capsys.readouterr().out.split())


def names(printed: str) -> list[list[str]]:
    """Of the lines of a printed evaluation, without their figures."""
    return [re.sub(r"[\d.,%\[\]]+", "", line).split() for line in printed.strip().splitlines()]


def test_the_python_entry_in_the_readme_is_right(folder: Path, repository: Path) -> None:
    (text,) = [text for text in blocks(repository / "README.md", "python") if text.startswith("import robustray")]
    assert callable(robustray.run)
    scope: dict[str, object] = {}
    lines = [line for line in text.splitlines() if "findings" not in line]  # the quick size is an acceptance test
    exec("\n".join(lines), scope)
    assert repr(scope["attack"]) == "PGD(norm='linf', eps=8/255)"


def test_every_command_in_the_pages_exists(repository: Path) -> None:
    named = {
        found
        for page in pages(repository)
        for found in re.findall(r"(?:^|`|-m )robustray ([a-z]+)", page.read_text(), re.MULTILINE)
    }
    assert named <= set(COMMANDS)
    assert {"run", "tune", "status", "resume", "compare", "doctor", "import"} <= named


def test_every_link_leads_somewhere(repository: Path) -> None:
    broken = [
        f"{page.relative_to(repository)}: {target}"
        for page in pages(repository)
        for target in LINK.findall(page.read_text())
        if "://" not in target and not (page.parent / target).exists()
    ]
    assert not broken, broken


def test_the_six_files_to_read_first_are_there(repository: Path) -> None:
    files = re.findall(r"^\d\. `([^`]+)`", (repository / "README.md").read_text(), re.MULTILINE)
    assert len(files) == 6
    assert all((repository / file).is_file() for file in files)


def test_tables_in_the_pages_are_those_of_their_records(repository: Path) -> None:
    command = [sys.executable, "scripts/render_docs.py", "--check"]
    ended = subprocess.run(command, cwd=repository, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_a_grid_of_ones_own_is_one(folder: Path, repository: Path) -> None:
    """One of its cells, in this process; on Ray: tests/distributed/test_tuning.py."""
    (folder / "my_grids.py").write_text(modules(repository / "docs/grids.md")["my_grids.py"])
    grid = load_grid("my_grids:restarts", "quick")
    assert len(grid.cells) == 4
    (folder / "store").mkdir()
    found = cells.run(
        grid,
        grid.cells[0],
        store=Store(str(folder / "store")),
        make_lab=lambda opened: SerialLab(store=opened),
        command="robustray tune my_grids:restarts",
    )
    assert 0 < found["robust_accuracy"] < 1
