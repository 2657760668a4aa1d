"""The documentation is true: its code blocks run as they stand, its links and files exist."""

from __future__ import annotations

import importlib
import itertools
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import robustray
from robustray.distributed.cli import COMMANDS, main
from robustray.distributed.commands.run import read_command
from robustray.distributed.tuning import grid_names, load_grid
from robustray.tasks.errors import InputError
from robustray.tasks.grids import cells
from robustray.tasks.lab import code
from robustray.tasks.lab.serial import SerialLab
from robustray.tasks.lab.store import Store
from robustray.tasks.study import STUDIES

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
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder in which a test works. Modules imported from there are forgotten: other tests use their names."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]
    code.forget()
    code._own_file.cache_clear()


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
    assert main(["run", "outliers:study", "--shares", "0.1", "--workers", "0"]) == 2, "what is claimed compares two"
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


def test_every_run_that_the_pages_print_has_settings_that_are_taken(folder: Path, repository: Path) -> None:
    """Up to models and data, which nobody opens. `...` stands for more words, and each KEY for another one."""
    every, keys = pages(repository), map("KEY{}".format, itertools.count())
    for page in every:
        for name, text in modules(page).items():
            (folder / name).write_text(text)
    typed, refused = set(), []
    for page in every:
        lines = "\n".join(blocks(page, "bash")).replace("\\\n", " ")
        for line in re.findall(r"\brobustray (?:run|show) (.*)", lines):
            numbered = re.sub(r"\bKEY\b", lambda _: next(keys), line)
            words = [word for word in shlex.split(numbered, comments=True) if word != "..."]
            typed.add(words[0])
            try:
                read_command(words, "run")
            except InputError as error:
                refused.append(f"{page.name}: {line}: {error}")
    assert not refused, "\n".join(refused)
    assert set(STUDIES) <= typed


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


def test_the_page_of_grids_names_all_of_them(repository: Path) -> None:
    rows = re.findall(r"^\| `([\w-]+)` \|", (repository / "docs/grids.md").read_text(), re.MULTILINE)
    assert sorted(rows) == sorted(grid_names())


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


def test_an_optimisation_of_ones_own_runs_as_printed(
    folder: Path, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, text in modules(repository / "docs/design/engine.md").items():
        (folder / name).write_text(text)
    exec((folder / "perturb.py").read_text(), {})
    first, last = (float(number) for number in re.findall(r"\d+\.\d+", capsys.readouterr().out))
    assert first < 0.5 and last > 4 * first, "one perturbation within 0.2 of all images raises their loss"


# -- docs/agents.md ----------------------------------------------------------------------------------------------------


@pytest.fixture
def corridor(folder: Path, repository: Path) -> Path:
    """The files of the page about agents."""
    for name, text in modules(repository / "docs/agents.md").items():
        (folder / name).write_text(text)
    return folder


def test_an_environment_of_ones_own_is_learned_as_printed(
    corridor: Path, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exec((corridor / "train_corridor.py").read_text(), {})
    printed = capsys.readouterr().out
    assert names(printed) == names(blocks(repository / "docs/agents.md", "text")[1])
    learned = [[float(number) for number in re.findall(r"-\d+\.\d", line)] for line in printed.splitlines()]
    assert len(learned) == 2 and all(first < -40 and last > -20 for first, last in learned), "the page says it learns"
    key = printed.partition(":")[0]
    assert main(["agent", "evaluate", key, "--episodes", "5", "--seed", "1"]) == 0
    assert main(["agent", "render", key, "corridor.gif", "--steps", "20"]) == 0
    assert "n = 5 episodes of this one agent" in capsys.readouterr().out
    assert (corridor / "corridor.gif").read_bytes().startswith(b"GIF89a")


def test_a_switch_of_the_agents_page_is_a_grid(corridor: Path, repository: Path) -> None:
    grid = load_grid("my_switch:normalisation", "quick")
    assert len(grid.cells) == 6
    (corridor / "store").mkdir()
    found = cells.run(
        grid,
        grid.cells[0],
        store=Store(str(corridor / "store")),
        make_lab=lambda opened: SerialLab(store=opened),
        command="robustray tune my_switch:normalisation",
    )
    assert -100 < found["late_return"] < 0
    (code,) = [text for text in blocks(repository / "docs/agents.md", "python") if text.startswith("from dataclasses")]
    scope: dict[str, object] = {}
    exec(f"{code}\nsame = without == replace(ppo, reward_filter='none')", scope)
    assert scope["same"] is True


AFTER = """
from dataclasses import replace
from robustray.tasks.errors import InputError
from robustray.tasks.policy_gradients.jobs import agent_key
from robustray.tasks.policy_gradients.loop import train_agent
from robustray.tasks.policy_gradients.settings import AgentSpec, PolicyGradient

settings = PolicyGradient(steps_per_stream=128, num_minibatches=4, hidden=(8,), policy_lr=0.01, policy_epochs=4)
spec = AgentSpec(environment="CartPole-v1", settings=settings, iterations=2)
print(agent_key(spec), train_agent(spec).state.policy.tobytes().hex())
"""
TENTH = (
    AFTER
    + """
def kls(**changed):
    return [row["kl"] for row in train_agent(replace(spec, settings=replace(settings, **changed))).curve]

whole, early, one = kls(), kls(target_kl=1e-9), kls(policy_epochs=1)
assert early[0] == one[0] < whole[0], (early, one, whole)
assert kls(target_kl=1e9) == whole
try:
    PolicyGradient(target_kl=0.0)
except InputError as error:
    assert "target_kl must be above 0" in str(error)
else:
    raise AssertionError("it is not checked")
"""
)


def test_a_tenth_optimisation_is_added_as_printed(tmp_path: Path, repository: Path) -> None:
    """In a copy of the tree: it is a switch, and what leaves it off keeps its key and its bits."""
    for name in ("robustray", "tasks"):
        ignored = shutil.ignore_patterns("__pycache__", "distributed", "tune_configs")
        shutil.copytree(repository / name, tmp_path / name, symlinks=True, ignore=ignored)
    printed, environment = [], {**os.environ, "PYTHONPATH": str(tmp_path)}
    for script in (AFTER, TENTH):
        command = [sys.executable, "-c", script]
        ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert ended.returncode == 0, ended.stderr
        printed.append(ended.stdout)
        if script is AFTER:
            (patch,) = blocks(repository / "docs/agents.md", "diff")
            apply(patch, tmp_path)
    assert printed[0] == printed[1] and len(printed[0]) > 100


def apply(patch: str, folder: Path) -> None:
    """A diff whose hunks say in words where they belong: what each takes away stands in its file once."""
    file = folder
    for part in re.split(r"^(--- .*\n\+\+\+ .*\n|@@ .*@@\n)", patch, flags=re.MULTILINE):
        if part.startswith("--- "):
            file = folder / part.split()[1]
        elif part and not part.startswith("@@"):
            lines = part.splitlines()
            old, new = ("\n".join(line[1:] for line in lines if line[:1] != sign) for sign in "+-")
            text = file.read_text()
            assert text.count(old) == 1, f"{file.name} has this {text.count(old)} times:\n{old}"
            file.write_text(text.replace(old, new))
