"""Every study's full quick size, through its real command: what the README's first command gives."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from robustray.tasks.study import STUDIES

pytestmark = pytest.mark.acceptance


@pytest.mark.parametrize("study", STUDIES)
def test_the_quick_size_answers_its_question(study: str, tmp_path: Path, repository: Path) -> None:
    command = [sys.executable, "-m", "robustray", "run", study, "--size", "quick", "--json", "--store", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=repository, timeout=600)
    assert ended.returncode == 0, ended.stderr[-2000:]
    document = json.loads(ended.stdout)
    assert document["answer"] and document["claims"]
    assert all(claim["verdict"] in ("supported", "contradicted", "undecided") for claim in document["claims"])
    page = Path(document["report"]).read_text()
    assert "<svg" in page and "quick" in page
    for path in document["tables"].values():
        assert len(pd.read_parquet(path)) > 0

    again = subprocess.run(command, capture_output=True, text=True, cwd=repository, timeout=120)
    assert json.loads(again.stdout) == document
    assert len(list(tmp_path.glob(f"{study}-*"))) == 1


def test_the_digits_classifiers_of_the_quick_sweep_learn_and_fall(tmp_path: Path, repository: Path) -> None:
    """The facts behind the first picture a newcomer sees, with room for other CPUs' last bits."""
    command = [sys.executable, "-m", "robustray", "run", "attack-sweep", "--workers", "0", "--json"]
    ended = subprocess.run([*command, "--store", str(tmp_path)], capture_output=True, text=True, cwd=repository)
    table = pd.read_parquet(json.loads(ended.stdout)["tables"]["worst-case"])
    assert (table[table.eps == 0].robust_accuracy > 0.95).all()
    assert (table[(table.norm == "linf") & (table.eps == 0.2)].robust_accuracy < 0.1).all()
