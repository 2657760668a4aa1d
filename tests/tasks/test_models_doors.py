"""The door through which a model meets data."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from robustray.tasks.errors import InputError
from robustray.tasks.models import build_model, check_model


class Fixed(nn.Module):
    """Returns what it was given for three images, whatever it sees; more rows of it for more images."""

    def __init__(self, result: object) -> None:
        super().__init__()
        self.result = result

    def forward(self, x: Tensor) -> object:
        if isinstance(self.result, Tensor) and len(x) > len(IMAGES):
            return self.result.repeat(6, 1)[: len(x)]
        return self.result


class Noisy(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.randn(len(x), 4)


IMAGES = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
LOGITS = torch.randn(3, 4, generator=torch.Generator().manual_seed(1))
HOLE = LOGITS.clone()
HOLE[1, 2] = torch.nan


def test_a_good_model_passes_without_words() -> None:
    assert check_model(Fixed(LOGITS), IMAGES, 4) == []
    assert check_model(build_model("digits:cnn"), IMAGES, 10) == []


@pytest.mark.parametrize(
    "model, says",
    [
        (Fixed(torch.zeros(3, 1000)), "the model has 1000 outputs, the data 4 classes"),
        (Fixed(torch.zeros(3)), r"returns shape \(3,\) for 3 images"),
        (Fixed(torch.zeros(1, 4)), r"returns shape \(1, 4\) for 3 images"),
        (Fixed((LOGITS, LOGITS)), "returns tuple, expected a float tensor of logits"),
        (Fixed(torch.zeros(3, 4, dtype=torch.int64)), "returns torch.int64"),
        (Fixed(HOLE), "NaN or infinite logits .*image 1"),
        (Fixed(LOGITS / 0), "NaN or infinite"),
        (Fixed(LOGITS.softmax(1)), "returns probabilities; attacks need logits: remove the softmax"),
        (Fixed(torch.eye(4)[:3]), "returns probabilities"),
        (nn.Conv2d(3, 4, 3), r"fails on images of shape \(3, 1, 8, 8\): RuntimeError"),
    ],
)
def test_unusable_models_are_refused_in_one_line(model: nn.Module, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        check_model(model, IMAGES, 4)
    assert "\n" not in str(caught.value)


def test_a_model_that_draws_noise_is_warned_about_and_leaves_the_generator_alone() -> None:
    before = torch.random.get_rng_state()
    (warning,) = check_model(Noisy(), IMAGES, 4)
    assert "sees the same images again" in warning
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("result", [LOGITS, HOLE])
def test_every_module_gets_its_own_mode_back(result: Tensor) -> None:
    dropout = nn.Dropout()
    inner = nn.Sequential(dropout, nn.ReLU())
    model = nn.Sequential(nn.BatchNorm2d(1), inner, Fixed(result))
    model.train()
    inner.eval()
    dropout.train()
    modes = [module.training for module in model.modules()]
    statistics = {key: value.clone() for key, value in model.state_dict().items()}
    try:
        check_model(model, IMAGES, 4)
    except InputError:
        assert result is HOLE
    assert [module.training for module in model.modules()] == modes and True in modes and False in modes
    assert all(torch.equal(value, statistics[key]) for key, value in model.state_dict().items())
