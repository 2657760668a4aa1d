"""The three top-level folders are one package, `robustray`, wherever the checkout goes: clone, zip archive, wheel."""

import json
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

FOLDERS = ("distributed", "tasks", "tune_configs")
TINY = "--models digits:mlp --num-images 20 --norms linf --eps-linf 0.1 --num-steps 2 --num-examples 1"


def python(code: str, *, cwd: Path, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter that finds robustray in `path` (default: `cwd`)."""
    environment = {**os.environ, "PYTHONPATH": str(path or cwd)}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


def copy_tree(repository: Path, target: Path, *, links: bool) -> Path:
    """What a clone has of the package; without `links` they are small text files, as a zip archive leaves them."""
    ignore = shutil.ignore_patterns("__pycache__")
    for folder in FOLDERS:
        shutil.copytree(repository / folder, target / folder, ignore=ignore)
    shutil.copytree(repository / "robustray", target / "robustray", symlinks=True, ignore=ignore)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(repository / name, target / name)
    (target / "tests").mkdir()
    (target / "tests" / "test_nothing.py").touch()
    if not links:
        for folder in FOLDERS:
            link = target / "robustray" / folder
            words = os.readlink(link)
            link.unlink()
            link.write_text(words, encoding="utf-8")
    return target


@pytest.mark.parametrize("folder", FOLDERS)
def test_folder_is_found_under_one_name(repository: Path, folder: str) -> None:
    code = f"import robustray.{folder} as m; print(list(m.__path__)[0])"
    answer = python(code, cwd=repository)
    assert Path(answer.stdout.strip()).resolve() == (repository / folder).resolve(), answer.stderr


@pytest.mark.parametrize("folder", FOLDERS)
def test_folder_has_no_init(repository: Path, folder: str) -> None:
    """With one, `import distributed` in a checkout would hide dask's package of that name."""
    assert not (repository / folder / "__init__.py").exists()


@pytest.mark.parametrize("folder", FOLDERS)
def test_links_are_relative(repository: Path, folder: str) -> None:
    link = repository / "robustray" / folder
    if not link.is_symlink():
        pytest.skip("this checkout came without links")
    assert os.readlink(link) == f"../{folder}"


@pytest.mark.parametrize("module", ["robustray.robustray", "robustray.tests", "robustray.scripts"])
def test_no_second_way_to_a_module(repository: Path, module: str) -> None:
    answer = python(f"import {module}", cwd=repository)
    assert "ModuleNotFoundError" in answer.stderr


def test_importing_robustray_is_light(repository: Path) -> None:
    heavy = "{'torch', 'ray', 'pandas', 'numpy'}"
    answer = python(f"import robustray, sys; print(sorted({heavy} & set(sys.modules)))", cwd=repository)
    assert answer.stdout.strip() == "[]", answer.stderr


@pytest.mark.parametrize("links", [True, False])
def test_works_with_and_without_links(repository: Path, tmp_path: Path, links: bool) -> None:
    root = copy_tree(repository, tmp_path / "a checkout [copy]", links=links)
    code = (
        "import robustray.tasks.errors as m, robustray.distributed, robustray.tune_configs, sys; "
        "print(m.__file__); print(sorted(name for name in sys.modules if name.endswith('errors') and 'tasks' in name))"
    )
    answer = python(code, cwd=tmp_path, path=root)
    assert answer.returncode == 0, answer.stderr
    file, modules = answer.stdout.splitlines()
    assert Path(file).resolve() == (root / "tasks" / "errors.py").resolve()
    assert modules == "['robustray.tasks.errors']"


def test_another_package_called_distributed_stays_reachable(repository: Path, tmp_path: Path) -> None:
    other = tmp_path / "distributed"
    other.mkdir()
    (other / "__init__.py").write_text("WHOSE = 'dask'\n", encoding="utf-8")
    code = f"import sys; sys.path.append({str(tmp_path)!r}); import distributed; print(distributed.WHOSE)"
    assert python(code, cwd=repository).stdout.strip() == "dask"


def test_wheel_holds_the_package_and_nothing_else(repository: Path, tmp_path: Path) -> None:
    """Built in a copy: setuptools leaves a build folder behind."""
    root = copy_tree(repository, tmp_path / "source", links=True)
    command = [sys.executable, "-m", "pip", "wheel", ".", "--no-deps", "--no-build-isolation", "--wheel-dir"]
    built = subprocess.run([*command, str(tmp_path)], cwd=root, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("robustray-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        archive.extractall(tmp_path / "installed")
    code = [path.relative_to(root) for folder in FOLDERS for path in (root / folder).rglob("*.py")]
    templates = [path.relative_to(root) for folder in FOLDERS for path in (root / folder).rglob("*.html.j2")]
    expected = {f"robustray/{path.as_posix()}" for path in [*code, *templates]}
    expected |= {"robustray/__init__.py", "robustray/py.typed"}
    expected |= {f"robustray/{path.name}" for path in (root / "robustray").glob("*.py")}
    assert {name for name in names if ".dist-info/" not in name} == expected
    answer = python("import robustray.tasks.errors as m; print(m.__file__)", cwd=tmp_path, path=tmp_path / "installed")
    assert Path(answer.stdout.strip()).is_relative_to(tmp_path / "installed"), answer.stderr


@pytest.mark.acceptance
def test_a_wheel_from_the_source_archive_is_installed_and_runs_from_there(repository: Path, tmp_path: Path) -> None:
    """Source archive, a wheel built from it, a fresh environment that has the dependencies from this one, and a study
    from its command, typed in an empty folder."""
    root = copy_tree(repository, tmp_path / "source", links=True)
    archived = python("from setuptools import build_meta; print(build_meta.build_sdist('../archive'))", cwd=root)
    assert archived.returncode == 0, archived.stderr
    (archive,) = (tmp_path / "archive").glob("robustray-*.tar.gz")
    offline = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    wheels = [sys.executable, "-m", "pip", "wheel", str(archive), *offline, "--wheel-dir", str(tmp_path)]
    built = subprocess.run(wheels, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("robustray-*.whl")

    venv.create(tmp_path / "fresh", with_pip=False, symlinks=True)
    (packages,) = (tmp_path / "fresh").glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"])
    fresh = tmp_path / "fresh" / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", str(fresh), "install", str(wheel), *offline]
    installed = subprocess.run(install, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert installed.returncode == 0, installed.stderr

    empty = tmp_path / "empty"
    empty.mkdir()
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    typed = [
        str(tmp_path / "fresh/bin/robustray"),
        *shlex.split("run attack-sweep --workers 0 --json"),
        *shlex.split(TINY),
    ]
    ran = subprocess.run(typed, cwd=empty, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    document = json.loads(ran.stdout)
    assert Path(document["report"]).is_relative_to(empty) and Path(document["report"]).is_file()
    where = [str(fresh), "-c", "import robustray.tasks.errors as m; print(m.__file__)"]
    answer = subprocess.run(where, cwd=empty, env=environment, capture_output=True, text=True, check=True)
    assert Path(answer.stdout.strip()).is_relative_to(packages)
