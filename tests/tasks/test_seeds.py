"""Random numbers depend on (seed, purpose, index) and on nothing else."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from robustray.tasks.lab import seeds


def test_streams_are_fixed_for_ever() -> None:
    """A change of these numbers changes every result; it needs a line in the change log."""
    assert seeds.stream(0, "shuffle", 0).integers(1000, size=4).tolist() == GOLDEN
    assert seeds.integer(0, "initial weights") == GOLDEN_INTEGER


GOLDEN = [747, 347, 702, 493]
GOLDEN_INTEGER = 6832862822492239247


def test_a_stream_depends_on_its_arguments_only() -> None:
    first = seeds.stream(3, "noise", 5)
    np.random.default_rng(0).random(100)
    np.random.seed(1)
    second = seeds.stream(3, "noise", 5)
    assert first.random(10).tolist() == second.random(10).tolist()


def test_global_generators_are_left_alone() -> None:
    np.random.seed(0)
    state = np.random.get_state()[1].tolist()  # type: ignore[index]
    seeds.stream(0, "x").random(10)
    seeds.integer(0, "x")
    assert np.random.get_state()[1].tolist() == state  # type: ignore[index]


def test_different_arguments_give_different_streams() -> None:
    asked = [
        (seed, what, *index)
        for seed in (0, 1, 2**31, 2**40)
        for what in ("shuffle", "initial weights", "examples", "")
        for index in ((), (0,), (1,), (0, 0), (0, 1), (1, 0), (10**6,))
    ]
    drawn = {seeds.stream(seed, what, *index).bytes(16) for seed, what, *index in asked}
    assert len(drawn) == len(asked)


def test_neighbouring_streams_are_not_correlated() -> None:
    """1,000 values from each of 40 neighbours: no correlation beyond chance (5 standard deviations)."""
    draws = np.array(
        [seeds.stream(seed, "x", i).standard_normal(1000) for seed, i in itertools.product(range(4), range(10))]
    )
    correlations = np.asarray(np.corrcoef(draws))[np.triu_indices(len(draws), 1)]
    assert np.abs(correlations).max() < 5 / np.sqrt(1000)


def test_integers_are_seeds_of_63_bits() -> None:
    drawn = [seeds.integer(seed, "x", i) for seed in range(10) for i in range(10)]
    assert all(0 <= value < 2**63 for value in drawn)
    assert len(set(drawn)) == 100
    assert max(drawn) > 2**60
    assert seeds.integer(0, "x") == seeds.integer(0, "x")


@pytest.mark.parametrize("bad", [(-1, "x"), (0, "x", -1)])
def test_negative_numbers_are_no_seeds(bad: tuple[int, str]) -> None:
    with pytest.raises(ValueError):
        seeds.stream(*bad)


def test_indices_of_more_than_32_bits_are_refused() -> None:
    """NumPy cuts them into words: (2**32,) would be the stream of (0, 1)."""
    with pytest.raises(ValueError, match="32"):
        seeds.stream(0, "x", 2**32)


def test_torch_draws_what_its_own_seeding_would_give() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2**62 + 5)
        wanted = torch.rand(5), torch.randn(3)
        seeds.seed_torch(2**62 + 5)
        assert torch.equal(torch.rand(5), wanted[0]) and torch.equal(torch.randn(3), wanted[1])


@pytest.mark.parametrize("in_use", [True, False])
def test_torch_goes_on_as_if_nothing_had_been_drawn(monkeypatch: pytest.MonkeyPatch, in_use: bool) -> None:
    """Also on GPUs that are in use; those that are not are left closed: asking one for its state would open it."""
    states = [torch.tensor([7]), torch.tensor([8])]
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: in_use)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: states[device].clone() if in_use else pytest.fail())
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, device: states[device].copy_(state))
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda seed: [state.fill_(seed) for state in states])
    before = torch.get_rng_state()
    with seeds.torch_seeded(5):
        assert [int(state) for state in states] == ([5, 5] if in_use else [7, 8])
        first = torch.rand(3)
    with seeds.torch_seeded(5):
        assert torch.equal(torch.rand(3), first)
    assert torch.equal(torch.get_rng_state(), before) and [int(state) for state in states] == [7, 8]
