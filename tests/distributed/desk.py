"""A folder in which `robustray tune` is typed, for the tests of grids."""

from __future__ import annotations

import importlib
import json
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

from robustray.distributed.cli import main
from robustray.tasks.lab import code

GRID = """\
from pathlib import Path

from robustray.tasks.grids.settings import Cell, Grid, Outcome
from robustray.tasks.policy_gradients.settings import AgentSpec, PolicyGradient
from my_environment import STEPS

SHORT = PolicyGradient(steps_per_stream=32, num_minibatches=2, hidden=(4,))


def cell(environment, seed):
    spec = AgentSpec(environment=f"my_environment:{environment}", settings=SHORT, iterations=STEPS, seed=seed)
    return Cell(levels={"environment": environment, "seed": seed}, settings=spec)


def grid(size):
    return Grid(
        question="Which environment pays more?",
        paper="a test",
        outcomes=[Outcome(name="late_return", words="late return")],
        cells=[cell(name, seed) for name in NAMES for seed in (0, 1)],
    )


"""
ENVIRONMENT = """\
import os
import time
from pathlib import Path

from tests.tasks.rl_environments import Target

STEPS = 4
PAUSE = 0.0


class Counted(Target):
    def step(self, action):
        time.sleep(PAUSE)
        with open("steps.log", "ab", buffering=0) as file:
            file.write(b".")
        return super().step(action)


class Near(Counted):
    pass


class Far(Counted):
    ends = 0.2


class Fails(Counted):
    def step(self, action):
        if not Path("mended").exists():
            raise ValueError("not mended yet")
        return super().step(action)


class Dies(Counted):
    def step(self, action):
        if not Path("mended").exists():
            os.kill(os.getpid(), 9)
        return super().step(action)
"""


class Desk:
    """A folder with a grid of one's own, and the command typed in it."""

    def __init__(self, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
        self.folder, self.capfd, self.store = folder, capfd, folder / "store"
        (folder / "my_environment.py").write_text(ENVIRONMENT)

    def names(self, *names: str) -> None:
        """Write, or edit, the grid: two seeds in each of these environments."""
        (self.folder / "my_grids.py").write_text(f"{GRID}NAMES = {names!r}\n")

    def tune(
        self, flags: str = "", store: Path | None = None, *, grid: str = "my_grids:grid"
    ) -> tuple[int, dict[str, Any], str]:
        """Exit code, the document of --json (empty without one), and what was said on stderr."""
        self.forget()
        self.capfd.readouterr()
        ended = main(["tune", grid, "--store", str(store or self.store), "--json", *shlex.split(flags)])
        said = self.capfd.readouterr()
        return ended, json.loads(said.out) if said.out else {}, said.err

    def forget(self) -> None:
        for name in ("my_grids", "my_environment"):
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        code.forget()
        code._own_file.cache_clear()

    @property
    def steps(self) -> int:
        """Environment steps so far, of all processes."""
        log = self.folder / "steps.log"
        return log.stat().st_size if log.exists() else 0

    def agents(self) -> dict[str, int]:
        """Finished files of agents -> when they were written."""
        return {str(path): path.stat().st_mtime_ns for path in self.store.glob("agents/*/*.safetensors")}
