"""Memory that is kept: on glibc freed blocks are not fetched from the kernel again."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import resource, sys
from robustray.tasks.kit.memory import keep_freed_memory
kept = keep_freed_memory() if sys.argv[1] == "keep" else False
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
size = 16 * 2**20
for _ in range(2):
    whole = [bytearray(size) for _ in range(3)]
    del whole
before = faults()
for _ in range(8):
    whole = [bytearray(size) for _ in range(3)]
    del whole
print(int(kept), faults() - before)
"""


def run(how: str) -> tuple[int, int]:
    done = subprocess.run([sys.executable, "-c", CODE, how], capture_output=True, text=True, check=True)
    kept, faults = map(int, done.stdout.split())
    return kept, faults


def test_freed_blocks_are_used_again() -> None:
    kept, faults = run("keep")
    if not kept:
        pytest.skip("this C library has no mallopt")
    _, without = run("leave")
    assert faults < without / 4, (faults, without)
