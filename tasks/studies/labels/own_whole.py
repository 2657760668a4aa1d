"""The whole data set, not only its images that were classified: headlines, accuracy, accepted labels, confusion."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robustray.tasks.crowds.classify import Aggregate, Votes
from robustray.tasks.crowds.confusion import Classes, by_superclass, pairs, within_superclass
from robustray.tasks.crowds.sets import ALONE, CLASSIFIED, FEW, NEVER, AcceptedLabels, WholeSet
from robustray.tasks.kit.claims import describe
from robustray.tasks.kit.frames import columns, shown
from robustray.tasks.kit.words import plural
from robustray.tasks.statistics import newcombe_difference, proportion
from robustray.tasks.studies.labels.evaluation import GIVEN
from robustray.tasks.study import Description, PaperFigure, Table

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Ranked = Mapping[str, Ints]
"""Model -> (images, ranks) predicted classes, the best first, -1 behind the last."""
PAPER_LOST = PaperFigure(
    figure="over 10 points, all models", scale="10,000 ImageNet validation images", source="arXiv:2005.11295"
)
MOST_PAIRS = 15


@dataclass(frozen=True, kw_only=True, eq=False)
class Whole:
    """All images, and what models say of them."""

    images: WholeSet
    several: Bools
    """(images,) whether people see several objects."""
    single: Bools
    """(images,) people see one, or only the given label was plausible."""
    num_objects: Ints
    """(images,) what people see; 1 where only the given label was plausible; 0 where nobody knows."""
    not_main: Bools
    """(images,) the given label is not the main one; true where nobody ticked it."""
    ranked: Ranked

    @staticmethod
    def of(images: WholeSet, votes: Votes, found: Aggregate, ranked: Ranked) -> Whole:
        inside = images.split == CLASSIFIED
        objects = np.where(images.split == ALONE, 1, 0)
        objects[inside] = found.num_objects[images.classified[inside]]
        not_main = images.split == NEVER
        not_main[inside] = (found.main_label != votes.given)[images.classified[inside]]
        return Whole(
            images=images,
            several=objects > 1,
            single=objects == 1,
            num_objects=objects,
            not_main=not_main,
            ranked=ranked,
        )


def tables(whole: Whole) -> Iterator[Table]:
    split = whole.images.split
    undecided = {"several objects": np.isin(split, [NEVER, FEW]), "given label is not the main label": split == FEW}
    flags = {"several objects": whole.several, "given label is not the main label": whole.not_main}
    rows = []
    for name, hits in flags.items():
        unknown = undecided[name]
        estimate = proportion(hits[~unknown])
        bounds = {"lowest": hits.sum() / len(hits), "highest": (hits | unknown).mean()}
        rows.append({"share": name, **columns("value", estimate), "n": estimate.n, **bounds, "of": len(hits)})
    count = {name: int((split == name).sum()) for name in (CLASSIFIED, ALONE, NEVER, FEW)}
    yield Table(
        name="whole-set",
        title="The same of the whole data set",
        caption=f"{len(split):,} images: {count[CLASSIFIED]:,} classified, {count[ALONE]:,} with the given label as "
        f"the only plausible one (one object, the label is main), {count[NEVER]:,} whose label nobody ticked (it is "
        f"not main; how many objects there are is not known), {count[FEW]:,} with too few answers (nothing is known). "
        "Value: of the images where it is known, with Wilson's 95 % interval; lowest, highest: of all images, "
        "whatever is not known taken as no, as yes.",
        frame=pd.DataFrame(rows),
        formats=shown("value", "percent") | {"lowest": "percent", "highest": "percent"},
    )
    if whole.ranked:
        yield _accuracy(whole)
        yield _lost(whole)


def _slices(whole: Whole) -> dict[str, Bools]:
    return {
        "whole set": np.ones(len(whole.single), dtype=np.bool_),
        "one object": whole.single,
        "several objects": whole.several,
        "2 objects": whole.num_objects == 2,
        "3 or more objects": whole.num_objects > 2,
    }


def _accuracy(whole: Whole) -> Table:
    given = whole.images.given[:, None]
    rows = []
    for model, ranked in whole.ranked.items():
        for depth in (1, 5) if ranked.shape[1] >= 5 else (1,):
            hits = (ranked[:, :depth] == given).any(axis=1)
            for name, inside in _slices(whole).items():
                estimate = proportion(hits[inside])
                row = {"model": model, "slice": name, "measure": f"top-{depth}"}
                rows.append(row | columns("accuracy", estimate) | {"n": estimate.n})
    return Table(
        name="whole-set-accuracy",
        title="Accuracy by the given label, by how many objects there are",
        caption="Top-1, and top-5 where five predictions are known. Images with too few answers and those whose label "
        "nobody ticked are in the whole set only. 95 % Wilson intervals over images.",
        frame=pd.DataFrame(rows),
        formats=shown("accuracy", "percent"),
        on_page=len(whole.ranked) <= 4,
    )


def _losses(whole: Whole) -> dict[str, tuple[int, int, int, int]]:
    """Model -> right and all with one object, right and all with several."""
    single, several = whole.single, whole.several
    found = {}
    for model, ranked in whole.ranked.items():
        hits = ranked[:, 0] == whole.images.given
        found[model] = (
            int(hits[single].sum()),
            int(single.sum()),
            int(hits[several].sum()),
            int(several.sum()),
        )
    return found


def _lost(whole: Whole) -> Table:
    rows = []
    for model, counts in _losses(whole).items():
        estimate = newcombe_difference(*counts)
        one, several = (right / num if num else np.nan for right, num in (counts[:2], counts[2:]))
        row = {"model": model, "one_object": one, "several_objects": several}
        rows.append(row | columns("lost", estimate) | {"n": estimate.n})
    frame = pd.DataFrame(rows).sort_values(["one_object", "model"], ascending=[False, True], ignore_index=True)
    return Table(
        name="lost-on-several",
        title="What models lose on images with several objects",
        caption="Top-1 accuracy by the given label with one object, with several, and the difference (Newcombe's 95 % "
        "interval over images). The most accurate first.",
        frame=frame,
        formats={"one_object": "percent", "several_objects": "percent"} | shown("lost", "points"),
    )


def descriptions(whole: Whole) -> Iterator[Description]:
    if not whole.ranked or not whole.several.any() or not whole.single.any():
        return
    losses = {model: newcombe_difference(*counts) for model, counts in _losses(whole).items()}
    least = min(losses, key=lambda model: losses[model].value)
    yield describe(
        f"Accuracy that {least} loses on images with several objects, the least of {plural(len(losses), 'model')}",
        losses[least],
        measured="top-1 accuracy by the given label, images with one object minus those with several",
        over="images (Newcombe)",
        unit="points",
        paper=PAPER_LOST,
    )


def accepted_table(accepted: AcceptedLabels, ranked: Ranked) -> Table:
    """ReaL accuracy: a prediction is right if it is any label that fits."""
    judged = accepted.judged
    labels = {GIVEN: accepted.given} | {model: each[:, 0] for model, each in ranked.items()}
    rows = []
    for model, label in labels.items():
        by_any, by_given = proportion(accepted.right(label)[judged]), proportion((label == accepted.given)[judged])
        row = {"model": model, **columns("accepted", by_any)}
        rows.append(row | columns("given", by_given, "given_lo", "given_hi") | {"n": by_any.n})
    frame = pd.DataFrame(rows).sort_values(["accepted", "model"], ascending=[False, True], ignore_index=True)
    return Table(
        name="accepted",
        title="Is the prediction one of all labels that fit?",
        caption=f"Accepted: share of predictions among the labels that fit; given: share that is the given label. The "
        f"{int((~judged).sum()):,} images without any label that fits are left out. 95 % Wilson intervals over images.",
        frame=frame,
        formats=shown("accepted", "percent") | shown("given", "percent", "given_lo", "given_hi"),
    )


# -- confusion ---------------------------------------------------------------------------------------------------------


def confusion_tables(
    classes: Classes | None, votes: Votes, found: Aggregate, given: Ints, predicted: Mapping[str, Ints]
) -> Iterator[Table]:
    """given, predicted: of the images on which models are judged; people's labels are those of `votes`."""
    single = found.num_objects == 1
    people = votes.given[single], found.main_label[single]
    sides: dict[str, tuple[Ints, Mapping[str, Ints]]] = {"people": (people[0], {"people": people[1]})}
    if predicted:
        sides["models"] = given, predicted
    rows = []
    for who, (of_images, labels) in sides.items():
        if all((of_images == each).all() for each in labels.values()):
            continue
        for pair in pairs(of_images, labels, MOST_PAIRS):
            names = [f"{c} {classes.name[c]}" if classes else str(c) for c in (pair.first, pair.second)]
            counts = {"confused": pair.confused, "decided": pair.decided, "accuracy": pair.accuracy}
            rows.append({"who": who, "first": names[0], "second": names[1]} | counts)
    if rows:
        yield Table(
            name="pairs",
            title="Classes that are taken for each other",
            caption=f"The {MOST_PAIRS} most confused pairs, both ways added up. People: given and main label of images "
            f"with one object; models: given label and prediction, over {len(predicted)} models. Accuracy: of the "
            "labels that are one of the two, on images of the two; .5 is chance.",
            frame=pd.DataFrame(rows),
            formats={"accuracy": "percent"},
        )
    if classes is not None:
        yield from _superclasses(classes, sides)


