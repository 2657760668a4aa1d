"""The check on held-out images: what it counts, what it flags, and what is selected by it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robustray.tasks.data.images import ImageData
from robustray.tasks.training import loop
from robustray.tasks.training.evaluate import CATASTROPHIC_OVERFITTING, ROBUST_OVERFITTING, count_correct, flag
from robustray.tasks.training.loop import Trained, train_model
from robustray.tasks.training.settings import TrainSpec
from robustray.tasks.training.state import Row


def spec(**changed: Any) -> TrainSpec:
    fields: dict[str, Any] = {"model": "digits:mlp", "data": "grey", "epochs": 4, "batch_size": 8, "validation": 16}
    fields |= {"loss": "adversarial", "eps": 0.1, "num_steps": 1}
    return TrainSpec(**fields | changed)


def grey_data(num_images: int = 40) -> ImageData:
    """Dark images and bright ones, a third of the bright ones within reach of eps."""
    labels = np.arange(num_images, dtype=np.int64) % 2
    levels = np.where(labels == 0, 0.2, np.where(np.arange(num_images) % 3 == 0, 0.55, 0.9)).astype(np.float32)
    images = np.ascontiguousarray(np.broadcast_to(levels[:, None, None, None], (num_images, 1, 8, 8)))
    return ImageData(name="grey", images=images, labels=labels, classes=("dark", "bright"))


class Threshold(nn.Module):
    """Bright above one half, with a dropout that would spoil everything if it were active."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.99)

    def forward(self, images: Tensor) -> Tensor:
        mean = self.dropout(images.flatten(1)).mean(1)
        return torch.stack((0.5 - mean, mean - 0.5), dim=1) * 10


def test_clean_and_robust_images_are_counted() -> None:
    data, model, held_out = grey_data(), Threshold(), np.arange(3, 40, dtype=np.int64)
    near = sum(1 for i in held_out if i % 2 == 1 and i % 3 == 0)
    assert count_correct(spec(), model, data, held_out, "cpu") == (37, 37 - near)
    assert count_correct(spec(eps=0.01), model, data, held_out, "cpu") == (37, 37)
    assert count_correct(spec(loss="standard", eps=0.0, num_steps=7), model, data, held_out, "cpu") == (37, 37)
    assert model.training and model.dropout.training


def test_many_images_are_counted_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    everything = np.arange(40, dtype=np.int64)
    whole = count_correct(spec(), Threshold(), grey_data(), everything, "cpu")
    monkeypatch.setattr("robustray.tasks.training.evaluate._CHUNK", 7)
    assert count_correct(spec(), Threshold(), grey_data(), everything, "cpu") == whole


# -- flags -------------------------------------------------------------------------------------------------------------

#  (robust accuracy, training loss) per epoch, with 1,000 held-out images: intervals are about 3 points wide each way.
CURVES: dict[str, tuple[list[tuple[float, float]], str]] = {
    "the first epoch": ([(0.3, 2.0)], ""),
    "it rises": ([(0.3, 2.0), (0.4, 1.8)], ""),
    "it falls within the interval": ([(0.4, 2.0), (0.38, 1.8)], ""),
    "it falls by more": ([(0.4, 2.0), (0.36, 1.8)], ROBUST_OVERFITTING),
    "it fell epochs ago": ([(0.4, 2.0), (0.36, 1.8), (0.36, 1.7)], ROBUST_OVERFITTING),
    "it collapses while training looks better": ([(0.3, 2.0), (0.35, 1.9), (0.02, 1.2)], CATASTROPHIC_OVERFITTING),
    "it collapses to nothing": ([(0.35, 1.9), (0.0, 0.3)], CATASTROPHIC_OVERFITTING),
    "it collapses with the training": ([(0.35, 1.9), (0.02, 2.4)], ROBUST_OVERFITTING),
    "it never was better than chance": ([(0.11, 2.31), (0.03, 2.30)], ""),
    "nothing was ever robust": ([(0.0, 1.9), (0.0, 0.3)], ""),
}


@pytest.mark.parametrize("what", CURVES)
def test_flags(what: str) -> None:
    curve, wanted = CURVES[what]
    *earlier, row = [{"epoch": i + 1, "robust_accuracy": r, "loss": loss} for i, (r, loss) in enumerate(curve)]
    assert flag(row, earlier, 1000, 10) == wanted


def test_few_images_flag_less_and_unchecked_epochs_nothing() -> None:
    best: Row = {"robust_accuracy": 0.4, "loss": 2.0}
    assert flag({"robust_accuracy": 0.36, "loss": 1.8}, [best], 100, 10) == ""
    assert flag({"loss": 1.8}, [best], 1000, 10) == ""
    assert flag({"robust_accuracy": 0.1, "loss": 1.8}, [{"loss": 2.0}], 1000, 10) == ""


# -- selection ---------------------------------------------------------------------------------------------------------


def judged(monkeypatch: pytest.MonkeyPatch, robust: list[int], **changed: Any) -> Trained:
    """A training whose checks come out as given: of 16 images, per epoch."""
    answers = iter(robust)

    def count(*args: Any) -> tuple[int, int]:
        return 16, next(answers)

    monkeypatch.setattr(loop, "count_correct", count)
    return train_model(spec(**changed), grey_data(), "cpu")


def test_the_best_is_the_first_of_the_highest(monkeypatch: pytest.MonkeyPatch) -> None:
    result = judged(monkeypatch, [3, 9, 9, 4])
    assert {name: (s.epoch, s.score) for name, s in result.weights.items()} == {
        "last": (4, 4 / 16),
        "best": (2, 9 / 16),
    }
    shorter = judged(monkeypatch, [1, 2], epochs=2, schedule="constant")
    longer = judged(monkeypatch, [1, 9, 2], epochs=3, schedule="constant")
    for name, value in longer.weights["best"].tensors.items():  # a copy of the weights of that epoch
        assert torch.equal(value, shorter.weights["last"].tensors[name])


def test_checks_come_when_asked_for_and_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    result = judged(monkeypatch, [5, 6, 7], epochs=5, check_every=2)
    assert [row["epoch"] for row in result.curve if "robust_accuracy" in row] == [2, 4, 5]
    assert [row.get("robust_accuracy") for row in result.curve] == [None, 5 / 16, None, 6 / 16, 7 / 16]


def test_the_average_is_judged_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checks alternate: weights, average, weights, average."""
    result = judged(monkeypatch, [3, 8, 5, 7], epochs=2, ema_decay=0.9, select="best")
    assert [(row["robust_accuracy"], row["ema_robust_accuracy"]) for row in result.curve] == [
        (3 / 16, 8 / 16),
        (5 / 16, 7 / 16),
    ]
    assert (result.weights["best"].epoch, result.weights["ema"].epoch) == (2, 1)
    last = judged(monkeypatch, [3, 8, 5, 7], epochs=2, ema_decay=0.9, select="last")
    assert (last.weights["ema"].epoch, last.weights["ema"].score) == (2, 7 / 16)


def test_standard_training_is_judged_by_clean_accuracy() -> None:
    result = train_model(spec(loss="standard", eps=0.0, num_steps=7), grey_data(), "cpu")
    assert all("clean_accuracy" in row and "robust_accuracy" not in row for row in result.curve)
    assert result.weights["best"].score == max(row["clean_accuracy"] for row in result.curve)


def test_without_held_out_images_there_is_no_best() -> None:
    result = train_model(spec(validation=0), grey_data(), "cpu")
    assert list(result.weights) == ["last"] and all("flag" not in row for row in result.curve)
