"""`scripts/audit_dependencies.py`: what it says of an answer, and that nobody reached is no failure. No network."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from scripts import audit_dependencies as audit

VULNERABLE = {
    "name": "a",
    "version": "1.0",
    "vulns": [{"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["1.1", "2.0"]}],
}
SOUND = {"name": "b", "version": "2.0", "vulns": []}
UNKNOWN = {"name": "c", "skip_reason": "not on PyPI"}


def test_an_advisory_fails_unless_it_is_allowed_by_any_of_its_names() -> None:
    lines, bad = audit.report([VULNERABLE, SOUND, UNKNOWN], {})
    assert bad
    assert lines == [
        "a 1.0: PYSEC-1, fixed in 1.1, 2.0",
        "not known to the data base: c",
        "2 packages were audited: 1 advisories that are not allowed",
    ]
    lines, bad = audit.report([VULNERABLE], {"CVE-1": "that part is never called"})
    assert not bad and lines[0].endswith("allowed: that part is never called")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("", "the data base of advisories did not answer (ConnectionError: no route to host)"),
        (
            json.dumps({"dependencies": [UNKNOWN, UNKNOWN]}),
            "the package index that answers here knows no advisories, of none of the pins",
        ),
    ],
)
def test_nobody_reached_is_said_in_one_line_and_is_no_failure(
    answer: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def offline(command: list[str], who: str) -> subprocess.CompletedProcess[str]:
        out, err = ("", "") if "install" in command else (answer, "x\nConnectionError: no route to host\n")
        return subprocess.CompletedProcess(command, 0, out, err)

    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").touch()
    monkeypatch.setattr(audit, "run", offline)
    assert audit.main(["--venv", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"dependencies were not audited: {said}\n"
