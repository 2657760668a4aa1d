"""`robustray doctor`: is this machine ready? Each line is OK, or says what mends it."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Annotated

from robustray.distributed.commands.parsing import Switch, again, as_typed, gather, optional, parse, typed_as
from robustray.distributed.start import check_ray_folder, others_read, ray_folder, token_file
from robustray.tasks.data.files import first_line
from robustray.tasks.errors import InputError

FREE_GIB = 2.0
"""Free space that a small run with its report and Ray's logs takes, generously."""


@dataclass(frozen=True, kw_only=True)
class Flags:
    """Check Python, torch, devices, mujoco, Ray, its token and its folder, data roots, weights and free space."""

    store: Annotated[str | None, optional("FOLDER")] = None
    """Where runs will be stored; ./runs if not given."""
    data_root: Annotated[str | None, optional("FOLDER")] = None
    """Folder of data sets and weights; ROBUSTRAY_DATA if not given."""
    json: Switch = False
    """Print one JSON document."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One line that the doctor prints."""

    what: str
    ok: bool
    found: str
    fix: str = ""


def main(argv: list[str]) -> int:
    """Exit code 1 if anything needs mending."""
    flags = parse(Flags, gather(argv, Flags), prog=f"{typed_as()} doctor", default=Flags())
    checks = list(diagnose(flags))
    if flags.json:
        print(json.dumps([vars(check) for check in checks], indent=1))
    else:
        for check in checks:
            print(f"{'OK ' if check.ok else 'FIX'}  {check.what:<12} {check.found}")
            if not check.ok:
                print(f"     {'':<12} → {check.fix}")
    return 0 if all(check.ok for check in checks) else 1


def diagnose(flags: Flags) -> Iterator[Check]:
    """Run every check; one that breaks is a line that needs mending, not the end of the others."""
    checks: tuple[tuple[str, Callable[[Flags], Iterator[Check]]], ...] = (
        ("python", _python),
        ("torch", _torch),
        ("mujoco", _mujoco),
        ("ray", _ray),
        ("token", _token),
        ("ray's folder", _ray_folder),
        ("data", _data),
        ("store", _store),
    )
    for name, check in checks:
        try:
            yield from check(flags)
        except Exception as error:  # whatever is broken is what the doctor is asked for
            found = f"{type(error).__name__}: {first_line(error)}"
            yield Check(what=name, ok=False, found=found, fix="reinstall: make demo")


def _python(flags: Flags) -> Iterator[Check]:
    version = ".".join(map(str, sys.version_info[:3]))
    yield Check(what="python", ok=sys.version_info >= (3, 11), found=version, fix="install Python 3.11 or newer")


def _torch(flags: Flags) -> Iterator[Check]:
    import torch

    yield Check(what="torch", ok=True, found=f"{torch.__version__}, {torch.get_num_threads()} threads by default")
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        yield Check(what="devices", ok=True, found=f"{len(names)} GPU(s): {', '.join(names)}")
    else:
        built = (
            f"torch is built for CUDA {torch.version.cuda}" if torch.version.cuda else "torch is built for CPUs only"
        )
        yield Check(what="devices", ok=True, found=f"CPU only, {os.cpu_count()} CPUs; no GPU is visible ({built})")


MUJOCO = ("mujoco", "mujoco-core", "mujoco-studio")
"""mujoco 4 is three distributions that write into one folder."""


def _mujoco(flags: Flags) -> Iterator[Check]:
    """pip that upgrades from mujoco 3 installs mujoco-core first, and removes its files with the old package after."""
    versions = {}
    for name in MUJOCO:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    if "mujoco" not in versions:
        yield Check(what="mujoco", ok=False, found="not installed", fix=f"{_pip()} 'mujoco>=3.2'")
        return
    damaged = [name for name in versions if _lost_files(name)]
    pinned = " ".join(f"{name}=={version}" for name, version in versions.items())
    try:
        importlib.import_module("mujoco")
    except Exception as error:
        gl = os.environ.get("MUJOCO_GL")
        renderer = f"unset MUJOCO_GL (it is {gl!r}), or else: " if gl and not damaged else ""
        yield Check(
            what="mujoco",
            ok=False,
            found=f"{versions['mujoco']} does not import"
            + (f", files of {' and '.join(damaged)} are gone (an upgrade in place?)" if damaged else "")
            + f": {type(error).__name__}: {first_line(error)}",
            fix=f"{renderer}{_pip()} --force-reinstall --no-deps {pinned}",
        )
        return
    yield Check(what="mujoco", ok=True, found=versions["mujoco"])


def _lost_files(name: str) -> list[str]:
    """Files that an installed distribution says it has, and that are not there."""
    listed = metadata.files(name) or []
    return [str(file) for file in listed if file.suffix != ".pyc" and not Path(str(file.locate())).exists()]


