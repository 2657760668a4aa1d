"""`robustray verify` computes blocks again: it finds what was changed, and nothing where nothing was."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from robustray.tasks.lab import pieces
from robustray.tasks.lab.store import Store
from robustray.tasks.verification import Verification, differences
from tests.cli.conftest import Original


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def forge(store: Store, step_of: Callable[[pa.Table], bool], change: Callable[[pa.Table], pa.Table]) -> int:
    """Change the rows of one piece and publish them as if they had been computed so. Returns its first item."""
    for key in store.folders("pieces"):
        for name in store.list(f"pieces/{key}"):
            piece = pieces.named(key, name)
            assert piece is not None
            table = pq.read_table(io.BytesIO(store.read(piece.name)))
            if step_of(table):
                store.delete(piece.name)
                told = dataclasses.asdict(piece)
                pieces.publish(store, change(table), **{k: told[k] for k in ("step_key", "first", "block_key", "code")})
                return piece.first
    raise AssertionError("no such piece")


def test_all_of_a_run_is_the_same_again_and_nothing_is_written(cli: Any, runs: Path, original: Original) -> None:
    before = snapshot(runs)
    outcome = cli(f"verify {original.run} --share 1")
    assert outcome.code == 0, outcome
    num = len(list((runs / "pieces").rglob("*.parquet")))
    words = " ".join(outcome.out.split())
    assert f"{num} of {num} blocks were computed again (seed 0): every row is the same." in words
    assert snapshot(runs) == before


def test_what_was_changed_is_found_with_its_step_column_and_size(cli: Any, runs: Path, original: Original) -> None:
    def half_a_unit_farther(table: pa.Table) -> pa.Table:
        at = table.column_names.index("distance")
        moved = np.asarray(table.column(at)).copy()
        moved[3] += 0.5
        return table.set_column(at, "distance", pa.array(moved))

    first = forge(Store(runs), lambda table: "distance" in table.column_names, half_a_unit_farther)
    outcome = cli(f"verify {original.run} --share 1 --json")
    assert outcome.code == 1, outcome
    document = json.loads(outcome.out)
    (found,) = document["differences"]
    assert (found["step"], found["first"], found["column"], found["rows"]) == ("attack", first, "distance", 1)
    assert found["largest"] == pytest.approx(0.5, abs=1e-6) and found["same_code"]
    assert document["different"] == 1 and document["checked"] == document["blocks"]
    said = cli(f"verify {original.run} --share 1")
    assert said.code == 1 and "1 of them came out differently" in " ".join(said.out.split())


def test_a_share_is_drawn_by_its_seed(cli: Any, runs: Path, original: Original) -> None:
    documents = [json.loads(cli(f"verify {original.run} --share 1/3 --seed {seed} --json").out) for seed in (0, 0, 1)]
    assert documents[0] == documents[1]
    assert all(doc["checked"] == -(-doc["blocks"] // 3) for doc in documents)
    assert documents[0]["at_most"] < 1


def test_a_missing_block_is_refused(cli: Any, runs: Path, original: Original) -> None:
    forge(Store(runs), lambda table: True, lambda table: table)
    path = next((runs / "pieces").rglob("*.parquet"))
    path.unlink()
    before = snapshot(runs)
    outcome = cli(f"verify {original.run}")
    assert outcome.code == 2 and "missing in the store or damaged" in outcome.err
    path.write_bytes(b"torn")
    assert cli(f"verify {original.run}").code == 2
    assert snapshot(runs) == before | {str(path.relative_to(runs)): b"torn"}


@pytest.mark.parametrize(
    ("then", "now", "found"),
    [
        ({"a": [1.0, float("nan")]}, {"a": [1.0, float("nan")]}, []),
        ({"a": [1.0, 2.0]}, {"a": [1.0, 2.5]}, [("a", 1, 0.5)]),
        ({"a": [1.0, 2.0]}, {"a": [1.0, float("nan")]}, [("a", 1, None)]),
        ({"a": [1, 2]}, {"a": [4, 0]}, [("a", 2, 3.0)]),
        ({"a": [True, False]}, {"a": [True, True]}, [("a", 1, 1.0)]),
        ({"a": ["x", "y"]}, {"a": ["x", "z"]}, [("a", 1, None)]),
        ({"a": [[1], [2, 3]]}, {"a": [[1], [2, 4]]}, [("a", 1, None)]),
        ({"a": [1, 2]}, {"a": [1]}, [("", 2, None)]),
        ({"a": [1]}, {"b": [1]}, [("", 1, None)]),
        ({"a": [1], "b": [0.0]}, {"a": [2], "b": [-0.5]}, [("a", 1, 1.0), ("b", 1, 0.5)]),
    ],
)
def test_differences_of_two_tables(then: dict[str, Any], now: dict[str, Any], found: list[Any]) -> None:
    said = differences(pa.table(then), pa.table(now))
    assert [(each["column"], each["rows"], each["largest"]) for each in said] == found


def test_what_a_sample_without_differences_shows() -> None:
    """Of 60 drawn none differs: with a share p that is (1 - p)^60 likely, which is 5 % at p = 4.87 %."""
    from robustray.tasks.verification import StepVerdict

    def verdict(blocks: int, checked: int, different: int) -> Verification:
        step = StepVerdict(step="attack", blocks=blocks, checked=checked, rows=checked, other_code=0)
        return Verification(
            run="x", share=0.01, seed=0, steps=[step], differences=[], num_different=different, not_checked={},
            code_changed=False,
        )  # fmt: skip

    assert (1 - verdict(6000, 60, 0).at_most) ** 60 == pytest.approx(0.05)
    assert verdict(60, 60, 0).at_most == 0 and verdict(60, 60, 6).at_most == 0.1 and verdict(60, 2, 2).at_most == 1
