"""Corruptions: closed forms, both tables of parameters, and random numbers that belong to the image."""

from __future__ import annotations

import pytest
import torch

from robustray.tasks.corruptions.corrupt import corrupt
from robustray.tasks.corruptions.tables import CORRUPTIONS, PARAMETERS, SEVERITIES, TABLES, Table
from robustray.tasks.errors import InputError

IMAGES = torch.rand(12, 3, 16, 16, generator=torch.Generator().manual_seed(0))
INDICES = torch.arange(40, 52)


def done(name: str, severity: int = 3, table: Table = "cifar10-c", images: torch.Tensor = IMAGES) -> torch.Tensor:
    return corrupt(images, name, severity, table=table, seed=7, indices=INDICES[: len(images)])


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_more_severe_is_further_away_and_stays_an_image(name: str, table: Table) -> None:
    assert len(PARAMETERS[name][table]) == len(SEVERITIES)
    changes = []
    for severity in SEVERITIES:
        found = done(name, severity, table)
        assert found.shape == IMAGES.shape and found.min() >= 0 and found.max() <= 1
        changes.append(float((found - IMAGES).abs().mean()))
    assert changes == sorted(changes) and changes[0] > 0


def test_contrast_keeps_the_mean_of_each_channel_and_shrinks_its_spread() -> None:
    found = done("contrast")
    assert torch.allclose(found.mean((2, 3)), IMAGES.mean((2, 3)), atol=1e-6)
    assert torch.allclose(found.std((2, 3)), 0.4 * IMAGES.std((2, 3)), atol=1e-6)


def test_brightness_adds_to_the_value_at_equal_hue_and_saturation() -> None:
    dark = 0.5 * IMAGES.clamp_min(0.02)
    found = done("brightness", images=dark)
    assert torch.allclose(found.amax(1), dark.amax(1) + 0.15, atol=1e-6)
    assert torch.allclose(found / found.amax(1, keepdim=True), dark / dark.amax(1, keepdim=True), atol=1e-5)
    black = done("brightness", images=torch.zeros(1, 3, 4, 4))
    assert torch.allclose(black, torch.full_like(black, 0.15)), "black has no hue: it becomes grey"


def test_noise_has_its_deviation_and_belongs_to_the_image() -> None:
    grey = torch.full((12, 3, 32, 32), 0.5)
    found = done("gaussian-noise", severity=1, images=grey)
    assert float((found - 0.5).std()) == pytest.approx(0.04, rel=0.02)
    part = corrupt(grey[5:6], "gaussian-noise", 1, table="cifar10-c", seed=7, indices=INDICES[5:6])
    assert torch.equal(part, found[5:6])
    assert not torch.equal(done("gaussian-noise", severity=2, images=grey) - 0.5, (found - 0.5) * 1.5)


@pytest.mark.parametrize(
    ("name", "severity", "table", "says"),
    [
        ("gaussian-nois", 1, "cifar10-c", "did you mean 'gaussian-noise'"),
        ("contrast", 0, "cifar10-c", "severity must be 1 to 5"),
        ("contrast", 6, "cifar10-c", "severity must be 1 to 5"),
        ("contrast", 1, "cifar-10-c", "did you mean 'cifar10-c'"),
    ],
)
def test_what_there_is_not(name: str, severity: int, table: Table, says: str) -> None:
    with pytest.raises(InputError, match=says):
        done(name, severity, table)
