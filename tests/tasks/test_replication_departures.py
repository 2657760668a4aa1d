"""Workers other than estimators assume: what they tick, what is resampled, and what would explain a gap."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from robustray.tasks.crowds.replicas.departures import (
    BY_HIT,
    BY_IMAGE,
    DEPARTURES,
    IMAGES_PER_HIT,
    Departure,
    _answers,
    _by_hit,
    _by_image,
    departed,
)
from robustray.tasks.crowds.replicas.estimators import MOMENTS, FactorialMoments, gaps
from robustray.tasks.crowds.replicas.exact import Expectations
from robustray.tasks.crowds.replicas.scenarios import SCENARIOS
from robustray.tasks.crowds.replicas.simulate import Images, Protocol
from robustray.tasks.lab.protocol import Context
from robustray.tasks.studies.replication.blocks import DepartureProtocol, departure_block
from robustray.tasks.studies.replication.departing import Departed, departed_parts
from robustray.tasks.studies.replication.settings import Settings
from robustray.tasks.study import Claim

PROTOCOL = Protocol(
    name="reference",
    scenario=SCENARIOS["reference"],
    num_images=4_000,
    num_candidates=24_000,
    num_classes=4,
    num_matching=10,
    num_answers=(10,),
    num_resamples=200,
)


def images(num: int, s: float, seed: int) -> Images:
    rng = np.random.default_rng(seed)
    nothing = np.zeros(num, dtype=np.int64)
    return Images(
        frequency=np.full(num, s),
        selected=np.stack([nothing, nothing], axis=1),
        num_right=rng.integers(0, 7, num),
        classes=nothing,
    )


def answers(departure: Departure, num: int = 4_200, n: int = 10):  # type: ignore[no-untyped-def]
    return _answers(images(num, 0.5, 0), images(num, 0.5, 1), departure, n, np.random.default_rng(2))


def test_tasks_are_full_and_hold_one_set_unless_they_are_mixed() -> None:
    for departure in (Departure(words=""), Departure(words="", mixed=True)):
        found = answers(departure)
        assert set(np.bincount(found.hit)) == {IMAGES_PER_HIT} and len(np.unique(found.hit)) == 200
        of_second = np.bincount(found.hit, weights=found.second) / IMAGES_PER_HIT
        assert set(of_second) == {0.0, 1.0} if not departure.mixed else (of_second.std() < 0.1)


@pytest.mark.parametrize(
    ("departure", "first", "second"),
    [
        (Departure(words=""), 0.5, 0.5),
        (Departure(words="", leniency=0.4), 1 / (1 + np.exp(-0.4)), 1 / (1 + np.exp(-0.4))),
        (Departure(words="", difference=0.4), 0.5, 1 / (1 + np.exp(-0.4))),
        (Departure(words="", difference=0.4, mixed=True), *[0.25 + 0.5 / (1 + np.exp(-0.4))] * 2),
        (Departure(words="", worker_sd=1.0), 0.5, 0.5),
    ],
)
def test_how_often_each_set_is_ticked(departure: Departure, first: float, second: float) -> None:
    found = answers(departure)
    share = found.n_selected / found.n_shown
    error = 5 * 0.5 / 42_000**0.5 * (7 if departure.worker_sd else 1)  # images of a task hang together
    assert [share[~found.second].mean(), share[found.second].mean()] == pytest.approx([first, second], abs=error)


def test_a_workers_second_answer_repeats_the_first_or_is_dropped() -> None:
    """Answers at s = .5: variance of the count n / 4 if they are independent, n / 4 + 1 / 2 where one is repeated."""
    repeated = answers(Departure(words="", twice=1.0))
    assert (repeated.n_shown == 10).all() and repeated.n_selected.var() == pytest.approx(3.0, rel=0.06)
    dropped = answers(Departure(words="", twice=1.0, drop_twice=True))
    assert (dropped.n_shown == 9).all() and dropped.n_selected.var() == pytest.approx(2.25, rel=0.06)
    some = answers(Departure(words="", twice=0.3, drop_twice=True))
    assert (some.n_shown == 9).mean() == pytest.approx(0.3, abs=0.03)


@pytest.mark.parametrize("mixed", [False, True])
def test_rows_of_tasks_and_of_equal_images_say_the_same(mixed: bool) -> None:
    found = answers(Departure(words="", mixed=mixed, twice=0.2, drop_twice=True), num=420)
    values = []
    for design, original, replica in (_by_image(found), _by_hit(found)):
        counts = design.counts[design.unit_of_row].astype(float)[None, :]
        values.append(gaps(original, replica, [FactorialMoments()])(counts))
    assert values[0] == pytest.approx(values[1])
    tasks = _by_hit(found)[0]
    assert tasks.num_units == 20 and len(tasks.stratum_sizes) == (1 if mixed else 2)


def test_departures_do_what_they_say() -> None:
    """Twelve studies, true gap 0: .2 logit make .03, mixed tasks don't; tasks need wider intervals than images."""
    some = ("none", "different", "different, mixed tasks", "shared by task")
    found = [departed(PROTOCOL, {name: DEPARTURES[name] for name in some}, 10, 0, index) for index in range(12)]

    def bias(name: str) -> float:
        return float(np.mean([study[name, MOMENTS, BY_HIT].value for study in found]))

    assert abs(bias("none")) < 0.012 and abs(bias("different, mixed tasks")) < 0.012
    assert bias("different") - bias("none") == pytest.approx(0.03, abs=0.008)
    width = {
        by: np.median(
            [study["shared by task", MOMENTS, by].hi - study["shared by task", MOMENTS, by].lo for study in found]
        )
        for by in (BY_IMAGE, BY_HIT)
    }
    assert width[BY_HIT] > 1.08 * width[BY_IMAGE]


