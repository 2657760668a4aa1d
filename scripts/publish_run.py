"""Copy what the documentation keeps of a finished run: `python scripts/publish_run.py runs/RUN docs/results/NAME`.

The page with the files that it offers, the tables (those of millions of rows are left out) and `manifest.json`:
command, settings, versions, hashes, answer and claims. Paths of the machine it ran on do not belong into a repository:
a file that holds one is refused. So type the run's command with relative paths (`--data-root data`), or write its page
again from where they are relative.
"""

from __future__ import annotations

import argparse
import html
import json
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

KEPT = ("id", "identity", "created", "command", "wall_seconds", "environment", "hashes")
LARGEST = 2**18
"""Bytes of a table that is still copied."""


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("run", type=Path, help="folder of a finished run")
    parser.add_argument("to", type=Path, help="folder to be written anew: docs/results/NAME")
    parser.add_argument("--without", nargs="+", default=(), metavar="TABLE", help="tables of single images, say")
    arguments = parser.parse_args()
    return publish(arguments.run, arguments.to, arguments.without)


def publish(run: Path, to: Path, without: Sequence[str] = ()) -> int:
    """without: names of tables that are left out: of people's answers only what is added up is kept here. Returns the
    exit code."""
    record = json.loads((run / "run.json").read_text())
    if record["status"] != "finished":
        print(f"{run.name} is {record['status']}: only a finished run is published", file=sys.stderr)
        return 2
    manifest = {
        **{name: record[name] for name in KEPT},
        "step_keys": {step: len(keys) for step, keys in record["step_keys"].items()},
        "answer": record["document"]["answer"],
        "claims": record["document"]["claims"],
    }
    written = sorted((run / "tables").iterdir())
    tables = [path for path in written if path.stat().st_size <= LARGEST and path.stem not in without]
    texts = {"manifest.json": json.dumps(manifest, indent=1) + "\n", "report.html": (run / "report.html").read_text()}
    here = str(Path.cwd().anchor + Path.cwd().parts[1])
    named = [name for name, text in texts.items() if f"{here}/" in text or f"{Path.home()}/" in text]
    if named:
        print(f"{', '.join(named)}: names a path of this machine ({here} or {Path.home()})", file=sys.stderr)
        return 2
    shutil.rmtree(to, ignore_errors=True)
    (to / "tables").mkdir(parents=True)
    for name, text in texts.items():
        (to / name).write_text(text)
    for path in tables:
        shutil.copy(path, to / "tables")
    for name in offered(texts["report.html"]):
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(run / name, to / name)
    print(f"{to}: page, manifest and {len(tables)} tables")
    return 0


def offered(page: str) -> list[str]:
    """Paths of the files beside a page that it lists to be taken away."""
    lists = re.findall(r'<ul class="files">(.*?)</ul>', page, flags=re.DOTALL)
    return [html.unescape(path) for words in lists for path in re.findall(r'<a href="([^"]+)"', words)]


if __name__ == "__main__":
    sys.exit(main())
