"""How a process comes to Ray, and what it says when it doesn't."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray

from robustray.distributed import start
from robustray.distributed.actor import why_it_died
from robustray.distributed.lab import open_lab
from robustray.tasks.errors import InputError, WorkFailed
from robustray.tasks.lab.store import Store
from robustray.tasks.report.progress import SilentProgress

LATE = "The current node timed out during startup. This could happen because\nthe GCS has become overloaded."


class Starts:
    """Ray that comes up at the n-th try."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, up_at: int, error: Exception) -> None:
        self.tries, self.up_at, self.error = 0, up_at, error
        self.pauses: list[float] = []
        monkeypatch.setattr(ray, "init", self.init)
        monkeypatch.setattr(ray, "shutdown", lambda: None)
        monkeypatch.setattr(time, "sleep", self.pauses.append)

    def init(self, **how: Any) -> SimpleNamespace:
        assert how["address"] == "local" and how["dashboard_host"] == "127.0.0.1"
        self.dashboard = how["include_dashboard"]
        self.tries += 1
        if self.tries < self.up_at:
            raise self.error
        return SimpleNamespace(dashboard_url="127.0.0.1:8265" if self.dashboard else "")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TMPDIR", "RAY_TMPDIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))  # put back afterwards


def test_the_dashboard_is_there_on_demand_and_on_this_machine_only(monkeypatch: pytest.MonkeyPatch) -> None:
    starts = Starts(monkeypatch, up_at=1, error=Exception(LATE))
    assert start.start_ray(address=None, workers=1) == "" and not starts.dashboard
    assert start.start_ray(address=None, workers=1, dashboard=True) == "127.0.0.1:8265" and starts.dashboard


def test_ray_that_is_not_up_in_time_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    starts = Starts(monkeypatch, up_at=2, error=Exception(LATE))
    start.start_ray(address=None, workers=1)
    assert starts.tries == 2 and starts.pauses == [start.PAUSE_S]


