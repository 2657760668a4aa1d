"""Every study's full quick size, through its real command: what the README's first command gives."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from robustray.tasks.study import STUDIES

pytestmark = pytest.mark.acceptance


@pytest.mark.parametrize("study", STUDIES)
def test_the_quick_size_answers_its_question(study: str, tmp_path: Path, repository: Path) -> None:
    """In one process but for the first one, which is the README's: the contract compares workers, and two tests at a
    time fill two CPUs."""
    command = [sys.executable, "-m", "robustray", "run", study, "--size", "quick", "--json", "--store", str(tmp_path)]
    environment = dict(os.environ)
    if study != "attack-sweep":
        command += ["--workers", "0"]
        environment["OMP_NUM_THREADS"] = "1"
    ended = subprocess.run(command, capture_output=True, text=True, cwd=repository, timeout=600, env=environment)
    assert ended.returncode == 0, ended.stderr[-2000:]
    document = json.loads(ended.stdout)
    assert document["answer"] and document["claims"]
    assert all(claim["verdict"] in ("supported", "contradicted", "undecided") for claim in document["claims"])
    page = Path(document["report"]).read_text()
    assert "<svg" in page and "quick" in page
    for path in document["tables"].values():
        assert len(pd.read_parquet(path)) > 0
    if study == "attack-sweep":
        check_that_they_learn_and_fall(pd.read_parquet(document["tables"]["worst-case"]))


def check_that_they_learn_and_fall(table: pd.DataFrame) -> None:
    """The facts behind the first picture a newcomer sees, with room for other CPUs' last bits."""
    assert (table[table.eps == 0].robust_accuracy > 0.95).all()
    assert (table[(table.norm == "linf") & (table.eps == 0.2)].robust_accuracy < 0.1).all()
