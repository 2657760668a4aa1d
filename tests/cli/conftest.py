"""The command line in this process: real entry point, real files, nothing left behind in the interpreter."""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from robustray.distributed.cli import main

TYPED = "/opt/venv/bin/python -m robustray"
"""How these tests pretend that robustray was started."""


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
    known = set(sys.modules)
    on_terminate = signal.getsignal(signal.SIGTERM)

    def run(line: str) -> Outcome:
        capfd.readouterr()
        code = main(shlex.split(line))
        said = capfd.readouterr()
        return Outcome(code, said.out, said.err)

    yield run
    signal.signal(signal.SIGTERM, on_terminate)
    for name in set(sys.modules) - known:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]
