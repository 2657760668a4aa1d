"""Memory that is freed stays with the process: counted by the pages that it is given, never by a time."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

ALLOCATES = """
import resource
import torch
from robustray.tasks.lab.heap import keep_freed_memory

asked = keep_freed_memory()


def step():  # what a small network's forward pass holds until its backward pass: 24 MB in tensors of 1 MB
    held = [torch.ones(2**18) for _ in range(24)]
    return sum(float(each[0]) for each in held)


for _ in range(3):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    assert step() == 24
print(asked, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
PAGES_OF_A_STEP = 24 * 2**20 // os.sysconf("SC_PAGE_SIZE")


def ran(repository: Path, **more: str) -> tuple[str, int]:
    """What was asked, and pages that 20 steps were given."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    ended = subprocess.run(
        [sys.executable, "-c", ALLOCATES],
        env={**environment, "PYTHONPATH": str(repository), **more},
        capture_output=True,
        text=True,
        check=True,
    )
    asked, pages = ended.stdout.split()
    return asked, int(pages)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_a_step_uses_the_pages_of_the_one_before(repository: Path) -> None:
    asked, pages = ran(repository)
    assert asked == "True" and pages < PAGES_OF_A_STEP, "20 steps were given less than one needs"
    # What glibc does by itself depends on what lies above: here it is told to give every tensor back.
    asked, pages = ran(repository, MALLOC_MMAP_THRESHOLD_="65536")
    assert asked == "False" and pages > 10 * PAGES_OF_A_STEP


@pytest.mark.parametrize("variable", ["MALLOC_ARENA_MAX", "GLIBC_TUNABLES"])
def test_a_user_who_set_the_allocator_up_is_left_alone(repository: Path, variable: str) -> None:
    value = "2" if variable.startswith("MALLOC") else "glibc.malloc.arena_max=2"
    assert ran(repository, **{variable: value})[0] == "False"
