"""Mixtures of betas as an estimator: infinitely many images, bounds of the spline, resamples from a warm start."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from robustray.tasks.crowds.betas import Betas
from robustray.tasks.crowds.replicas.cells import Cells, Remeasured
from robustray.tasks.crowds.replicas.estimators import gaps
from robustray.tasks.crowds.replicas.mixtures import Mixture, _between_0_and_1, _spline, mixture_study
from robustray.tasks.crowds.replicas.scenarios import SCENARIOS
from robustray.tasks.crowds.replicas.simulate import Protocol
from robustray.tasks.errors import InputError
from robustray.tasks.lab.protocol import Context
from robustray.tasks.studies.replication.mixing import Mixed, MixtureProtocol, mixed_parts, mixture_block
from robustray.tasks.studies.replication.settings import Settings

ONE = Betas(weight=(1.0,), a=(6.0,), b=(1.2,))
OTHER = Betas(weight=(1.0,), a=(2.0,), b=(1.5,))


def expected_cells(betas: Betas, n: int, right: float = 0.0) -> tuple[Remeasured, np.ndarray]:
    """Infinitely many images: one row per count, models right with chance .1 + .7 s^2 + `right`."""
    s, w = betas.nodes()
    joint = w[:, None] * stats.binom.pmf(np.arange(n + 1), n, s[:, None])
    held = joint.sum(axis=0)
    chance = (0.1 + 0.7 * s**2 + right) @ joint / held
    rows = Remeasured(n_shown=np.full(n + 1, n), n_selected=np.arange(n + 1), correct=chance[:, None])
    return rows, held


@pytest.mark.parametrize("num_components", [1, 2])
def test_the_truth_comes_back_from_infinitely_many_images(num_components: int) -> None:
    """The world is in the basis: one beta each, a quadratic. Models lose .036 on candidates at equal frequency."""
    (one, w1), (two, w2) = expected_cells(ONE, 12), expected_cells(OTHER, 12, right=-0.036)
    found = gaps(one, two, [Mixture(num_components)])(1e6 * np.concatenate([w1, w2])[None, :])
    assert found[0, 0] == pytest.approx(0.036, abs=5e-4)
    fitted = Mixture(1).fit(Cells(one), w1).betas
    assert [fitted.a[0], fitted.b[0]] == pytest.approx([6.0, 1.2], rel=1e-3)


def test_unequal_numbers_of_answers_are_no_matter() -> None:
    """Half of the images of both sets with 8 answers, half with 14."""
    rows, weights = [], []
    for betas, lost in ((ONE, 0.0), (OTHER, -0.036)):
        parts = [expected_cells(betas, n, right=lost) for n in (8, 14)]
        rows.append(
            Remeasured(
                n_shown=np.concatenate([each.n_shown for each, _ in parts]),
                n_selected=np.concatenate([each.n_selected for each, _ in parts]),
                correct=np.concatenate([each.correct for each, _ in parts]),
            )
        )
        weights += [held / 2 for _, held in parts]
    found = gaps(rows[0], rows[1], [Mixture(1)])(1e6 * np.concatenate(weights)[None, :])
    assert found[0, 0] == pytest.approx(0.036, abs=5e-4)


def test_resamples_start_from_the_sample() -> None:
    """The fit of a resample is the same as from many starts, where the likelihood has one maximum."""
    (one, w1), (two, w2) = expected_cells(ONE, 12), expected_cells(OTHER, 12)
    rng = np.random.default_rng(0)
    drawn = np.concatenate([rng.multinomial(5_000, w1, 3), rng.multinomial(5_000, w2, 3)], axis=1).astype(float)
    statistic = gaps(one, two, [Mixture(1)])
    statistic(1e6 * np.concatenate([w1, w2])[None, :])
    alone = [gaps(one, two, [Mixture(1)])(row[None, :])[0, 0] for row in drawn]
    assert statistic(drawn)[:, 0] == pytest.approx(alone, abs=2e-5)


def test_the_spline_stays_between_0_and_1() -> None:
    s = np.linspace(0, 1, 501)
    basis = _spline(s)
    assert basis.shape == (501, 7) and basis.sum(axis=1) == pytest.approx(np.ones(501))
    wild = _between_0_and_1(basis, 3 * s - 1)
    assert (basis @ wild).min() >= -1e-9 and (basis @ wild).max() <= 1 + 1e-9
    cubic = 0.2 + 0.3 * s + 0.4 * s**3
    assert basis @ _between_0_and_1(basis, cubic) == pytest.approx(cubic, abs=1e-6), "cubics are in it"


def test_too_few_answers_are_refused() -> None:
    one, w1 = expected_cells(ONE, 7)
    with pytest.raises(InputError, match="needs 8 answers"):
        Mixture(3).fit(Cells(one), w1)
    assert [Mixture(num).least_answers for num in (1, 2, 3)] == [2, 5, 8]


def test_the_block_and_its_table() -> None:
    """One beta is .05 off in the reference study, two .01; blocks depend on the numbers of the studies alone."""
    study = Protocol(
        name="reference",
        scenario=SCENARIOS["reference"],
        num_images=10_000,
        num_candidates=60_000,
        num_classes=10,
        num_matching=10,
        num_answers=(10,),
        num_resamples=200,
    )
    protocol = MixtureProtocol(study=study, num_answers=10, num_intervals=0)
    context = Context(settings=protocol, seed=0, device="cpu", load=lambda _: None)
    whole, part = mixture_block([0, 1, 2], context), mixture_block([2], context)
    assert np.array_equal(whole["gaps"][2:], part["gaps"])
    one, two, _ = whole["gaps"][:, :, 0].mean(axis=0)
    assert np.isinf(whole["gaps"][:, :, 1:]).all() and np.isnan(whole["failed"]).all(), "no intervals were asked for"
    assert 0.02 < one < 0.09 and abs(two) < 0.04 and abs(two) < one
    rows = pd.DataFrame({name: list(values) for name, values in whole.items()})
    (table,) = mixed_parts(Mixed(settings=Settings(num_mixtures=3), rows={"reference": rows}))
    assert len(table.frame) == 3 and (table.frame.n == 3).all() and (table.frame.intervals == 0).all()


def test_intervals_are_counted_with_their_failed_optima() -> None:
    """Of three studies two have intervals; of three components' the first holds the truth in one of two."""
    gaps = np.zeros((3, 3, 3)) + np.array([0.01, -0.02, 0.04])
    gaps[0, 0] = [0.05, 0.02, 0.08]
    gaps[2, :, 1:] = [-np.inf, np.inf]
    rows = pd.DataFrame(
        {
            "study": range(3),
            "gaps": list(gaps),
            "at_bound": [[False] * 3] * 3,
            "failed": [[0.1] * 3, [0.0] * 3, [np.nan] * 3],
        }
    )
    (table,) = mixed_parts(Mixed(settings=Settings(), rows={"reference": rows}))
    assert table.frame.coverage.tolist() == [0.5, 1.0, 1.0] and (table.frame.intervals == 2).all()
    assert table.frame.failed.tolist() == pytest.approx([0.05] * 3) and (table.frame.n == 3).all()
    assert table.frame.width.tolist() == pytest.approx([0.06] * 3)
    with pytest.raises(InputError, match="there are only 4 studies of mixtures"):
        Settings(num_mixture_intervals=5)


def test_an_interval_holds_its_estimate_and_narrows_with_images() -> None:
    widths = []
    for num in (500, 8_000):
        study = Protocol(
            name="reference",
            scenario=SCENARIOS["reference"],
            num_images=num,
            num_candidates=6 * num,
            num_classes=10,
            num_matching=10,
            num_answers=(10,),
            num_resamples=200,
        )
        (gap,) = mixture_study(study, [1], 10, 0, 0, num_resamples=200).gaps
        assert gap.lo < gap.value < gap.hi and gap.n == 2 * num
        widths.append(gap.hi - gap.lo)
    assert widths[1] < 0.8 * widths[0], "both ends of the spline's bounds make it wide at any size"
