"""Write the tables of the documentation from their records: `python scripts/render_docs.py [--check]`.

A page says where a table comes from in a comment, and everything up to the next `<!-- end -->` is rendered:

    <!-- sweep: docs/results/attack-sweep-small/tables/worst-case.csv linf -->
    <!-- table: docs/results/NAME/tables/errors.csv share:percent error:.3f:lo,hi n -->
    <!-- wilson: 100 1000 10000 -->

The kind is a function in a module of `scripts/docs_tables/`, the words are its arguments. The picture of all claims is
drawn anew as well. `--check` changes nothing and exits with 1 where a page or the picture and its records disagree.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from scripts import claims_picture  # noqa: E402
from scripts.docs_tables import tables  # noqa: E402

RENDER = tables()
MARK = re.compile(
    r"(<!-- (?P<kind>[a-z]+): (?P<words>[^>]+?) -->\n)(?P<table>.*?)(<!-- end -->)",
    re.DOTALL,
)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    rendered = {page: MARK.sub(render, page.read_text()) for page in pages}
    rendered[ROOT / claims_picture.FILE] = claims_picture.picture("docs/results")
    stale = []
    for path, after in rendered.items():
        if not path.exists() or path.read_text() != after:
            stale.append(str(path.relative_to(ROOT)))
            if not check:
                path.write_text(after)
    print("\n".join(stale) or "every table is that of its records")
    return 1 if check and stale else 0


def render(found: re.Match[str]) -> str:
    """A mark with its table rendered anew."""
    start, kind, words, _, end = found.groups("")
    return start + RENDER[kind](*words.split()) + end


if __name__ == "__main__":
    sys.exit(main())