@pytest.mark.parametrize("error", [Exception(LATE), RuntimeError("Failed to start GCS"), TimeoutError()])
def test_ray_that_never_comes_up_is_said_with_what_to_do(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    starts = Starts(monkeypatch, up_at=9, error=error)
    with pytest.raises(WorkFailed, match=r"did not start on this machine, 2 times .*--workers 0.*doctor") as caught:
        start.start_ray(address=None, workers=1)
    assert starts.tries == start.STARTS and "\n" not in str(caught.value)


@pytest.mark.parametrize("variable", ["TMPDIR", "RAY_TMPDIR"])
def test_a_folder_is_refused_exactly_where_a_socket_would_not_fit(
    variable: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The door is Ray's own rule, for the longest socket that Ray makes."""
    from ray._private.utils import validate_socket_filepath

    sizes = set()
    for length in range(20, 80):
        monkeypatch.setenv(variable, "/" + "x" * (length - 1))
        socket = f"{os.environ[variable]}/ray/session_2026-11-29_00-25-05_123456_{os.getpid()}/sockets/plasma_store"
        try:
            validate_socket_filepath(socket)
        except OSError:
            with pytest.raises(InputError, match=f"^{variable}=/x+ is too long"):
                open_lab(
                    store=Store(str(tmp_path)),
                    workers=1,
                    address=None,
                    device="cpu",
                    data_root=None,
                    progress=SilentProgress(),
                )
            sizes.add(length)
        else:
            start.check_ray_folder()
    assert 0 < len(sizes) < 60


def test_the_folder_does_not_matter_without_ray_of_our_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TMPDIR", "/" + "x" * 100)
    with pytest.raises(InputError):
        start.check_ray_folder()
    store = Store(str(tmp_path))
    open_lab(store=store, workers=0, address=None, device="cpu", data_root=None, progress=SilentProgress()).close()
    monkeypatch.setattr(ray, "is_initialized", lambda: True)  # the user's Ray, wherever its sockets are
    open_lab(store=store, workers=1, address=None, device="cpu", data_root=None, progress=SilentProgress()).close()


def test_workers_search_folders_beside_the_environment_and_none_inside(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A folder whose name only begins like that of the environment is the user's own."""
    inside, beside, own = tmp_path / "venv" / "lib", tmp_path / "venv-tools", tmp_path / "own"
    for folder in (inside, beside, own):
        folder.mkdir(parents=True)
    for name in ("prefix", "base_prefix"):
        monkeypatch.setattr(sys, name, str(tmp_path / "venv"))
    monkeypatch.setattr(sys, "path", [str(own), str(inside), str(tmp_path / "absent")])
    monkeypatch.setenv("PYTHONPATH", str(beside))
    monkeypatch.chdir(own)
    found = start.search_path().split(os.pathsep)
    assert found[0] == str(own) and str(beside) in found and len(set(found)) == len(found)
    assert str(inside) not in found and str(tmp_path / "absent") not in found


def test_a_worker_that_cannot_import_says_what_to_do() -> None:
    error = (
        "The actor died because of an error raised in its creation task, ...\nModuleNotFoundError: No module named 'x'"
    )
    assert why_it_died(Exception(error)).startswith("ModuleNotFoundError: No module named 'x'; install it where Ray's")


UP_ALREADY = """
import os, sys
import ray

ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR")  # the user's
sys.path.insert(0, {repository!r})  # and a checkout that Ray's workers know nothing of
os.chdir({folder!r})
from dataclasses import replace

import robustray
from robustray.tasks.study import load_outline


def found():
    sys.path.insert(0, {repository!r})
    settings = replace(
        load_outline("attack-sweep").sizes["quick"], num_images=20, norms=("linf",), eps_linf=(0.1, 0.3),
        attacks=("fgsm",), models=("digits:mlp",), num_examples=0,
    )
    return robustray.run("attack-sweep", settings, workers=1, store={folder!r} + "/runs").answer


answer = found()
assert ray.is_initialized(), "the user's Ray was shut down"
print(answer)
"""


@pytest.mark.acceptance
def test_a_study_runs_in_a_ray_that_is_up_already(tmp_path: Path, repository: Path) -> None:
    """In a notebook: workers find this checkout and modules in the current folder, and Ray stays up."""
    script = UP_ALREADY.format(repository=str(repository), folder=str(tmp_path))
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "RAY_ADDRESS")}
    command = [sys.executable, "-c", script]
    ended = subprocess.run(command, capture_output=True, text=True, cwd="/", env=environment, timeout=280)
    assert ended.returncode == 0, ended.stderr
    assert "n = 20 images of digits:test" in ended.stdout
    assert list((tmp_path / "runs").glob("attack-sweep-*/report.html"))


def test_the_token_is_taken_from_other_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    start.keep_token_private()
    assert not (tmp_path / "token").exists(), "none is made"
    (tmp_path / "token").write_text("secret")
    (tmp_path / "token").chmod(0o644)
    assert start.others_read(tmp_path / "token")
    start.keep_token_private()
    assert (tmp_path / "token").stat().st_mode & 0o777 == 0o600 and not start.others_read(tmp_path / "token")


@pytest.mark.parametrize("json", [True, False])
@pytest.mark.parametrize("before", [True, False])
def test_what_ray_prints_as_it_lets_go_is_no_part_of_the_one_document(
    json: bool, before: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A table of `--json` could not be read: a paragraph about a dead worker came after it, at the process's end."""
    up = [before]

    def let_go() -> None:
        print("a paragraph")
        up[0] = False

    monkeypatch.setattr(start, "ray_is_up", lambda: up[0])
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(shutdown=let_go))
    with start.one_document(json):
        up[0] = True
        print("another")
    print("{}")
    out, err = capsys.readouterr()
    said = "another\n" if before else "another\na paragraph\n"
    assert (out, err) == (("{}\n", said) if json else (said + "{}\n", ""))
    assert up == [before], "a Ray that was there before stays"
