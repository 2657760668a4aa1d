"""The audit: each check against a model of which the answer is known, and that nothing of the model changes."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import robustray
from robustray.tasks.attacks import FGSM, PGD
from robustray.tasks.audit.audit import attacks, look
from robustray.tasks.audit.blocks import audit_block, told
from robustray.tasks.audit.door import audit
from robustray.tasks.audit.findings import VERDICTS, Finding, Rule, judged
from robustray.tasks.audit.logits import others, temperature
from robustray.tasks.audit.paths import Attacked, steps
from robustray.tasks.audit.rules import RULES
from robustray.tasks.audit.subject import Subject
from robustray.tasks.audit.tracing import trace
from robustray.tasks.errors import InputError

EPS = 0.1


def pictures(count: int = 16, seed: int = 0) -> Tensor:
    return torch.rand(count, 1, 4, 4, generator=torch.Generator().manual_seed(seed))


class Layer(nn.Module):
    """A function as a layer."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def net(mask: Callable[[Tensor], Tensor] | None = None, *, at: int = 0, hidden: bool = False) -> nn.Sequential:
    """A linear classifier, or one with a hidden layer, with a mask as module `at`."""
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Flatten(), nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 5)]
    layers = layers if hidden else [nn.Flatten(), nn.Linear(16, 5)]
    if mask is not None:
        layers.insert(at, Layer(mask))
    return nn.Sequential(*layers)


def findings(model: Any, **more: Any) -> dict[str, Finding]:
    found, _ = look(Subject.of(model, pictures(), eps=EPS, **more))
    return {each.check: each for each in found}


# -- an honest model ---------------------------------------------------------------------------------------------------


def test_a_linear_model_has_the_figures_of_its_closed_form() -> None:
    found = findings(net())
    assert {each.verdict for each in found.values()} == {"ok"}
    assert found["zero gradient"].figure == 0 and found["saturation"].figure == 0
    assert found["slope along the gradient"].figure == pytest.approx(0, abs=1e-3)
    assert found["slope in random directions"].figure == pytest.approx(1, abs=1e-3)
    assert found["smoothed gradient"].figure == pytest.approx(1, abs=1e-5)
    assert found["jumps"].figure == pytest.approx(0, abs=1e-2)


def test_attacks_on_a_linear_model_behave() -> None:
    found = {each.check: each for each in attacks(Subject.of(net(), pictures(), eps=EPS))}
    assert {each.verdict for each in found.values()} == {"ok"}
    assert found["loss along the path"].figure == 0 and found["square"].figure == 0 and found["any size"].figure == 1


def test_how_small_logits_and_gradients_are_is_no_alarm() -> None:
    """A linear model with tiny slopes; and one that says the same of every image but for rounding."""
    small = findings(net(lambda z: 1e-12 * z, at=2))
    assert small["smoothed gradient"].figure == pytest.approx(1, abs=1e-5)
    assert small["slope along the gradient"].verdict == "ok"
    constant = findings(net(lambda z: 1e-9 * z + torch.arange(5.0), at=2))
    assert constant["slope along the gradient"].verdict == "not checked"
    assert constant["slope in random directions"].verdict == "not checked"
    assert not [each for each in constant.values() if each.verdict == "no evidence"]


# -- planted -----------------------------------------------------------------------------------------------------------


