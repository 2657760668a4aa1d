"""What a step sees: crops and mirror images by position, held-out images never, every rank its part."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from robustray.tasks.attacks.search import noise
from robustray.tasks.data.images import ImageData
from robustray.tasks.training.augment import crop_flip
from robustray.tasks.training.batches import Batches, split
from robustray.tasks.training.settings import TrainSpec


def spec(**changed: Any) -> TrainSpec:
    fields: dict[str, Any] = {"model": "small:s", "data": "random", "epochs": 3, "batch_size": 8}
    return TrainSpec(**fields | changed)


def random_data(num_images: int = 30, size: int = 16) -> ImageData:
    images = np.random.default_rng(0).integers(256, size=(num_images, 3, size, size), dtype=np.uint8)
    images.flags.writeable = False  # as in an actor
    return ImageData(
        name="random", images=images, labels=np.arange(num_images, dtype=np.int64) % 2, classes=("even", "odd")
    )


# -- augmentation ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 8, 8), (3, 16, 24), (3, 7, 7)])
def test_a_whole_batch_equals_image_by_image(shape: tuple[int, int, int]) -> None:
    """Against a loop that pads, cuts and mirrors one image at a time."""
    pixels = np.random.default_rng(0).integers(1, 256, size=(20, *shape), dtype=np.uint8)
    indices = np.arange(100, 120, dtype=np.int64)
    draws = noise.uniform(3, "crop-flip", 7, torch.from_numpy(indices), (3,), "cpu").numpy()
    (_, height, width), wanted = shape, []
    pad_y, pad_x = height // 8, width // 8
    for image, (down, right, mirror) in zip(pixels, draws, strict=True):
        canvas = np.zeros((shape[0], height + 2 * pad_y, width + 2 * pad_x), dtype=np.uint8)
        canvas[:, pad_y : pad_y + height, pad_x : pad_x + width] = image
        top, left = int(down * (2 * pad_y + 1)), int(right * (2 * pad_x + 1))
        part = canvas[:, top : top + height, left : left + width]
        wanted.append(part[:, :, ::-1] if mirror < 0.5 else part)
    got = crop_flip(pixels, seed=3, epoch=7, indices=indices)
    assert got.dtype == np.uint8 and got.flags.c_contiguous and np.array_equal(got, np.stack(wanted))


def test_crops_of_32_reach_every_corner_of_the_padding_of_4() -> None:
    """One bright pixel in the middle lands on 9 x 9 places, each about as often, mirrored in half of the cases."""
    pixels = np.zeros((8100, 1, 32, 32), dtype=np.uint8)
    pixels[:, :, 16, 4] = 1  # columns 0 .. 8 without, 23 .. 31 with the mirror
    got = crop_flip(pixels, seed=0, epoch=0, indices=np.arange(len(pixels), dtype=np.int64))
    _, _, rows, columns = np.nonzero(got)
    assert len(rows) == len(pixels)
    assert sorted(set(rows)) == list(range(12, 21)) and sorted(set(columns)) == [*range(9), *range(23, 32)]
    counts = np.histogram2d(rows, columns, bins=(range(12, 22), [*range(10), *range(23, 33)]))[0]
    counts = counts[counts > 0]
    assert len(counts) == 162 and counts.min() > 20 and counts.max() < 90  # 50 expected, standard deviation 7
    assert abs((columns < 9).mean() - 0.5) < 0.02


def test_draws_depend_on_seed_epoch_and_position_only() -> None:
    data = random_data()
    whole = crop_flip(data.images, seed=0, epoch=1, indices=np.arange(30, dtype=np.int64))
    order = np.random.default_rng(1).permutation(30)
    assert np.array_equal(crop_flip(data.images[order], seed=0, epoch=1, indices=order), whole[order])
    for seed, epoch in ((1, 1), (0, 2)):
        other = crop_flip(data.images, seed=seed, epoch=epoch, indices=np.arange(30, dtype=np.int64))
        assert not np.array_equal(other, whole)


# -- batches -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("validation", [0, 7, 0.2])
def test_held_out_images_are_never_trained_on(validation: float) -> None:
    batches = Batches(spec(validation=validation, seed=5), random_data(), "cpu")
    held_out = set(batches.held_out.tolist())
    assert len(held_out) == {0: 0, 7: 7, 0.2: 6}[validation]
    assert held_out | set(batches.training.tolist()) == set(range(30))
    seen = [index for step in range(batches.num_steps) for index in batches[step].indices.tolist()]
    assert len(seen) == batches.num_steps * 8 and not held_out & set(seen)


def test_the_split_depends_on_the_seed_only() -> None:
    first = split(spec(validation=10), 30)
    assert all(map(np.array_equal, first, split(spec(validation=10, epochs=9, lr=0.3, batch_size=4), 30)))
    assert not np.array_equal(first[0], split(spec(validation=10, seed=1), 30)[0])


def test_an_epoch_sees_no_image_twice_and_epochs_differ_in_order() -> None:
    batches = Batches(spec(), random_data(), "cpu")
    assert (batches.steps_per_epoch, batches.num_steps) == (3, 9)
    epochs = [[i for s in range(3) for i in batches[3 * e + s].indices.tolist()] for e in range(3)]
    assert all(len(set(order)) == 24 for order in epochs) and epochs[0] != epochs[1] != epochs[2]


def test_a_batch_does_not_depend_on_those_before() -> None:
    going = Batches(spec(augmentation="crop-flip"), random_data(), "cpu")
    through = [going[step] for step in range(9)]
    for step in (8, 0, 4):
        alone = Batches(spec(augmentation="crop-flip"), random_data(), "cpu")[step]
        assert torch.equal(alone.images, through[step].images) and torch.equal(alone.labels, through[step].labels)
        assert (alone.step, alone.epoch) == (step, step // 3)


@pytest.mark.parametrize("num_ranks", [1, 2, 4, 8])
def test_the_parts_of_all_ranks_are_the_batch(num_ranks: int) -> None:
    made = spec(augmentation="crop-flip")
    whole = Batches(made, random_data(), "cpu")[4]
    parts = [Batches(made, random_data(), "cpu", rank=rank, num_ranks=num_ranks)[4] for rank in range(num_ranks)]
    for name in ("images", "labels", "indices"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(whole, name))


def test_without_augmentation_a_batch_is_what_the_data_hand_out() -> None:
    data = random_data()
    batch = Batches(spec(), data, "cpu")[2]
    images, labels = data.batch(batch.indices.tolist())
    assert torch.equal(batch.images, images) and torch.equal(batch.labels, labels)
    assert batch.images.stride() == images.stride()
