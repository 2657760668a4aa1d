"""`scripts/setup_env.py` and the Makefile: what a stranger's first two minutes depend on."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

GB = 10**9


@pytest.fixture(scope="module")
def setup_env(repository: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("setup_env", repository / "scripts" / "setup_env.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("version", [(2, 7, 18), (3, 10, 14)])
def test_old_python_is_refused_with_the_line_that_mends_it(setup_env: ModuleType, version: tuple[int, ...]) -> None:
    with pytest.raises(setup_env.SetupError, match=r"this is [23]\.\d+\.\d+: apt-get install python3\.11"):
        setup_env.check_python(version)


@pytest.mark.parametrize("version", [(3, 11, 0), (3, 13, 2), (4, 0, 0)])
def test_new_python_is_accepted(setup_env: ModuleType, version: tuple[int, ...]) -> None:
    setup_env.check_python(version)


def test_missing_ensurepip_names_the_package(setup_env: ModuleType) -> None:
    def find(name: str) -> object | None:
        return None if name == "ensurepip" else object()

    with pytest.raises(setup_env.SetupError, match="lacks ensurepip: apt-get install python3-venv"):
        setup_env.check_venv_module(find)
    setup_env.check_venv_module(lambda name: object())


def test_small_disk_names_needed_and_free(setup_env: ModuleType, tmp_path: Path) -> None:
    cost = setup_env.Cost(3.0, 7.0, "a test")
    place = tmp_path / "not" / "yet" / "there"
    with pytest.raises(setup_env.SetupError, match=r"10\.0 GB needed, 9\.9 GB free .*make VENV="):
        setup_env.check_disk(place, cost, tmp_path, lambda folder: int(9.9 * GB))
    assert setup_env.check_disk(place, cost, tmp_path, lambda folder: 10 * GB) == 10
    assert not (tmp_path / "not").exists(), "a check leaves nothing behind"


def test_small_temporary_disk_is_found_as_well(
    setup_env: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "tmpfs"
    temporary.mkdir()
    real_stat = Path.stat

    def stat(path: Path, **options: Any) -> Any:
        device = 1 if path == temporary else 0
        return SimpleNamespace(st_dev=device, st_mode=real_stat(path, **options).st_mode)

    def free_bytes(folder: Path) -> int:
        return GB if folder == temporary else 8 * GB

    monkeypatch.setattr(Path, "stat", stat)
    with pytest.raises(setup_env.SetupError, match=r"3\.0 GB needed, 1\.0 GB free .*TMPDIR="):
        setup_env.check_disk(tmp_path, setup_env.Cost(3.0, 7.0, "a test"), temporary, free_bytes)


def test_an_environment_with_torch_costs_less(setup_env: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup_env.platform, "system", lambda: "Linux")
    assert setup_env.expected_cost(None).installed > 2 * setup_env.expected_cost("2.6.0+cpu").installed
    monkeypatch.setattr(setup_env.platform, "system", lambda: "Darwin")
    assert setup_env.expected_cost(None) == setup_env.CPU_TORCH


def test_special_torch_wants_its_own_torchvision(setup_env: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(setup_env.SetupError, match=r"torch 2\.14\.1\+cpu but no torchvision.*pip install torchvision"):
        setup_env.check_torch("2.14.1+cpu", None, tmp_path)
    for torch, torchvision in [("2.14.1+cpu", "0.29.1+cpu"), ("2.14.1", None), (None, None)]:
        setup_env.check_torch(torch, torchvision, tmp_path)


def test_an_installed_torch_takes_the_place_of_the_pins(setup_env: ModuleType, repository: Path) -> None:
    text = (repository / "constraints.txt").read_text(encoding="utf-8")
    assert setup_env.constraints_for(None, text) == text
    before, after = set(text.splitlines()), set(setup_env.constraints_for("2.15.0+cpu", text).splitlines())
    assert {line.split("==")[0] for line in before - after} == {"torch", "torchvision"}
    assert after - before == {"torch==2.15.0+cpu"}
    assert setup_env.constraints_for("2.15.0+cpu", "") == "torch==2.15.0+cpu\n", "also where nothing is pinned"


def test_constraints_are_public_versions(repository: Path) -> None:
    for line in (repository / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            continue
        name, _, version = line.partition("==")
        assert name and version and not set(version) & set("+@/ "), f"{line!r} is not NAME==PUBLIC.VERSION"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout as far as the stamp looks at it."""
    root = tmp_path / "checkout"
    root.mkdir()
    (root / "pyproject.toml").write_text("[project]\n", encoding="utf-8")
    (root / "constraints.txt").write_text("torch==2.6.0\nnumpy==2.0.0\n", encoding="utf-8")
    return root


