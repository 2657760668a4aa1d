"""Ask PyPI's advisories about the versions of constraints.txt: `make audit-dependencies`. Standard library only.

pip-audit runs in an environment of its own (`--venv`, made when it is missing) and changes nothing that is audited.
Exit code 0: no advisory beside those of `ALLOWED`; or the data base was not reached, and the last line says so. Exit
code 1: advisories, one line each.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import venv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PIP_AUDIT = "pip-audit==2.10.1"
TIMEOUT_S = 300
ALLOWED: Mapping[str, str] = {}
"""Advisory (the name that pip-audit prints) -> why it does no harm here."""


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv-audit", help="where pip-audit is or will be")
    parser.add_argument("--pins", type=Path, default=ROOT / "constraints.txt")
    arguments = parser.parse_args(words)
    try:
        python = environment(arguments.venv)
        found = ask(python, arguments.pins)
    except NotReached as error:
        print(f"dependencies were not audited: {error}")
        return 0
    lines, bad = report(found, ALLOWED)
    print("\n".join(lines))
    return 1 if bad else 0


class NotReached(Exception):
    """Nobody could be asked; the message says who and why, in one line."""


def environment(folder: Path) -> Path:
    """The Python of an environment with pip-audit. Raises: NotReached where it cannot be installed."""
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
    command: list[str | Path] = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", PIP_AUDIT]
    done = run(command, "the package index")
    if done.returncode:
        raise NotReached(f"{PIP_AUDIT} could not be installed ({last_line(done.stderr)})")
    return python


def ask(python: Path, pins: Path) -> list[dict[str, Any]]:
    """pip-audit's answer for each pin: {"name", "version", "vulns": [{"id", "aliases", "fix_versions"}]}, or {"name",
    "skip_reason"}. Raises: NotReached."""
    command: list[str | Path] = [python, "-m", "pip_audit", "--requirement", pins, "--no-deps", "--disable-pip"]
    done = run([*command, "--format", "json", "--progress-spinner", "off"], "the data base of advisories")
    try:
        found: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError, TypeError) as error:  # it answers on stdout only when it could ask
        raise NotReached(f"the data base of advisories did not answer ({last_line(done.stderr)})") from error
    if all("skip_reason" in each for each in found):  # a mirror of packages: pip-audit then finds "no vulnerabilities"
        raise NotReached("the package index that answers here knows no advisories, of none of the pins")
    return found


def run(command: Sequence[str | Path], who: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired as error:
        raise NotReached(f"{who} did not answer within {TIMEOUT_S} s") from error


def report(found: Sequence[Mapping[str, Any]], allowed: Mapping[str, str]) -> tuple[list[str], bool]:
    """Lines to print, and whether there is an advisory that is not allowed."""
    lines, bad = [], 0
    for each in found:
        for advisory in each.get("vulns", ()):
            names = {advisory["id"], *advisory.get("aliases", ())}
            reason = next((allowed[name] for name in sorted(names) if name in allowed), None)
            fixed = ", ".join(advisory.get("fix_versions", ())) or "no version yet"
            what = f"{each['name']} {each['version']}: {advisory['id']}, fixed in {fixed}"
            lines.append(f"{what}; allowed: {reason}" if reason else what)
            bad += reason is None
    skipped = [str(each["name"]) for each in found if "skip_reason" in each]
    if skipped:
        lines.append(f"not known to the data base: {', '.join(skipped)}")
    lines.append(f"{len(found) - len(skipped)} packages were audited: {bad} advisories that are not allowed")
    return lines, bad > 0


def last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no message"])[-1][:200]


if __name__ == "__main__":
    sys.exit(main())
