"""Make the environment that `make demo` and `make test` run in. Standard library only.

    python scripts/setup_env.py --venv .venv [--extra dev] [--pinned]

Before anything is downloaded it checks Python, `venv` and free disk, and says how much will come. The stamp
`VENV/robustray-installed.json` is removed first and written last: without it, or when `pyproject.toml` or
`constraints.txt` changed since, the installation is done again. A torch that is already installed stays, so that a
CPU-only build (or one for another accelerator) can be installed beforehand.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
STAMP = "robustray-installed.json"
MIN_PYTHON = (3, 11)
PIN_OF_TORCH = re.compile(r"torch(vision)?==")
IMPORTS = "import numpy, pandas, pyarrow, ray, torch, torchvision, robustray"


class SetupError(Exception):
    """The environment cannot be made; the message is one line with cause and next step."""


class Cost(NamedTuple):
    """What an installation takes, in GB (10^9 bytes), rounded up from a measured one."""

    download: float
    installed: float
    what: str


# Measured with the versions of constraints.txt and the extra `dev`, Linux x86-64, Python 3.11.
ONLY_CHANGES = Cost(0.3, 0.5, "only what changed since the last installation")
WITHOUT_TORCH = Cost(0.5, 1.6, "everything but torch, which is already there")
CPU_TORCH = Cost(0.7, 2.5, "with PyTorch's default build for this system, which has no CUDA")
CUDA_TORCH = Cost(
    3.5, 7.0, "with PyTorch's default Linux build and its CUDA libraries; README.md names the CPU-only way"
)


def check_python(version: tuple[int, ...] = tuple(sys.version_info[:3])) -> None:
    """Raises: SetupError below Python 3.11."""
    if version[:2] < MIN_PYTHON:
        found = ".".join(str(part) for part in version)
        raise SetupError(
            f"Python 3.11 or newer is needed, this is {found}: "
            "apt-get install python3.11 python3.11-venv, or name another one with `make PYTHON=/path/to/python3 ...`"
        )


def check_venv_module(find: Callable[[str], object] = importlib.util.find_spec) -> None:
    """Raises: SetupError where `venv` or `ensurepip` is missing, as in Debian's python3 without python3-venv."""
    missing = [name for name in ("venv", "ensurepip") if find(name) is None]
    if missing:
        raise SetupError(
            f"this Python ({sys.executable}) cannot make an environment, it lacks {' and '.join(missing)}: "
            f"apt-get install python3-venv (or python{sys.version_info[0]}.{sys.version_info[1]}-venv)"
        )


def check_disk(
    venv: Path, cost: Cost, temporary: Path | None = None, free_bytes: Callable[[Path], int] | None = None
) -> float:
    """Free GB where the environment is or will be.

    pip first puts all downloads into the temporary folder, so there must be room there as well.

    Raises: SetupError when there is too little, naming needed and free.
    """
    measure = free_bytes or (lambda folder: shutil.disk_usage(folder).free)
    place = nearest_existing(venv)
    temporary = nearest_existing(temporary or Path(tempfile.gettempdir()))
    if place.stat().st_dev == temporary.stat().st_dev:
        wanted = [(place, cost.installed + cost.download, "make VENV=/elsewhere ...")]
    else:
        wanted = [(place, cost.installed, "make VENV=/elsewhere ..."), (temporary, cost.download, "TMPDIR=/elsewhere")]
    for folder, needed, remedy in wanted:
        free = measure(folder) / 1e9
        if free < needed:
            raise SetupError(
                f"too little disk: {needed:.1f} GB needed, {free:.1f} GB free at {folder} ({cost.what}). "
                f"Free some space or use another place: {remedy}"
            )
    return measure(place) / 1e9


def nearest_existing(path: Path) -> Path:
    """The path itself, or its first parent that exists."""
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path


def python_of(venv: Path) -> Path:
    """The environment's interpreter, whether it exists or not."""
    return venv / "bin" / "python"


def installed(package: str, venv: Path) -> str | None:
    """Version of a package in the environment, None where there is none."""
    if not python_of(venv).exists():
        return None
    ask = f"import importlib.metadata as m; print(m.version({package!r}))"
    answer = subprocess.run([python_of(venv), "-c", ask], capture_output=True, text=True, check=False)
    return answer.stdout.strip() or None


def check_torch(torch: str | None, torchvision: str | None, venv: Path) -> None:
    """Raises: SetupError for a special build of torch (2.14.1+cpu) without the torchvision built for it."""
    if torch and "+" in torch and not torchvision:
        raise SetupError(
            f"{venv} has torch {torch} but no torchvision, and the default one does not fit that build: "
            f"install it from the same index, as in {python_of(venv)} -m pip install torchvision --index-url ..."
        )


def expected_cost(torch: str | None) -> Cost:
    """What will be downloaded and installed, given the torch that is already there."""
    if torch:
        return WITHOUT_TORCH
    return CUDA_TORCH if platform.system() == "Linux" else CPU_TORCH


def read_stamp(venv: Path) -> dict[str, object]:
    """The content of the stamp of the last finished installation; {} where there is none."""
    try:
        stamp = json.loads((venv / STAMP).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):  # a torn stamp is no stamp
        return {}
    return stamp if isinstance(stamp, dict) else {}


def wanted_stamp(extras: Sequence[str], pinned: bool, root: Path = ROOT) -> dict[str, object]:
    """The stamp of an installation with these extras: what it depends on, by content."""
    return {
        "checkout": str(root),
        "constraints": hash_file(root / "constraints.txt") if pinned else None,
        "extras": sorted(extras),
        "pyproject": hash_file(root / "pyproject.toml"),
    }


