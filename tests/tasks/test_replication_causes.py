"""A gap with two causes: parts that sum to it, that are 0 where a cause is missing, and that intervals hold."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from robustray.tasks.crowds.replicas.causes import (
    COMPONENTS,
    MIXTURES,
    PARTS,
    RAW_GAP,
    RESIDUAL,
    SELECTION,
    SEVERAL,
    kitagawa,
)
from robustray.tasks.crowds.replicas.cells import Remeasured
from robustray.tasks.crowds.replicas.decompose import CauseProtocol, decomposed, parts
from robustray.tasks.crowds.replicas.estimators import FactorialMoments, gaps
from robustray.tasks.crowds.replicas.exact import Expectations
from robustray.tasks.crowds.replicas.scenarios import SCENARIOS
from robustray.tasks.studies.replication.causing import Caused, caused_parts
from robustray.tasks.studies.replication.settings import Settings
from robustray.tasks.study import Claim, Table


def protocol(mixture: str, **changes: int) -> CauseProtocol:
    sizes = {"num_images": 10_000, "num_candidates": 60_000, "num_classes": 10, "num_matching": 10, "num_answers": 10}
    return CauseProtocol(mixture=mixture, world=MIXTURES[mixture], **(sizes | {"num_resamples": 200} | changes))


def test_parts_by_hand_and_their_sum() -> None:
    share_1, share_2 = np.array([0.8, 0.2]), np.array([0.5, 0.5])
    mean_1, mean_2 = np.array([0.9, 0.5]), np.array([0.7, 0.4])
    within, between = kitagawa(share_1, share_2, mean_1, mean_2)
    assert within == pytest.approx(0.65 * 0.2 + 0.35 * 0.1)
    assert between == pytest.approx(0.3 * 0.8 - 0.3 * 0.45)
    assert within + between == pytest.approx(share_1 @ mean_1 - share_2 @ mean_2, abs=1e-15)
    assert kitagawa(share_1, share_1, mean_1, mean_2)[1] == 0, "equal shares"
    assert kitagawa(share_1, share_2, mean_1, mean_1)[0] == 0, "equal means within kinds"


@pytest.mark.parametrize("name", MIXTURES)
def test_true_parts_sum_to_the_true_gap(name: str) -> None:
    truth = MIXTURES[name].truth(10)
    assert sum(truth[part] for part in COMPONENTS) == pytest.approx(truth[RAW_GAP], abs=1e-12)
    assert truth[RESIDUAL] == pytest.approx(MIXTURES[name].residual, abs=2e-4), "less where a chance can't fall below 0"


def test_a_cause_that_is_missing_has_a_true_part_of_0() -> None:
    assert all(value == pytest.approx(0, abs=1e-12) for value in MIXTURES["neither"].truth(10).values())
    assert MIXTURES["selection"].truth(10)[SEVERAL] == pytest.approx(0, abs=1e-12)
    assert MIXTURES["objects"].truth(10)[SELECTION] == pytest.approx(0, abs=1e-12)
    blind = replace(MIXTURES["both"], confused=0.0)
    assert blind.truth(10)[SEVERAL] == pytest.approx(0, abs=1e-12), "models that several objects do not confuse"


def test_with_one_kind_of_chance_the_parts_are_those_of_the_reference_study() -> None:
    blind = replace(MIXTURES["selection"], confused=0.0)
    expected = Expectations(scenario=SCENARIOS["reference"], num_matching=10)
    assert blind.truth(10)[SELECTION] == pytest.approx(expected.raw_gap(), abs=1e-12)
    share, logits = blind.tipping_points(10, 1e-4)
    assert np.isinf(share), "no share of images explains what their kind does not change"
    assert logits == pytest.approx(expected.tipping_point(1e-4), rel=1e-2)


def some_rows(rng: np.random.Generator, num: int) -> Remeasured:
    s = rng.beta(4, 2, num)
    correct = (rng.random((num, 3)) < s[:, None] ** 2).astype(float)
    return Remeasured(n_shown=rng.integers(9, 14, num), n_selected=rng.binomial(9, s), correct=correct)


def test_estimated_parts_sum_to_the_raw_gap_in_every_resample() -> None:
    rng = np.random.default_rng(0)
    sets = some_rows(rng, 300), some_rows(rng, 240)
    kinds = rng.integers(0, 2, 300), rng.integers(0, 2, 240)
    bins = rng.integers(0, 5, 300), rng.integers(0, 5, 240)
    weights = np.concatenate([np.ones((1, 540)), rng.integers(0, 3, (4, 540))]).astype(float)
    for given in (None, bins):
        found = parts(*sets, kinds, given)(weights).reshape(5, len(PARTS), 3)
        assert found[:, :3].sum(axis=1) == pytest.approx(found[:, 3], abs=1e-12)
    alone = parts(*sets, kinds)(weights)
    raw = sets[0].correct.T @ weights[:, :300].T / weights[:, :300].sum(axis=1)
    raw = raw - sets[1].correct.T @ weights[:, 300:].T / weights[:, 300:].sum(axis=1)
    assert alone.reshape(5, 4, 3)[:, PARTS.index(RAW_GAP)] == pytest.approx(raw.T)


def test_images_of_one_kind_in_equal_shares_leave_factorial_moments_as_they_are() -> None:
    rng = np.random.default_rng(1)
    sets = some_rows(rng, 300), some_rows(rng, 240)
    both = tuple(
        Remeasured(
            n_shown=np.tile(each.n_shown, 2),
            n_selected=np.tile(each.n_selected, 2),
            correct=np.tile(each.correct, (2, 1)),
        )
        for each in sets
    )
    kinds = np.repeat([0, 1], 300), np.repeat([0, 1], 240)  # each image once of either kind
    found = parts(both[0], both[1], kinds)(np.ones((1, 1080))).reshape(len(PARTS), 3)
    assert found[PARTS.index(RESIDUAL)] == pytest.approx(gaps(*sets, [FactorialMoments()])(np.ones((1, 540)))[0])
    assert found[PARTS.index(SEVERAL)] == pytest.approx(0, abs=1e-12)


def test_a_replica_that_follows_its_bins_grows_with_them() -> None:
    """Twice the original's images in a bin: twice the replica's weight there."""
    rows = Remeasured(
        n_shown=np.full(4, 9), n_selected=np.array([1, 9, 1, 9]), correct=np.array([[0.0], [1.0], [0.0], [1.0]])
    )
    one = np.zeros(4, dtype=np.int64)
    bins = np.array([0, 1, 0, 1])
    kinds = np.array([0, 1, 0, 1])
    weights = np.ones((2, 8))
    weights[1, [1, 3]] = 2.0  # the original's higher bin; its accuracy becomes 2 / 3, and the replica's with it
    raw = parts(rows, rows, (kinds, kinds), (bins, bins))(weights)[:, PARTS.index(RAW_GAP)]
    assert raw == pytest.approx([0, 0])
    assert parts(rows, rows, (kinds, kinds), (one, one))(weights)[1, PARTS.index(RAW_GAP)] == pytest.approx(1 / 6)


def test_simulated_studies_find_both_causes_together() -> None:
    truth = MIXTURES["both"].truth(10)
    found = [decomposed(protocol("both"), 3, index) for index in range(4)]
    assert decomposed(protocol("both"), 3, 1) == found[1], "a study is its number"
    for part, tolerance in ((SELECTION, 0.015), (SEVERAL, 0.004), (RESIDUAL, 0.015), (RAW_GAP, 0.007)):
        assert np.mean([each[part].value for each in found]) == pytest.approx(truth[part], abs=tolerance)
    held = [
        each[part].lo <= truth[part] <= each[part].hi for each, part in itertools.product(found, (SEVERAL, RESIDUAL))
    ]
    assert sum(held) >= 6


def test_misread_kinds_move_their_part_to_the_residual() -> None:
    truth = MIXTURES["misread"].truth(10)
    found = [decomposed(protocol("misread"), 0, index) for index in range(3)]
    assert np.mean([each[SEVERAL].value for each in found]) < truth[SEVERAL] - 0.008
    assert all(each[SEVERAL].hi < truth[SEVERAL] for each in found)


def page(num: int, several: tuple[float, float, float]) -> list[object]:
    truth = MIXTURES["both"].truth(10)
    ends = np.array([[truth[part], truth[part] - 0.01, truth[part] + 0.01] for part in PARTS])
    ends[PARTS.index(SEVERAL)] += several
    rows = pd.DataFrame({"study": range(num), "parts": [ends + 1e-6 * k for k in range(num)]})
    return list(caused_parts(Caused(settings=Settings(num_causes=num), rows=dict.fromkeys(MIXTURES, rows))))


def test_the_page_says_what_can_not_be_identified() -> None:
    good = MIXTURES["both"]
    words = [piece for piece in page(20, (0.0, 0.0, 0.0)) if isinstance(piece, str)]
    assert not any(piece.startswith("world both (") for piece in words)
    off = [piece for piece in page(20, (0.05, 0.05, 0.05)) if isinstance(piece, str)]
    assert any(
        piece.startswith(f"world both ({good.words}): not identifiable, intervals miss several objects")
        for piece in off
    )
    assert not [piece for piece in page(20, (0.0, 0.0, 0.0)) if isinstance(piece, Claim)], "too few for a claim"
    assert {piece.name for piece in page(2, (0.0, 0.0, 0.0)) if isinstance(piece, Table)} == {
        "causes",
        "causes-tipping",
    }
