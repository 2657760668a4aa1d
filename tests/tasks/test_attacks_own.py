"""`best_of`: the best candidate of each image, counted by hand on a model of one pixel."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from robustray.tasks.attacks.own import best_of, check_ball
from robustray.tasks.errors import InputError


def threshold(images: Tensor) -> Tensor:
    """Margin of class 1: how far the first pixel is above a half."""
    pixel = images[:, 0, 0, 0] - 0.5
    return torch.stack([torch.zeros_like(pixel), pixel], 1) * 10


def images_of(*pixels: float) -> Tensor:
    images = torch.full((len(pixels), 1, 2, 2), 0.5)
    images[:, 0, 0, 0] = torch.tensor(pixels)
    return images


def test_the_first_that_fools_else_the_closest_to_it() -> None:
    """Label 0, pixels above a half are wrong: image 0 falls to the second candidate, 1 to none, 2 is wrong before."""
    images, labels = images_of(0.45, 0.2, 0.7), torch.zeros(3, dtype=torch.int64)
    candidates = [images - 0.1, images + 0.1, images + 0.2]
    found = best_of(threshold, images, labels, candidates, norm="linf", eps=0.2)
    assert found.success.tolist() == [True, False, True]
    assert found.predictions.tolist() == [1, 0, 1] and found.clean_predictions.tolist() == [0, 0, 1]
    assert found.distance.tolist() == pytest.approx([0.1, 0.2, 0.0], abs=1e-6)
    assert found.loss.tolist() == pytest.approx([0.5, -1.0, 2.0], abs=1e-5)
    assert found.num_evaluations.tolist() == [4, 4, 4]
    assert torch.equal(found.images[2], images[2])


def test_a_candidate_that_makes_it_worse_is_not_taken() -> None:
    images, labels = images_of(0.3), torch.zeros(1, dtype=torch.int64)
    found = best_of(threshold, images, labels, [images - 0.2], norm="l2", eps=0.5)
    assert torch.equal(found.images, images) and found.distance.tolist() == [0.0]


@pytest.mark.parametrize(
    ("shift", "norm", "says"),
    [
        (0.3, "linf", "linf distance 0.3, eps 0.2"),
        (0.15, "l2", "l2 distance 0.3"),
        (0.6, "linf", "outside"),
        (-0.6, "l2", "outside"),
    ],
)
def test_candidates_outside_are_refused(shift: float, norm: str, says: str) -> None:
    images, labels = images_of(0.5), torch.zeros(1, dtype=torch.int64)
    with pytest.raises(InputError, match=says):
        best_of(threshold, images, labels, [images + shift], norm=norm, eps=0.2)  # type: ignore[arg-type]


def test_rounding_is_no_offence_and_no_images_are_fine() -> None:
    images = images_of(0.5)
    check_ball(images + 8 / 255, images, norm="linf", eps=8 / 255, whose="a")
    check_ball(images[:0], images[:0], norm="linf", eps=0.1, whose="a")
    with pytest.raises(InputError, match="shape"):
        check_ball(images[:, 0], images, norm="linf", eps=0.1, whose="a")