def satisfies(stamp: dict[str, object], wanted: dict[str, object]) -> bool:
    """Whether the finished installation has everything that is asked for; more extras or pinned versions do no harm."""
    extras, needed = stamp.get("extras"), wanted["extras"]
    return (
        isinstance(extras, list)
        and isinstance(needed, list)
        and set(needed) <= set(extras)
        and stamp.get("checkout") == wanted["checkout"]
        and stamp.get("pyproject") == wanted["pyproject"]
        and wanted["constraints"] in (None, stamp.get("constraints"))
    )


def hash_file(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def constraints_for(torch: str | None, pins: str) -> str:
    """The pins, with an installed torch in the place of theirs: a build chosen by the user is never replaced."""
    if not torch:
        return pins
    others = [line for line in pins.splitlines() if not PIN_OF_TORCH.match(line)]
    return "\n".join([*others, f"torch=={torch}"]) + "\n"


def make_venv(venv: Path) -> None:
    """Create the environment, or mend one whose creation was interrupted.

    Raises: SetupError for a folder that holds other things.
    """
    if venv.exists() and not (venv / "pyvenv.cfg").exists() and (not venv.is_dir() or any(venv.iterdir())):
        raise SetupError(f"{venv} is not a Python environment: name another place with `make VENV=/path ...`")
    if python_of(venv).exists() and succeeds([python_of(venv), "-m", "pip", "--version"]):
        return
    run([sys.executable, "-m", "venv", venv], f"cannot make an environment in {venv}")


def install(
    venv: Path, extras: Sequence[str], *, pinned: bool, torch: str | None, cache: bool, root: Path = ROOT
) -> None:
    """pip install the checkout in editable form; pip's own progress is shown.

    With `cache`, downloads stay in pip's cache, so that an interrupted installation is faster the second time.
    """
    # The folder's name goes through `cwd`, as pip reads brackets and spaces in a path as syntax.
    command: list[str | Path] = [python_of(venv), "-m", "pip", "install", "--disable-pip-version-check"]
    command += ["--editable", f".[{','.join(sorted(extras))}]" if extras else "."]
    constraints = venv / "constraints.txt"
    pins = (root / "constraints.txt").read_text(encoding="utf-8") if pinned else ""
    constraints.write_text(constraints_for(torch, pins), encoding="utf-8")
    command += ["--constraint", constraints.absolute()]
    if not cache:
        command.append("--no-cache-dir")
    run(
        command,
        "pip failed, its message is above; after a lost connection the same command goes on where it stopped",
        cwd=root,
    )


def run(command: Sequence[str | Path], failure: str, cwd: Path | None = None) -> None:
    """Run a command in sight of the user. Raises: SetupError(failure) when it fails."""
    if subprocess.run(command, cwd=cwd, check=False).returncode:
        raise SetupError(failure)


def succeeds(command: Sequence[str | Path]) -> bool:
    """Whether a command succeeds; what it prints is dropped."""
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def setup(venv: Path, extras: Sequence[str], pinned: bool, root: Path = ROOT) -> None:
    """Bring the environment to the state that is asked for; does nothing when it has it already. Raises: SetupError."""
    stamp = read_stamp(venv)
    if satisfies(stamp, wanted_stamp(extras, pinned, root)) and python_of(venv).exists():
        return
    check_venv_module()
    torch = installed("torch", venv)
    check_torch(torch, installed("torchvision", venv), venv)
    cost = ONLY_CHANGES if stamp else expected_cost(torch)
    free = check_disk(venv, cost)
    say(
        f"installing into {venv} with Python {platform.python_version()}: up to {cost.download:.1f} GB will be "
        f"downloaded and {cost.installed:.1f} GB used on disk ({cost.what}); {free:.0f} GB are free."
    )
    if torch:
        say(f"torch {torch} is there and is kept.")
    before = stamp.get("extras")
    if isinstance(before, list):  # what `make test` installed stays when `make demo` follows
        extras = sorted({*extras, *before})
    (venv / STAMP).unlink(missing_ok=True)
    make_venv(venv)
    room_for_cache = free > cost.installed + 2 * cost.download
    install(venv, extras, pinned=pinned, torch=torch, cache=room_for_cache, root=root)
    run(
        [python_of(venv), "-c", IMPORTS],
        f"the installed packages cannot be imported: delete {venv} and run the same command again",
        cwd=root,
    )
    write_stamp(venv, wanted_stamp(extras, pinned, root))
    say(f"{venv} is ready.")


def say(words: str) -> None:
    """Print one line of this script between those of pip."""
    print(f"robustray: {words}", flush=True)


def write_stamp(venv: Path, stamp: dict[str, object]) -> None:
    """Write the stamp in one step, so that it is whole or absent."""
    temporary = venv / f"{STAMP}.{os.getpid()}"
    temporary.write_text(json.dumps(stamp, indent=1) + "\n", encoding="utf-8")
    temporary.replace(venv / STAMP)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0, or 2 with one line of cause and next step."""
    parser = argparse.ArgumentParser(description="Make the environment that robustray runs in.")
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv", help="where it is (default: .venv)")
    parser.add_argument("--extra", action="append", default=[], help="extra of pyproject.toml; may be repeated")
    parser.add_argument("--pinned", action="store_true", help="install the versions of constraints.txt")
    options = parser.parse_args(arguments)
    try:
        check_python()
        setup(options.venv.absolute(), options.extra, options.pinned)
    except SetupError as error:
        print(f"robustray: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
