"""Designs predicted before they are run: against simulation, their cost, and what no number of answers reaches."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from robustray.tasks.crowds.answers import OwnStudy, Side
from robustray.tasks.crowds.replicas.cells import Remeasured
from robustray.tasks.crowds.replicas.exact import Expectations
from robustray.tasks.crowds.replicas.plan import (
    MANY,
    Images,
    World,
    draw,
    predict,
    realised_half_width,
    simulated_gaps,
    world,
)
from robustray.tasks.crowds.replicas.scenarios import POOR, SCENARIOS
from robustray.tasks.studies.replication.designs import Design, Wider, worth
from robustray.tasks.studies.replication.planning import Plan, warnings
from robustray.tasks.studies.replication.settings import Settings

REFERENCE = Expectations(scenario=SCENARIOS["reference"], num_matching=10)
RIGHT = np.array([0.086667, 0.0, 0.765, 0.0])
SQUARE = np.polynomial.polynomial.polymul(RIGHT[:3], RIGHT[:3]) + np.array([0.015, 0.0, 0.02, 0.0, -0.03])
KNOWN = World(
    original=Images(nodes=REFERENCE.original(), right=RIGHT, square=SQUARE),
    replica=Images(nodes=REFERENCE.replica(), right=RIGHT, square=SQUARE),
    pool=POOR,
)


def estimates(of: World, num: int, n: int, times: int, seed: int = 0) -> np.ndarray:
    """(times, 2) corrected gap, and raw minus corrected gap."""
    rng = np.random.default_rng(seed)
    return np.array([simulated_gaps(of, num, num, n, rng) for _ in range(times)])


@pytest.mark.parametrize("n", [10, 20])
def test_predicted_intervals_are_those_of_simulated_studies(n: int) -> None:
    predicted = predict(KNOWN, n)
    realised = 1.96 * estimates(KNOWN, 8_000, n, 120).std(axis=0, ddof=1)
    expected = [predicted.half_width(of, 8_000, 8_000) for of in ("gap", "bias")]
    assert expected == pytest.approx(realised.tolist(), rel=0.2)


def test_half_widths_of_simulated_estimates() -> None:
    assert realised_half_width(np.linspace(-1, 1, 4_001)) == pytest.approx(0.95, abs=1e-3)
    outlying = np.concatenate([np.linspace(-1, 1, 4_001), [1e6] * 20])
    assert realised_half_width(outlying) == pytest.approx(0.95, abs=0.02), "a few far out are no matter"
    assert np.isinf(realised_half_width(np.array([0.0, np.nan])))


def test_drawn_images_have_the_worlds_moments() -> None:
    rows = draw(KNOWN.replica, 200_000, 10, np.random.default_rng(1))
    s, w = KNOWN.replica.nodes
    mean, square = KNOWN.replica.at(s)
    f = rows.correct[:, 0]
    assert [f.mean(), (f**2).mean()] == pytest.approx([w @ mean, w @ square], abs=3e-3)
    assert rows.n_selected.mean() / 10 == pytest.approx(w @ s, abs=3e-3)


def test_biases_are_those_of_the_reference_study() -> None:
    predicted = predict(KNOWN, 10)
    assert predicted.raw_bias == pytest.approx(REFERENCE.raw_gap(), abs=2e-3)
    assert predicted.naive_bias == pytest.approx(REFERENCE.naive_gap(10), abs=2e-3)
    assert abs(predicted.moments_bias) < 1e-9
    fewer = predict(KNOWN.with_replica(5), 10)
    assert fewer.raw_bias == pytest.approx(0.162, abs=2e-3), "five answers choose a harder replica"


def test_answers_alone_do_not_reach_everything() -> None:
    """More answers narrow the interval towards that of known frequencies; four times the images halve it."""
    widths = [predict(KNOWN, n).half_width("bias", 1_000, 1_000) for n in (9, 10, 20, 40, MANY)]
    assert widths == sorted(widths, reverse=True) and widths[-1] > 0.5 * widths[2]
    assert predict(KNOWN, 20).half_width("bias", 4_000, 4_000) == pytest.approx(widths[2] / 2)
    s, w = KNOWN.original.nodes
    mean, square = KNOWN.original.at(s)
    least = w @ square - (w @ mean) ** 2
    assert predict(KNOWN, MANY).gap_variance[0] < least, "the original's own accuracy is partly in the corrected one"


def test_a_world_comes_back_from_a_study() -> None:
    rng = np.random.default_rng(2)
    sets = [draw(images, 40_000, 12, rng) for images in (KNOWN.original, KNOWN.replica)]
    k = rng.binomial(10, POOR.draw(rng, 60_000))
    pool = Remeasured(n_shown=np.full(len(k), 10), n_selected=k, correct=np.zeros((len(k), 0)))
    found = world(sets[0], sets[1], pool)
    s = np.linspace(0.2, 1, 9)
    for fitted, known in ((found.original, KNOWN.original), (found.replica, KNOWN.replica)):
        assert fitted.at(s)[0] == pytest.approx(known.at(s)[0], abs=0.04)
        assert fitted.nodes[1] @ fitted.nodes[0] == pytest.approx(known.nodes[1] @ known.nodes[0], abs=0.005)
    assert found.pool is not None and found.pool.mean() == pytest.approx(POOR.mean(), abs=0.005)
    ratio = predict(found, 12).half_width("gap", 1, 1) / predict(KNOWN, 12).half_width("gap", 1, 1)
    assert 0.75 < ratio < 1.33, "high moments of a fitted distribution are rough"


SIMULATED = Design(num_original=100, num_replica=120, num_matching=None, num_answers=12)


def study(weight: tuple[float, float] | None = None) -> OwnStudy:
    """100 + 120 images, every second one of the second weight."""
    sides = []
    for num in (100, 120):
        sides.append(
            Side(
                image=np.arange(num).astype(str),
                n_shown=np.full(num, 12),
                n_selected=np.full(num, 9),
                correct=np.ones((num, 1)),
                cluster=np.arange(num).astype(str),
                in_replica=np.zeros(num, dtype=bool),
                stratum=np.zeros(num, dtype=np.int64),
                weight=None if weight is None else np.tile(weight, num // 2),
            )
        )
    return OwnStudy(
        original=sides[0],
        replica=sides[1],
        pool=None,
        models=("m",),
        source="remeasured",
        clustered=False,
        warnings=(),
    )


def test_small_designs_are_simulated_before_they_are_recommended() -> None:
    small = plan([0.005, 0.02, 0.009], floor=0.004)
    assert small.next_to_simulate() == small.cheapest, "not simulated yet"
    assert plan([0.02, 0.005, 0.02], floor=0.004).next_to_simulate() is None, "was"
    assert plan([0.02, 0.02, 0.02], floor=0.004).next_to_simulate() is None, "nothing to recommend"
    rows = pd.DataFrame({"bias": np.linspace(-1, 1, 4_001), "gap": np.linspace(-2, 2, 4_001)})
    wider = Wider(ratio={}).having(SIMULATED, KNOWN, study(), rows)
    half = predict(KNOWN, 12).half_width("bias", 100, 120)
    assert wider.factor("bias", SIMULATED) * half == pytest.approx(0.95, abs=1e-3), "what was simulated"
    assert wider.factor("bias", replace(SIMULATED, num_answers=20)) == 1.0 and wider.knows(SIMULATED)
    assert worth(SIMULATED, study((1.0, 3.0))) == pytest.approx((80.0, 96.0)), "(1 + 3)^2 / (2 (1 + 9)) of each image"


def plan(half_widths: list[float], floor: float, margin: float = 0.01) -> Plan:
    frame = pd.DataFrame(
        {
            "original": 100,
            "replica": 120,
            "choosing": [5, None, 10],
            "new_answers": [9, 12, 20],
            "answers": [3_000, 1_000, 2_000],
            "half_width": half_widths,
        }
    )
    return Plan(
        settings=Settings(margin=margin),
        frame=frame,
        calibration=1.0,
        fitted=KNOWN,
        floor=floor,
        wider=Wider(ratio={(SIMULATED, "bias"): 1.5}),
        study=study(),
    )


def test_the_cheapest_design_that_is_good_enough() -> None:
    best = plan([0.005, 0.02, 0.009], floor=0.004).cheapest
    assert best == Design(num_original=100, num_replica=120, num_matching=10, num_answers=20)
    unmatched = plan([0.005, 0.01, 0.009], floor=0.004)
    assert unmatched.cheapest is not None and unmatched.cheapest.num_matching is None
    assert "within reach of answers alone (floor 0.4 points); the cheapest design" in unmatched.advice()
    assert "12 new answers each" in unmatched.advice()


@pytest.mark.parametrize(
    ("realised", "says"),
    [(0.01, []), (0.03, ["give intervals 3.00 times as wide"]), (np.inf, ["could not be corrected"])],
)
def test_simulated_studies_that_are_wider_than_predicted_are_warned_of(realised: float, says: list[str]) -> None:
    frame = pd.DataFrame({"predicted": [0.01], "realised": [realised], "ratio": [0.01 / realised]})
    planned = SimpleNamespace(plan=plan([0.005] * 3, floor=0.004), design=SIMULATED, frame=lambda: frame)
    found = list(warnings(planned))  # type: ignore[arg-type]
    assert len(found) == len(says) and all(each in told for each, told in zip(says, found, strict=True))


def test_what_can_not_be_reached_is_said() -> None:
    assert (
        "not reachable by answers alone with this study's images (floor 1.5 points); the cheapest"
        in plan([0.005, 0.02, 0.009], floor=0.015).advice()
    )
    none = plan([0.05, 0.02, 0.03], floor=0.015)
    assert none.cheapest is None and none.advice().endswith("and by no design of the grid")
