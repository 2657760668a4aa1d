"""Bad input at the command line: exit code 2, one line that names the cause, and nothing half-written."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.cli.bad_input.agents import AGENTS
from tests.cli.bad_input.backgrounds import BACKGROUNDS
from tests.cli.bad_input.case import RUN, Case
from tests.cli.bad_input.corruptions import CORRUPTIONS
from tests.cli.bad_input.crowds import CROWDS
from tests.cli.bad_input.data import DATA
from tests.cli.bad_input.features import FEATURES
from tests.cli.bad_input.gaussian_features import GAUSSIAN_FEATURES
from tests.cli.bad_input.grids import GRIDS
from tests.cli.bad_input.imports import IMPORTS
from tests.cli.bad_input.models import ATTACKS, MODELS
from tests.cli.bad_input.policy_gradients import CLOSER_LOOK, IMPLEMENTATION_MATTERS
from tests.cli.bad_input.representations import REPRESENTATIONS
from tests.cli.bad_input.synthesis import SYNTHESIS
from tests.cli.bad_input.transfer import TRANSFER
from tests.cli.bad_input.unadversarial import UNADVERSARIAL
from tests.cli.bad_input.words import IDLE, NUMBERS, PLACES, RUNS, WORDS
from tests.cli.conftest import outside

GENERAL = [*WORDS, *IDLE, *NUMBERS, *PLACES, *DATA, *MODELS, *ATTACKS, *RUNS, *IMPORTS, *GRIDS, *AGENTS, *CORRUPTIONS]
STUDIES = [
    *REPRESENTATIONS,
    *FEATURES,
    *GAUSSIAN_FEATURES,
    *CROWDS,
    *BACKGROUNDS,
    *SYNTHESIS,
    *UNADVERSARIAL,
    *TRANSFER,
    *IMPLEMENTATION_MATTERS,
    *CLOSER_LOOK,
]
CASES = [*GENERAL, *STUDIES]


def tree(folder: Path) -> dict[str, bytes | None]:
    """Every file with its content, every folder."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_bad_input_is_refused_in_one_line(
    case: Case, cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    for name, value in case.environment.items():
        monkeypatch.setenv(name, value)
    case.prepare(tmp_path)
    before = tree(tmp_path)

    outcome = cli(case.typed.replace("{folder}", str(tmp_path)))

    assert outcome.code == 2, outcome
    assert outcome.err.startswith("robustray: error: ") and outcome.err.endswith("\n"), outcome.err
    assert not recwarn.list, "these would be lines on stderr, too"
    assert outcome.err.count("\n") == 1 and outcome.out == "", outcome
    missing = [words for words in case.says if words not in outcome.err]
    assert not missing, f"{missing} not in: {outcome.err}"
    assert "Traceback" not in outcome.err and "│" not in outcome.err and "  " not in outcome.err
    after = tree(tmp_path)
    assert after == before, f"written: {[name for name in after if after[name] != before.get(name, '')]}"


OPENED = {
    "more images than there are",
    "restarts that would all be the same",
    "a store below a file",
    "an unwritable store",
    "no cluster there",
    "no cluster behind a client's address",
    "no port of that number",
}
"""What only opened data and attacks, a cluster or a written file can tell."""
SHOWN = [case for case in (*NUMBERS, *PLACES) if case.typed.startswith("run ") and case.name not in OPENED]


@pytest.mark.parametrize("case", SHOWN, ids=[case.name for case in SHOWN])
def test_show_refuses_the_words_that_run_refuses(
    case: Case, cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the same line, but for the command's name."""
    for name, value in case.environment.items():
        monkeypatch.setenv(name, value)
    case.prepare(tmp_path)
    typed = case.typed.replace("{folder}", str(tmp_path))
    run, show = cli(typed), cli(typed.replace("run ", "show ", 1))
    assert (show.code, show.out) == (2, "") and show.err.replace(" show ", " run ") == run.err


@pytest.mark.parametrize(
    "flags",
    [
        "attack-sweep --model digits:mpl",
        "attack-sweep --model digits:mlp cifar:resnet20x",
        "attack-sweep --model cifar:wrn-28-99",
        "attack-sweep --data digits:tset",
        "attack-sweep --data digit",
        "unadversarial --arch scenes:cn",
        "unadversarial --test-data digits:tset",
        "features --transfer-archs digits:cmm digits:mlp digits:cnn small:s small:fine",
        "synthesis --robust-judge digits:mpl",
    ],
)
def test_show_refuses_names_that_nothing_has(flags: str, cli: Any, tmp_path: Path) -> None:
    """In the line of `run`. What needs a data root, a store or a file is the run's to find."""
    run, show = cli(f"run {flags} --workers 0"), cli(f"show {flags}")
    assert (run.code, show.code, show.out) == (2, 2, "") and show.err == run.err
    assert not any(tmp_path.iterdir())


def test_show_opens_nothing(cli: Any, tmp_path: Path) -> None:
    for flags in (
        "--size small",
        "--model own:net run:abc cifar:resnet20@w.safetensors",
        "--data cifar10:test a/b c.png",
    ):
        assert cli(f"show attack-sweep {flags}").code == 0
    assert cli("show representations --size small").code == 0


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
@pytest.mark.parametrize("flags", ["--eps-linf 0,1", "--seed", "-x 3"])
def test_no_frame_leaks_into_an_error_whatever_the_terminal(
    flags: str, encoding: str, tmp_path: Path, repository: Path
) -> None:
    """The parser draws a box around its errors, in dashes where the terminal knows no others."""
    environment = {**outside(repository), "PYTHONIOENCODING": encoding, "LC_ALL": "C", "COLUMNS": "60"}
    command = [sys.executable, "-m", "robustray", "run", "attack-sweep", *flags.split()]
    ended = subprocess.run(command, capture_output=True, cwd=tmp_path, env=environment)
    said = ended.stderr.decode(encoding)
    assert ended.returncode == 2 and said.count("\n") == 1 and ended.stdout == b""
    assert not re.search(r"---|\+-|\\u|[|─╭╮╰╯│]|  ", said), said


def test_what_an_ascii_terminal_lacks_breaks_no_command(tmp_path: Path, repository: Path) -> None:
    environment = {**outside(repository), "PYTHONIOENCODING": "ascii:strict", "LC_ALL": "C"}
    for line, code in (("doctor --data-root nowhere", 1), ("list", 0), ("show attack-sweep", 0), ("--help", 0)):
        command = [sys.executable, "-m", "robustray", *line.split()]
        ended = subprocess.run(command, capture_output=True, cwd=tmp_path, env=environment)
        assert ended.returncode == code and ended.stdout.decode("ascii") and b"Traceback" not in ended.stderr, ended


def test_a_gpu_that_is_not_there_is_an_error_when_it_is_demanded(cli: Any, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU: it cannot be missing")
    outcome = cli(RUN + "--device cuda")
    assert outcome.code == 2 and not any(tmp_path.iterdir())
    assert outcome.err.startswith("robustray: error: --device cuda: ") and "--device cpu" in outcome.err


def test_the_names_of_the_cases_differ() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 60
    assert all(dataclasses.asdict(case)["says"] for case in CASES)
