"""Corruptions: closed forms, both tables of parameters, and random numbers that belong to the image."""

from __future__ import annotations

import pytest
import torch

from robustray.tasks.corruptions.blurs import copied
from robustray.tasks.corruptions.corrupt import corrupt
from robustray.tasks.corruptions.tables import ALL, CORRUPTIONS, FROST, PARAMETERS, SEVERITIES, TABLES, Table
from robustray.tasks.errors import InputError

IMAGES = torch.rand(12, 3, 16, 16, generator=torch.Generator().manual_seed(0))
SMOOTH = torch.nn.functional.interpolate(IMAGES[:, :, :6, :6], (32, 32), mode="bicubic").clamp(0, 1)
INDICES = torch.arange(40, 52)
UNGRADED = {"glass-blur", "snow", "elastic-transform", FROST}
"""The benchmarks' own severities of these are not in the order of how far they lead away."""


def done(name: str, severity: int = 3, table: Table = "cifar10-c", images: torch.Tensor = IMAGES) -> torch.Tensor:
    return corrupt(images, name, severity, table=table, seed=7, indices=INDICES[: len(images)])


def test_there_are_fourteen_and_a_frost_apart() -> None:
    assert len(CORRUPTIONS) == 14 and FROST not in CORRUPTIONS and set(ALL) - set(CORRUPTIONS) == {FROST}
    assert all(len(PARAMETERS[name][table]) == len(SEVERITIES) for name in ALL for table in TABLES)


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("name", ALL)
def test_more_severe_is_further_away_and_stays_an_image(name: str, table: Table) -> None:
    changes = []
    for severity in SEVERITIES:
        found = done(name, severity, table, SMOOTH)
        assert found.shape == SMOOTH.shape and found.min() >= 0 and found.max() <= 1
        changes.append(float((found - SMOOTH).abs().mean()))
    assert min(changes) > 0
    assert changes == sorted(changes) or name in UNGRADED


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28), (3, 8, 8), (3, 24, 40)], ids=str)
@pytest.mark.parametrize("name", ALL)
def test_an_image_is_corrupted_alike_in_every_batch(name: str, shape: tuple[int, int, int]) -> None:
    images = torch.rand(23, *shape, generator=torch.Generator().manual_seed(1))
    indices = torch.randint(10**9, (23,), generator=torch.Generator().manual_seed(2))
    for table in TABLES:
        whole = corrupt(images, name, 5, table=table, seed=3, indices=indices)
        cut = [slice(0, 1), slice(1, 18), slice(18, 23)]
        parts = [corrupt(images[c], name, 5, table=table, seed=3, indices=indices[c]) for c in cut]
        assert whole.shape == images.shape and torch.equal(whole, torch.cat(parts))


def test_contrast_keeps_the_mean_of_each_channel_and_shrinks_its_spread() -> None:
    found = done("contrast")
    assert torch.allclose(found.mean((2, 3)), IMAGES.mean((2, 3)), atol=1e-6)
    assert torch.allclose(found.std((2, 3)), 0.4 * IMAGES.std((2, 3)), atol=1e-6)


def test_brightness_adds_to_the_value_at_equal_hue_and_saturation() -> None:
    dark = 0.5 * IMAGES.clamp_min(0.02)
    found = done("brightness", images=dark)
    assert torch.allclose(found.amax(1), dark.amax(1) + 0.15, atol=1e-6)
    assert torch.allclose(found / found.amax(1, keepdim=True), dark / dark.amax(1, keepdim=True), atol=1e-5)
    black = done("brightness", images=torch.zeros(1, 3, 8, 8))
    assert torch.allclose(black, torch.full_like(black, 0.15)), "black has no hue: it becomes grey"


def test_gaussian_noise_has_its_deviation() -> None:
    grey = torch.full((12, 3, 32, 32), 0.5)
    found = done("gaussian-noise", severity=1, images=grey)
    assert float((found - 0.5).std()) == pytest.approx(0.04, rel=0.02)
    assert not torch.equal(done("gaussian-noise", severity=2, images=grey) - 0.5, (found - 0.5) * 1.5)