class Zeros(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return torch.zeros_like(grads[0])


class Straight(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return (8 * x).round() / 8

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return grads[0]


def half_stopped(x: Tensor) -> Tensor:
    mask = (torch.arange(4) % 2).to(x)
    return x * mask + (x * (1 - mask)).detach()


def through_numpy(x: Tensor) -> Tensor:
    return torch.from_numpy(np.sqrt(x.detach().numpy()))


def winners(x: Tensor) -> Tensor:
    return x * (x >= x.topk(4, dim=1).values[:, -1:])


def clipped(x: Tensor) -> Tensor:
    y = x.clone()
    if y.requires_grad:
        y.register_hook(lambda gradient: gradient.clamp(-1e-4, 1e-4))
    return y


PLANTED: list[tuple[str, nn.Module, str, str]] = [
    ("rounded input", net(lambda x: (8 * x).round() / 8), "zero gradient", "0"),
    ("rounded in the middle", net(lambda x: (4 * x).round(), at=2, hidden=True), "jumps", "2"),
    ("straight-through", net(Straight.apply), "jumps", "0"),
    ("zeros on the way back", net(Zeros.apply, at=1), "zero gradient", "1"),
    ("half stopped", net(half_stopped), "slope in random directions", ""),
    ("detached", net(lambda x: x.detach()), "gradient", "0"),
    ("NumPy", net(through_numpy), "gradient", "0"),
    ("winners take all", net(winners, at=3, hidden=True), "jumps", "3"),
    ("sparsified", net(lambda x: x * (x > 0.3), at=3, hidden=True), "jumps", "3"),
    ("clipped on the way back", net(clipped, at=1), "slope along the gradient", ""),
    ("cold", net(lambda z: 1e4 * z, at=2), "saturation", ""),
    ("noise", net(lambda x: x + 0.1 * torch.randn_like(x)), "randomness", "0"),
    ("batch", net(lambda z: z - z.mean(0), at=2), "batch company", ""),
]


@pytest.mark.parametrize(("model", "check", "layer"), [each[1:] for each in PLANTED], ids=[each[0] for each in PLANTED])
def test_what_is_planted_is_found_and_its_layer_named(model: nn.Module, check: str, layer: str) -> None:
    found = findings(model)
    assert found[check].verdict == "no evidence" and found[check].layer == layer
    assert found[check].because and found[check].remedy


def test_jumps_alone_grow_like_the_root_of_the_step() -> None:
    assert findings(net(lambda x: (64 * x).round() / 64))["jumps"].figure == pytest.approx(0.5, abs=0.08)


def test_a_share_of_images_without_gradient_is_counted() -> None:
    bright = pictures()[:, 0, 0, 0] > 0.5

    def stops(x: Tensor) -> Tensor:
        where = (x[:, :, :1, :1] > 0.5).to(x)
        return x * (1 - where) + (x * where).detach()

    found = findings(net(stops))["zero gradient"]
    assert found.figure == pytest.approx(float(bright.float().mean())) and found.verdict == "no evidence"


def test_square_beats_gradients_where_they_are_hidden() -> None:
    found = {each.check: each for each in attacks(Subject.of(net(Zeros.apply, hidden=True), pictures(), eps=0.3))}
    for check in ("square", "any size", "loss along the path"):
        assert found[check].verdict == "no evidence", check
    transfer = attacks(Subject.of(net(Zeros.apply), pictures(), eps=0.3), net())[-1]
    assert (transfer.check, transfer.verdict) == ("transfer", "no evidence")


# -- tracing -----------------------------------------------------------------------------------------------------------


def kinds(model: Any) -> set[tuple[str, str, str]]:
    return {(each.kind, each.name, each.layer) for each in trace(model, pictures(2))}


class RoundedWeights(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, (self.weight * 8).round() / 8, self.bias)


def test_only_what_depends_on_the_images_is_traced() -> None:
    assert kinds(nn.Sequential(nn.Flatten(), RoundedWeights(16, 5))) == set()
    assert kinds(net(lambda x: x.detach().round(), at=1)) == {("step", "round", "1")}
    assert kinds(net(lambda x: (255 * x).byte().float() / 255)) == {("step", "integers", "0")}
    assert kinds(net(Straight.apply)) == {("step", "round", "0")}
    assert kinds(lambda x: x.flatten(1)[:, :5].floor()) == {("step", "floor", "")}
    leaves = kinds(net(lambda x: through_numpy(x).round()))
    assert ("leaves", "what comes from outside of torch", "0") in leaves


@pytest.mark.filterwarnings("ignore:Using `torch.compile")  # its hooks fire once more, for the wrapper
def test_a_compiled_model_is_traced_as_it_was_before() -> None:
    """torch compiles nothing below a dispatch mode, so that each operation is seen."""
    plain = net(torch.floor, at=1)
    compiled = torch.compile(plain, backend="eager")
    compiled(pictures(2))
    found = trace(compiled, pictures(2))
    assert {(each.kind, each.name) for each in found} == {(each.kind, each.name) for each in trace(plain, pictures(2))}
    assert [each.times for each in found] == [1]


def test_what_is_written_into_memory_is_followed() -> None:
    def written(x: Tensor) -> Tensor:
        held = torch.zeros_like(x)
        held[:, :, 1:] = x[:, :, 1:]
        return held.round()

    assert kinds(net(written)) == {("step", "round", "0")}


# -- nothing changes, and the same answer everywhere -------------------------------------------------------------------


def stateful() -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(64, 5)
    )
    model[1].eval()  # a frozen one
    return model


def test_an_audit_changes_nothing_of_the_model() -> None:
    model = stateful()
    before = copy.deepcopy(model.state_dict())
    modes = [module.training for module in model.modules()]
    hooks = [len(module._forward_hooks) for module in model.modules()]
    torch.manual_seed(7)
    state = torch.get_rng_state()
    images = pictures()
    held = images.clone()
    audit(model, (images, np.arange(16) % 5), eps=EPS, num_images=8)
    assert torch.equal(torch.get_rng_state(), state) and torch.equal(images, held)
    assert [module.training for module in model.modules()] == modes
    assert [len(module._forward_hooks) for module in model.modules()] == hooks
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("mask", [None, lambda x: x + 0.1 * torch.randn_like(x)])
def test_an_audit_says_the_same_whatever_was_drawn_before(mask: Any) -> None:
    first = audit(net(mask), (pictures(), np.arange(16) % 5), eps=EPS)
    torch.rand(3)
    again = audit(net(mask), (pictures(), np.arange(16) % 5), eps=EPS)
    assert repr(first) == repr(again) and first.document == again.document


@pytest.mark.parametrize("in_use", [True, False])
def test_generators_of_gpus_are_put_back_where_they_are_in_use(monkeypatch: pytest.MonkeyPatch, in_use: bool) -> None:
    """An audit seeds torch: what a notebook draws on its GPU afterwards must not depend on that."""
    forked: list[list[int]] = []

    @contextlib.contextmanager
    def noted(devices: Any) -> Any:
        forked.append(list(devices))
        yield

    seeded: list[int] = []
    model = net()
    monkeypatch.setattr(torch.random, "fork_rng", noted)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: in_use)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    Subject.of(model, pictures(2), eps=EPS, seed=3)
    assert forked == [[0, 1] if in_use else []] and seeded == [3] * in_use


