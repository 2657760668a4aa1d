"""`make results`: long runs end up published, one after the other, and typed again they compute nothing."""

from __future__ import annotations

import importlib.util
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from robustray.distributed.commands import show
from robustray.tasks.study import STUDIES

TINY = "attack-sweep --model digits:mlp --num-images 20 --norm linf --eps-linf 0.1 --attack fgsm --num-examples 0"


def fresh(repository: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("results", repository / "scripts" / "results.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def results(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    module = fresh(repository)
    monkeypatch.setattr(module, "FOLDER", tmp_path / "results")
    monkeypatch.setattr(module, "PUBLISHED", tmp_path / "published")
    monkeypatch.setattr(module, "RUNS", {"tiny": TINY, "broken": "attack-sweep --model no:such"})
    monkeypatch.chdir(repository)
    yield module


@pytest.mark.timeout(900)  # runs at the lowest priority: on a busy machine it waits
def test_what_finishes_is_published_and_a_second_call_computes_nothing(results: ModuleType, tmp_path: Path) -> None:
    assert results.main(["broken", "tiny"]) == 1, "one that fails does not stop the others"
    assert (tmp_path / "published/tiny/report.html").is_file() and not (tmp_path / "published/broken").exists()
    pieces = sorted((tmp_path / "results/runs").rglob("*.parquet"))
    assert pieces and results.main(["tiny"]) == 0
    assert sorted((tmp_path / "results/runs").rglob("*.parquet")) == pieces


def test_every_study_has_its_small_size_among_the_runs_and_every_command_is_one(repository: Path) -> None:
    """Settings are parsed as the command line does; nothing is opened."""
    known = fresh(repository).RUNS
    assert {f"{name}-small" for name in STUDIES} <= known.keys()
    for words in known.values():
        name, *flags = shlex.split(words)
        assert show.main([name, *flags, "--json"]) == 0


def test_an_unknown_name_is_refused(results: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        results.main(["tinny"])
    assert "there are tiny, broken" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "stopped", "is_seen"),
    [("speed.py", False, True), ("speed.py", True, False), ("learning_parity.py", False, False)],
    ids=["one of speed", "one that is stopped: both would wait", "one that times nothing"],
)
def test_a_benchmark_of_speed_is_seen(
    results: ModuleType, tmp_path: Path, name: str, stopped: bool, is_seen: bool
) -> None:
    script = tmp_path / "benchmarks" / name
    script.parent.mkdir()
    script.write_text("import sys; print('up', flush=True); sys.stdin.read()")
    with subprocess.Popen([sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "up\n"
        if stopped:
            other.send_signal(signal.SIGSTOP)
            os.waitpid(other.pid, os.WUNTRACED)
        seen = list(results.benchmarks())
        other.send_signal(signal.SIGCONT)
        other.communicate("")
    assert (str(script) in seen) == is_seen


def test_a_word_of_another_program_is_no_benchmark(results: ModuleType) -> None:
    waits = "import sys; print('up', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", waits, "benchmarks/attacks.py"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None and other.stdout.readline() == "up\n"
        seen = list(results.benchmarks())
        other.communicate("")
    assert "benchmarks/attacks.py" not in seen


def test_results_are_chosen_by_run_or_by_study(results: ModuleType) -> None:
    assert results.chosen(["tiny"]) == ["tiny"]
    assert results.chosen(["broken", "attack-sweep"]) == ["broken", "tiny"], "a study stands for all of its runs"
    assert results.chosen([]) == ["tiny", "broken"]
    with pytest.raises(ValueError, match="there is no run or study 'attack-sweeps'; there are tiny, broken"):
        results.chosen(["attack-sweeps"])