def test_a_study_depends_on_seed_and_number_alone() -> None:
    small = DepartureProtocol(study=dataclasses.replace(PROTOCOL, num_images=400, num_candidates=2_400), num_answers=10)
    context = Context(settings=small, seed=3, device="cpu", load=lambda name: None)
    whole, part = departure_block([0, 1], context), departure_block([1], context)
    assert whole["gaps"].shape == (2, len(DEPARTURES), 2, 2, 3)
    assert np.array_equal(whole["gaps"][1:], part["gaps"])
    frame = Departed(settings=Settings(num_departed=2), rows=pd_frame(whole)).frame()
    assert len(frame) == 4 * len(DEPARTURES) and (frame.n == 2).all()
    claims = [
        part for part in departed_parts(Departed(settings=Settings(), rows=pd_frame(whole))) if isinstance(part, Claim)
    ]
    assert claims and all(claim.verdict == "undecided" for claim in claims), "two studies decide nothing"


def pd_frame(block):  # type: ignore[no-untyped-def]
    import pandas as pd

    return pd.DataFrame({"study": block["study"], "gaps": list(block["gaps"])})


# -- tipping points ----------------------------------------------------------------------------------------------------


def test_a_leniency_and_the_gap_it_makes() -> None:
    """.1 logit make a gap of .015 in the reference study, .2 make .03; back from the gap to the leniency."""
    exact = Expectations(scenario=SCENARIOS["reference"], num_matching=10)
    assert exact.false_gap(0.0) == pytest.approx(0, abs=1e-12)
    assert [exact.false_gap(0.1), exact.false_gap(0.2)] == pytest.approx([0.015, 0.030], abs=5e-4)
    for leniency in (-0.7, 0.05, 1.3):
        assert exact.tipping_point(exact.false_gap(leniency)) == pytest.approx(leniency, abs=1e-9)
    assert exact.tipping_point(0.9) == np.inf and exact.tipping_point(-0.9) == -np.inf
