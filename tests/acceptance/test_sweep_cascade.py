"""Stages of a cascade on survivors of all shards, and transfer, through the real command: the same tables on Ray."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.acceptance

SWEEP = (
    "run attack-sweep --model digits:mlp --model digits:cnn --num-images 12 --norms linf --eps-linf 0.1 "
    "--attacks fast-cascade autoattack transfer --sources digits:mlp digits:cnn --num-transfer 10 --num-steps 5 "
    "--block 4 --num-examples 1 --json"
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


RANDOM = """
import torch
from torch import nn


class Noisy(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(64, num_classes)

    def forward(self, x):
        return self.linear((x + 0.1 * torch.randn_like(x)).flatten(1) - 0.5)


def build(num_classes=10):
    return Noisy(num_classes)
"""


def test_a_random_model_draws_the_same_for_any_number_of_workers(tmp_path: Path, repository: Path) -> None:
    (tmp_path / "own_noisy.py").write_text(RANDOM)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(repository)])}
    sweep = (
        "run attack-sweep --model own_noisy:build --data digits:test --num-images 6 --norms linf --eps-linf 0.5 "
        "--block 3 --num-examples 1 --json"
    )

    def run(flags: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "robustray", *shlex.split(f"{sweep} {flags}")]
        return subprocess.run(line, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=600)

    refused = run("--workers 0 --attack pgd")
    assert refused.returncode == 2 and "--attack autoattack-rand" in refused.stderr
    tables = {}
    for workers in (0, 2):
        ended = run(f"--attack autoattack-rand --workers {workers} --store runs{workers}")
        assert ended.returncode == 0, ended.stderr[-2000:]
        paths = {name: tmp_path / path for name, path in json.loads(ended.stdout)["tables"].items()}
        tables[workers] = {name: path.read_bytes() for name, path in paths.items()}
    assert {"votes", "images", "worst-case"} <= set(tables[0])
    assert tables[0] == tables[2]
