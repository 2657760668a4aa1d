"""Every other command end to end, through its real entry point."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import robustray
from robustray.distributed.cli import COMMANDS
from robustray.distributed.commands.parsing import show_number, typed_as
from tests.cli.conftest import (
    FIRST,
    TYPED,
    Original,
    computed,
    only_document,
    tables,
)

# -- status, resume, report --------------------------------------------------------------------------------------------


def test_status_lists_the_runs_and_what_to_type_next(cli: Any, runs: Path, original: Original) -> None:
    outcome = cli("status")
    assert outcome.code == 0 and original.run in outcome.out and "finished" in outcome.out
    assert outcome.out.splitlines()[-1] == f"next: {TYPED} report {original.run}"
    document = json.loads(cli("status --json --store runs").out)
    assert document["store"] == str(runs)
    assert [row["run"] for row in document["runs"]] == [original.run]
    empty = cli("status --store 'not there'")
    assert empty.code == 0 and not Path("not there").exists()
    assert f"{TYPED} run attack-sweep --size quick --store 'not there'" in empty.out
    assert json.loads(cli("status --json --store 'not there'").out)["runs"] == []


def test_prune_says_what_it_removes_once_a_run_is_gone(cli: Any, runs: Path, original: Original) -> None:
    assert cli("prune --older-than 0s").out.splitlines()[0] == f"{runs}: 0 pieces removed, 0.0 MB"
    shutil.rmtree(runs / original.run)
    num = len(list((runs / "pieces").rglob("*.parquet")))
    assert f"kept: 0 of 0 runs, and {num} of no run, younger than 30d" in cli("prune").out
    looked = json.loads(cli("prune --older-than 0.5s --dry-run --json").out)
    assert looked["pieces"] == num > 0 and looked["bytes"] > 0 and (runs / "pieces").is_dir()
    assert cli("prune --older-than 0.5s").out.startswith(f"{runs}: {num} pieces removed, ")
    assert not list((runs / "pieces").iterdir())


def test_resume_repeats_what_is_missing_and_gives_the_same_bytes(cli: Any, runs: Path, original: Original) -> None:
    run_json = runs / original.run / "run.json"
    run_json.write_text(run_json.read_text().replace('"finished"', '"interrupted"'))
    before = tables(runs, original.run)
    shutil.rmtree(runs / original.run / "tables")
    (runs / original.run / "report.html").unlink()
    pieces = sorted(path for path in (runs / "pieces").rglob("*.parquet"))
    pieces[0].unlink()
    outcome = cli(f"resume {original.run[-8:]} --json")  # the end of its name is enough
    assert only_document(outcome)["run"] == original.run
    assert tables(runs, original.run) == before
    assert len(computed(runs, original.run)) == 6  # one more than at first
    assert (runs / original.run / "report.html").is_file()


@pytest.mark.parametrize("line", ["resume {run}", "resume --store runs {run}", "resume runs/{run}/"])
def test_resume_of_a_finished_run_says_so(line: str, cli: Any, runs: Path, original: Original) -> None:
    outcome = cli(line.format(run=original.run))
    assert outcome.code == 0 and "nothing is left to do" in outcome.out
    assert str(runs / original.run / "report.html") in outcome.out
    assert only_document(cli(f"{line.format(run=original.run)} --json"))["run"] == original.run


def test_report_writes_the_page_again_from_the_pieces(cli: Any, runs: Path, original: Original) -> None:
    page = runs / original.run / "report.html"
    page.unlink()
    before = tables(runs, original.run)
    outcome = cli(f"report {original.run}")
    assert outcome.code == 0 and str(page) in outcome.out
    assert "<svg" in page.read_text() and "n = 40" in page.read_text()
    assert tables(runs, original.run) == before and len(computed(runs, original.run)) == 5
    assert only_document(cli(f"report {original.run} --json"))["report"] == str(page)


def test_report_of_several_runs_is_an_index(cli: Any, runs: Path, original: Original) -> None:
    other = only_document(cli(f"{FIRST} --seed 1 --json"))["run"]
    outcome = cli(f"report {original.run} {other}")
    assert outcome.code == 0 and outcome.out.strip() == str(runs / "index.html")
    text = (runs / "index.html").read_text()
    assert all(f"{run}/report.html" in text for run in (original.run, other)) and text.count("<svg") >= 2
    document = json.loads(cli(f"report {original.run} {other} --json").out)
    assert document == {"runs": [original.run, other], "report": str(runs / "index.html")}


# -- list, show, doctor, help ------------------------------------------------------------------------------------------


def test_list_names_what_can_be_named(cli: Any) -> None:
    outcome = cli("list")
    assert outcome.code == 0 and outcome.err == ""
    for name in ("attack-sweep", "digits:cnn", "cifar:resnet20", "cifar10:SPLIT", "pgd", "my_pkg.my_mod:function"):
        assert re.search(rf"^  {re.escape(name)} ", outcome.out, re.MULTILINE), name
    assert outcome.out.splitlines()[-1] == f"run one: {TYPED} run attack-sweep --size quick"
    listed = json.loads(cli("list --json").out)
    assert set(listed) == {"studies", "grids", "models", "data", "attacks"}
    cut = [name for name, words in listed["attacks"].items() if ":function" not in name and not words.endswith(".")]
    assert not cut, f"the first line of a docstring is no whole sentence: {cut}"


def test_show_resolves_the_settings_and_runs_nothing(cli: Any, tmp_path: Path) -> None:
    outcome = cli("show attack-sweep --size small --eps-linf 1/255 8/255 --model 'digits:mlp@my w.safetensors'")
    assert outcome.code == 0 and not any(tmp_path.iterdir())
    assert re.search(r"^  eps_linf +1/255 8/255$", outcome.out, re.MULTILINE)
    assert re.search(r"^  data +cifar10:test$", outcome.out, re.MULTILINE)
    assert "passes of single images" in outcome.out
    assert re.search(r"^time: at most about \d+ .* an estimate: one core took .* through digits:mlp", outcome.out, re.M)
    typed = "run attack-sweep --size small --eps-linf 1/255 8/255 --model 'digits:mlp@my w.safetensors'"
    assert outcome.out.splitlines()[-1] == f"nothing was run; to run it: {TYPED} {typed}"
    document = json.loads(cli("show attack-sweep --no-random-start --json").out)
    assert document["study"] == "attack-sweep" and document["settings"]["random_start"] is False
    assert document["work"]["counts"]["images"] == 710
    assert document["work"]["counts"]["passes of single images"] > 0


def test_the_size_decides_the_other_defaults_wherever_it_stands(cli: Any) -> None:
    for line in ("--size paper --num-seeds 2", "--num-seeds 2 --size=paper", "--size=small --num-seeds 2 --size paper"):
        settings = json.loads(cli(f"show attack-sweep {line} --json").out)["settings"]
        assert (settings["num_steps"], settings["num_seeds"]) == (100, 2), line


def test_doctor_says_what_is_fine_and_what_mends_the_rest(cli: Any, tmp_path: Path) -> None:
    outcome = cli("doctor")
    assert outcome.code == 0, outcome
    for what in ("python", "torch", "devices", "ray", "token", "store", "disk"):
        assert re.search(rf"^OK   {what} ", outcome.out, re.MULTILINE), outcome.out
    (tmp_path / "root").mkdir()
    outcome = cli("doctor --data-root root")
    assert outcome.code == 1 and "FIX  data" in outcome.out
    assert "→ found neither root/cifar10/test-*.parquet" in outcome.out and f"`{TYPED} import cifar10" in outcome.out
    outcome = cli("doctor --data-root nowhere --json")
    broken = [check for check in json.loads(outcome.out) if not check["ok"]]
    assert outcome.code == 1 and [check["what"] for check in broken] == ["data"]
    assert f"`{TYPED} import cifar10 SOURCE --data-root nowhere`" in broken[0]["fix"]
    (tmp_path / "occupied").write_text("")
    outcome = cli("doctor --store occupied")
    assert outcome.code == 1 and "FIX  store" in outcome.out
    assert not (tmp_path / "runs").exists()


HELP = [
    *(f"{command} --help" for command in COMMANDS),
    "run attack-sweep --help",
    "run attack-sweep --size paper -h",
    "show attack-sweep --help",
    "tune attack-eps --help",
    *(f"agent {verb} --help" for verb in ("list", "evaluate", "render", "export")),
    "import weights --help",
    "import cifar10 --help",
]


@pytest.mark.parametrize("line", HELP)
def test_every_command_explains_itself(line: str, cli: Any) -> None:
    outcome = cli(line)
    assert outcome.code == 0 and outcome.err == ""
    assert outcome.out.startswith(f"usage: {TYPED} {line.split()[0]}")
    assert "None" not in outcome.out and "(default: )" not in outcome.out


def test_the_help_of_a_grid_keeps_its_commands_apart_from_what_is_said_of_them(cli: Any) -> None:
    lines = cli("tune generation-eps --help").out.splitlines()
    typed = [line for line in lines if line.startswith(f"{TYPED} tune generation-eps --size")]
    assert len(typed) == 2 and not any("A run has" in line for line in typed)
    assert any(line.startswith("A run has") for line in lines) and any(line.startswith("expected") for line in lines)
    (whole,) = [line for line in cli("tune code-level-lrs --help").out.splitlines() if "--size quick " in line]
    assert "Four of the 16 cells" in whole, "a command's own words go on in the next line"


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("robustray ru", "run"),
        ("robustray run att", "attack-sweep"),
        ("robustray run attack-sweep --num-im", "--num-images"),
        ("robustray resume --fai", "--failed"),
    ],
)
def test_bash_completes_commands_studies_and_flags(typed: str, completed: str, cli: Any, tmp_path: Path) -> None:
    outcome = cli("completion bash")
    assert outcome.code == 0 and outcome.err == ""
    (tmp_path / "completion.bash").write_text(outcome.out)
    words = shlex.split(typed)
    line = f"COMP_WORDS=({typed}); COMP_CWORD={len(words) - 1}; _tyro_robustray; echo ${{COMPREPLY[@]}}"
    said = subprocess.run(
        ["bash", "-c", f"source completion.bash && complete -p robustray && {line}"],
        cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert said.stdout.splitlines()[1:] == [completed]


def test_zsh_has_a_script_of_its_own(cli: Any) -> None:
    assert cli("completion zsh").out.startswith("#compdef robustray")


def test_the_help_names_every_command_and_the_exit_codes(cli: Any) -> None:
    texts = {cli(line).out for line in ("", "--help", "-h", "help")}
    (text,) = texts
    assert all(re.search(rf"^  {command} ", text, re.MULTILINE) for command in COMMANDS)
    assert "exit codes: 0 done" in text and max(map(len, text.splitlines())) <= 120
    assert cli("--version").out == f"robustray {robustray.__version__}\n"


def test_what_only_explains_loads_no_large_library(repository: Path) -> None:
    """That is what makes `--help` instant, on any machine."""
    lines = ["--help", "--version", "list", "status", "show attack-sweep --json", *HELP]
    script = f"""
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchvision", "ray", "pandas", "matplotlib", "sklearn", "scipy"):
            raise AssertionError(f"{{name}} was imported")

