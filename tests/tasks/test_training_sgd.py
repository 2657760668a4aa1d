"""Our descent against torch's, bit for bit, and what a worker is spared by it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from robustray.tasks.attacks.gradient.chain import pulled_back
from robustray.tasks.training.sgd import SGD

LRS = (0.1, 0.1, 0.03, 0.0, 0.2)


def parameters() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {
        "kernel": torch.randn(6, 3, 3, 3).to(memory_format=torch.channels_last).requires_grad_(),
        "bias": torch.randn(6).requires_grad_(),
        "scale": torch.randn(()).requires_grad_(),
        "seldom": torch.randn(4).requires_grad_(),
        "frozen": torch.randn(2),
    }


def give_gradients(to: dict[str, Tensor], step: int) -> None:
    """The same in a step, whomever they are given to; some are missing at first and later on."""
    torch.manual_seed(100 + step)
    for name, each in to.items():
        gradient = torch.randn(each.shape)
        if each.requires_grad:
            each.grad = None if name == "seldom" and step in (0, 3) else gradient


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("weight_decay", [0.0, 5e-4])
@pytest.mark.parametrize("reloaded_at", [None, 1, 3])
def test_steps_are_those_of_torch(momentum: float, weight_decay: float, reloaded_at: int | None) -> None:
    mine, theirs = parameters(), parameters()
    ours = SGD(mine, momentum=momentum, weight_decay=weight_decay)
    leaves = [each for each in theirs.values() if each.requires_grad]
    reference = torch.optim.SGD(leaves, lr=1.0, momentum=momentum, weight_decay=weight_decay)
    for step, lr in enumerate(LRS):
        if step == reloaded_at:
            kept = {name: each.clone() for name, each in ours.momenta.items()}
            ours = SGD(mine, momentum=momentum, weight_decay=weight_decay)
            ours.load(kept)
        give_gradients(mine, step)
        give_gradients(theirs, step)
        ours.step(lr)
        reference.param_groups[0]["lr"] = lr
        reference.step()
        assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_without_gradients_nothing_moves() -> None:
    moved, still = parameters(), parameters()
    descent = SGD(moved, momentum=0.9, weight_decay=0.1)
    give_gradients(moved, 0)
    descent.clear()
    descent.step(0.1)
    assert all(torch.equal(moved[name], still[name]) for name in moved)


def test_a_gradient_is_pulled_back_as_by_torch() -> None:
    torch.manual_seed(0)
    inputs, direction = torch.randn(3, 5, requires_grad=True), torch.randn(3, 5)
    outputs = inputs.tanh() * inputs.exp()
    (wanted,) = torch.autograd.grad(outputs, inputs, direction, retain_graph=True)
    found = pulled_back(outputs, inputs, direction)
    assert found is not None and torch.equal(found, wanted)
    assert pulled_back(torch.ones(2, requires_grad=True) * 2, inputs, torch.ones(2)) is None


WORK = {
    "a training against an attack": """
from robustray.tasks.training.loop import train_model
from robustray.tasks.training.settings import TrainSpec
train_model(TrainSpec(model="small:s", data="random", epochs=1, batch_size=8, loss="adversarial", eps=0.1, num_steps=1),
            data, "cpu")
""",
    "an attack": """
from robustray.tasks.attacks import PGD
PGD(norm="l2", eps=0.5, num_steps=2)(model, *data.batch(range(16)), seed=0)
""",
    "an audit": """
from robustray.tasks.audit.door import audit
audit(model, data, norm="l2", eps=0.5)
""",
}


@pytest.mark.parametrize("work", WORK.values(), ids=WORK)
def test_a_worker_does_not_import_a_compiler(work: str, repository: Path) -> None:
    """It would take two seconds and 150 MB in each of them, for nothing: torch's first optimizer, a gradient along a
    direction and a dispatch mode do it (torch 2.14.1)."""
    begin = """
import sys
import numpy as np
from robustray.tasks.data.images import ImageData
from robustray.tasks.models.registry import build_model
model = build_model("small:s").eval()
images = np.random.default_rng(0).random((16, 3, 32, 32), dtype=np.float32)
data = ImageData(name="random", images=images, labels=np.arange(16) % 10, classes=tuple("abcdefghij"))
"""
    end = "print([name for name in ('torch._dynamo', 'sympy') if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", begin + work + end], cwd=repository, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr
