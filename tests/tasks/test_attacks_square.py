"""Square: its schedule, the shapes it draws, that it needs no gradient, and the same bits in any company."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from robustray.tasks.attacks.doors import check_arguments
from robustray.tasks.attacks.family import Square
from robustray.tasks.attacks.gradient.verdicts import predict_logits
from robustray.tasks.attacks.gradient.view import GradientView
from robustray.tasks.attacks.search.record import Record
from robustray.tasks.attacks.search.square import AHEAD, HALVINGS, TOGETHER, SquareSearch, share, side
from robustray.tasks.attacks.settings import RandomNoise
from robustray.tasks.errors import InputError
from tests.tasks.digits_networks import digits, same, trained

Norms = Literal["linf", "l2"]
NORMS: tuple[Norms, ...] = ("linf", "l2")


pytestmark = pytest.mark.usefixtures("one_thread")


# --- Schedule ---------------------------------------------------------------------------------------------------------


def test_the_share_is_halved_after_the_queries_of_the_paper() -> None:
    assert HALVINGS == (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
    expected = {1: 1, 10: 1, 11: 2, 50: 2, 51: 4, 200: 4, 201: 8, 501: 16, 1001: 32, 2001: 64, 4001: 128, 4999: 128}
    for query, part in (expected | {6001: 256, 8001: 512}).items():
        assert share(query) == pytest.approx(0.8 / part)


def test_sides_are_roots_of_the_share_of_the_area() -> None:
    assert [side(query, 32, 32) for query in (1, 11, 51, 201, 501, 1001, 2001, 4001)] == [29, 20, 14, 10, 7, 5, 4, 3]
    odd = [side(query, 32, 32, odd=True) for query in (1, 11, 51, 201, 501, 1001, 2001, 4001, 8001)]
    assert odd == [29, 21, 15, 11, 7, 5, 5, 3, 3]
    for shape in ((8, 8), (3, 5), (1, 9), (7, 4)):
        for query in (1, 300, 5000):
            assert 1 <= side(query, *shape) <= min(shape)
            length = side(query, *shape, odd=True)
            assert length % 2 == 1
            assert length <= min(shape)


# --- What it draws ----------------------------------------------------------------------------------------------------


def model(x: Tensor) -> Tensor:
    weight = torch.rand(x[0].numel(), 5, generator=torch.Generator().manual_seed(0)) - 0.5
    return x.flatten(1) @ weight


def search(norm: Norms, eps: float, shape: tuple[int, int, int], num_queries: int = 6000) -> SquareSearch:
    images = torch.full((16, *shape), 0.5)
    plan = Square(norm=norm, eps=eps, num_queries=num_queries, precision="fp32").plan()
    problem = check_arguments(
        plan,
        model,
        images,
        torch.zeros(16, dtype=torch.int64),
        indices=None,
        objective=None,
        mask=None,
        targets=None,
    )
    view = GradientView(model)
    return SquareSearch(plan, problem, view, Record(problem, view), 0)


EVERY = torch.arange(16)


def proposed(found: SquareSearch, state: dict[str, Tensor], query: int) -> Tensor:
    """What that query proposes for every image, whatever was asked before."""
    k = query + 0 * EVERY
    numbers = found._draw(EVERY, 0 * EVERY, k, state["drawn"].shape[2])
    change = found._square if found.plan.norm == "linf" else found._mass
    return change(EVERY, k[:, None], numbers[:, None], state)[:, 0]


def test_linf_starts_from_stripes_and_paints_squares() -> None:
    found = search("linf", 0.1, (3, 32, 32))
    start = found.start(EVERY, 0 * EVERY)["x"] - 0.5
    assert torch.allclose(start.abs(), torch.tensor(0.1), atol=1e-6)
    assert (start == start[:, :, :1]).all()  # vertical
    assert (start.sign()[:, :, 0].mean((1, 2)).abs() < 0.5).all()
    for query in (1, 60, 700, 5000):
        state = found.start(EVERY, 0 * EVERY)
        state |= {"x": torch.full((16, 3, 32, 32), 0.5)}
        painted = proposed(found, state, query) - 0.5
        changed = painted != 0
        size = side(query, 32, 32)
        assert (changed.sum((2, 3)) == size**2).all()
        assert (changed.any(3).sum(2) == size).all()  # rows of a square
        assert torch.allclose(painted[changed].abs(), torch.tensor(0.1), atol=1e-6)
        # one sign for each channel
        assert (painted.amax((2, 3)) * painted.amin((2, 3)) == 0).all()
    corners = [found._window(torch.tensor([[u, u]]), torch.tensor([5]))[2] for u in (0.0, 1 - 2**-24)]
    assert corners[0][0, 0, :5, :5].all()
    assert corners[1][0, 0, -5:, -5:].all()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_numbers_drawn_ahead_are_those_of_each_query(norm: Norms) -> None:
    found = search(norm, 0.1, (3, 8, 8))
    state = found.start(EVERY, 0 * EVERY)
    age = EVERY * 9 % AHEAD  # rows of different age
    for query in range(AHEAD + 3):
        state["k"] = (query - age).clamp_min(0)
        m = 1 + query % TOGETHER
        got = found._drawn(EVERY, 0 * EVERY, state, m)
        assert got.shape[:2] == (16, m)
        for j in range(m):
            assert torch.equal(got[:, j], found._draw(EVERY, 0 * EVERY, state["k"] + j, state["drawn"].shape[2]))


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 8, 8), (2, 4, 7), (1, 3, 3), (1, 1, 6)])
def test_l2_keeps_its_length_while_it_moves_mass(shape: tuple[int, int, int]) -> None:
    found = search("l2", 0.3, shape)
    state = found.start(EVERY, 0 * EVERY)
    x = state["x"]
    centre = torch.full_like(x, 0.5)
    assert torch.allclose((x - centre).flatten(1).norm(dim=1), torch.tensor(0.3), rtol=1e-4)
    for query in (1, 5, 40, 100, 300, 2500):
        x = proposed(found, {**state, "x": x}, query)
        assert torch.isfinite(x).all()
        length = (x - centre).flatten(1).norm(dim=1)
        assert length.max() <= 0.3 * (1 + 1e-4)
        # where a window is one pixel, the bump may cancel what is there; a later query spends it again
        assert min(shape[1:]) < 3 or length.min() >= 0.3 * (1 - 1e-4)


def test_l2_leaves_what_is_outside_of_its_windows() -> None:
    found = search("l2", 0.3, (3, 32, 32))
    state = found.start(EVERY, 0 * EVERY)
    x, query = state["x"], 1500 + 0 * EVERY
    drawn = found._draw(EVERY, 0 * EVERY, query, 8)
    first = found._window(drawn[:, :2], found.sides[query])[2]
    second = found._window(drawn[:, 2:4], found.sides[query])[2]
    moved = proposed(found, state, 1500)
    outside = (~(first | second)).expand_as(x)
    assert torch.equal(moved[outside], x[outside])
    emptied = (second & ~first).expand_as(x)
    assert (moved[emptied] == 0.5).all()


def test_bumps_are_formula_2_of_the_paper() -> None:
    found = search("l2", 0.3, (3, 32, 32))
    y, x = torch.arange(7).view(-1, 1), torch.arange(7).view(1, -1)
    bumps = found._bumps(y, x, torch.tensor(7))
    # h x k with k = 3 columns up, h x (h - k) down; n = 3; M = n - max(|r - middle|, |s - middle|)
    for row in range(7):
        for column in range(7):
            middle = 1 if column < 3 else 3 + 2
            m = 3 - max(abs(row - 3), abs(column - middle))
            value = sum(1 / (3 + 1 - k) ** 2 for k in range(m + 1))
            assert float(bumps[row, column]) == pytest.approx(value if column < 3 else -value, abs=1e-5)


# --- Behaviour --------------------------------------------------------------------------------------------------------


def budget(norm: Norms) -> float:
    return 0.15 if norm == "linf" else 0.8


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("kind", ["mlp", "cnn"])
def test_results_depend_on_neither_order_nor_shard(kind: str, norm: Norms, precision: Any) -> None:
    (images, labels), net, count = digits(80), trained(kind), 80
    attack = Square(norm=norm, eps=budget(norm), num_queries=30, num_restarts=2, precision=precision)
    whole = attack(net, images, labels, seed=7)
    assert 0 < whole.success[whole.num_evaluations > 1].float().mean() < 1
    order = torch.randperm(count, generator=torch.Generator().manual_seed(1))
    assert same(attack(net, images[order], labels[order], seed=7, indices=order), whole, order)
    for first, size in ((0, 1), (33, 15), (60, 16), (count - 17, 17)):
        rows = slice(first, first + size)
        assert same(attack(net, images[rows], labels[rows], seed=7, indices=range(first, first + size)), whole, rows)
    assert same(replace(attack, batch_size=50)(net, images, labels, seed=7), whole)
    assert not same(attack(net, images, labels, seed=8), whole)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("norm", NORMS)
def test_queries_together_find_what_one_after_the_other_finds(
    norm: Norms, precision: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, labels = digits(40)
    attack = Square(norm=norm, eps=budget(norm) / 2, num_queries=3 * AHEAD + 5, num_restarts=2, precision=precision)
    sizes, estimate = [], GradientView.estimate

    def counted(view: GradientView, points: Tensor, state: Tensor, objective: Any) -> Any:
        sizes.append(len(points))
        return estimate(view, points, state, objective)

    monkeypatch.setattr(GradientView, "estimate", counted)
    together = attack(trained("cnn"), images, labels, seed=3)
    num_passes = len(sizes)
    monkeypatch.setattr("robustray.tasks.attacks.search.square.TOGETHER", 1)
    alone = attack(trained("cnn"), images, labels, seed=3)
    assert same(together, alone)
    assert num_passes < 0.8 * (len(sizes) - num_passes)
    assert max(sizes[:num_passes]) <= attack.batch_size
    survivors = together.num_evaluations == 1 + 2 * (3 * AHEAD + 5 + 1)
    assert survivors.any()
    assert torch.equal(survivors, ~together.success)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("norm", NORMS)
def test_ball_box_and_verdicts(norm: Norms, precision: Any) -> None:
    images, labels = digits(60)  # most pixels are 0 or 1
    net, eps = trained(), budget(norm)
    result = Square(norm=norm, eps=eps, num_queries=50, precision=precision)(net, images, labels)
    assert result.distance.max() <= eps * (1 + 1e-5)
    assert result.images.min() >= 0
    assert result.images.max() <= 1
    logits = predict_logits(net, result.images)
    assert torch.equal(result.predictions, logits.argmax(1))
    assert torch.equal(result.success, result.predictions != labels)
    assert 0 < result.success.float().mean() < 1


@pytest.mark.parametrize("norm", NORMS)
def test_more_queries_and_restarts_are_never_weaker(norm: Norms) -> None:
    images, labels = digits(60)
    attack = Square(norm=norm, eps=budget(norm), num_queries=10, precision="fp32")
    results = [replace(attack, num_queries=count)(trained(), images, labels, seed=1) for count in (10, 40, 160)]
    for less, more in pairwise(results):
        assert (more.success >= less.success).all()
        assert (more.loss >= less.loss)[~more.success].all()
    assert results[2].success.sum() > results[0].success.sum()
    again = replace(attack, num_restarts=3)(trained(), images, labels, seed=1)
    assert (again.success >= results[0].success).all()
    assert (again.loss >= results[0].loss)[~again.success].all()
    noise = RandomNoise(norm=norm, eps=budget(norm), num_draws=160)(trained(), images, labels, seed=1)
    assert results[2].success.sum() > noise.success.sum()


def test_every_query_is_one_pass() -> None:
    images, labels = digits(20)
    labels = predict_logits(trained(), images).argmax(1)
    result = Square(norm="linf", eps=1e-6, num_queries=25, num_restarts=2)(trained(), images, labels)
    assert (result.num_evaluations == 1 + 2 * (25 + 1)).all()


@pytest.mark.parametrize("norm", NORMS)
def test_models_without_a_gradient_are_attacked(norm: Norms) -> None:
    images, labels = digits(60)

    def rounded(x: Tensor) -> Tensor:
        with torch.no_grad():
            return (trained()(x) * 4).round()

    result = Square(norm=norm, eps=budget(norm), num_queries=100)(rounded, images, labels)
    assert result.success[result.num_evaluations > 1].any()


@pytest.mark.parametrize("norm", NORMS)
def test_no_budget_no_mask_and_no_images(norm: Norms) -> None:
    images, labels = digits(20)
    for eps, mask in ((0.0, None), (0.3, torch.zeros(20, 1, 1, 1))):
        result = Square(norm=norm, eps=eps, num_queries=20)(trained(), images, labels, mask=mask)
        assert torch.equal(result.images, images)
    assert Square(norm=norm, eps=0.1)(trained(), images[:0], labels[:0]).success.shape == (0,)


@pytest.mark.parametrize("norm", NORMS)
def test_a_mask_keeps_pixels(norm: Norms) -> None:
    images, labels = digits(30)
    mask = torch.zeros(30, 1, 8, 8)
    mask[..., :4] = 1
    eps = 0.6 if norm == "linf" else 3.0
    result = Square(norm=norm, eps=eps, num_queries=100)(trained(), images, labels, mask=mask)
    assert torch.equal(result.images[..., 4:], images[..., 4:])
    assert result.success[result.num_evaluations > 1].any()


def test_bad_settings_and_shapes_are_refused_in_words() -> None:
    with pytest.raises(InputError, match="num_queries"):
        Square(norm="l2", eps=0.1, num_queries=0)
    with pytest.raises(InputError, match=r"square needs images \(batch, channels, height, width\)"):
        Square(norm="l2", eps=0.1)(lambda x: x[:, :3] * 4, torch.rand(20, 9), torch.zeros(20, dtype=torch.int64))
    assert repr(Square(norm="linf", eps=8 / 255)) == "Square(norm='linf', eps=8/255)"
