"""Patches to be taken away: PNG and PDF at a stated size on paper, with bleed and cut marks.

A pixel of a patch is a square on paper. The patch is printed beyond its edges (bleed: its outermost pixels, continued),
so that a cut beside the mark shows no white; the marks stand outside of the bleed, in line with the edges.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MM_PER_INCH = 25.4
MARK_GAP_MM, MARK_MM, MARK_POINTS = 1.0, 4.0, 0.5
"""A mark begins so far from the bleed, is so long, and so thick (1/72 inch)."""
Pixels = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Paper:
    """Where things are on the sheet, in millimetres."""

    side_mm: float
    """A side of the patch after it was cut."""
    bleed_mm: float
    dpi: int

    @property
    def margin_mm(self) -> float:
        """From the edge of the sheet to that of the patch: mark, gap, bleed."""
        return self.bleed_mm + MARK_GAP_MM + MARK_MM

    @property
    def sheet_mm(self) -> float:
        return self.side_mm + 2 * self.margin_mm

    def dots(self, millimetres: float) -> int:
        return round(millimetres / MM_PER_INCH * self.dpi)

    @property
    def words(self) -> str:
        """`"50 × 50 mm at 300 dpi, 3 mm bleed"`."""
        bleed = f", {self.bleed_mm:g} mm bleed" if self.bleed_mm else ", no bleed"
        return f"{self.side_mm:g} × {self.side_mm:g} mm at {self.dpi} dpi{bleed}"


def enlarged(patch: NDArray[np.floating] | Pixels, paper: Paper) -> Pixels:
    """(dots, dots, 3) uint8: a patch (1 or 3, side, side), in [0, 1] or uint8, with its bleed, without marks."""
    levels = patch if patch.dtype == np.uint8 else (np.clip(patch, 0, 1) * 255).round()
    pixels: Pixels = levels.astype(np.uint8)
    side, across, bleed = pixels.shape[1], paper.dots(paper.side_mm), paper.dots(paper.bleed_mm)
    places = np.clip((np.arange(-bleed, across + bleed) + 0.5) * side / across, 0, side - 1).astype(int)
    large = pixels[:, places][:, :, places]
    return np.moveaxis(large.repeat(3 // len(large), axis=0), 0, 2)


def as_png(patch: NDArray[np.floating] | Pixels, paper: Paper) -> bytes:
    """A sheet with marks, whose file says how many dots make a millimetre. Returns: PNG."""
    from PIL import Image, ImageDraw

    margin, whole = paper.dots(paper.margin_mm), paper.dots(paper.side_mm) + 2 * paper.dots(paper.margin_mm)
    sheet = Image.new("RGB", (whole, whole), "white")
    corner = margin - paper.dots(paper.bleed_mm)
    sheet.paste(Image.fromarray(enlarged(patch, paper)), (corner, corner))
    pen, length = ImageDraw.Draw(sheet), paper.dots(MARK_MM)
    thick = max(1, round(MARK_POINTS / 72 * paper.dpi))
    for edge in (margin, whole - margin):
        at = edge - thick // 2
        for start in (0, whole - length):
            pen.rectangle((at, start, at + thick - 1, start + length - 1), fill="black")
            pen.rectangle((start, at, start + length - 1, at + thick - 1), fill="black")
    stream = io.BytesIO()
    sheet.save(stream, format="PNG", dpi=(paper.dpi, paper.dpi), optimize=True)
    return stream.getvalue()


def as_pdf(patches: Mapping[str, NDArray[np.floating] | Pixels], paper: Paper) -> bytes:
    """One page for each patch, with vector marks and its name. Returns: PDF, the same bytes for the same patches."""
    import matplotlib
    from matplotlib.backends.backend_pdf import FigureCanvasPdf, PdfPages
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    stream = io.BytesIO()
    sheet, inner = paper.sheet_mm, paper.margin_mm - paper.bleed_mm
    with (
        matplotlib.rc_context({"pdf.compression": 9}),
        PdfPages(stream, metadata={"CreationDate": None, "Producer": None, "Creator": "robustray"}) as pages,
    ):
        for name, patch in patches.items():
            page = Figure(figsize=(sheet / MM_PER_INCH, sheet / MM_PER_INCH))
            FigureCanvasPdf(page)
            axes = page.add_axes((0, 0, 1, 1))
            axes.set(xlim=(0, sheet), ylim=(0, sheet))
            axes.set_axis_off()
            extent = (inner, sheet - inner, inner, sheet - inner)
            axes.imshow(enlarged(patch, paper), extent=extent, interpolation="none", aspect="auto")
            for edge in (paper.margin_mm, sheet - paper.margin_mm):
                for start in (0.0, sheet - MARK_MM):
                    ends, line = (start, start + MARK_MM), (edge, edge)
                    axes.add_line(Line2D(line, ends, color="black", linewidth=MARK_POINTS))
                    axes.add_line(Line2D(ends, line, color="black", linewidth=MARK_POINTS))
            axes.text(sheet / 2, MARK_MM / 2, f"{name} · {paper.words}", fontsize=4, ha="center", va="center")
            pages.savefig(page)
    return stream.getvalue()