sys.meta_path.insert(0, Blocked())
from robustray.distributed.cli import main
for line in {lines!r}:
    assert main(line.split()) == 0, line
"""
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)
    assert ended.returncode == 0 and ended.stderr == "", ended.stderr


def test_the_process_ends_with_the_exit_code_of_the_command(tmp_path: Path, repository: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    for line, code in (("--version", 0), ("doctor --store .", 0), ("rnu", 2), ("run attack-sweep --help", 0)):
        command = [sys.executable, "-m", "robustray", *line.split()]
        ended = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
        assert ended.returncode == code, ended
        assert bool(ended.stdout) == (code == 0) and bool(ended.stderr) == (code != 0)


@pytest.mark.parametrize("line", ["--help", "list", "run attack-sweep --help", "show attack-sweep --json"])
def test_a_reader_may_leave(line: str, tmp_path: Path, repository: Path) -> None:
    """`robustray ... | head` is no failure, and nothing is said of it."""
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "robustray", *line.split()]
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    ended = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=environment)
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (141, "")


@pytest.mark.parametrize(
    ("words", "typed"),
    [
        (["python", "-m", "robustray", "run"], "python -m robustray"),
        (["/my venv/bin/python", "-X", "dev", "-m", "robustray"], "'/my venv/bin/python' -X dev -m robustray"),
        (["/usr/bin/python", "/usr/local/bin/robustray", "run"], "/usr/local/bin/robustray"),
        (["/usr/bin/python", "robustray", "run"], "robustray"),
    ],
)
def test_printed_commands_start_as_the_users_did(words: list[str], typed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "orig_argv", words)
    monkeypatch.setattr(sys, "argv", [words[1] if words[1].startswith(("/", "robust")) else "__main__.py"])
    assert typed_as() == typed


@pytest.mark.parametrize(
    ("value", "words"),
    [(8 / 255, "8/255"), (1 / 255, "1/255"), (0.2, "0.2"), (0.5, "0.5"), (1.0, "1"), (0.123456, "0.1235"), (16, "16")],
)
def test_sizes_are_shown_as_one_would_type_them(value: float, words: str) -> None:
    assert show_number(value) == words