@pytest.mark.parametrize(
    ("have", "want", "enough"),
    [
        (([], False), ([], False), True),
        ((["dev"], True), ([], False), True),
        ((["dev"], True), (["dev"], True), True),
        ((["dev"], False), (["dev"], True), False),
        (([], True), (["dev"], True), False),
    ],
)
def test_more_than_wanted_is_enough(
    setup_env: ModuleType, checkout: Path, have: tuple[list[str], bool], want: tuple[list[str], bool], enough: bool
) -> None:
    stamp = setup_env.wanted_stamp(*have, checkout)
    assert setup_env.satisfies(stamp, setup_env.wanted_stamp(*want, checkout)) is enough
    assert not setup_env.satisfies({}, setup_env.wanted_stamp(*want, checkout))


class Pip:
    """Stands in for the commands that setup starts, and can fail or be killed at any of them."""

    def __init__(self, end: Callable[[list[str]], None]) -> None:
        self.commands: list[list[str]] = []
        self.end = end

    def __call__(self, command: list[str | Path], failure: str, cwd: Path | None = None) -> None:
        words = [str(word) for word in command]
        self.commands.append(words)
        if words[1:3] == ["-m", "venv"]:
            (Path(words[3]) / "bin").mkdir(parents=True)
            (Path(words[3]) / "pyvenv.cfg").touch()
            (Path(words[3]) / "bin" / "python").symlink_to(sys.executable)
        self.end(words)


def pip_is(action: str) -> Callable[[list[str]], None]:
    def end(words: list[str]) -> None:
        if "install" in words and action == "killed":
            raise KeyboardInterrupt
        if "-c" in words and action == "torn":
            raise RuntimeError("import failed")

    return end


@pytest.fixture
def install(setup_env: ModuleType, checkout: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[list[str]]]:
    """Run setup with a pretended pip; returns the commands it started."""
    monkeypatch.setattr(setup_env, "installed", lambda package, venv: None)
    monkeypatch.setattr(setup_env, "check_disk", lambda venv, cost: 100.0)
    monkeypatch.setattr(setup_env, "check_venv_module", lambda: None)
    monkeypatch.setattr(setup_env, "succeeds", lambda command: True)

    def call(extras: list[str], pinned: bool = False, action: str = "works") -> list[list[str]]:
        pip = Pip(pip_is(action))
        monkeypatch.setattr(setup_env, "run", pip)
        setup_env.setup(checkout / ".venv", extras, pinned, checkout)
        return pip.commands

    return call


@pytest.mark.parametrize(("action", "error"), [("killed", KeyboardInterrupt), ("torn", RuntimeError)])
def test_interrupted_install_is_taken_up_again(
    install: Callable[..., list[list[str]]], checkout: Path, setup_env: ModuleType, action: str, error: type
) -> None:
    stamp = checkout / ".venv" / setup_env.STAMP
    with pytest.raises(error):
        install([], action=action)
    assert not stamp.exists()
    assert any("install" in words for words in install([])), "the second call must install"
    assert stamp.exists()
    assert install([]) == [], "the third has nothing to do"
    (checkout / "pyproject.toml").write_text("[project]\nname = 'x'\n", encoding="utf-8")
    with pytest.raises(error):
        install([], action=action)
    assert not stamp.exists(), "an interrupted update is no finished installation either"


def test_changed_requirements_are_installed(
    install: Callable[..., list[list[str]]], checkout: Path, setup_env: ModuleType
) -> None:
    install(["dev"], pinned=True)
    assert install([]) == [] and install(["dev"], pinned=True) == []
    (checkout / "constraints.txt").write_text("numpy==2.1.0\n", encoding="utf-8")
    assert install([]) == [], "without pins the pins do not matter"
    assert install(["dev"], pinned=True)
    (checkout / "pyproject.toml").write_text("[project]\nname = 'x'\n", encoding="utf-8")
    commands = install([])
    assert any(".[dev]" in words for words in commands), "what make test installed stays"
    assert json.loads((checkout / ".venv" / setup_env.STAMP).read_text(encoding="utf-8"))["extras"] == ["dev"]


