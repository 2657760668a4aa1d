"""Hand-written gradients against autograd, TRPO's pieces against explicit matrices, heads against torch's. Float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from robustray.tasks.policy_gradients.adam import Adam
from robustray.tasks.policy_gradients.heads import Categorical, Gaussian, Head
from robustray.tasks.policy_gradients.mlp import Layout, forward, forward_one, initial_weights
from robustray.tasks.policy_gradients.steps import (
    fit_values,
    minibatches,
    ppo_step,
    surrogate_gradient,
    value_gradient,
)
from robustray.tasks.policy_gradients.torch_nets import Network, distribution, mean_kl, surrogate_loss, value_loss
from robustray.tasks.policy_gradients.trust_region import conjugate_gradient, fisher_product, trpo_step

HEADS = [Gaussian(3), Categorical(4)]
NUM_ROWS = 40


class Case:
    """A small policy away from its start, with old log probabilities that are not its own."""

    def __init__(self, head: Head, activation: Any = "tanh", num_rows: int = NUM_ROWS, hidden: Any = (6, 5)) -> None:
        rng = np.random.default_rng(3)
        self.head = head
        self.layout = Layout(sizes=(4, *hidden, head.num_outputs), activation=activation, extra=head.num_free)
        self.flat = rng.normal(size=self.layout.num_parameters) * 0.5
        self.observations = rng.normal(size=(num_rows, 4))
        self.outputs = forward(self.layout.layers(self.flat), self.observations, relu=activation == "relu")[-1]
        self.free = self.layout.free(self.flat)
        noise = head.noise(rng, num_rows)
        self.actions = np.stack([head.act(o, self.free, n) for o, n in zip(self.outputs, noise, strict=True)])
        self.log_probs = head.log_prob(self.outputs, self.free, self.actions)
        self.old_log_probs = self.log_probs + rng.normal(size=num_rows) * 0.3
        self.advantages = rng.normal(size=num_rows)
        self.network = Network(self.layout).load_flat(self.flat)

    def tensors(self, *names: str) -> list[torch.Tensor]:
        return [torch.from_numpy(np.asarray(getattr(self, name))) for name in names]


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("clip", [None, 0.2])
@pytest.mark.parametrize("entropy_bonus", [0.0, -0.005])
@pytest.mark.parametrize("head", HEADS, ids=lambda head: type(head).__name__)
def test_the_surrogate_and_its_gradient_are_autograds(
    head: Head, activation: str, clip: float | None, entropy_bonus: float
) -> None:
    case = Case(head, activation)
    gradient = np.empty_like(case.flat)
    options: Any = {"clip": clip, "entropy_bonus": entropy_bonus}
    rows = (case.observations, case.actions, case.old_log_probs, case.advantages)
    loss = surrogate_gradient(case.layout, head, case.flat, *rows, **options, gradient=gradient)
    reference = surrogate_loss(
        case.network, *case.tensors("observations", "actions", "old_log_probs", "advantages"), **options
    )
    reference.backward()
    assert loss == pytest.approx(reference.item(), rel=1e-12)
    np.testing.assert_allclose(gradient, case.network.flat("gradient"), atol=1e-13)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("clip", [None, 0.2])
def test_the_value_loss_and_its_gradient_are_autograds(activation: Any, clip: float | None) -> None:
    rng = np.random.default_rng(5)
    layout = Layout(sizes=(4, 6, 1), activation=activation)
    flat = rng.normal(size=layout.num_parameters)
    seen, targets = rng.normal(size=(NUM_ROWS, 4)), rng.normal(size=NUM_ROWS)
    old = forward(layout.layers(flat), seen, relu=activation == "relu")[-1][:, 0] + rng.normal(size=NUM_ROWS) * 0.3
    gradient, network = np.empty_like(flat), Network(layout).load_flat(flat)
    loss = value_gradient(layout, flat, seen, targets, old, clip=clip, gradient=gradient)
    reference = value_loss(network, *map(torch.from_numpy, (seen, targets, old)), clip=clip)
    reference.backward()
    assert loss == pytest.approx(reference.item(), rel=1e-12)
    np.testing.assert_allclose(gradient, network.flat("gradient"), atol=1e-13)


def test_value_clipping_never_makes_the_loss_smaller() -> None:
    rng = np.random.default_rng(7)
    layout = Layout(sizes=(2, 3, 1), activation="tanh")
    for _ in range(20):
        flat, seen = rng.normal(size=layout.num_parameters), rng.normal(size=(1, 2))
        rows = (seen, rng.normal(size=1), rng.normal(size=1))
        gradient = np.empty_like(flat)
        clipped, plain = (value_gradient(layout, flat, *rows, clip=c, gradient=gradient) for c in (0.1, None))
        assert clipped >= plain


@pytest.mark.parametrize("head", HEADS, ids=lambda head: type(head).__name__)
def test_clipping_changes_nothing_while_all_ratios_are_one(head: Head) -> None:
    case = Case(head)
    found = []
    for clip in (None, 0.2):
        gradient = np.empty_like(case.flat)
        rows = (case.observations, case.actions, case.log_probs, case.advantages)
        surrogate_gradient(case.layout, head, case.flat, *rows, clip=clip, entropy_bonus=0.0, gradient=gradient)
        found.append(gradient)
    np.testing.assert_array_equal(found[0], found[1])


@pytest.mark.parametrize("head", HEADS, ids=lambda head: type(head).__name__)
def test_densities_are_torchs(head: Head) -> None:
    case = Case(head)
    outputs, actions, free = case.tensors("outputs", "actions", "free")
    other_free = free + 0.2
    now = distribution(outputs, free if head.num_free else None)
    other = distribution(outputs.flip(0), other_free if head.num_free else None)
    np.testing.assert_allclose(case.log_probs, now.log_prob(actions), rtol=1e-12)
    np.testing.assert_allclose(head.entropy(case.outputs, case.free), now.entropy(), rtol=1e-12)
    kl = head.kl(case.outputs, case.free, case.outputs[::-1], case.free + 0.2)
    np.testing.assert_allclose(kl, torch.distributions.kl_divergence(now, other), rtol=1e-10, atol=1e-15)
    np.testing.assert_allclose(head.kl(case.outputs, case.free, case.outputs, case.free), 0, atol=1e-15)


@pytest.mark.parametrize("head", HEADS, ids=lambda head: type(head).__name__)
def test_actions_are_drawn_from_the_density(head: Head) -> None:
    """The mean of -log p over draws is the entropy: 4 standard errors over 4,000 draws."""
    rng = np.random.default_rng(11)
    output, free = rng.normal(size=head.num_outputs), rng.normal(size=head.num_free) * 0.3
    noise = head.noise(rng, 4000)
    actions = np.stack([head.act(output, free, each) for each in noise])
    surprise = -head.log_prob(np.repeat(output[None], len(noise), axis=0), free, actions)
    limit = 4 * surprise.std() / np.sqrt(len(noise))
    assert abs(surprise.mean() - head.entropy(output[None], free)[0]) < limit


@pytest.mark.parametrize("head", HEADS, ids=lambda head: type(head).__name__)
def test_the_divergence_is_the_mean_of_log_ratios(head: Head) -> None:
    """KL(old || new) = E_old[log old - log new], by 4,000 draws within 4 standard errors."""
    rng = np.random.default_rng(13)
    old, new = rng.normal(size=(2, 1, head.num_outputs))
    old_free, new_free = rng.normal(size=(2, head.num_free)) * 0.2
    actions = np.stack([head.act(old[0], old_free, each) for each in head.noise(rng, 4000)])
    logs = [
        head.log_prob(np.repeat(outputs, len(actions), axis=0), free, actions)
        for outputs, free in ((old, old_free), (new, new_free))
    ]
    ratios = logs[0] - logs[1]
    kl = head.kl(old, old_free, new, new_free)[0]
    assert kl > 0.05 and abs(ratios.mean() - kl) < 4 * ratios.std() / np.sqrt(len(ratios))


def test_adam_is_torchs() -> None:
    rng = np.random.default_rng(0)
    start = rng.normal(size=9)
    mine, adam = start.copy(), Adam.fresh(start)
    theirs = torch.nn.Parameter(torch.from_numpy(start.copy()))
    optimizer = torch.optim.Adam([theirs], lr=1e-2, eps=1e-5)
    for _ in range(20):
        gradient = rng.normal(size=9)
        theirs.grad = torch.from_numpy(gradient.copy())
        optimizer.step()
        adam.step(mine, gradient, lr=1e-2, eps=1e-5)
    np.testing.assert_allclose(mine, theirs.detach().numpy(), rtol=1e-12)


@pytest.mark.parametrize("head", HEADS, ids=lambda head: type(head).__name__)
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_the_fisher_product_is_the_hessian_of_the_mean_kl(head: Head, activation: Any) -> None:
    case = Case(head, activation, num_rows=7, hidden=(3,))
    parameters = case.network.ordered_parameters()
    seen, outputs, free = case.tensors("observations", "outputs", "free")
    kl = mean_kl(case.network, seen, outputs, free if head.num_free else None)
    first = torch.cat([g.reshape(-1) for g in torch.autograd.grad(kl, parameters, create_graph=True)])
    hessian = np.stack(
        [
            torch.cat([g.reshape(-1) for g in torch.autograd.grad(each, parameters, retain_graph=True)]).numpy()
            for each in first
        ]
    )
    passed = forward(case.layout.layers(case.flat), case.observations, relu=activation == "relu")
    for vector in np.eye(len(case.flat)):
        found = fisher_product(case.layout, head, case.flat, passed, vector, damping=0.1)
        np.testing.assert_allclose(found, hessian @ vector + 0.1 * vector, atol=1e-12)


def test_conjugate_gradients_solve_and_stop_at_the_solution() -> None:
    rng = np.random.default_rng(2)
    root = rng.normal(size=(6, 6))
    matrix, wanted = root @ root.T + np.eye(6), rng.normal(size=6)
    found = conjugate_gradient(lambda v: matrix @ v, matrix @ wanted, 10)
    np.testing.assert_allclose(found, wanted, rtol=1e-8)
    np.testing.assert_array_equal(conjugate_gradient(lambda v: v, np.zeros(3), 10), np.zeros(3))


def take(case: Case, **changed: Any) -> tuple[Any, Any]:
    flat = case.flat.astype(changed.pop("dtype", np.float64))
    options: Any = {"max_kl": 0.01, "fisher_share": 1.0, "damping": 0.1, "cg_steps": 60, "tries": 10, **changed}
    rows = (case.observations, case.actions, case.advantages)
    return flat, trpo_step(case.layout, case.head, flat, *rows, np.random.default_rng(0), **options)


@pytest.mark.parametrize("head", HEADS, ids=lambda head: type(head).__name__)
@pytest.mark.parametrize("max_kl", [1e-4, 0.01, 0.13, 2.0])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_step_that_is_taken_stays_in_the_trust_region(head: Head, max_kl: float, dtype: Any) -> None:
    case = Case(head)
    flat, took = take(case, max_kl=max_kl, dtype=dtype)
    start = case.flat.astype(dtype)
    layers = case.layout.layers(start.astype(np.float64))
    old = forward(layers, case.observations, relu=False)[-1]
    new = forward(case.layout.layers(flat.astype(np.float64)), case.observations, relu=False)[-1]
    frees = [case.layout.free(each.astype(np.float64)) for each in (start, flat)]
    kl = head.kl(old, frees[0], new, frees[1]).mean()
    assert kl <= max_kl and took.kl == pytest.approx(kl, rel=1e-9)
    assert (took.scale == 0) == bool((flat == start).all())
    assert took.scale == 0 or took.improvement > 0


def test_the_full_step_is_the_natural_gradient_at_the_edge_of_the_region() -> None:
    case = Case(Gaussian(3), num_rows=30, hidden=(3,))
    flat, took = take(case, max_kl=1e-4)
    passed = forward(case.layout.layers(case.flat), case.observations, relu=False)
    columns = [fisher_product(case.layout, case.head, case.flat, passed, v, damping=0.1) for v in np.eye(len(flat))]
    matrix, gradient = np.stack(columns, axis=1), np.empty_like(flat)
    wanted = (case.advantages - case.advantages.mean()) / (case.advantages.std(ddof=1) + 1e-8)
    rows = (case.observations, case.actions, case.log_probs, wanted)
    surrogate_gradient(case.layout, case.head, case.flat, *rows, clip=None, entropy_bonus=0.0, gradient=gradient)
    natural = np.linalg.solve(matrix, -gradient)
    step = natural * np.sqrt(2e-4 / (natural @ matrix @ natural))
    assert took.scale == 1
    np.testing.assert_allclose(flat - case.flat, step, rtol=1e-6, atol=1e-9)


def test_a_step_that_helps_nobody_is_not_taken() -> None:
    case = Case(Gaussian(3))
    case.advantages = np.zeros(NUM_ROWS)
    flat, took = take(case)
    assert took.scale == 0 and (flat == case.flat).all()


def test_a_line_search_of_one_try_may_reject() -> None:
    """Far outside of the quadratic regime the full step breaks the KL limit, and halves of it are not looked at."""
    case = Case(Gaussian(3))
    flat, took = take(case, max_kl=5.0, fisher_share=0.1, cg_steps=10, tries=1)
    assert took.scale == 0 and (flat == case.flat).all()
    assert take(case, max_kl=5.0, fisher_share=0.1, cg_steps=10)[1].scale in {0.5**i for i in range(1, 10)}


@pytest.mark.parametrize(("num_rows", "num_minibatches"), [(2048, 32), (10, 3), (2000, 32), (3, 3)])
def test_minibatches_are_cut_as_array_split_cuts(num_rows: int, num_minibatches: int) -> None:
    order, cuts = minibatches(np.random.default_rng(0), num_rows, num_minibatches)
    wanted = np.array_split(np.random.default_rng(0).permutation(num_rows), num_minibatches)
    for cut, each in zip(cuts, wanted, strict=True):
        np.testing.assert_array_equal(order[cut], each)


def test_rows_that_do_not_count_change_nothing() -> None:
    """The value fit with terminal rows is that of the same minibatches without them."""
    rng = np.random.default_rng(1)
    layout = Layout(sizes=(2, 3, 1), activation="tanh")
    flat = rng.normal(size=layout.num_parameters)
    seen, targets, counts = rng.normal(size=(12, 2)), rng.normal(size=12), np.arange(12) % 3 > 0
    found = []
    for wrong in (0.0, 1e6):
        mine, spoilt = flat.copy(), np.where(counts, targets, wrong)
        options: Any = {"epochs": 2, "num_minibatches": 4, "clip": None, "lr": 0.01, "eps": 1e-5}
        fit_values(layout, mine, Adam.fresh(mine), seen, spoilt, spoilt, counts, np.random.default_rng(0), **options)
        found.append(mine)
    np.testing.assert_array_equal(found[0], found[1])
    assert (found[0] != flat).any()


def test_gradients_are_clipped_per_minibatch_to_their_global_norm() -> None:
    """Adam forgets a common scale, so one step of plain size is compared by its first moment."""
    case = Case(Gaussian(3))
    firsts = {}
    for limit in (None, 0.05):
        flat = case.flat.copy()
        adam = Adam.fresh(flat)
        options: Any = {"epochs": 1, "num_minibatches": 1, "clip": 0.2, "entropy_bonus": 0.0, "lr": 1e-3, "eps": 1e-5}
        rows = (case.observations, case.actions, case.log_probs, case.advantages)
        did = ppo_step(
            case.layout, case.head, flat, adam, *rows, np.random.default_rng(0), gradient_clip=limit, **options
        )
        firsts[limit] = adam.first / 0.1
        assert did.share_clipped == (limit is not None)
        assert did.gradient_norm == pytest.approx(np.linalg.norm(firsts[None]), rel=1e-9)
    assert np.linalg.norm(firsts[0.05]) == pytest.approx(0.05, rel=1e-4)
    np.testing.assert_allclose(firsts[0.05] / 0.05, firsts[None] / np.linalg.norm(firsts[None]), rtol=1e-3)


@pytest.mark.parametrize("sizes", [(11, 64, 64, 3), (3, 64, 2), (64, 4, 1)])
def test_orthogonal_weights_have_their_gains(sizes: tuple[int, ...]) -> None:
    layout = Layout(sizes=sizes, activation="tanh", extra=2)
    flat = initial_weights(layout, "orthogonal", np.random.default_rng(0), head_gain=0.01)
    layers = layout.layers(flat)
    for i, (weights, biases) in enumerate(layers):
        wide = weights.astype(np.float64) if weights.shape[0] <= weights.shape[1] else weights.astype(np.float64).T
        gain = 0.01 if i == len(layers) - 1 else np.sqrt(2)
        np.testing.assert_allclose(wide @ wide.T, gain**2 * np.eye(len(wide)), atol=gain**2 * 1e-6)
        assert (biases == 0).all()
    assert (layout.free(flat) == 0).all()


def test_xavier_weights_are_uniform_with_gain_one_in_every_layer() -> None:
    layout = Layout(sizes=(200, 100, 300), activation="tanh")
    flat = initial_weights(layout, "xavier", np.random.default_rng(0), head_gain=0.01)
    for weights, _ in layout.layers(flat):
        bound = np.sqrt(6 / sum(weights.shape))
        assert np.abs(weights).max() <= bound * (1 + 1e-6)
        assert weights.std() == pytest.approx(bound / np.sqrt(3), rel=0.02)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_one_row_and_a_batch_agree_up_to_rounding(activation: str) -> None:
    case = Case(Gaussian(3), activation)
    layers = case.layout.layers(case.flat)
    rows = [forward_one(layers, row, relu=activation == "relu") for row in case.observations]
    np.testing.assert_allclose(rows, case.outputs, rtol=1e-12)
    with torch.no_grad():
        np.testing.assert_allclose(case.network(*case.tensors("observations")), case.outputs, rtol=1e-12)
