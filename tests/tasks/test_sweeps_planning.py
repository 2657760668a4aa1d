"""Planning multiplies right, and real pieces are no larger than it assumes."""

from __future__ import annotations

import io

import numpy as np
import pyarrow.parquet as pq
import pytest

from robustray.tasks.attacks.blocks import attack_block
from robustray.tasks.errors import InputError
from robustray.tasks.lab import pieces
from robustray.tasks.sweeps.planning import PIECE_BYTES, ROW_BYTES, Gpu, Sweep, cost


def test_a_plan_is_a_product() -> None:
    # 1,000 images x 3 models x 2 runs x 36 passes of 10 GFLOP at 100 GFLOP/s: 3.6 s an image
    sweep = Sweep(images=1_000, models=3, passes=36, gflop=10, runs=2)
    found = cost(sweep, Gpu(tflops=0.5, utilisation=0.2), block=300)
    assert found.gpu_hours == pytest.approx(6)
    assert found.block_seconds == pytest.approx(1_080)
    assert found.pieces == 6 * 4
    assert found.bytes == 6_000 * ROW_BYTES + 24 * PIECE_BYTES
    assert (found.gpus(days=0.25), found.gpus(days=0.1)) == (1, 3)
    assert cost(sweep, Gpu(tflops=0.5, utilisation=0.2), block=5_000).block_seconds == pytest.approx(3_600)


@pytest.mark.parametrize("rows", [1, 16, 128, 512, 5_000])
def test_a_piece_is_no_larger_than_planned(rows: int) -> None:
    rng = np.random.default_rng(0)
    limits = {"int16": 1_000, "int32": 8_000, "bool": 2}
    values: dict[str, np.ndarray] = {"index": np.arange(rows)}
    for name, kind in attack_block.columns.items():
        dtype = np.dtype(kind.to_pandas_dtype()).name
        if name != "index":
            values[name] = rng.integers(0, limits[dtype], rows) if dtype in limits else rng.random(rows)
            values[name] = values[name].astype(dtype)
    buffer = io.BytesIO()
    pq.write_table(pieces.to_table(attack_block, values, rows), buffer, compression="zstd", store_schema=True)
    assert len(buffer.getvalue()) <= rows * ROW_BYTES + PIECE_BYTES


def test_nothing_is_done_in_no_time() -> None:
    found = cost(Sweep(images=1, models=1, passes=1, gflop=1), Gpu(tflops=1, utilisation=1), block=1)
    with pytest.raises(InputError, match="days must be above 0"):
        found.gpus(days=0)


@pytest.mark.parametrize("change", [{"images": 0}, {"passes": 0.0}, {"gflop": -1.0}])
def test_what_cannot_be_planned_is_refused(change: dict[str, float]) -> None:
    with pytest.raises(InputError):
        Sweep(**{"images": 1, "models": 1, "passes": 1.0, "gflop": 1.0, **change})  # type: ignore[arg-type]