# -- the doors ---------------------------------------------------------------------------------------------------------


def test_hard_labels_are_audited_without_gradients_and_said_to_be_so() -> None:
    inner = net()
    found = robustray.audit(lambda x: inner(x).argmax(1), (pictures(), np.arange(16) % 5), eps=EPS, surrogate=inner)
    assert not found.passed and "classes and no logits" in found.lines[0] and "square, transfer" in found.lines[0]
    assert {each.check for each in found.findings} == {"gradient", "randomness", "batch company", "square", "transfer"}
    assert next(each for each in found.findings if each.check == "transfer").figure > 0


def test_the_result_prints_says_why_and_is_a_document() -> None:
    found = audit(net(Zeros.apply, at=1), (pictures(), np.arange(16) % 5), eps=EPS)
    text = repr(found)
    assert "no evidence  zero gradient" in text and "[1]" in text
    assert "this number is no evidence because" in text and "in the layer 1: try adaptive, square" in text
    assert found._repr_html_().count("<tr>") == len(found.findings) + 1
    frame = found.to_frame()
    assert list(frame.check) == [check for check in RULES if check in set(frame.check)]
    assert found.document["passed"] is False and found.document["findings"][0]["rule"]
    assert math.isnan(frame.set_index("check").figure["smoothed gradient"])
    assert all(each.verdict in VERDICTS for each in found.findings)


