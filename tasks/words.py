"""Small pieces of text that error messages and tables share."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(word: str, known: Iterable[str]) -> str:
    """`": did you mean 'pgd'? Known: fgsm, noise, pgd"`, to be put behind an error's first half."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    guess = f": did you mean {close[0]!r}?" if close else "."
    return f"{guess} Known: {', '.join(names)}"
