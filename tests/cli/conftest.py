"""The command line in this process: real entry point, real files, nothing left behind in the interpreter."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from robustray.distributed.cli import main
from robustray.tasks.lab import code

TYPED = "/opt/venv/bin/python -m robustray"
"""How these tests pretend that robustray was started."""
TINY = "--workers 0 --num-images 40 --norm linf --eps-linf 0.1 0.3 --attack fgsm --num-examples 1"
FIRST = f"run attack-sweep {TINY} --model digits:mlp"
KEYS = {"run", "answer", "claims", "descriptions", "tables", "report"}

OWN = """\
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import nn

from robustray.tasks.attacks import FGSM


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(64, 3)

    def forward(self, images):
        return self.layer(images.flatten(1))


def build():
    return Net()


def data():
    images = np.random.default_rng(0).random((20, 1, 8, 8), dtype=np.float32)
    return images, np.arange(20) % 3, ("ant", "bee", "cat")


@dataclass(frozen=True)
class Trouble:
    norm: str
    eps: float

    def __call__(self, model, images, labels, *, seed=0, indices=None, **others):
        for kind in (MemoryError, KeyboardInterrupt, ValueError):
            if Path(kind.__name__).exists() and int(Path(kind.__name__).read_text()) in list(indices):
                raise kind("as it was told to")
        return FGSM(norm=self.norm, eps=self.eps)(model, images, labels, seed=seed, indices=indices)


def trouble(norm, eps):
    return Trouble(norm, eps)
"""


@dataclass(frozen=True)
class Outcome:
    """What a command did."""

    code: int
    out: str
    err: str


Cli = Callable[[str], Outcome]


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Iterator[Cli]:
    """`cli("run attack-sweep")` from inside `tmp_path`; own modules that it imports are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "orig_argv", [*shlex.split(TYPED), "run"])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    for name in ("ROBUSTRAY_DATA", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    known, variables = set(sys.modules), set(os.environ)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def run(line: str) -> Outcome:
        capfd.readouterr()
        exit_code = main(shlex.split(line))
        said = capfd.readouterr()
        return Outcome(exit_code, said.out, said.err)

    yield run
    for name in set(os.environ) - variables:  # a command's own process ends with what it set, RAY_AUTH_MODE above all
        del os.environ[name]
    for number, handler in handlers.items():
        signal.signal(number, handler)
    for name in set(sys.modules) - known:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]
    code.forget()  # what these were is no longer what they are
    code._own_file.cache_clear()


# -- a store with a finished run, and what is in it --------------------------------------------------------------------


def ids(store: Path) -> list[str]:
    return sorted(path.parent.name for path in store.glob("*/run.json"))


def run_file(store: Path, run: str) -> dict[str, Any]:
    return json.loads((store / run / "run.json").read_text())


def computed(store: Path, run: str) -> list[str]:
    """The steps of the blocks that a run computed, in their order."""
    path = store / run / "blocks.jsonl"
    return [json.loads(line)["step"] for line in path.read_text().splitlines()] if path.exists() else []


def tables(store: Path, run: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((store / run / "tables").iterdir())}


def once(store: Path, *runs: str) -> None:
    """Together these runs computed every block of their own attack once."""
    lines = [json.loads(line) for run in runs for line in (store / run / "blocks.jsonl").read_text().splitlines()]
    files = [line["file"] for line in lines if line["step"] == "attack"]
    assert len(files) == len(set(files)) > 5  # 40 images at the first size, 8 in a block


def only_document(outcome: Any) -> dict[str, Any]:
    """The one JSON document on standard output."""
    assert outcome.code == 0, outcome
    assert outcome.out.count("\n") == 1 and outcome.out.startswith("{"), outcome.out
    document = json.loads(outcome.out)
    assert set(document) == KEYS
    return document


@dataclass(frozen=True)
class Original:
    """A store with one finished run, made by the real command in a process of its own."""

    store: Path
    run: str
    out: str
    err: str


def outside(repository: Path) -> dict[str, str]:
    """The environment of a command in a process of its own."""
    kept = {key: value for key, value in os.environ.items() if key not in ("ROBUSTRAY_DATA", "RAY_ADDRESS")}
    return {**kept, "PYTHONPATH": str(repository)}


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Original:
    folder = tmp_path_factory.mktemp("original")
    command = [sys.executable, "-m", "robustray", *shlex.split(FIRST), "--store", "store"]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=outside(repository))
    assert ended.returncode == 0, ended.stderr
    (run,) = ids(folder / "store")
    return Original(folder / "store", run, ended.stdout, ended.stderr)


@pytest.fixture
def runs(original: Original, tmp_path: Path) -> Path:
    """A copy of it as `./runs` of the folder in which `cli` works."""
    return Path(shutil.copytree(original.store, tmp_path / "runs"))


@pytest.fixture
def troubled(cli: Any, runs: Path) -> str:
    """A command with an attack of one's own, which does what the files `MemoryError`, ... in the folder tell it."""
    (runs.parent / "my_trouble.py").write_text(OWN)
    return FIRST.replace("--attack fgsm", "--attack my_trouble:trouble --block 8")