@pytest.mark.parametrize(
    ("model", "images", "says"),
    [
        (net(), pictures().expand(-1, 3, 4, 4), "fails on images of shape"),
        (net(lambda z: z.softmax(1), at=2), pictures(), "remove the softmax"),
        (net(), pictures(1), "two images or more"),
        (net(lambda z: z * torch.nan, at=2), pictures(), "NaN"),
    ],
)
def test_what_cannot_be_audited_is_refused_in_words(model: nn.Module, images: Tensor, says: str) -> None:
    with pytest.raises(InputError, match=says):
        audit(model, (images.contiguous(), np.arange(len(images)) % 5), eps=EPS)


@pytest.mark.parametrize(
    ("surrogate", "says"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(16, 3)), "surrogate: it has 3 classes, the model 5"),
        (net(lambda x: x.detach()), "surrogate: no gradient arrives"),
        (nn.Sequential(nn.Flatten(), nn.Linear(9, 5)), "fails on images of shape"),
    ],
)
def test_a_surrogate_is_tried_before_anything_is_computed(
    monkeypatch: pytest.MonkeyPatch, surrogate: nn.Module, says: str
) -> None:
    monkeypatch.setattr("robustray.tasks.audit.audit.look", pytest.fail)
    with pytest.raises(InputError, match=says):
        audit(net(), (pictures(), np.arange(16) % 5), eps=EPS, surrogate=surrogate)


def test_one_step_is_as_large_as_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond 0.5 PGD is no larger, since every image can be made grey there: FGSM must not be either."""
    subject = Subject.of(net(), pictures(4), eps=0.8)
    seen: list[Any] = []
    attacked = Attacked(subject)

    def noted(attack: Any) -> Tensor:
        seen.append(attack)
        return torch.zeros(4, dtype=torch.bool)

    monkeypatch.setattr(attacked, "broken", noted)
    list(steps(attacked))
    assert {each.eps for each in seen} == {0.5} and {type(each) for each in seen} == {PGD, FGSM}


def test_sizes_are_checked() -> None:
    with pytest.raises(InputError, match="at most 1 for linf"):
        audit(net(), (pictures(), np.arange(16) % 5), eps=8)


# -- small parts -------------------------------------------------------------------------------------------------------


def test_a_rule_is_broken_on_its_side_only_and_nothing_measured_breaks_none() -> None:
    rules = {"a": Rule(asks="?", figure="", limit=0.5), "b": Rule(asks="?", figure="", limit=0.5, above=False)}
    said = {(name, x): judged(rules, name, x, "why").verdict for name in "ab" for x in (0.4, 0.6, math.nan)}
    assert said["a", 0.4] == "ok" and said["a", 0.6] == "no evidence"
    assert said["b", 0.4] == "no evidence" and said["b", 0.6] == "ok"
    assert [each for key, each in said.items() if key[1] != key[1]] == ["not checked"] * 2


def test_saturation_is_measured_without_cancellation() -> None:
    logits = torch.tensor([[0.0, 0.0], [100.0, 0.0]])
    assert others(logits).tolist() == pytest.approx([0.5, math.exp(-100)])
    assert temperature(torch.tensor([[0.0, 16.0]])) == 8


# -- in a run ----------------------------------------------------------------------------------------------------------


def test_a_run_asks_of_its_networks_and_tells_what_speaks_against_them() -> None:
    class Data:
        def batch(self, indices: Any) -> tuple[Tensor, Tensor]:
            return pictures(len(indices)), torch.zeros(len(indices), dtype=torch.int64)

        def __len__(self) -> int:
            return 16

    def lines(model: Any) -> tuple[str, ...]:
        attack = PGD(norm="linf", eps=EPS)
        loads = {"model": model, "data": Data()}.__getitem__
        context: Any = SimpleNamespace(load=loads, settings=attack, seed=0, device="cpu")
        rows = audit_block([0], context)
        return told([("mine", pd.DataFrame({name: list(values) for name, values in rows.items()}))])

    assert lines(net()) == ()
    (first, *_) = lines(net(lambda x: (8 * x).round() / 8))
    assert first.startswith("mine: this number is no evidence because there is no gradient to follow")
