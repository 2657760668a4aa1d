"""What several tests of this folder start."""

from __future__ import annotations

import contextlib
import logging
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.distributed.desk import Desk

ROOT = str(Path(__file__).resolve().parents[2])


@contextlib.contextmanager
def local_ray(num_cpus: int, **environment: str) -> Iterator[None]:
    """A Ray of its own, whose workers see these variables."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"PYTHONPATH": ROOT, "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", **environment}.items():
            patch.setenv(name, value)
        import ray

        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        ray.init(address="local", num_cpus=num_cpus, include_dashboard=False, **quiet)
        yield
        ray.shutdown()


@pytest.fixture(scope="module")
def eight_cpus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Logical ones: runners of these tests wait more than they compute. Gives the file that `HangsOnce` marks."""
    flag = tmp_path_factory.mktemp("hangs") / "hung"
    with local_ray(8, ROBUSTRAY_TEST_HANGS=str(flag)):
        logging.getLogger("ray.rllib").setLevel(logging.CRITICAL)
        yield flag


@pytest.fixture(scope="module")
def two_cpus() -> Iterator[None]:
    with local_ray(2):
        yield


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Desk]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    made = Desk(tmp_path, capfd)
    yield made
    made.forget()
    for number, handler in handlers.items():
        signal.signal(number, handler)
