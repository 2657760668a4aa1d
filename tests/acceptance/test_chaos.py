"""`scripts/chaos.py`: some kills of a worker, a node and a driver in minutes; a release has hours of it."""

from __future__ import annotations

import importlib.util
import json
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def chaos(repository: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("chaos", repository / "scripts" / "chaos.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["chaos"] = module  # dataclasses look their own module up
    spec.loader.exec_module(module)
    return module


def test_a_table_that_is_missing_new_or_other_is_named(chaos: ModuleType) -> None:
    calm = {"a": b"1", "b": b"2", "c": b"3"}
    assert chaos.differences(calm, dict(calm)) == []
    assert chaos.differences(calm, {"a": b"1", "b": b"x", "d": b"4"}) == ["b", "c", "d"]


@pytest.mark.acceptance
def test_tables_of_a_disturbed_study_are_those_of_a_calm_one(repository: Path) -> None:
    flags = shlex.split("--jobs replication --kills 2 --kills-per-run 2 --nodes 2 --mean-seconds 6 --seed 1")
    ran = subprocess.run([sys.executable, "scripts/chaos.py", *flags], cwd=repository, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    document = json.loads(ran.stdout.splitlines()[-1])
    assert sum(document["kills"].values()) == 2 and document["tables_compared"] >= 5, ran.stderr
    assert document["tables_that_differ"] == {}