def test_pips_cache_is_left_out_where_it_does_not_fit(
    install: Callable[..., list[list[str]]],
    checkout: Path,
    setup_env: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert not any("--no-cache-dir" in words for words in install([]))
    shutil.rmtree(checkout / ".venv")
    just_enough = setup_env.CUDA_TORCH.installed + setup_env.CUDA_TORCH.download
    monkeypatch.setattr(setup_env, "expected_cost", lambda torch: setup_env.CUDA_TORCH)
    monkeypatch.setattr(setup_env, "check_disk", lambda venv, cost: just_enough)
    assert any("--no-cache-dir" in words for words in install([]))


def test_torn_stamp_is_no_stamp(install: Callable[..., list[list[str]]], checkout: Path, setup_env: ModuleType) -> None:
    install([])
    (checkout / ".venv" / setup_env.STAMP).write_text('{"extras": [', encoding="utf-8")
    assert install([])


def test_a_folder_of_other_things_is_left_alone(setup_env: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(setup_env.SetupError, match="is not a Python environment"):
        setup_env.make_venv(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_failing_pip_ends_in_one_line(
    setup_env: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    venv = tmp_path / "venv"
    monkeypatch.setattr(setup_env, "check_venv_module", lambda: None)
    monkeypatch.setattr(setup_env, "check_disk", lambda venv, cost: 100.0)
    monkeypatch.setattr(setup_env, "make_venv", lambda venv: None)
    (venv / "bin").mkdir(parents=True)
    setup_env.python_of(venv).symlink_to(shutil.which("false") or "/bin/false")
    assert setup_env.main(["--venv", str(venv)]) == 2
    assert "pip failed" in capsys.readouterr().err
    assert not (venv / setup_env.STAMP).exists()


@pytest.mark.skipif(shutil.which("make") is None, reason="no make")
def test_make_takes_the_first_python_that_fits(repository: Path, tmp_path: Path) -> None:
    def python(name: str, *, old: bool = False, ensurepip: bool = True) -> None:
        """A pretended interpreter: ends as the Makefile's question to it would."""
        lacks = "" if ensurepip else 'case "$2" in *ensurepip*) exit 1;; esac; '
        (tmp_path / name).write_text(f"#!/bin/sh\n{lacks}exit {int(old)}\n", encoding="utf-8")
        (tmp_path / name).chmod(0o755)

    def chosen(*overrides: str) -> str:
        command = ["make", "--no-print-directory", "--dry-run", "environment", *overrides]
        environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
        answer = subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True, check=True)
        return answer.stdout.splitlines()[-1]

    candidates = "CANDIDATES=pretended-new pretended-bare pretended-old pretended-good"
    python("pretended-old", old=True)
    python("pretended-good")
    python("pretended-bare", ensurepip=False)
    assert chosen(candidates).startswith('"pretended-good" scripts/setup_env.py --venv ".venv"')
    python("pretended-good", old=True)
    assert chosen(candidates).startswith('"pretended-bare" ')
    assert chosen("PYTHON=/opt/python3", "VENV=/elsewhere").startswith(
        '"/opt/python3" scripts/setup_env.py --venv "/else'
    )
    assert "--pinned" in chosen("CI=true") and "--pinned" not in chosen("CI=true", "CONSTRAINTS=0")


@pytest.mark.skipif(shutil.which("make") is None, reason="no make")
@pytest.mark.parametrize("target", ["demo", "test", "acceptance", "lint"])
def test_make_without_python_says_what_to_install(repository: Path, target: str) -> None:
    command = ["make", "--no-print-directory", target, "CANDIDATES=no-such-python"]
    environment = {"PATH": os.environ["PATH"]}  # without what an outer `make test PYTHON=...` hands down
    answer = subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True, check=False)
    assert answer.returncode == 2
    assert "Python 3.11 or newer is needed: apt-get install python3 python3-venv" in answer.stderr
