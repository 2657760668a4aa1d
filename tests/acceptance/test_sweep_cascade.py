"""Stages of a cascade on survivors of all shards, and transfer, through the real command: the same tables on Ray."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.acceptance

SWEEP = (
    "run attack-sweep --model digits:mlp --model digits:cnn --num-images 40 --norms linf --eps-linf 0.08 0.15 "
    "--attacks fast-cascade autoattack transfer --sources digits:mlp digits:cnn --num-transfer 20 --num-steps 5 "
    "--block 16 --num-examples 1 --json"
)


def test_tables_do_not_depend_on_the_number_of_workers(tmp_path: Path, repository: Path) -> None:
    tables = {}
    for workers in (0, 2):
        line = [*shlex.split(SWEEP), "--workers", str(workers), "--store", str(tmp_path / str(workers))]
        ended = subprocess.run(
            [sys.executable, "-m", "robustray", *line], capture_output=True, text=True, cwd=repository, timeout=600
        )
        assert ended.returncode == 0, ended.stderr[-2000:]
        paths = {name: Path(path) for name, path in json.loads(ended.stdout)["tables"].items()}
        tables[workers] = {name: path.read_bytes() for name, path in paths.items()}
    assert {"stages", "transfer", "images", "worst-case"} <= set(tables[0])
    assert tables[0] == tables[2]
