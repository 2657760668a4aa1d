"""From a crowd's answers to estimates: which images are kept, under which label, and what people would have called
them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robustray.tasks.crowds.classify import Aggregate, Votes, aggregate
from robustray.tasks.crowds.optima import NOT_MAIN, NOT_MAIN_OBJECT, NOT_MAIN_SINGLE, SEVERAL
from robustray.tasks.crowds.tables import Labels
from robustray.tasks.kit.frames import columns
from robustray.tasks.statistics import Estimate, bootstrap, by_unit, newcombe_difference, proportion
from robustray.tasks.studies.labels.crowd import relation

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, eq=False)
class Collected:
    """Scenes proposed by a search, and the crowd's answers; arrays by image."""

    index: Ints
    objects: Ints
    query: Ints
    ticks: Bools
    surviving: Bools
    given_ticks: Ints
    most_ticked: Ints
    main: Ints
    selected: Bools

    @staticmethod
    def of(rows: pd.DataFrame) -> Collected:
        """Make it from the rows of `crowd_block`."""

        def stacked(name: str) -> Ints:
            return np.stack(list(rows[name]))

        return Collected(
            index=rows["index"].to_numpy(np.int64),
            objects=stacked("objects"),
            query=rows["query"].to_numpy(np.int64),
            ticks=stacked("ticks").astype(np.bool_),
            surviving=stacked("surviving").astype(np.bool_),
            given_ticks=rows["given_ticks"].to_numpy(np.int64),
            most_ticked=rows["most_ticked"].to_numpy(np.int64),
            main=stacked("main"),
            selected=stacked("selected").astype(np.bool_),
        )

    @property
    def most_main(self) -> Ints:
        """(images,) the most frequent main answer of classify, whatever the number of objects (ties: the smaller
        class)."""
        width = self.selected.shape[2]
        cell = np.arange(len(self.main))[:, None] * width + self.main
        return np.bincount(cell.ravel(), minlength=len(self.main) * width).reshape(-1, width).argmax(axis=1)

    @property
    def multi(self) -> Bools:
        """Whether an image truly shows several objects."""
        return (self.objects >= 0).sum(axis=1) > 1

    def kept(self, num_workers: int, threshold: float) -> Bools:
        """Whether the first `num_workers` ticked the query often enough."""
        needed = int(np.ceil(threshold * num_workers - 1e-9))
        return self.ticks[:, :num_workers].sum(axis=1) >= needed


def collection(
    collected: Mapping[float, Collected], workers: Sequence[int], thresholds: Sequence[float]
) -> pd.DataFrame:
    """One row per search precision, number of workers and threshold: shares with Wilson's intervals.

    kept: of n_proposed images; false accepts: of n_kept images, those that show no object of the given class; not main:
    of the n_several kept images that truly show several objects, those whose given label is not the main object's
    class; not main, single: the same of the other kept images. not contains, not classify: of the n_several images,
    those whose most ticked label (whose most frequent main answer) is not the main object's class: labels of the same
    images that nobody proposed.
    """
    rows = []
    for precision, found in collected.items():
        wrong, ticked, said = (
            label != found.objects[:, 0] for label in (found.query, found.most_ticked, found.most_main)
        )
        false = ~np.isin(relation(found.objects, found.query), ["main", "other object"])
        for n in workers:
            for threshold in thresholds:
                kept = found.kept(n, threshold)
                row: dict[str, float] = {"precision": precision, "workers": n, "threshold": threshold}
                for name, flags in (
                    ("kept", kept),
                    ("false_accepts", false[kept]),
                    ("not_main", wrong[kept & found.multi]),
                    ("not_main_single", wrong[kept & ~found.multi]),
                    ("not_contains", ticked[kept & found.multi]),
                    ("not_classify", said[kept & found.multi]),
                ):
                    row |= columns(name, proportion(flags), f"{name}_lo", f"{name}_hi")
                several = int((kept & found.multi).sum())
                rows.append(row | {"n_proposed": len(kept), "n_kept": int(kept.sum()), "n_several": several})
    return pd.DataFrame(rows)


