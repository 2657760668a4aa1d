"""Where inversions start, and which targets are of no class. Imports nothing."""

from __future__ import annotations

from typing import Literal

Start = Literal["noise", "image"]
STARTS: tuple[Start, ...] = ("noise", "image")
STRANGE = ("noise", "texture", "bars")
"""noise: pixels on their own. texture: a 4 x 4 grid of random values, enlarged smoothly. bars: three to five bars of
one colour on a ground of another, at random places in one of two directions."""
