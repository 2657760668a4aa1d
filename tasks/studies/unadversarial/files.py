"""What a user takes away: the designed patches, to print and to go on with."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np

from robustray.tasks.kit.words import slug
from robustray.tasks.studies.unadversarial.printing import Paper, as_pdf, as_png
from robustray.tasks.studies.unadversarial.reduce import Results
from robustray.tasks.study import Document


def squares(canvases: np.ndarray, side: int) -> np.ndarray:
    """The central squares of canvases (k, channels, height, width)."""
    height, width = canvases.shape[2:]
    top, left = (height - side) // 2, (width - side) // 2
    return canvases[:, :, top : top + side, left : left + side]


def printed(results: Results) -> Iterator[Document]:
    """A PNG for each class, a PDF with a page for each, and all of them as an array; nothing for print_mm 0."""
    settings, kind = results.settings, results.kind
    if not settings.print_mm:
        return
    paper = Paper(side_mm=settings.print_mm, bleed_mm=settings.bleed_mm, dpi=settings.print_dpi)
    designed = squares(results.patches["designed"], kind.side)
    names = [results.classes[label] for label in kind.classes]
    yield Document(
        path="print/patches.pdf",
        words=f"{len(names)} pages to print at 100 %: {paper.words}, with cut marks",
        content=as_pdf(dict(zip(names, designed, strict=True)), paper),
    )
    for label, name, patch in zip(kind.classes, names, designed, strict=True):
        yield Document(
            path=f"print/{label}-{slug(name)}.png".replace("-.", "."),
            words=f"patch of {name}, the same sheet as a picture",
            content=as_png(patch, paper),
        )
    stream = io.BytesIO()
    np.save(stream, np.ascontiguousarray(designed, dtype=np.float32), allow_pickle=False)
    yield Document(
        path="print/patches.npy",
        words=f"float32 {designed.shape} in [0, 1], classes in this order: {', '.join(names)}",
        content=stream.getvalue(),
    )
