"""How far ties move a headline: by trying every choice on small tables, and on the published answers."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from robustray.tasks.crowds.classify import Votes, aggregate
from robustray.tasks.crowds.optima import NOT_MAIN, NOT_MAIN_OBJECT, NOT_MAIN_SINGLE, SEVERAL, ranges
from robustray.tasks.crowds.tables import Labels
from robustray.tasks.studies.labels.reduce import shares


def drawn(seed: int, num_images: int = 4, num_workers: int = 4) -> Votes:
    rng = np.random.default_rng(seed)
    image = rng.permutation(np.repeat(np.arange(num_images), num_workers))
    chosen = [rng.choice(4, rng.integers(1, 4), replace=False) for _ in image]
    starts = np.concatenate([[0], np.cumsum([len(each) for each in chosen])])
    return Votes(
        image=image,
        main=np.array([each[0] for each in chosen]),
        selected=Labels(values=np.concatenate(chosen), starts=starts),
        given=rng.integers(0, 4, num_images),
        num_classes=4,
    )


def every_choice(votes: Votes) -> dict[str, list[tuple[int, int]]]:
    """Headline -> (n, k) of every combination of choices of the images."""
    of_images: list[set[tuple[tuple[str, int, int], ...]]] = []
    for image in range(votes.num_images):
        rows = np.flatnonzero(votes.image == image)
        sets = [
            set(votes.selected.values[votes.selected.starts[r] : votes.selected.starts[r + 1]].tolist()) for r in rows
        ]
        given = int(votes.given[image])
        found: set[tuple[tuple[str, int, int], ...]] = set()
        for size in most([len(each) for each in sets]):
            for main in most(votes.main[rows].tolist()):
                joint = Counter(pair for each in sets for pair in itertools.combinations(sorted(each), 2))
                labels = sorted({label for pair in joint for label in pair})
                for colours in best(labels, joint, size) if size > 1 else [{}]:
                    apart = int(colours.get(main, -1) != colours.get(given, -1))
                    many, other = int(size > 1), int(main != given)
                    found.add(
                        (
                            (SEVERAL, 1, many),
                            (NOT_MAIN, many, many * other),
                            (NOT_MAIN_OBJECT, many, many * apart),
                            (NOT_MAIN_SINGLE, 1 - many, (1 - many) * other),
                        )
                    )
        of_images.append(found)
    totals: dict[str, list[tuple[int, int]]] = {name: [] for name in (SEVERAL, NOT_MAIN, NOT_MAIN_OBJECT)}
    totals[NOT_MAIN_SINGLE] = []
    for combination in itertools.product(*of_images):
        for entries in zip(*combination, strict=True):
            totals[entries[0][0]].append((sum(n for _, n, _ in entries), sum(k for *_, k in entries)))
    return totals


def most(values: list[int]) -> list[int]:
    counts = Counter(values)
    return [value for value, count in counts.items() if count == max(counts.values())]


def best(labels: list[int], joint: Counter[tuple[int, int]], size: int) -> list[dict[int, int]]:
    cuts: dict[int, list[dict[int, int]]] = {}
    for colours in itertools.product(range(size), repeat=len(labels)):
        if len(set(colours)) == size:
            of = dict(zip(labels, colours, strict=True))
            cuts.setdefault(sum(count for (a, b), count in joint.items() if of[a] != of[b]), []).append(of)
    return cuts[max(cuts)]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("ties", ["rule", "order"])
def test_ranges_by_every_choice(seed: int, ties: str) -> None:
    votes = drawn(seed)
    found = ranges(votes, aggregate(votes, ties="order" if ties == "order" else "rule"))
    for name, totals in every_choice(votes).items():
        counts = [k for _, k in totals]
        assert (found[name].fewest, found[name].most) == (min(counts), max(counts)), name
        values = [k / n for n, k in totals if n]
        if values:
            assert (found[name].lowest, found[name].highest) == pytest.approx((min(values), max(values))), name


def test_nothing_tied_is_a_single_point() -> None:
    votes = Votes(
        image=np.array([0, 0, 1]),
        main=np.array([1, 1, 2]),
        selected=Labels(values=np.array([1, 2, 1, 2, 2]), starts=np.array([0, 2, 4, 5])),
        given=np.array([2, 2]),
        num_classes=3,
    )
    found = ranges(votes, aggregate(votes))
    assert (found[NOT_MAIN].fewest, found[NOT_MAIN].most, found[NOT_MAIN].lowest) == (1, 1, 1.0)
    assert (found[SEVERAL].lowest, found[SEVERAL].highest) == (0.5, 0.5)


def test_ranges_of_the_published_answers(shared_data: Path) -> None:
    folder = shared_data / "annotations"
    if not (folder / "multilabel_classify_votes.parquet").is_file():
        pytest.skip(f"no published annotations in {folder}")
    answers = pd.read_parquet(folder / "multilabel_classify_votes.parquet")
    images = pd.read_parquet(folder / "multilabel_classify_images.parquet").set_index("image_number")
    number, member = np.unique(answers.image_number, return_inverse=True)
    votes = Votes(
        image=member,
        main=answers.main.to_numpy(np.int64),
        selected=Labels(
            values=np.concatenate(list(answers.selected)).astype(np.int64),
            starts=np.concatenate([[0], np.cumsum(answers.selected.map(len))]),
        ),
        given=images.loc[number].class_id.to_numpy(np.int64),
        num_classes=1_000,
    )
    by_rule, by_order = aggregate(votes), aggregate(votes, ties="order")
    found = ranges(votes, by_rule)
    assert found == ranges(votes, by_order), "the range knows no rule for ties"
    assert (found[SEVERAL].fewest, found[SEVERAL].most) == (2_062, 2_229)
    for each in (by_rule, by_order):
        for name, share in shares(votes, each).items():
            assert found[name].lowest <= share.value <= found[name].highest, name
