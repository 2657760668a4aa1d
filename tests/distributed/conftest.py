"""What several tests of this folder start."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = str(Path(__file__).resolve().parents[2])


@pytest.fixture(scope="module")
def eight_cpus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Logical ones: runners of these tests wait more than they compute. Gives the file that `HangsOnce` marks."""
    flag = tmp_path_factory.mktemp("hangs") / "hung"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", ROOT)
        patch.setenv("ROBUSTRAY_TEST_HANGS", str(flag))
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        import ray

        ray.init(address="local", num_cpus=8, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        logging.getLogger("ray.rllib").setLevel(logging.CRITICAL)
        yield flag
        ray.shutdown()
