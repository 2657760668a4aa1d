"""Bad input at the command line: exit code 2, one line that names the cause, and nothing half-written."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.cli.bad_input.backgrounds import BACKGROUNDS
from tests.cli.bad_input.case import RUN, Case
from tests.cli.bad_input.crowds import CROWDS
from tests.cli.bad_input.data import DATA
from tests.cli.bad_input.features import FEATURES
from tests.cli.bad_input.imports import IMPORTS
from tests.cli.bad_input.models import ATTACKS, MODELS
from tests.cli.bad_input.representations import REPRESENTATIONS
from tests.cli.bad_input.synthesis import SYNTHESIS
from tests.cli.bad_input.words import IDLE, NUMBERS, PLACES, RUNS, WORDS

GENERAL = [*WORDS, *IDLE, *NUMBERS, *PLACES, *DATA, *MODELS, *ATTACKS, *RUNS, *IMPORTS]
CASES = [*GENERAL, *REPRESENTATIONS, *FEATURES, *CROWDS, *BACKGROUNDS, *SYNTHESIS]


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


def test_a_gpu_that_is_not_there_is_an_error_when_it_is_demanded(cli: Any, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU: it cannot be missing")
    outcome = cli(RUN + "--device cuda")
    assert outcome.code == 2 and not any(tmp_path.iterdir())
    assert outcome.err.startswith("robustray: error: --device cuda: ") and "--device cpu" in outcome.err


def test_the_names_of_the_cases_differ() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 60
    assert all(dataclasses.asdict(case)["says"] for case in CASES)
