"""Ours against imagecorruptions-imaug's own results (tests/golden/make_corruptions.py), on the same images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from robustray.tasks.corruptions.corrupt import corrupt
from robustray.tasks.corruptions.tables import SEVERITIES, Table
from robustray.tasks.statistics import newcombe_difference
from tests.golden import corruptions as cases


@pytest.fixture(scope="module")
def arrays(repository: Path) -> dict[str, Any]:
    with np.load(repository / "tests/golden/corruptions.npz") as stored:
        return dict(stored)


@pytest.fixture(scope="module")
def found(repository: Path) -> dict[str, Any]:
    return json.loads((repository / "tests/golden/corruptions.json").read_text())


def corrupted(
    images: NDArray[np.uint8], name: str, table: Table, severity: int, *, draws: int = 1
) -> NDArray[np.float32]:
    """Images (n, height, width, 3) `draws` times, as another image each time."""
    pixels = torch.from_numpy(images).movedim(-1, 1).to(torch.float32).div(255).repeat(draws, 1, 1, 1)
    done = corrupt(pixels, name, severity, table=table, seed=5, indices=torch.arange(len(pixels)))
    return done.movedim(1, -1).numpy()


@pytest.mark.parametrize(("side", "table"), cases.EXACT)
@pytest.mark.parametrize("name", cases.SETTLED)
def test_without_random_numbers_pixels_are_the_same(name: str, side: int, table: Table, arrays: dict[str, Any]) -> None:
    images = arrays[f"images-{side}"][: cases.NUM_EXACT[side]]
    for severity, theirs in zip(SEVERITIES, arrays[f"{name}-{side}"], strict=True):
        ours = np.stack([cases.sampled(image) for image in corrupted(images, name, table, severity)])
        assert np.abs(255 * ours - theirs).max() <= 2, severity


@pytest.mark.parametrize(("side", "table"), cases.IN_THE_MEAN)
@pytest.mark.parametrize("name", cases.RANDOM)
def test_with_random_numbers_images_change_as_much(
    name: str, side: int, table: Table, arrays: dict[str, Any], found: dict[str, Any]
) -> None:
    images = arrays[f"images-{side}"]
    for severity, theirs in zip(SEVERITIES, found["change"][f"{name}-{side}"], strict=True):
        ours = np.abs(
            corrupted(images, name, table, severity, draws=cases.DRAWS[side])
            - np.tile(images, (cases.DRAWS[side], 1, 1, 1)) / 255
        ).mean()
        assert ours == pytest.approx(theirs, rel=0.05), severity


@pytest.mark.acceptance
@pytest.mark.parametrize("name", cases.RANDOM)
def test_a_network_is_right_as_often(name: str, shared_data: Path, found: dict[str, Any]) -> None:
    """Other draws for the same images: the 95 % interval of the difference holds 0."""
    from robustray.tasks.attacks.gradient.verdicts import predict_logits

    images, labels, model = cases.real(str(shared_data))
    for severity in cases.REAL_SEVERITIES:
        shown = corrupted(images.transpose(0, 2, 3, 1), name, "cifar10-c", severity)
        prediction = predict_logits(model, torch.from_numpy(shown).movedim(-1, 1).contiguous()).argmax(1)
        right = int((prediction.numpy() == labels).sum())
        theirs = found["resnet20"]["right"][name][str(severity)]
        difference = newcombe_difference(right, len(labels), theirs, len(labels))
        assert difference.lo <= 0 <= difference.hi, (severity, right, theirs)
