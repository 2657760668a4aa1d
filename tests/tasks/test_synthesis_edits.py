"""What one classifier does to pictures, from Python: closed forms on a linear model, ends that meet, and bad input."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from robustray.tasks.errors import InputError
from robustray.tasks.inputs.settings import Ascent
from robustray.tasks.lab.serial import SerialLab
from robustray.tasks.lab.store import Store
from robustray.tasks.latents.cache import look
from robustray.tasks.models.registry import build_model
from robustray.tasks.models.weights import to_safetensors, weights_of
from robustray.tasks.studies.synthesis import damage, edits
from robustray.tasks.studies.synthesis.picture import World, small_ball
from robustray.tasks.studies.synthesis.settings import SIZES
from robustray.tasks.studies.synthesis.study import STUDY

pytestmark = pytest.mark.usefixtures("one_thread")

ASCENT = Ascent(step_size=0.1, num_steps=20, eps=0.5, keep="best", precision="fp32")

SMALLEST = "torchvision:shufflenet_v2_x0_5"


class Halves(nn.Module):
    """Class 0 where the left half is brighter, 1 where the right one is. Its latent is the image."""

    def forward(self, images: Tensor) -> Tensor:
        return self.forward_with_latent(images)[0]

    def forward_with_latent(self, images: Tensor, fake_relu: bool = False) -> tuple[Tensor, Tensor]:
        left = images[..., :4].flatten(1).sum(1)
        return torch.stack([left, images.flatten(1).sum(1) - left], 1), images.flatten(1)


LEFT = torch.cat([torch.ones(4), -torch.ones(4)]).repeat(8).view(1, 8, 8) / 8
"""Towards class 0: of length 1."""


@pytest.fixture
def images() -> Tensor:
    return 0.3 + 0.4 * torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("task", [edits.generate, edits.translate, edits.from_sketch])
def test_towards_a_class_a_linear_model_goes_to_the_end_of_the_ball(task: Any, images: Tensor) -> None:
    made = task(Halves(), images, torch.tensor([0, 1, 0, 1]), ASCENT, record=[0, 20])
    sign = torch.tensor([1.0, -1.0, 1.0, -1.0]).view(4, 1, 1, 1)
    torch.testing.assert_close(made.mended - images, 0.5 * sign * LEFT, atol=1e-5, rtol=0)
    assert torch.equal(made.found.path[:, 0], images) and torch.equal(made.start, images)
    one = task(Halves(), images[1:2], 1, ASCENT)
    assert torch.equal(one.mended[0], made.mended[1]), "one class for all, and an image's result is its own"


def test_enlarging_keeps_within_the_ball_around_repeated_pixels(images: Tensor) -> None:
    small = damage.reduced(images, 2)
    made = edits.enlarge(Halves(), small, 2, None, ASCENT)
    assert torch.equal(made.start, damage.enlarged(small, 2))
    assert torch.equal(made.wanted, Halves()(made.start).argmax(1)), "nobody said the class"
    torch.testing.assert_close((made.mended - made.start).flatten(1).norm(dim=1), torch.full((4,), 0.5))


def test_known_pixels_are_put_back_to_the_bit(images: Tensor) -> None:
    hole = damage.holes(damage.hole_places(range(4), (1, 8, 8), 3, seed=0), (1, 8, 8), 3)
    made = edits.inpaint(Halves(), images, hole, None, ASCENT, anchor=0.0)
    assert torch.equal(made.mended[hole == 0], images[hole == 0])
    assert not torch.equal(made.found.images[hole == 0], images[hole == 0]), "they drift before"
    assert torch.equal(made.mended[hole == 1], made.found.images[hole == 1])


def test_painting_a_pixel_that_is_a_coordinate_paints_that_pixel(images: Tensor) -> None:
    """A pixel outside the mask stays, whatever is asked of it; softly tied it moves, and is put back."""
    mask = torch.zeros(4, 1, 8, 8)
    mask[:, :, 2:5, 2:5] = 1
    inside, outside = 2 * 8 + 3, 7 * 8 + 7
    made = edits.paint(Halves(), images, mask, torch.tensor([inside, inside, outside, outside]), ASCENT)
    change = (made.mended - images).flatten(1)
    expected = torch.zeros(4, 64)
    expected[:2, inside] = torch.minimum(torch.tensor(0.5), 1 - images.flatten(1)[:2, inside])
    torch.testing.assert_close(change, expected, atol=1e-5, rtol=0)
    assert torch.equal(made.found.images, made.mended)
    soft = edits.paint(Halves(), images, mask, outside, ASCENT, anchor=1e-3)
    assert not torch.equal(soft.found.images, images) and torch.equal(soft.mended, images)


def test_a_drawing_has_lines_where_brightness_changes() -> None:
    images = torch.zeros(2, 3, 8, 8)
    images[0, :, :, 4:] = 1
    drawn = damage.outlines(images)
    lines = torch.ones(8, 8)
    lines[:, 3:5] = 0
    assert torch.equal(drawn[0], lines.expand(3, 8, 8)) and torch.equal(drawn[1], torch.ones(3, 8, 8))


def test_an_imported_network_edits_photographs_of_224_pixels(tmp_path: Path) -> None:
    """torchvision's smallest network with random weights, by the command's own way: door, run, picture, trajectory."""
    torch.manual_seed(0)
    (tmp_path / "w.safetensors").write_bytes(to_safetensors(weights_of(build_model(SMALLEST))))
    pixels = (torch.rand(230, 250, 3, generator=torch.Generator().manual_seed(0)) * 255).byte().numpy()
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    settings = replace(
        SIZES["quick"],
        task="inpaint",
        image=str(tmp_path / "photo.png"),
        model=f"{SMALLEST}@{tmp_path / 'w.safetensors'}",
        side=224,
        target="207",
        hole_at=(80, 90, 60),
        anchor=0.0,
        inpaint_steps=1,
        inpaint_eps=21.6,
        inpaint_step=0.1,
    )
    store = Store(str(tmp_path / "store"))
    store.create()
    lab = SerialLab(store=store)
    opened = STUDY.door(settings, lab)
    assert sorted(name.split()[0] for name in opened.refs) == ["image", "model"], "no test images are looked at"
    world = World(name="net", shape=(3, 224, 224), classes=("a", "b"))
    assert small_ball(settings, world) == small_ball(replace(settings, inpaint_eps=1.53), world) == ()
    (warning,) = small_ball(replace(settings, inpaint_eps=1.52), world)
    assert "224x224" in warning and "--inpaint-eps and --inpaint-step" in warning
    found = STUDY.run(settings, lab)
    (picture,) = (each for each in found.pictures if each.name == "picture")
    assert (picture.width, picture.height) == (224, 224) and "'207', as asked for" in found.answer
    assert {each.name for each in found.pictures} == {"result", "trajectory", "picture"}
    (path,) = (table.frame.objective for table in found.tables if table.name == "path")
    assert path.max() > path.iloc[0], "it found more of what it was asked for"
    (classes,) = (table.frame for table in found.tables if table.name == "classes")
    assert len(classes) == 20, "the likeliest of 1,000"


def test_an_imported_network_paints_with_its_features() -> None:
    torch.manual_seed(0)
    net: Any = build_model("torchvision:resnet18").eval()
    photograph = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    mask = damage.holes(damage.hole_places([0], (3, 32, 32), 12, seed=0), (3, 32, 32), 12)
    painted = edits.paint(net, photograph, mask, 500, replace(ASCENT, step_size=0.05, num_steps=2))
    before, after = (look(net, each)[1][0, 500] for each in (photograph, painted.found.images))
    assert after > before


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (lambda x, m: edits.inpaint(Halves(), x, m[:, :, :4], 0, ASCENT), "does not fit images"),
        (lambda x, m: edits.inpaint(Halves(), x, m[:2], 0, ASCENT), "does not fit images"),
        (lambda x, m: edits.inpaint(Halves(), x, 0.5 * m, 0, ASCENT), "other than 0"),
        (lambda x, m: edits.paint(Halves(), x, m[0], 0, ASCENT), "does not fit images"),
        (lambda x, m: edits.paint(Halves(), x, m, 64, ASCENT), "unit 64 does not exist: the latent has 64"),
        (lambda x, m: edits.generate(Halves(), x, 2, ASCENT), "target 2 does not exist: the model has 2"),
        (lambda x, m: edits.translate(Halves(), x, torch.tensor([0, 1, -1, 0]), ASCENT), "target -1 does not exist"),
        (lambda x, m: edits.from_sketch(Halves(), x, torch.tensor([0, 1]), ASCENT), "one for each"),
        (lambda x, m: edits.translate(Halves(), 2 * x, 0, ASCENT), r"must lie in \[0, 1\]"),
        (lambda x, m: edits.inpaint(Halves(), x - 0.5, m, 0, ASCENT), r"must lie in \[0, 1\]"),
        (lambda x, m: edits.paint(nn.Sequential(nn.Flatten(), nn.Linear(64, 2)), x, m, 0, ASCENT), "latent"),
    ],
)
def test_what_cannot_be_done_is_said(bad: Any, says: str, images: Tensor) -> None:
    with pytest.raises(InputError, match=says):
        bad(images, torch.ones(4, 1, 8, 8))
