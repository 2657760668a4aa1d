"""Noise by position: it looks random, and depends on nothing but seed, name, restart, index and element."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import stats

from robustray.tasks.attacks.search.noise import normal, uniform

SHAPE = (3, 7, 5)  # odd, so that the last hash is used by half
INDICES = torch.arange(400)
DRAWS: dict[str, Callable[..., torch.Tensor]] = {"uniform": uniform, "normal": normal}


def correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    """In standard errors."""
    a, b = a.flatten().double(), b.flatten().double()
    return float(torch.corrcoef(torch.stack((a, b)))[0, 1]) * len(a) ** 0.5


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_values_depend_on_the_position_only(draw: Callable[..., torch.Tensor]) -> None:
    whole = draw(3, "pgd", 1, INDICES, SHAPE, "cpu")
    assert whole.shape == (400, *SHAPE)
    assert whole.dtype == torch.float32
    order = torch.randperm(400, generator=torch.Generator().manual_seed(0))
    assert torch.equal(draw(3, "pgd", 1, INDICES[order], SHAPE, "cpu"), whole[order])
    for size in (1, 2, 15, 17, 129):
        assert torch.equal(draw(3, "pgd", 1, INDICES[7 : 7 + size], SHAPE, "cpu"), whole[7 : 7 + size])
    restarts = torch.arange(400) % 3
    mixed = draw(3, "pgd", restarts, INDICES, SHAPE, "cpu")
    assert torch.equal(mixed[restarts == 1], whole[restarts == 1])
    assert not (mixed[restarts != 1] == whole[restarts != 1]).all(dim=(1, 2, 3)).any()


def test_an_element_does_not_depend_on_how_many_there_are() -> None:
    assert torch.equal(uniform(0, "a", 0, INDICES, (10,), "cpu"), uniform(0, "a", 0, INDICES, (33,), "cpu")[:, :10])
    assert uniform(0, "a", 0, INDICES[:0], SHAPE, "cpu").shape == (0, *SHAPE)


def test_known_values_stay_what_they_are() -> None:
    # A change here changes every result with a random start: raise the blocks' versions.
    bits = (uniform(2026, "pgd", 1, torch.tensor([0, 9_999]), (3,), "cpu") * 2**24).to(torch.int64)
    assert bits.tolist() == [[6152480, 4917870, 15844449], [1805477, 9526804, 1162386]]


def test_the_integers_are_splitmix64() -> None:
    # The published generator: state += golden, output = finaliser(state); its first outputs for seed 1234567.
    from robustray.tasks.attacks.search.noise import _GOLDEN, _mix_, _mix_number, _signed

    states = [(1234567 + k * _GOLDEN) % 2**64 for k in (1, 2, 3, 4, 5)]
    published = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    assert [_mix_number(state) for state in states] == published
    mixed = _mix_(torch.tensor([_signed(state) for state in states]))
    assert [value % 2**64 for value in mixed.tolist()] == published


def test_uniforms_are_uniform() -> None:
    values = uniform(11, "pgd", 0, torch.arange(3_000), SHAPE, "cpu").flatten()
    assert values.min() >= 0
    assert values.max() < 1
    assert stats.kstest(values.numpy(), "uniform").pvalue > 1e-3
    bits = (values.double() * 2**24).to(torch.int64)
    ones = torch.stack([(bits >> k) & 1 for k in range(24)]).double().mean(1)
    assert ((ones - 0.5).abs() * 2 * len(values) ** 0.5 < 4.5).all()
    # every element has its own fair distribution over images, and so has every image over elements
    table = values.reshape(3_000, -1)
    for means in (table.mean(0), table.mean(1)):
        spread = (means - 0.5) * (12 * values.numel() / len(means)) ** 0.5
        assert stats.kstest(spread.numpy(), "norm").pvalue > 1e-3


def test_normals_are_normal() -> None:
    values = normal(11, "pgd", 0, torch.arange(3_000), SHAPE, "cpu")
    assert torch.isfinite(values).all()
    assert values.abs().max() < 5.8
    assert stats.kstest(values.flatten().numpy(), "norm").pvalue > 1e-3
    table = values.reshape(3_000, -1)
    squares = table.double().pow(2).sum(1).numpy()
    assert stats.kstest(squares, "chi2", args=(table.shape[1],)).pvalue > 1e-3
    # the pairs of Box and Muller are independent, also in their squares
    even, odd = table[:, 0:104:2], table[:, 1:104:2]
    assert abs(correlation(even, odd)) < 4.5
    assert abs(correlation(even**2, odd**2)) < 4.5


def test_neighbours_streams_and_seeds_are_uncorrelated() -> None:
    indices = torch.arange(3_000)
    base = uniform(0, "pgd", 0, indices, SHAPE, "cpu")
    others = {
        "next image": uniform(0, "pgd", 0, indices + 1, SHAPE, "cpu"),
        "next restart": uniform(0, "pgd", 1, indices, SHAPE, "cpu"),
        "next seed": uniform(1, "pgd", 0, indices, SHAPE, "cpu"),
        "negative seed": uniform(-1, "pgd", 0, indices, SHAPE, "cpu"),
        "large seed": uniform(2**32, "pgd", 0, indices, SHAPE, "cpu"),
        "other name": uniform(0, "noise", 0, indices, SHAPE, "cpu"),
        "next element": base.roll(1, dims=-1),
        "next row": base.roll(1, dims=-2),
    }
    for name, other in others.items():
        assert abs(correlation(base, other)) < 4.5, name
        assert (base == other).double().mean() < 1e-5, name


def test_flipping_one_bit_of_the_position_flips_half_of_the_bits() -> None:
    def words(index: int, seed: int, restart: int) -> np.ndarray:
        values = uniform(seed, "pgd", restart, torch.tensor([index]), (1_000,), "cpu")
        return np.asarray((values.double() * 2**24).to(torch.int64))

    base = words(5, 0, 0)
    for other in (words(4, 0, 0), words(5 + 2**40, 0, 0), words(5, 1, 0), words(5, 2**60, 0), words(5, 0, 1)):
        flipped = np.unpackbits((base ^ other).reshape(-1, 1).view(np.uint8)).sum() / 24_000
        assert abs(flipped - 0.5) < 4.5 * 0.5 / 24_000**0.5