def change(first: Collected, kept_first: Bools, last: Collected, kept_last: Bools, *, num_resamples: int) -> Estimate:
    """Share of given labels that are not main, of kept images with several objects: last minus first collection.

    Both collections proposed the same scenes, but kept others of them: bootstrap over scenes, basic interval.
    """
    parts = []
    for found, kept in ((first, kept_first), (last, kept_last)):
        counted = kept & found.multi
        parts.append((counted, counted & (found.query != found.objects[:, 0])))
    inside, hits = (np.stack(each, axis=1).astype(np.float64) for each in zip(*parts, strict=True))

    def difference(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        with np.errstate(invalid="ignore", divide="ignore"):  # no image kept in a resample: counted as failed
            share = (weights @ hits) / (weights @ inside)
        return np.asarray(share[:, 1] - share[:, 0])

    return bootstrap(difference, by_unit(len(first.index)), num_resamples=num_resamples)


@dataclass(frozen=True, kw_only=True, eq=False)
class People:
    """What people say of the kept images that show them several plausible labels."""

    images: Ints
    """(images,) rows of the `Collected`."""
    votes: Votes
    found: Aggregate


SPLITS = ("several plausible labels", "only the given label", "given label never ticked")


def split(found: Collected, kept: Bools) -> pd.DataFrame:
    """How many kept images go to classify, have one plausible label, or one that nobody ticks when asked again."""
    never = kept & (found.given_ticks == 0)
    alone = kept & ~never & (found.surviving.sum(axis=1) == 1)
    counts = [int((kept & ~never & ~alone).sum()), int(alone.sum()), int(never.sum())]
    return pd.DataFrame({"images": SPLITS, "number": counts, "share": np.array(counts) / max(1, kept.sum())})


def people(found: Collected, kept: Bools) -> People:
    """Aggregate the answers of classify on kept images with several plausible labels.

    An image whose given label nobody ticks has no main label here, as in the published annotations.
    """
    images = np.flatnonzero(kept & (found.given_ticks > 0) & (found.surviving.sum(axis=1) > 1))
    selected = found.selected[images]
    label = np.nonzero(selected)[2]
    lengths = selected.sum(axis=2).ravel()
    votes = Votes(
        image=np.repeat(np.arange(len(images)), selected.shape[1]),
        main=found.main[images].ravel(),
        selected=Labels(values=label, starts=np.concatenate([[0], np.cumsum(lengths)])),
        given=found.query[images],
        num_classes=selected.shape[2],
    )
    return People(images=images, votes=votes, found=aggregate(votes))


def shares(votes: Votes, found: Aggregate) -> dict[str, Estimate]:
    """The paper's headline figures, of images that were classified."""
    multi = found.num_objects > 1
    other_label = found.main_label != votes.given
    return {
        SEVERAL: proportion(multi),
        NOT_MAIN: proportion(other_label[multi]),
        NOT_MAIN_OBJECT: proportion((found.given_object != found.main_object)[multi]),
        NOT_MAIN_SINGLE: proportion(other_label[~multi]),
    }


def multi_minus_single(votes: Votes, found: Aggregate) -> Estimate:
    """Share of given labels that are not main: images with several objects minus those with one (Newcombe)."""
    multi, other = found.num_objects > 1, found.main_label != votes.given
    return newcombe_difference(int(other[multi].sum()), int(multi.sum()), int(other[~multi].sum()), int((~multi).sum()))


def against_truth(found: Collected, people_: People) -> dict[str, Estimate]:
    """How often people's answers agree with what the scene was made of."""
    objects = found.objects[people_.images]
    return {
        "number of objects is right": proportion(people_.found.num_objects == (objects >= 0).sum(axis=1)),
        "main label is the main object's class": proportion(people_.found.main_label == objects[:, 0]),
        "main label is that class or its sibling": proportion(people_.found.main_label // 2 == objects[:, 0] // 2),
    }
