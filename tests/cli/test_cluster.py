"""What a command does before it works on a cluster, with the cluster itself left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from robustray.distributed import cluster, lab
from robustray.tasks.errors import InputError
from robustray.tasks.lab.store import Store
from tests.cli.conftest import FIRST, Original

ON_CLUSTER = "run attack-sweep --address 127.0.0.1:6379 --store {folder}/store --device cpu "


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The stores about which the nodes were asked. They answer that they see another folder there."""
    stores: list[Path] = []

    def refuse(store: Store) -> None:
        stores.append(Path(store.url))
        assert not Path(store.url).exists(), "nothing is written before the nodes were asked"
        raise InputError("1 of 2 nodes see another folder there")

    monkeypatch.setattr(lab, "start_ray", lambda *, address, workers: None)
    monkeypatch.setattr(cluster, "check_shared_store", refuse)
    return stores


def test_settings_are_checked_before_the_store_is_made(cli: Any, asked: list[Path], tmp_path: Path) -> None:
    outcome = cli(ON_CLUSTER.format(folder=tmp_path) + "--num-images 356")
    assert outcome.code == 2 and "digits:test has 355" in outcome.err
    assert asked == [] and not any(tmp_path.iterdir())


def test_a_store_that_the_nodes_do_not_share_is_refused(cli: Any, asked: list[Path], tmp_path: Path) -> None:
    outcome = cli(ON_CLUSTER.format(folder=tmp_path) + "--num-images 40")
    assert outcome.code == 2 and "1 of 2 nodes see another folder there" in outcome.err
    assert asked == [tmp_path / "store"] and not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ("", "as many workers as fit · cpu, cluster with 64 CPUs and 8 GPUs on 3 nodes"),
        ("--workers 5", "5 workers · cpu, cluster with 64 CPUs and 8 GPUs on 3 nodes"),
    ],
)
def test_the_first_line_says_what_the_cluster_has(
    flags: str, says: str, cli: Any, asked: list[Path], runs: Path, original: Original, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not what the machine has on which the command was typed."""
    monkeypatch.setattr("ray.cluster_resources", lambda: {"CPU": 64.0, "GPU": 8.0, "memory": 1e9})
    monkeypatch.setattr("ray.nodes", lambda: [{"Alive": True}, {"Alive": True}, {"Alive": True}, {"Alive": False}])
    monkeypatch.setattr(cluster, "check_shared_store", lambda store: None)
    run_json = runs / original.run / "run.json"
    run_json.write_text(run_json.read_text().replace('"finished"', '"interrupted"'))  # nothing is left to compute
    line = FIRST.replace("--workers 0", f"--address 127.0.0.1:6379 --device cpu --store {runs} {flags}")
    outcome = cli(line)
    assert outcome.code == 0 and says in " ".join(outcome.out.split())
