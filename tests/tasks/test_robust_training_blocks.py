"""Traces and gradients against what they are on a linear model, where both are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from robustray.tasks.attacks.settings import PGD
from robustray.tasks.attacks.traces import UNBROKEN, gradient_block, trace_block
from robustray.tasks.data.images import ImageData
from robustray.tasks.lab.protocol import Context
from robustray.tasks.sweeps.traced import Followed

NUM = 20


class Linear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(64, 4)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layer(images.flatten(1))


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    return Linear().eval().requires_grad_(False)


@pytest.fixture(scope="module")
def data() -> ImageData:
    generator = np.random.default_rng(0)
    images = generator.uniform(0.3, 0.7, (NUM, 1, 8, 8)).astype(np.float32)  # far from 0 and 1: no clipping
    return ImageData(name="own", images=images, labels=np.arange(NUM) % 4, classes=tuple("abcd"))


def context(model: nn.Module, data: ImageData, settings: Any = None) -> Context:
    return Context(settings=settings, seed=0, device="cpu", load={"model": model, "data": data}.__getitem__)


def attack(norm: Any, eps: float, num_steps: int) -> PGD:
    return PGD(norm=norm, eps=eps, num_steps=num_steps, random_start=False, exit_rule="last", attack_misclassified=True)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_trace_starts_at_the_clean_loss_and_ends_where_pgd_does(norm: Any, model: nn.Module, data: ImageData) -> None:
    pgd = attack(norm, 0.1, 10)
    found = trace_block(range(NUM), context(model, data, pgd))
    images, labels = data.batch(range(NUM))
    clean = nn.functional.cross_entropy(model(images), labels, reduction="none")
    assert found["loss"].shape == (NUM, 11)
    torch.testing.assert_close(found["loss"][:, 0], clean)
    torch.testing.assert_close(found["loss"][:, -1], pgd(model, images, labels).loss)
    assert (found["loss"][:, 1:] >= found["loss"][:, :-1] - 1e-5).all(), "the loss of a linear model is convex"


def test_broken_at_is_the_first_misclassified_iterate(model: nn.Module, data: ImageData) -> None:
    pgd = attack("linf", 0.05, 8)
    broken_at = trace_block(range(NUM), context(model, data, pgd))["broken_at"]
    images, labels = data.batch(range(NUM))
    assert ((broken_at == 0) == (model(images).argmax(1) != labels)).all()
    # Early exit finds the same images: it looks at the same iterates.
    first = PGD(norm="linf", eps=0.05, num_steps=8, random_start=False, precision="fp32")(model, images, labels)
    assert ((broken_at != UNBROKEN) == first.success).all()
    assert 0 < (broken_at > 0).sum() < NUM, "some images fall on the way, some do not"


def test_rows_do_not_depend_on_how_images_are_cut(model: nn.Module, data: ImageData) -> None:
    whole = trace_block(range(NUM), context(model, data, attack("l2", 0.5, 4)))
    parts = [trace_block([i], context(model, data, attack("l2", 0.5, 4))) for i in range(3)]
    assert torch.equal(whole["loss"][:3], torch.cat([part["loss"] for part in parts]))


def test_the_gradient_of_a_linear_model(model: nn.Module, data: ImageData) -> None:
    """d/dx of cross-entropy = sum over classes of (probability - is label) * weights."""
    found = gradient_block(range(NUM), context(model, data))
    images, labels = data.batch(range(NUM))
    slope = model(images).softmax(1) - nn.functional.one_hot(labels, 4)
    weight = model.get_parameter("layer.weight")
    torch.testing.assert_close(found["gradient"].flatten(1), slope @ weight)
    assert torch.equal(found["image"], images) and (found["prediction"] == model(images).argmax(1)).all()


def test_what_many_steps_find_beyond_few_by_hand() -> None:
    """Four images: one is wrong from the start, one falls to few steps, one to many only, one to none."""

    def rows(broken_at: list[int], last: float) -> pd.DataFrame:
        losses = [np.array([0.0, last], dtype=np.float32)] * 4
        return pd.DataFrame({"index": range(4), "broken_at": broken_at, "loss": losses})

    few, many = rows([0, 1, UNBROKEN, UNBROKEN], 1.0), rows([0, 1, 1, UNBROKEN], 3.0)
    followed = Followed(trained="standard", norm="linf", eps=0.1, traces={0: {2: few, 5: many}, 1: {2: few, 5: few}})
    assert followed.num_steps == (2, 5) and followed.num_images == 4
    row = followed.row()
    assert (row["accuracy_2"], row["accuracy_5"], row["difference"]) == (0.5, 0.375, 0.125)
    assert (row["loss_2"], row["loss_5"], row["seeds"], row["n"]) == (1.0, 2.0, 2, 4)
    assert followed.loss(5).tolist() == [[0.0, 3.0], [0.0, 1.0]]
