"""The documentation as a site: a hook of MkDocs (mkdocs.yml). `make site` builds it.

The pages of `docs/` are read on a code host as well, where links leave the folder and point to folders. Here the front
page is the page of claims, files outside `docs/` that a page links to come along, and a link to a folder of results
leads to its report. The reference is generated from docstrings.
"""

from __future__ import annotations

import logging
import os
import posixpath
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
FRONT = "claims.md"
SOURCES = "build/docs-site"
"""Where the reference reads its docstrings; mkdocs.yml has it too."""
LINK = re.compile(r"(\]\()([^)#\s]+)((?:#[^)]*)?\))")
OUTSIDE = {"README.md": "start.md", "CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}
"""Pages outside `docs/` -> their names on the site."""
INSIDE_FOLDER = ("report.html", "manifest.json")
"""What a link to a folder shows, the first that it has."""
REFERENCE: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "run": ("Run, evaluate, audit", ("distributed.api", "tasks.evaluation.evaluate", "tasks.audit.door")),
    "studies": ("Studies and the lab", ("tasks.study", "tasks.lab.protocol")),
    "attacks": (
        "Attacks",
        tuple(
            f"tasks.attacks.{name}"
            for name in ("settings", "family", "nes", "autoattack", "autoattack_rand", "adaptive", "own", "result")
        ),
    ),
    "training": ("Training", ("tasks.training.settings",)),
    "agents": ("Policy gradients", ("tasks.policy_gradients.settings", "tasks.policy_gradients.agent")),
    "grids": ("Grids", ("tasks.grids.settings", "tasks.grids.effects", "tasks.grids.best")),
    "statistics": (
        "Statistics",
        tuple(f"tasks.statistics.{name}" for name in ("intervals", "bootstrap", "paired", "over_seeds", "equivalence")),
    ),
    "figures": ("Figures", ("tasks.figures.curves", "tasks.figures.forms", "tasks.figures.parallel")),
}
"""Page of the reference -> its title and the modules whose docstrings it shows."""

_LOG = logging.getLogger("mkdocs.hooks.docs_site")


def on_startup(command: str, dirty: bool) -> None:
    """Copy the package with its links followed: what reads docstrings follows none. Called by MkDocs."""
    target = ROOT / SOURCES
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(ROOT / "robustray", target / "robustray", ignore=shutil.ignore_patterns("__pycache__"))
    for folder in (target / "robustray").rglob("*/"):
        (folder / "__init__.py").touch()


def on_files(files: Any, config: Any) -> Any:
    """Add what lies outside `docs/`, and the reference. Called by MkDocs."""
    from mkdocs.structure.files import File  # pyright: ignore[reportMissingImports]  # of the extra `docs`

    def add(name: str, content: str | bytes) -> None:
        files.append(File.generated(config, name, content=content))

    for source, name in OUTSIDE.items():
        add(name, (ROOT / source).read_text())
    for name, (title, modules) in REFERENCE.items():
        add(f"reference/{name}.md", "\n\n".join([f"# {title}", *(f"::: robustray.{module}" for module in modules)]))
    for path in linked_files():
        add(f"files/{path}", (ROOT / path).read_bytes())
    front = files.get_file_from_path(FRONT)
    front.dest_uri = "index.html"
    front.__dict__.pop("url", None)
    front.__dict__.pop("abs_dest_path", None)
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Rewrite the links of a page. Called by MkDocs."""
    outside = {site: source for source, site in OUTSIDE.items()}
    name = page.file.src_uri
    return rewritten(markdown, source=outside.get(name, f"docs/{name}"), site=name)


def rewritten(markdown: str, *, source: str, site: str) -> str:
    """The page with its links as the site has them. source: where it lies in the repository. site: its name there."""

    def to(match: re.Match[str]) -> str:
        target = place_on_site(match[2], source)
        if target is None:
            return match[0]
        return f"{match[1]}{posixpath.relpath(target, posixpath.dirname(site) or '.')}{match[3]}"

    return LINK.sub(to, markdown)


def place_on_site(link: str, source: str) -> str | None:
    """Where on the site a link of the repository's page `source` leads; None: it stays as it is."""
    if re.match(r"[a-z]+:", link):
        return None
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), link))
    if path in OUTSIDE:
        return OUTSIDE[path]
    if (ROOT / path).is_dir():
        found = next((f"{path}/{name}" for name in INSIDE_FOLDER if (ROOT / path / name).is_file()), None)
        path = found or path
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    if (ROOT / path).is_file():
        return f"files/{path}"
    _LOG.warning("%s links to %s, which the site does not have", source, path)  # --strict makes an error of it
    return None


def linked_files() -> list[str]:
    """Files outside `docs/` that pages link to, but for the pages among them."""
    found: set[str] = set()
    pages = [ROOT / source for source in OUTSIDE] + sorted((ROOT / "docs").rglob("*.md"))
    for page in pages:
        source = os.path.relpath(page, ROOT)
        for _, link, _ in LINK.findall(page.read_text()):
            target = place_on_site(link, source)
            if target is not None and target.startswith("files/"):
                found.add(target.removeprefix("files/"))
    return sorted(found)