def _pip() -> str:
    return f"{shlex.quote(sys.executable)} -m pip install"


def _ray(flags: Flags) -> Iterator[Check]:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    address = os.environ.get("RAY_ADDRESS")
    where = f"RAY_ADDRESS={address}: runs join that cluster" if address else "runs start a Ray of their own here"
    fits = (2, 60) <= tuple(int(part) for part in ray.__version__.split(".")[:2]) < (2, 61)
    yield Check(
        what="ray",
        ok=fits,
        found=f"{ray.__version__}; {where}",
        fix="pip install 'ray[default,tune,rllib]>=2.60,<2.61'",
    )
    yield Check(
        what="ports",
        ok=True,
        found="Ray's internal ports listen on all interfaces, guarded by its token; on a shared network allow them "
        "between your nodes only (firewall: deny incoming TCP from elsewhere)",
    )


def _token(flags: Flags) -> Iterator[Check]:
    token = token_file()
    mode, cluster = os.environ.get("RAY_AUTH_MODE", ""), os.environ.get("RAY_ADDRESS")
    if cluster and mode.lower() != "token":
        yield Check(
            what="token",
            ok=False,
            found=f"RAY_ADDRESS={cluster}, and RAY_AUTH_MODE is {mode or 'not set'}: `ray job submit` sends no token",
            fix="export RAY_AUTH_MODE=token (here, and wherever `ray start` is typed)",
        )
    if os.environ.get("RAY_AUTH_TOKEN") or token.is_file():
        open_ = f"; other users of this machine can read it until Ray starts here again: chmod 600 {token}"
        found = f"Ray's authentication token is there{open_ if others_read(token) else ''}"
        yield Check(what="token", ok=True, found=found)
        return
    folder = next(parent for parent in token.parents if parent.exists())
    yield Check(
        what="token",
        ok=os.access(folder, os.W_OK),
        found=f"none yet; Ray makes one at its first start ({token})",
        fix=f"{folder} is not writable: set RAY_AUTH_TOKEN_PATH to a file in a folder that is",
    )


def _ray_folder(flags: Flags) -> Iterator[Check]:
    """The folder of the sockets and logs of a Ray that is started here."""
    variable, folder = ray_folder()
    try:
        check_ray_folder()
        yield Check(what="sockets", ok=True, found=f"{folder} is short enough for Ray's")
    except InputError as error:
        yield Check(what="sockets", ok=False, found=str(error), fix="export RAY_TMPDIR=/tmp")
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    free = shutil.disk_usage(there).free / 2**30
    yield Check(
        what="ray's logs",
        ok=free >= 1 and os.access(there, os.W_OK),
        found=f"{free:.1f} GiB free in {folder}" + ("" if os.access(there, os.W_OK) else ", which is not writable"),
        fix=f"free 1 GiB, or set {variable or 'RAY_TMPDIR'} to another folder with a short path",
    )


def _data(flags: Flags) -> Iterator[Check]:
    root = flags.data_root or os.environ.get("ROBUSTRAY_DATA")
    if not root:
        yield Check(what="data", ok=True, found="no data root: embedded data only (--data-root or ROBUSTRAY_DATA)")
        return
    from robustray.tasks.data.reference import open_data

    folder = Path(root).expanduser()
    if not folder.is_dir():
        fix = f"make it, then `{again('import cifar10 SOURCE', data_root=root)}`"
        yield Check(what="data", ok=False, found=f"{root} is no folder", fix=fix)
        return
    for name in ("cifar10:train", "cifar10:test"):
        try:
            open_data(name, data_root=str(folder))
            yield Check(what="data", ok=True, found=f"{name} in {root}")
        except InputError as error:
            yield Check(what="data", ok=False, found=f"{name} is not in {root}", fix=as_typed(str(error)))
    weights = sorted(path.name for path in (folder / "models").glob("*.safetensors"))
    found = (
        f"{len(weights)} weight files in {folder / 'models'}"
        if weights
        else f"none in {folder / 'models'} (needed by size small)"
    )
    yield Check(what="weights", ok=True, found=found)


def _store(flags: Flags) -> Iterator[Check]:
    from robustray.tasks.lab.store import Store

    store = Store(flags.store or "runs")
    if not store.local:
        store.create()
        yield Check(what="store", ok=True, found=f"{store.url} can be written to")
        return
    folder = next(path for path in (Path(store.url), *Path(store.url).parents) if path.exists())
    yield Check(
        what="store",
        ok=os.access(folder, os.W_OK),
        found=store.url,
        fix=f"{folder} is not writable: choose another --store",
    )
    free = shutil.disk_usage(folder).free / 2**30
    yield Check(
        what="disk",
        ok=free >= FREE_GIB,
        found=f"{free:.1f} GiB free",
        fix=f"free {FREE_GIB:g} GiB, or choose another --store",
    )
