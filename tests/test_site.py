"""The documentation as a site, without MkDocs: links, pages and the reference. `make site` builds it."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml


@pytest.fixture(scope="module")
def hook(repository: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_site", repository / "scripts" / "docs_site.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def config(repository: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.load((repository / "mkdocs.yml").read_text(), Loader=yaml.BaseLoader)
    return loaded


def named(nav: Any) -> Iterator[str]:
    """The pages of a navigation."""
    for entry in nav:
        for target in entry.values():
            yield from named(target) if isinstance(target, list) else (target,)


@pytest.mark.parametrize(
    ("link", "source", "place"),
    [
        ("grids.md", "docs/clusters.md", "grids.md"),
        ("../statistics.md", "docs/studies/features.md", "statistics.md"),
        ("docs/grids.md", "README.md", "grids.md"),
        ("../README.md", "docs/clusters.md", "start.md"),
        ("../deploy/slurm.sh", "docs/clusters.md", "files/deploy/slurm.sh"),
        ("results/attack-sweep-small", "docs/claims.md", "results/attack-sweep-small/report.html"),
        ("https://arxiv.org/abs/1706.06083", "docs/claims.md", None),
        ("nothing-there.txt", "README.md", None),
    ],
)
def test_where_a_link_leads_on_the_site(hook: ModuleType, link: str, source: str, place: str | None) -> None:
    assert hook.place_on_site(link, source) == place


def test_links_are_rewritten_from_where_their_page_lies(hook: ModuleType) -> None:
    text = "[a](../../README.md#tests) and [b](../grids.md), [c](https://x.org/y.md)"
    assert (
        hook.rewritten(text, source="docs/studies/labels.md", site="studies/labels.md")
        == "[a](../start.md#tests) and [b](../grids.md), [c](https://x.org/y.md)"
    )


def test_the_navigation_names_every_page_once(hook: ModuleType, config: dict[str, Any], repository: Path) -> None:
    pages = [path.relative_to(repository / "docs").as_posix() for path in (repository / "docs").rglob("*.md")]
    added = [*hook.OUTSIDE.values(), *(f"reference/{name}.md" for name in hook.REFERENCE)]
    listed = list(named(config["nav"]))
    assert sorted(listed) == sorted([*pages, *added]), "a new page of docs/ needs a line in the nav of mkdocs.yml"
    assert listed[0] == hook.FRONT


def test_the_reference_shows_modules_that_are_there(hook: ModuleType, config: dict[str, Any], repository: Path) -> None:
    for _, modules in hook.REFERENCE.values():
        for module in modules:
            assert (repository / f"{module.replace('.', '/')}.py").is_file(), module
    (handlers,) = (plugin["mkdocstrings"] for plugin in config["plugins"] if "mkdocstrings" in plugin)
    assert handlers["handlers"]["python"]["paths"] == [hook.SOURCES]
