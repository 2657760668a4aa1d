"""The block functions through a lab: columns, values, and rows that do not depend on how the items were cut."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from robustray.tasks.attacks import PGD, RandomNoise
from robustray.tasks.attacks.blocks import attack_block, example_block, predict_block
from robustray.tasks.attacks.gradient.verdicts import predict_logits
from robustray.tasks.errors import InputError
from robustray.tasks.lab.pieces import to_table
from robustray.tasks.lab.protocol import BlockFunction, Context
from robustray.tasks.models.digits import DigitsCnn
from robustray.tasks.models.normalised import Normalised

ATTACK = PGD(norm="linf", eps=0.05, num_steps=3)


class Data:
    def __init__(self) -> None:
        self.images = torch.rand(90, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        self.labels = predict_logits(make_model(), self.images).argmax(1)
        self.labels[::5] = (self.labels[::5] + 1) % 10

    def batch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        return self.images[list(indices)], self.labels[list(indices)]


def make_model() -> Normalised:
    torch.manual_seed(0)
    return Normalised(DigitsCnn(10), [0.3], [0.1]).eval()


def context(settings: Any = ATTACK, model: Any = None, seed: int = 4) -> Context:
    objects = {"model": model or make_model(), "data": Data()}
    return Context(settings=settings, seed=seed, device="cpu", load=objects.__getitem__)


@pytest.mark.parametrize("function", [predict_block, attack_block, example_block])
def test_rows_do_not_depend_on_the_cut(function: BlockFunction) -> None:
    def table(items: Sequence[int]) -> dict[str, np.ndarray]:
        rows = to_table(function, function(items, context()), len(items))
        return {name: np.array(rows[name].to_pylist()) for name in rows.column_names}

    items = list(range(20, 90))
    whole = table(items)
    assert whole["index"].tolist() == items
    assert list(whole) == list(function.columns)
    for size in (1, 16, 31):
        parts = [table(items[first : first + size]) for first in range(0, len(items), size)]
        for name, column in whole.items():
            np.testing.assert_array_equal(np.concatenate([part[name] for part in parts]), column, err_msg=name)


def test_the_columns_are_those_of_the_attack() -> None:
    items = list(range(90))
    rows, result = attack_block(items, context()), ATTACK(make_model(), Data().images, Data().labels, seed=4)
    for column, value in {
        "label": Data().labels,
        "clean_prediction": result.clean_predictions,
        "prediction": result.predictions,
        "success": result.success,
        "loss": result.loss,
        "distance": result.distance,
        "evaluations": result.num_evaluations,
    }.items():
        assert torch.equal(rows[column], value), column
    assert 0.2 < result.success.float().mean() < 1
    predicted = predict_block(items, context(settings=None))
    assert torch.equal(predicted["prediction"], result.clean_predictions)
    assert torch.equal(predicted["correct"], predicted["prediction"] == Data().labels)
    left = result.num_evaluations == 1
    assert torch.equal(predicted["loss"][left], result.loss[left])
    examples = example_block(items, context())
    assert torch.equal(examples["adversarial_image"], result.images)
    assert torch.equal(examples["clean_image"], Data().images)


def test_the_seed_is_the_contexts() -> None:
    noise = RandomNoise(norm="l2", eps=1.0, num_draws=1)
    a, b = (example_block(range(10), context(noise, seed=seed))["adversarial_image"] for seed in (0, 1))
    assert not torch.equal(a, b)


def test_a_stochastic_model_is_refused() -> None:
    def noisy(x: Tensor) -> Tensor:
        return x.flatten(1)[:, :10] + torch.randn(len(x), 10)

    with pytest.raises(InputError, match="lucky draw"):
        attack_block(range(10), context(model=noisy))
