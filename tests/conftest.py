"""What every test shares: one thread, no usage reports, and the two things a machine may lack."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest

# Set before any test imports torch, NumPy or Ray, and inherited by every command that a test starts.
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("MPLBACKEND", "Agg")
# As the lab sets it (tasks/lab/jobs.py): without it a row's last bits depend on its place in the batch on CPUs without
# AVX-512 (measured: 64 tests of attacks fail with MKL held to AVX2).
os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")

REPOSITORY = Path(__file__).resolve().parent.parent
IN_CI = os.environ.get("CI", "").lower() not in ("", "0", "false")


def _lacking(what: str) -> NoReturn:
    if IN_CI:
        pytest.fail(f"{what} (CI must have it)")
    pytest.skip(what)


@pytest.fixture(scope="session")
def lacking() -> Callable[[str], NoReturn]:
    """`lacking("no mounts: ...")` skips the test with that reason; in CI, where everything is there, it fails."""
    return _lacking


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Bits are compared in the numerics that a lab's workers have, whatever OMP_NUM_THREADS says."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real data sets and weights: `ROBUSTRAY_DATA`, or `shared/data` beside the checkout."""
    folder = Path(os.environ.get("ROBUSTRAY_DATA") or REPOSITORY.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} is not a folder; set ROBUSTRAY_DATA")
    return folder


@pytest.fixture(scope="session")
def require_chromium() -> str:
    """Path of a headless-capable Chromium; the test that asks for it carries the marker `browser`."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    _lacking("no Chromium: apt-get install chromium")