@pytest.mark.parametrize(("severity", "photons"), [(1, 60), (2, 25), (5, 3)])
def test_shot_noise_counts_photons(severity: int, photons: int) -> None:
    """Mean and variance of Poisson counts; what is above white is white."""
    level = 51 / 255
    found = done("shot-noise", severity, "imagenet-c", torch.full((12, 3, 64, 64), level)) * photons
    assert torch.allclose(found, found.round(), atol=1e-4)
    clipped = torch.poisson(torch.full((400_000,), level * photons), torch.Generator().manual_seed(0)).clamp(
        max=photons
    )
    assert float(found.mean()) == pytest.approx(float(clipped.mean()), rel=0.01)
    assert float(found.var()) == pytest.approx(float(clipped.var()), rel=0.03)
    assert not done("shot-noise", images=torch.zeros(1, 3, 8, 8)).any()


def test_impulse_noise_is_salt_and_pepper_alike() -> None:
    found = done("impulse-noise", 5, "imagenet-c", torch.full((12, 3, 64, 64), 0.5))
    for value in (0, 1):
        assert float((found == value).float().mean()) == pytest.approx(0.27 / 2, rel=0.03)


@pytest.mark.parametrize("distance", [1, 2, 3, 4])
def test_glass_copies_as_if_pixel_by_pixel(distance: int) -> None:
    height, width = 14, 17
    steps = torch.randint(-distance, distance, (3, 2, height, width), generator=torch.Generator().manual_seed(distance))
    for found, (across, down) in zip(copied(steps, distance), steps, strict=True):
        grid = torch.arange(height * width).view(height, width)
        for row in range(height - distance, distance, -1):
            for column in range(width - distance, distance, -1):
                grid[row, column] = grid[row + down[row, column], column + across[row, column]]
        assert torch.equal(found, grid.flatten())


@pytest.mark.parametrize("name", ["zoom-blur", "motion-blur", "glass-blur", "elastic-transform", "pixelate"])
def test_a_plane_has_nothing_to_move_or_to_smooth(name: str) -> None:
    plane = torch.full((2, 3, 32, 32), 200 / 255)
    assert torch.allclose(done(name, 5, images=plane), plane, atol=1e-5)


def test_blurs_keep_to_a_line_and_to_a_disk() -> None:
    point = torch.zeros(1, 3, 33, 33)
    point[:, :, 16, 16] = 1
    disk = done("defocus-blur", 1, "imagenet-c", point)[0, 0]
    assert torch.allclose(disk, disk.flip(0), atol=1e-6) and torch.allclose(disk, disk.T, atol=1e-6)
    assert int((disk > 1e-3).sum()) == 29, "the pixels within 3 of the middle"
    line = done("motion-blur", 5, images=point)[0, 0]
    assert 8 <= int((line > 0).sum()) <= 19 and line.max() == line[16, 16]
    assert not line[:, 17:].any(), "pixels look to the right: the point trails to its left"


def test_jpeg_and_pixelate_give_eight_bit_values() -> None:
    for name in ("jpeg-compression", "pixelate"):
        found = done(name, images=SMOOTH) * 255
        assert torch.allclose(found, found.round(), atol=1e-4)


@pytest.mark.parametrize(
    ("name", "severity", "table", "says"),
    [
        ("gaussian-nois", 1, "cifar10-c", "did you mean 'gaussian-noise'"),
        ("frost", 1, "cifar10-c", "there is no corruption 'frost'"),
        ("contrast", 0, "cifar10-c", "severity must be 1 to 5"),
        ("contrast", 6, "cifar10-c", "severity must be 1 to 5"),
        ("contrast", 1, "cifar-10-c", "did you mean 'cifar10-c'"),
    ],
)
def test_what_there_is_not(name: str, severity: int, table: Table, says: str) -> None:
    with pytest.raises(InputError, match=says):
        done(name, severity, table)


@pytest.mark.parametrize(
    ("images", "says"),
    [
        (IMAGES * 255, r"must be in \[0, 1\], got .* divide 8-bit ones by 255"),
        (IMAGES - 1, r"must be in \[0, 1\]"),
        (IMAGES * float("nan"), r"must be in \[0, 1\]"),
        ((IMAGES * 255).to(torch.uint8), "must be floats"),
        (IMAGES[0], "must be floats"),
        (IMAGES[:, :2], "must be floats"),
        (IMAGES[:, :, :4], "4x16 are too small"),
    ],
)
def test_what_is_no_image(images: torch.Tensor, says: str) -> None:
    with pytest.raises(InputError, match=says):
        done("contrast", images=images)


def test_indices_are_one_for_each_image() -> None:
    with pytest.raises(InputError, match="indices must be int64"):
        corrupt(IMAGES, "contrast", 1, table="cifar10-c", seed=0, indices=INDICES[:3])
