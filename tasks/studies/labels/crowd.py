"""A simulated crowd on scenes, from the search that proposes an image to people who say what is in it.

1. *Collection*, as ImageNet was made: a query class proposes an image; workers are asked whether it contains that one
   class; the image is kept, with the query as its label, if enough of them tick it. No worker sees another label.
2. *Contains*: workers are asked about every candidate label; labels ticked at least half as often as the given one
   survive (the five best of them, and the given one).
3. *Classify*: a worker sees all surviving labels, selects one for each object that he notices, and says which is main.

Draws belong to the image: other precisions, thresholds or numbers of workers meet the same luck.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robustray.tasks.attacks.search import noise
from robustray.tasks.data.scenes import GROUPS, SceneSettings

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

TICK_OBJECT, TICK_SIBLING, TICK_GROUP, TICK_ABSENT = 0.90, 0.45, 0.12, 0.02
"""Chance that a worker ticks the class of an object in the image; its sibling (same shape, other texture); another
class of its superclass; any other class."""
NOTICES_MAIN, NOTICES_OTHER = 0.97, 0.80
NAMES_OBJECT, NAMES_SIBLING, NAMES_GROUP = 0.75, 0.22, 0.03
"""Weights of the surviving labels by which an object is named; the last is shared by the rest of its superclass."""
MAIN_IS_MAIN = 0.9
"""Chance that a worker who names the main object calls it main; else it is another one that he names."""
WRONG = (("other object", 0.4), ("sibling", 0.3), ("superclass", 0.2), ("absent", 0.1))
"""What a query that is not about the main object is about. Where there is no other object, it is the sibling."""
MOST_SURVIVING = 5


@dataclass(frozen=True, kw_only=True)
class Crowd:
    """A crowd and the scenes that it sees."""

    scenes: SceneSettings
    """Scenes of 18 classes: 2i and 2i + 1 are siblings, and six in a row are a superclass."""
    precision: float
    """Precision of the search: the chance that a query that finds an image is about its main object."""
    num_workers: int
    """Answers per image in collection and per label in contains."""
    num_classify: int
    """Answers per image in classify."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Answers:
    """What the crowd said, by image."""

    query: Ints
    """(images,) class that the search proposed the image for."""
    ticks: Bools
    """(images, num_workers) answers to "does it contain the query?"; the first n are those of n workers."""
    surviving: Bools
    """(images, classes) labels shown in classify."""
    given_ticks: Ints
    """(images,) of the query in contains."""
    most_ticked: Ints
    """(images,) label that most workers tick in contains, whatever was proposed (ties: the smaller class)."""
    main: Ints
    """(images, num_classify): the label that a worker calls main."""
    selected: Bools
    """(images, num_classify, classes): the labels that a worker selects."""


def answer(crowd: Crowd, objects: Ints, indices: Ints, seed: int) -> Answers:
    """Ask the crowd about scenes.

    objects: (images, 3) class of each object, the main one first, -1 where there is none. indices: (images,).
    """
    import torch

    num_classes, rows = crowd.scenes.classes, torch.from_numpy(indices)

    def drawn(what: str, *shape: int) -> Array:
        return noise.uniform(seed, f"labels {what}", 0, rows, shape, "cpu").numpy().astype(np.float64)

    chance = tick_chance(objects, num_classes)
    query = queries(objects, crowd.precision, num_classes, drawn("query", 4))
    ticks = drawn("collection", crowd.num_workers) < np.take_along_axis(chance, query[:, None], axis=1)

    asked = candidates(objects, num_classes, drawn("candidates", 8))
    asked[np.arange(len(query)), query] = True
    contained = (drawn("contains", num_classes, crowd.num_workers) < chance[:, :, None]).sum(axis=2)
    contained = np.where(asked, contained, 0)
    surviving = survivors(contained, query)

    main, selected = classify(
        objects,
        surviving,
        query,
        noticed=drawn("notice", crowd.num_classify, 3),
        named=drawn("name", crowd.num_classify, 3),
        chosen=drawn("main", crowd.num_classify),
    )
    given_ticks = contained[np.arange(len(query)), query]
    return Answers(
        query=query,
        ticks=ticks,
        surviving=surviving,
        given_ticks=given_ticks,
        most_ticked=contained.argmax(axis=1),
        main=main,
        selected=selected,
    )


