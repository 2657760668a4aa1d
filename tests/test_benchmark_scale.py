"""The store that `benchmarks/engine_scale.py` makes is a real one; its tables say what records hold. No timing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.scale import stores
from robustray.tasks.lab import pieces, runs
from robustray.tasks.lab.pruning import prune
from robustray.tasks.lab.store import Store
from scripts.docs_tables import scale


def test_a_made_store_is_one_that_the_lab_and_prune_know(tmp_path: Path) -> None:
    store = Store(tmp_path)
    stores.make(store, 2_000)
    steps = stores.plan(2_000)
    assert list(steps.values()) == [1_000, 1_000]
    for key, count in steps.items():
        found = pieces.listing(store, key)
        assert len(found) == count
        table = pieces.read(store, next(iter(found.values()))[0])
        assert table is not None and table.num_rows == stores.ROWS
    (run,) = runs.all_runs(store)
    assert run.file.status == "finished"
    pruned = prune(store, older_than_s=0, dry_run=True)
    assert (pruned.kept, pruned.pieces, pruned.young) == (2_000, 0, 0)


def test_a_table_takes_medians_and_compares_round_by_round(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    speeds = {"one process": (50, 60, 55), "multiprocessing": (100, 90, 110), scale.LAB: (99, 90, 99)}
    records = [
        {"part": "attack", "case": case, "size": 64, "what": "images per second", "value": value, "unit": "1/s",
         "foreign_load": 0.0, "round": number}
        for case, values in speeds.items()
        for number, value in enumerate(values)
    ]  # fmt: skip
    document = {"machine": {"cpus": 2, "python": "3.11", "ray": "2"}, "records": records}
    (tmp_path / "record.json").write_text(json.dumps(document))
    monkeypatch.setattr(scale, "ROOT", tmp_path)
    lines = scale.scale("record.json", "attack").splitlines()
    assert lines[4] == f"| {scale.LAB} | 99 (90–99) | **99 (90–100) %** |"
    assert "3 rounds" in lines[-1]
