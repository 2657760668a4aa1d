"""What `robustray doctor` finds on machines that are not in order."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from robustray.distributed.start import SOCKET_BYTES


def broken(cli: Any, line: str = "doctor --json") -> dict[str, dict[str, Any]]:
    """The lines that need mending, by what they are about."""
    outcome = cli(line)
    found = {check["what"]: check for check in json.loads(outcome.out) if not check["ok"]}
    assert outcome.code == (1 if found else 0)
    return found


@pytest.mark.parametrize("variable", ["TMPDIR", "RAY_TMPDIR"])
def test_a_temporary_folder_too_long_for_sockets_is_found(
    variable: str, cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    folder = tmp_path / ("job_" + "x" * 80)
    monkeypatch.setenv(variable, str(folder))
    (check,) = broken(cli).values()
    assert check["what"] == "sockets" and check["fix"] == "export RAY_TMPDIR=/tmp"
    assert f"{variable}={folder} is too long" in check["found"] and str(SOCKET_BYTES) in check["found"]
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")  # the cure, which has the last word
    assert not broken(cli)


def distribution(site: Path, name: str, files: dict[str, str], lost: tuple[str, ...] = ()) -> None:
    """An installed distribution of version 4.0.0, of which some listed files are gone."""
    info = site / f"{name.replace('-', '_')}-4.0.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 4.0.0\n")
    (info / "RECORD").write_text("".join(f"{file},,\n" for file in (*files, *lost, f"{info.name}/METADATA")))
    for file, text in files.items():
        (site / file).parent.mkdir(exist_ok=True)
        (site / file).write_text(text)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed packages in front of all others."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    for name in [name for name in sys.modules if name.partition(".")[0] == "mujoco"]:
        monkeypatch.delitem(sys.modules, name)
    return folder


MEND = (
    f"{sys.executable} -m pip install --force-reinstall --no-deps mujoco==4.0.0 mujoco-core==4.0.0 mujoco-studio==4.0.0"
)


def test_a_mujoco_that_was_upgraded_in_place_is_found_with_the_line_that_mends_it(cli: Any, site: Path) -> None:
    """pip removes mujoco 3 after it installed mujoco-core 4, whose files have the same names; `pip check` likes it."""
    distribution(site, "mujoco", {"mujoco/__init__.py": "raise ImportError('the core bindings\\nare missing')"})
    distribution(site, "mujoco-core", {}, lost=("mujoco/_specs.so", "mujoco/libmujoco.so"))
    distribution(site, "mujoco-studio", {"mujoco/studio.py": ""})
    (check,) = broken(cli).values()
    assert check["what"] == "mujoco" and check["fix"] == MEND
    assert "4.0.0 does not import, files of mujoco-core are gone" in check["found"] and "\n" not in check["found"]


def test_a_mujoco_that_fails_over_its_renderer_is_another_case(
    cli: Any, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    distribution(site, "mujoco", {"mujoco/__init__.py": "raise ImportError('no OSMesa')"})
    check = broken(cli)["mujoco"]
    assert "are gone" not in check["found"] and check["fix"].startswith("unset MUJOCO_GL (it is 'osmesa'), or else: ")


@pytest.mark.parametrize("mode", ["", "disabled", "token"])
def test_a_cluster_without_its_tokens_mode_is_found(mode: str, cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:8265")
    monkeypatch.setenv("RAY_AUTH_MODE", mode)
    found = broken(cli)
    assert set(found) == (set() if mode == "token" else {"token"})
    assert mode == "token" or found["token"]["fix"].startswith("export RAY_AUTH_MODE=token")