def relation(objects: Ints, label: Ints) -> NDArray[np.str_]:
    """(images,) what a label is to an image: "main", "other object", "sibling", "superclass" or "absent"."""
    there = objects >= 0
    same = there & (objects == label[:, None])
    sibling = there & (objects // 2 == label[:, None] // 2)
    group = there & (group_of(objects) == group_of(label)[:, None])
    forms = [same[:, 0], same.any(axis=1), sibling.any(axis=1), group.any(axis=1)]
    return np.select(forms, ["main", "other object", "sibling", "superclass"], "absent")


def group_of(label: Ints) -> Ints:
    """Superclass of a class of 18: six in a row."""
    return label // (18 // len(GROUPS))


def tick_chance(objects: Ints, num_classes: int) -> Array:
    """(images, classes) chance that a worker who is asked about a class ticks it."""
    relations = [relation(objects, np.full(len(objects), label)) for label in range(num_classes)]
    by_relation = {
        "main": TICK_OBJECT,
        "other object": TICK_OBJECT,
        "sibling": TICK_SIBLING,
        "superclass": TICK_GROUP,
        "absent": TICK_ABSENT,
    }
    found = np.stack(relations, axis=1)
    return np.select([found == name for name in by_relation], list(by_relation.values()))


def queries(objects: Ints, precision: float, num_classes: int, drawn: Array) -> Ints:
    """(images,) the class that the search proposes each image for. drawn: (images, 4) uniform numbers."""
    main = objects[:, 0]
    num_objects = (objects >= 0).sum(axis=1)
    shares = np.cumsum([share for _, share in WRONG])
    form = np.searchsorted(shares, drawn[:, 1] * shares[-1], side="right").clip(max=len(WRONG) - 1)
    form = np.where((form == 0) & (num_objects == 1), 1, form)

    other_place = 1 + (drawn[:, 2] * np.maximum(num_objects - 1, 1)).astype(np.int64)
    other = objects[np.arange(len(objects)), np.minimum(other_place, objects.shape[1] - 1)]
    group_size = num_classes // len(GROUPS)
    # of the four classes of the superclass that are neither the main one's nor its sibling's
    step = 2 + (drawn[:, 2] * (group_size - 2)).astype(np.int64)
    near = group_of(main) * group_size + ((main // 2 * 2) % group_size + step) % group_size
    return np.where(
        drawn[:, 0] < precision,
        main,
        np.choose(form, [other, main ^ 1, near, _absent(objects, num_classes, drawn[:, 2])]),
    )


def _absent(objects: Ints, num_classes: int, drawn: Array) -> Ints:
    """(images,) a class that is no object's nor a sibling's, of a superclass without objects if there is one."""
    classes = np.arange(num_classes)
    there = objects[:, :, None] >= 0
    near = (there & (objects[:, :, None] // 2 == classes // 2)).any(axis=1)
    group = (there & (group_of(objects)[:, :, None] == group_of(classes))).any(axis=1)
    usable = np.where(group.all(axis=1, keepdims=True), ~near, ~group)
    return _pick(usable.astype(np.float64), drawn)


def candidates(objects: Ints, num_classes: int, drawn: Array) -> Bools:
    """(images, classes) labels that contains asks about: objects, most siblings, some of the superclass, two others."""
    images = np.arange(len(objects))
    asked = np.zeros((len(objects), num_classes), dtype=np.bool_)
    for k in range(objects.shape[1]):
        there = objects[:, k] >= 0
        asked[images[there], objects[there, k]] = True
        sibling = there & (drawn[:, k] < 0.9)
        asked[images[sibling], objects[sibling, k] ^ 1] = True
    group_size = num_classes // len(GROUPS)
    near = group_of(objects[:, 0]) * group_size + (drawn[:, 3] * group_size).astype(np.int64)
    some = drawn[:, 4] < 0.5
    asked[images[some], near[some]] = True
    for k in (5, 6):
        asked[images, (drawn[:, k] * num_classes).astype(np.int64)] = True
    return asked


def survivors(contained: Ints, given: Ints) -> Bools:
    """(images, classes) labels ticked at least half as often as the given one, the five best, and the given one.

    contained: (images, classes) ticks, of equally many workers; 0 for labels that were not asked about.
    """
    images = np.arange(len(given))
    of_given = contained[images, given]
    confident = (2 * contained >= of_given[:, None]) & (contained > 0)
    rank = np.argsort(np.argsort(-contained, axis=1, kind="stable"), axis=1)
    surviving = confident & (rank < MOST_SURVIVING)
    surviving[images, given] = True
    return surviving


def classify(
    objects: Ints, surviving: Bools, given: Ints, *, noticed: Array, named: Array, chosen: Array
) -> tuple[Ints, Bools]:
    """Main label (images, workers) and selected labels (images, workers, classes) of every worker.

    noticed, named: (images, workers, 3) uniform numbers; chosen: (images, workers). A worker who can name nothing (no
    surviving label is near what he notices) takes the given label.
    """
    num_images, num_workers = chosen.shape
    classes = np.arange(surviving.shape[1])
    labels = np.full((num_images, num_workers, objects.shape[1]), -1)
    for k in range(objects.shape[1]):
        own = objects[:, k, None]
        near = group_of(classes)[None, :] == group_of(own)
        weight = np.where(
            classes == own,
            NAMES_OBJECT,
            np.where(classes // 2 == own // 2, NAMES_SIBLING, np.where(near, NAMES_GROUP / (near.sum(1).max() - 2), 0)),
        )
        weight = np.where(surviving & (own >= 0), weight, 0.0)
        sees = noticed[:, :, k] < (NOTICES_MAIN if k == 0 else NOTICES_OTHER)
        can = weight.sum(axis=1) > 0
        label = np.stack([_pick(weight, named[:, worker, k]) for worker in range(num_workers)], axis=1)
        labels[:, :, k] = np.where(sees & can[:, None], label, -1)

    names = labels >= 0
    first, others = names[:, :, 0], names[:, :, 1:].sum(axis=2)
    # of the others that are named: the second object, or the third for the upper half of the draws if both are
    fraction = np.where(first, (chosen - MAIN_IS_MAIN) / (1 - MAIN_IS_MAIN), chosen)
    second = np.where(names[:, :, 1] & ((others == 1) | (fraction < 0.5)), labels[:, :, 1], labels[:, :, 2])
    main = np.where(first & ((chosen < MAIN_IS_MAIN) | (others == 0)), labels[:, :, 0], second)
    nothing = ~names.any(axis=2)
    main = np.where(nothing, given[:, None], main)
    selected = np.zeros((num_images, num_workers, len(classes)), dtype=np.bool_)
    for k in range(objects.shape[1]):
        image, worker = np.nonzero(names[:, :, k])
        selected[image, worker, labels[image, worker, k]] = True
    image, worker = np.nonzero(nothing)
    selected[image, worker, given[image]] = True
    return main, selected


def _pick(weight: Array, drawn: Array) -> Ints:
    """(images,) a class drawn by weight; any where all are 0. weight: (images, classes); drawn: (images,) uniform."""
    sums = np.cumsum(weight, axis=1)
    wanted = drawn * sums[:, -1]
    return (sums <= wanted[:, None]).sum(axis=1).clip(max=weight.shape[1] - 1)
