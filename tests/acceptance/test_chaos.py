"""`scripts/chaos.py`: some kills of a worker, a node and a driver, in minutes; before a release it runs for an hour."""

from __future__ import annotations

import importlib.util
import json
import shlex
import subprocess
import sys
import time
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


def test_runs_of_a_record_are_added_up_and_are_not_run_again(
    chaos: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = {"job": "sweep", "seed": 0, "mean_seconds": 5.0, "commands_typed": 2, "tables_compared": 3}
    lines = [
        run | {"killed": {"worker": 2, "driver": 1}, "tables_that_differ": []},
        run | {"killed": {"worker": 1}, "tables_that_differ": ["errors"], "job": "agents"},
    ]
    record = tmp_path / "chaos.jsonl"
    record.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert chaos.main(["--kills", "4", "--record", str(record)]) == 1  # a table differed
    document = json.loads(capsys.readouterr().out)
    assert document["kills"] == {"worker": 3, "node": 0, "driver": 1} and document["kills_in_all"] == 4
    assert document["runs"] == {"sweep": 1, "agents": 1} and document["commands_typed"] == 4
    assert document["tables_compared"] == 6 and document["tables_that_differ"] == {"agents": ["errors"]}
    assert len(record.read_text().splitlines()) == 2


@pytest.mark.acceptance
def test_a_command_waits_for_the_first_node_of_a_cluster(chaos: ModuleType, tmp_path: Path) -> None:
    """All nodes of a cluster may be lost at once, and an autoscaler may have none while nothing asks for one."""
    machines = chaos.Machines(0)
    try:
        words = "run attack-sweep --models digits:mlp --attacks noise --norms linf --eps-linf 0.1 --num-images 20"
        driver = chaos.start(words, tmp_path, tmp_path / "runs", "--address", machines.address)
        while driver.process.poll() is None and "waiting for a node" not in driver.err.read_text():
            time.sleep(0.2)
        machines.add()
        assert driver.process.wait(240) == 0, driver.err.read_text()
        assert "the cluster has no CPU now" in driver.err.read_text() and chaos.tables(driver.document)
    finally:
        machines.cluster.shutdown()


@pytest.mark.acceptance
def test_tables_of_a_disturbed_study_are_those_of_a_calm_one(repository: Path, tmp_path: Path) -> None:
    record = tmp_path / "chaos.jsonl"
    flags = [
        *shlex.split("--jobs replication --kills 2 --kills-per-run 2 --nodes 2 --mean-seconds 6 --seed 1 --record"),
        str(record),
    ]
    ran = subprocess.run([sys.executable, "scripts/chaos.py", *flags], cwd=repository, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    document = json.loads(ran.stdout.splitlines()[-1])
    assert sum(document["kills"].values()) == 2 and document["tables_compared"] >= 5, ran.stderr
    assert document["tables_that_differ"] == {}
    assert sum(sum(json.loads(line)["killed"].values()) for line in record.read_text().splitlines()) == 2
