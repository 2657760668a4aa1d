"""How far ties move a headline: its range over every choice of tied main labels, numbers of objects and divisions.

Modes tie, and the best division of an image's labels into objects is often not the only one. A rule picks one; the
range says how much the rule decides. Images are independent, so the range of a share is found exactly: the largest
ratio of sums with one option per image (Dinkelbach, Management Science 13 (1967) 492-498).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robustray.tasks.crowds.classify import Aggregate, Votes
from robustray.tasks.crowds.partition import optimal_divisions

Option = tuple[int, int]
"""What an image adds: (to the denominator, to the numerator)."""
SEVERAL = "several objects"
NOT_MAIN = "given label is not the main label, several objects"
NOT_MAIN_OBJECT = "given label is not of the main object, several objects"
NOT_MAIN_SINGLE = "given label is not the main label, one object"


@dataclass(frozen=True, kw_only=True)
class Range:
    """Range of a share k / n over all tied choices."""

    fewest: int
    most: int
    """Largest k."""
    lowest: float
    highest: float
    """Largest k / n; NaN where n is 0 for every choice."""


def ranges(votes: Votes, found: Aggregate) -> dict[str, Range]:
    """Headline -> its range. `found`: of `votes`, by either rule for ties."""
    settled = ~(found.main_tied | found.objects_tied | (found.num_optima > 1))
    multi, other = found.num_objects > 1, found.main_label != votes.given
    apart = found.given_object != found.main_object
    fixed = {
        SEVERAL: (len(multi[settled]), int(multi[settled].sum())),
        NOT_MAIN: (int(multi[settled].sum()), int((multi & other)[settled].sum())),
        NOT_MAIN_OBJECT: (int(multi[settled].sum()), int((multi & apart)[settled].sum())),
        NOT_MAIN_SINGLE: (int((~multi)[settled].sum()), int((~multi & other)[settled].sum())),
    }
    order = np.argsort(votes.image, kind="stable")
    num_answers = votes.num_workers
    ends = np.cumsum(num_answers)
    choices: dict[str, Counter[frozenset[Option]]] = {name: Counter() for name in fixed}
    for image in np.flatnonzero(~settled):
        answers = order[ends[image] - num_answers[image] : ends[image]]
        for name, options in _options(votes, answers, int(votes.given[image])).items():
            choices[name][frozenset(options)] += 1
    return {name: _range(fixed[name], choices[name]) for name in fixed}


def _options(votes: Votes, answers: NDArray[np.int64], given: int) -> dict[str, set[Option]]:
    """What one image may add to each headline."""
    selections = [votes.selected.values[votes.selected.starts[a] : votes.selected.starts[a + 1]] for a in answers]
    mains = modes([int(votes.main[a]) for a in answers])
    options: dict[str, set[Option]] = {name: set() for name in (SEVERAL, NOT_MAIN, NOT_MAIN_OBJECT, NOT_MAIN_SINGLE)}
    for size in modes([len(each) for each in selections]):
        options[SEVERAL].add((1, int(size > 1)))
        options[NOT_MAIN] |= {(1, int(main != given)) if size > 1 else (0, 0) for main in mains}
        options[NOT_MAIN_SINGLE] |= {(0, 0) if size > 1 else (1, int(main != given)) for main in mains}
        if size == 1:
            options[NOT_MAIN_OBJECT].add((0, 0))
            continue
        labels, weights = graph(selections)
        for groups in optimal_divisions(weights, size):
            object_of: Mapping[int, int] = dict(zip(labels, groups.tolist(), strict=True))
            options[NOT_MAIN_OBJECT] |= {
                (1, int(object_of.get(main, -1) != object_of.get(given, -1))) for main in mains
            }
    return options


def modes(values: Sequence[int]) -> list[int]:
    """All most frequent values."""
    counts = Counter(values)
    largest = max(counts.values())
    return [value for value, count in counts.items() if count == largest]


def graph(selections: Sequence[NDArray[np.int64]]) -> tuple[list[int], NDArray[np.int64]]:
    """Labels that were selected together with another one, ascending, and how many workers selected each pair."""
    labels = sorted({int(label) for each in selections if len(each) > 1 for label in each})
    place = {label: i for i, label in enumerate(labels)}
    weights = np.zeros((len(labels), len(labels)), dtype=np.int64)
    for each in selections:
        rows = [place[int(label)] for label in each] if len(each) > 1 else []
        weights[np.ix_(rows, rows)] += 1
    np.fill_diagonal(weights, 0)
    return labels, weights


def _range(fixed: Option, choices: Counter[frozenset[Option]]) -> Range:
    def extreme(sign: int) -> float:
        """Largest k / n (sign 1) or smallest (sign -1)."""
        rate = 0.0 if sign > 0 else 1.0
        while True:
            n, k = fixed
            for options, count in choices.items():
                # of equally good options the one with the larger n: with n = 0 there is no share at all
                best = max(options, key=lambda option: (sign * (option[1] - rate * option[0]), option[0]))
                n, k = n + count * best[0], k + count * best[1]
            if n == 0:
                return float("nan")
            if sign * (k / n - rate) <= 1e-15:
                return k / n
            rate = k / n

    fewest = fixed[1] + sum(count * min(k for _, k in options) for options, count in choices.items())
    most = fixed[1] + sum(count * max(k for _, k in options) for options, count in choices.items())
    return Range(fewest=fewest, most=most, lowest=extreme(-1), highest=extreme(1))
