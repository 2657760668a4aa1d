"""Cutting, filling, tiling, pasting and placing: closed forms."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from robustray.tasks.compose import cut, place
from robustray.tasks.data import open_data
from robustray.tasks.data.images import ImageData
from robustray.tasks.errors import InputError

# -- cut ---------------------------------------------------------------------------------------------------------------


def numbered(height: int, width: int) -> np.ndarray:
    """Every pixel says where it is: rows in the first channel, columns in the second."""
    rows, columns = np.indices((height, width))
    return np.stack([rows, columns, rows * 0]).astype(np.uint8)


@pytest.mark.parametrize(
    ("box", "source"),
    [
        ((1, 2, 4, 5), lambda y, x: (y, 4 + x % 4)),  # 4 columns on the right beat all else
        ((4, 2, 7, 5), lambda y, x: (y, x % 4)),  # the left side is wider
        ((2, 1, 6, 3), lambda y, x: (3 + y % 3, x)),  # below is the largest strip
        ((0, 4, 8, 6), lambda y, x: (y % 4, x)),  # above: the box touches both sides
        ((3, 0, 5, 6), lambda y, x: (y, 5 + x % 3)),  # left and right are equally wide: the right one
        ((0, 2, 8, 4), lambda y, x: (4 + y % 2, x)),  # above and below are equally tall: the one below
    ],
)
def test_the_box_is_filled_with_the_larger_strip_repeated_from_the_corner(box, source) -> None:  # type: ignore[no-untyped-def]
    image = numbered(6, 8)
    result = cut.tiled(image, box)
    inside = cut.box_masks(np.array([box]), 6, 8)[0]
    assert np.array_equal(result[:, ~inside], image[:, ~inside])
    for y, x in zip(*np.nonzero(inside), strict=True):
        assert tuple(result[:2, y, x]) == source(y, x), (y, x)


def test_strips_of_equal_area_go_to_the_stacked_one() -> None:
    """Only a strictly larger strip beside the box wins."""
    image = numbered(4, 4)
    result = cut.tiled(image, (0, 0, 3, 3))
    assert tuple(result[:2, 1, 2]) == (3, 2)


def test_tiling_a_constant_background_removes_the_object_without_a_trace() -> None:
    image = np.full((3, 9, 9), 40, np.uint8)
    image[:, 3:6, 2:7] = 200
    assert (cut.tiled(image, (2, 3, 7, 6)) == 40).all()
    with pytest.raises(InputError, match="whole image"):
        cut.tiled(image, (0, 0, 9, 9))


def test_parts_put_together_again_are_the_image() -> None:
    data = open_data("scenes:test,n=45,aa=1", data_root=None).fetch()
    assert data.masks is not None and data.boxes is not None
    only_fg, no_fg = cut.filled(data.images, ~data.masks), cut.filled(data.images, data.masks)
    assert np.array_equal(only_fg + no_fg, data.images)
    assert np.array_equal(cut.pasted(data.images, data.masks, no_fg), data.images)
    black = np.zeros_like(data.images)
    assert np.array_equal(cut.pasted(black, data.masks, data.images), no_fg), "a black object stays opaque"
    boxes = cut.box_masks(data.boxes, 32, 32)
    assert not (data.masks & ~boxes).any()
    assert cut.object_masks(data) is data.masks
    assert np.array_equal(cut.object_masks(dataclasses.replace(data, masks=None)), boxes)
    with pytest.raises(InputError, match="neither boxes nor masks"):
        cut.object_masks(dataclasses.replace(data, masks=None, boxes=None))


def test_nothing_of_the_object_is_left_outside_its_box() -> None:
    """With hard edges, the background of a scene without its object is that of a scene with another one."""
    data = open_data("scenes:test,n=90,rho=1,aa=1", data_root=None).fetch()
    assert data.boxes is not None and data.masks is not None
    for image, box, mask in zip(data.images, data.boxes, data.masks, strict=True):
        result = cut.tiled(image, box)
        colours = {tuple(pixel) for pixel in image[:, mask].T}
        assert not colours & {tuple(pixel) for pixel in result.reshape(3, -1).T}


def test_what_can_not_be_cut_is_told_with_its_reason() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [2, 2, 6, 6], [2, 2, 6, 6]])
    masks = cut.box_masks(boxes, 10, 10)
    masks[3] = False
    masks[3, 3, 3] = True
    tall = np.array([[0, 0, 10, 19]])
    reasons = cut.rejected(boxes, masks)
    assert reasons[0] == "the box is the whole image"
    assert reasons[1] == reasons[2] == "", "exactly nine tenths are allowed"
    assert "less than 10% of its box" in reasons[3]
    assert "more than 90% of the image" in cut.rejected(tall, cut.box_masks(tall, 20, 10))[0]


# -- place -------------------------------------------------------------------------------------------------------------


def test_the_map_that_changes_nothing_pastes_exactly() -> None:
    images = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    canvas, mask = torch.full((1, 3, 8, 8), 0.25), place.centred_square(8, 8, 4)
    maps = place.FIXED.maps(0, 0, torch.arange(3))
    result = place.blended(images, *place.placed(canvas, mask, maps))
    assert torch.allclose(result[:, :, 2:6, 2:6], torch.full((3, 3, 4, 4), 0.25), atol=1e-6)
    outside = mask[0, 0] == 0
    assert torch.allclose(result[:, :, outside], images[:, :, outside], atol=1e-6)


@pytest.mark.parametrize(("degrees", "turns"), [(90.0, 1), (180.0, 2), (-90.0, 3)])
def test_a_right_angle_turns_every_pixel_to_its_place(degrees: float, turns: int) -> None:
    canvas = torch.rand(1, 1, 6, 6, generator=torch.Generator().manual_seed(1))
    angle = torch.deg2rad(torch.tensor(degrees))
    c, s = angle.cos(), angle.sin()
    maps = torch.tensor([[[c, s, 0.0], [-s, c, 0.0]]])  # as `Placement.maps` makes them
    moved, _ = place.placed(canvas, torch.ones(1, 1, 6, 6), maps)
    assert torch.allclose(moved, torch.rot90(canvas, -turns, (2, 3)), atol=1e-5)


def test_a_shift_of_whole_pixels_moves_by_them_and_what_leaves_is_gone() -> None:
    canvas, mask = torch.ones(1, 3, 10, 10), place.centred_square(10, 10, 4)
    maps = torch.tensor([[[1.0, 0, -0.8], [0, 1.0, 0.4]]])  # by 4 pixels to the right and 2 up
    moved, where = place.placed(canvas, mask, maps)
    expected = torch.zeros(10, 10)
    expected[1:5, 7:10] = 1
    assert torch.allclose(where[0, 0], expected, atol=1e-6)
    assert torch.allclose(moved[0, 0], expected, atol=1e-6)


def test_draws_belong_to_the_image_and_stay_within_their_ranges() -> None:
    placement = place.Placement()
    indices = torch.arange(2_000)
    maps = placement.maps(3, 0, indices)
    picked = placement.maps(3, 0, torch.tensor([77, 5]))
    assert torch.equal(picked, maps[[77, 5]])
    assert not torch.equal(placement.maps(3, 1, indices), maps)
    scale = 1 / torch.linalg.det(maps[:, :, :2]).sqrt()
    angle = torch.rad2deg(torch.atan2(maps[:, 0, 1], maps[:, 0, 0]))
    shift = -torch.linalg.solve(maps[:, :, :2], maps[:, :, 2]) / 2
    assert 0.9 - 1e-5 <= scale.min() < 0.91 and 1.09 < scale.max() <= 1.1 + 1e-5
    assert -45.01 <= angle.min() < -43 and 43 < angle.max() <= 45.01
    assert -0.3001 <= shift.min() < -0.29 and 0.29 < shift.max() <= 0.3001


def test_gradients_reach_the_canvas_where_it_shows() -> None:
    canvas = torch.full((1, 1, 8, 8), 0.5, requires_grad=True)
    mask = place.centred_square(8, 8, 4)
    images = torch.zeros(5, 1, 8, 8)
    maps = place.Placement(shift=0.0).maps(0, 0, torch.arange(5))
    place.blended(images, *place.placed(canvas, mask, maps)).sum().backward()
    assert canvas.grad is not None
    assert (canvas.grad[mask.bool()] > 0).all() and (canvas.grad[~mask.bool()] == 0).all()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"rotation": -1.0}, "rotation"),
        ({"shift": 1.5}, "shift"),
        ({"scale": (0.0, 1.0)}, "scale"),
        ({"scale": (2.0, 1.0)}, "scale"),
    ],
)
def test_placements_that_are_none_are_refused(changes: dict[str, object], says: str) -> None:
    with pytest.raises(InputError, match=says):
        place.Placement(**changes)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="does not fit"):
        place.centred_square(8, 8, 9)


def test_patches_stand_in_the_centre_of_their_canvas() -> None:
    patches = torch.rand(2, 3, 4, 4)
    canvas = place.as_canvas(patches, 10, 10)
    assert torch.equal(canvas[:, :, 3:7, 3:7], patches)
    assert canvas.sum() == pytest.approx(float(patches.sum()), rel=1e-5)


def test_a_data_set_without_objects_has_no_masks() -> None:
    plain = ImageData(name="x", images=np.zeros((1, 1, 4, 4), np.uint8), labels=np.zeros(1, np.int64), classes=("a",))
    with pytest.raises(InputError, match="x has neither"):
        cut.object_masks(plain)
