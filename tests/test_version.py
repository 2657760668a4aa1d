"""One version, wherever it stands."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import robustray


@pytest.fixture(scope="module")
def project(repository: Path) -> dict[str, Any]:
    return tomllib.loads((repository / "pyproject.toml").read_text())["project"]


def test_every_place_names_the_same_version(repository: Path, project: dict[str, Any]) -> None:
    newest = re.search(r"^## (\S+)", (repository / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    citation = yaml.safe_load((repository / "CITATION.cff").read_text())
    assert {robustray.__version__, newest[1], citation["version"]} == {project["version"]}
    for path in (repository / "deploy").iterdir():
        named = re.findall(r"robustray:(\d+\.\d+\.\d+)", path.read_text())
        assert set(named) <= {project["version"]}, path.name


def test_the_citation_has_what_the_format_requires(repository: Path, project: dict[str, Any]) -> None:
    """Citation File Format 1.2.0: these keys, `type` of two, and authors with names."""
    citation = yaml.safe_load((repository / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["cff-version"] == "1.2.0" and citation["type"] in ("software", "dataset")
    assert citation["license"] == project["license"] and all(author["name"] for author in citation["authors"])


def test_a_tagged_commit_has_the_version_of_its_tag(repository: Path, project: dict[str, Any]) -> None:
    asked = subprocess.run(
        ["git", "tag", "--points-at", "HEAD", "--list", "v*"], cwd=repository, capture_output=True, text=True
    )
    if asked.returncode or not asked.stdout.split():
        pytest.skip("this commit has no tag of a version")
    assert asked.stdout.split() == [f"v{project['version']}"]