def _superclasses(classes: Classes, sides: Mapping[str, tuple[Ints, Mapping[str, Ints]]]) -> Iterator[Table]:
    rows, cells = [], []
    for who, (given, labels) in sides.items():
        for name, said in labels.items():
            estimate = within_superclass(classes, given, said)
            rows.append({"who": who, "name": name, **columns("within", estimate), "n": estimate.n})
        pooled = np.tile(given, len(labels)), np.concatenate(list(labels.values()))
        names, share, total = by_superclass(classes, *pooled)
        for i, row in enumerate(names):
            to = {str(column): share[i, j] for j, column in enumerate(names)}
            cells.append({"who": who, "given": row, **to, "n": total[i]})
    yield Table(
        name="within-superclass",
        title="How far wrong labels are off",
        caption="Share of the labels other than the given one that stay in its superclass. People: the main labels of "
        "images with one object. 95 % Wilson intervals over images. Many classes share a large superclass: some would "
        "stay by chance.",
        frame=pd.DataFrame(rows),
        formats=shown("within", "percent"),
    )
    yield Table(
        name="superclasses",
        title="Where wrong labels go",
        caption="Rows: superclass of the given label; columns: of the label that people or models (all together) give "
        "instead; rows add up to 100 %.",
        frame=pd.DataFrame(cells),
        formats={column: "percent" for column in np.unique(classes.superclass).tolist()},
        on_page=False,
    )
