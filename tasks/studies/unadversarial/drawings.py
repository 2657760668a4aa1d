"""The figures and pictures of the report."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from robustray.tasks import figures
from robustray.tasks.kit.words import plural
from robustray.tasks.studies.unadversarial import reduce
from robustray.tasks.studies.unadversarial.files import squares
from robustray.tasks.studies.unadversarial.reduce import CLEAN, NAMES, WORDS, Cell, Results
from robustray.tasks.studies.unadversarial.tables import over
from robustray.tasks.study import Figure, Picture

MOST_CLASSES = 12
"""Classes that a matrix of classes, or a sheet of patches, shows."""


def drawings(results: Results) -> Iterator[Figure]:
    yield _patches(results)
    yield from _corruptions(results)
    if len(results.classes) <= MOST_CLASSES:
        yield from _confusion(results)
    yield _curves(results)


def _patches(results: Results) -> Figure:
    rows = []
    for where, cells in (("clean", (CLEAN,)), ("corrupted", results.cells)):
        for name in NAMES:
            estimate = results.accuracy(name, CLEAN) if where == "clean" else results.corrupted(name)
            runs = [float(results.right(chain, name, cells).mean()) for chain in results.chains]
            rows.append(
                figures.Row(
                    label=f"{where}, {WORDS[name]}",
                    value=estimate.value,
                    lo=estimate.lo,
                    hi=estimate.hi,
                    runs=runs,
                    color_by=name,
                )
            )
    return figures.dot_rows(
        name="patches",
        title="Objects with a designed patch, and with three others",
        caption="Patches at the same places on the same images, clean and as a mean over corruptions. "
        f"{over(results)}; faint dots: single designs.",
        alt="; ".join(f"{row.label}: {row.value:.1%}" for row in rows),
        rows=rows,
        x_label="accuracy",
        percent=True,
        levels=(figures.Level(value=1 / len(results.classes), words="guessing"),),
    )


def _corruptions(results: Results) -> Iterator[Figure]:
    """Accuracy by corruption and severity with no, a random and a designed patch, and what the last one gains."""
    corruptions, severities = results.settings.corruptions, results.settings.severities

    def by_cell(name: str, *, gain: bool = False) -> np.ndarray:
        def value(cell: Cell) -> float:
            return results.gain("none", (cell,)).value if gain else results.accuracy(name, cell).value

        return np.array([[value(Cell(corruption, severity)) for severity in severities] for corruption in corruptions])

    columns = [str(severity) for severity in severities]
    for name in ("none", "random", "designed"):
        yield figures.heat_map(
            name=f"corruptions-{name}",
            title=f"Corrupted images with {WORDS[name]}",
            caption=f"Accuracy by corruption and severity; mean over {plural(len(results.chains), 'design')}.",
            values=by_cell(name),
            rows=list(corruptions),
            columns=columns,
            row_label="corruption",
            column_label="severity",
            limits=(0.0, 1.0),
        )
    yield figures.heat_map(
        name="gains",
        title="What the designed patch gains over no patch",
        caption="In points of accuracy, by corruption and severity; mean over designs, paired by image.",
        values=by_cell("designed", gain=True),
        rows=list(corruptions),
        columns=columns,
        row_label="corruption",
        column_label="severity",
        fmt="points",
        signed=True,
    )


def _confusion(results: Results) -> Iterator[Figure]:
    table = reduce.confusion_table(results)
    patched = [results.classes[label] for label in results.kind.classes]
    for answer, title, words in (
        ("patch", "How often each patch decides the answer", "the patch's class"),
        ("own", "How often the object is recognised all the same", "the object's own class"),
    ):
        values = table.pivot(index="patch_of", columns="images_of", values=answer)
        yield figures.heat_map(
            name=f"confusion-{answer}",
            title=title,
            caption="Share of images of one class (columns) with the designed patch of another (rows) that are "
            f"answered with {words}; on the diagonal the patch lies on its own class.",
            values=values.reindex(index=patched, columns=list(results.classes)).to_numpy(dtype=float),
            rows=patched,
            columns=list(results.classes),
            row_label="patch of",
            column_label="images of",
            limits=(0.0, 1.0),
        )


def _curves(results: Results) -> Figure:
    curves = reduce.curve_table(results)
    return figures.curve(
        name="design",
        title="The designs",
        caption="Cross-entropy of each step's batch, one line for each design, before the step.",
        alt=f"cross-entropy ends at {curves[curves.step == curves.step.max()].loss.mean():.2f}",
        series=[
            figures.Series(
                label=f"{classifier}, design {number}" if results.settings.num_designs > 1 else str(classifier),
                x=rows.step.tolist(),
                y=rows.loss.tolist(),
            )
            for (classifier, number), rows in curves.groupby(["classifier", "design"], sort=False)
        ],
        x_label="step",
        y_label="cross-entropy",
    )


def pictures(results: Results) -> Iterator[Picture]:
    """The patches, and a few test images with each."""
    kind, first = results.kind, min(MOST_CLASSES, len(results.kind.classes))
    sheet = np.concatenate([squares(canvases[:first], kind.side) for canvases in results.patches.values()])
    whose = f"for {results.printed.model}" + f", design {results.printed.design}" * (results.settings.num_designs > 1)
    if results.settings.gamut:
        whose += f", within the colours that {results.settings.gamut} prints"
    yield figures.image_grid(
        name="squares",
        title="The patches",
        caption=f"Patches {whose}, before they are turned, moved and scaled: the design that ended best on training "
        "images. These are the ones to print.",
        alt=f"patches of {plural(first, 'class').replace('classs', 'classes')}",
        images=sheet,
        rows=[WORDS[name] for name in results.patches],
        columns=[results.classes[label] for label in kind.classes[:first]],
        scale=max(1, 80 // kind.side),
    )
    if results.pictures:
        images = np.concatenate([np.stack(list(results.pictures[name].image)) for name in NAMES])
        count = len(images) // len(NAMES)
        yield figures.image_grid(
            name="examples",
            title="On test images",
            caption="Random test images with each patch at the same place.",
            alt=f"{count} test images with {len(NAMES)} patches",
            images=images,
            rows=[WORDS[name] for name in NAMES],
            columns=[""] * count,
            scale=max(1, 96 // images.shape[2]),
        )
