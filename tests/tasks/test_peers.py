"""Traps in the libraries around us, held shut: harmless input on which `docs/peers.md` says what they do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from robustray.tasks.attacks import PGD
from robustray.tasks.attacks.search.norms import GEOMETRIES
from robustray.tasks.data import open_data
from robustray.tasks.models.weights import from_safetensors, to_safetensors

VIEWS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "as it is": lambda a: a,
    "transposed": lambda a: a.T,
    "in Fortran order": np.asfortranarray,
    "every other column": lambda a: a[:, ::2],
    "some columns": lambda a: a[:, 1:3],
    "backwards": lambda a: a[::-1],
    "one value everywhere": lambda a: np.broadcast_to(a[:1, :1], a.shape),
    "channels last": lambda a: a.reshape(1, 2, 2, 3).transpose(0, 3, 1, 2),
    "a scalar": lambda a: a[0, 0].reshape(()),
}


@pytest.mark.parametrize("kind", [np.float32, np.float16, np.int64])
@pytest.mark.parametrize("view", VIEWS)
def test_arrays_are_written_as_they_read_whatever_their_strides(view: str, kind: Any) -> None:
    """safetensors 0.8.0 writes the memory of a NumPy array in order, whatever its strides say."""
    array = VIEWS[view](np.arange(12, dtype=kind).reshape(3, 4))
    written, _ = from_safetensors(to_safetensors({"a": array, "b": np.ones(2, kind)}), "x")
    assert written["a"].shape == array.shape and (written["a"] == array).all()


def folder(root: Path, *names: str) -> Path:
    """A folder of class folders, one grey picture in each."""
    for level, name in enumerate(names):
        (root / name).mkdir(parents=True)
        Image.new("L", (8, 8), level).save(root / name / "0.png")
    return root


AGREED = {
    "WordNet ids": ("n02102040", "n01440764", "n03000684"),
    "words": ("dog", "cat", "airplane"),
    "padded numbers": tuple(f"{i:02}" for i in range(12)),
}


@pytest.mark.parametrize("names", AGREED.values(), ids=list(AGREED))
def test_classes_have_the_numbers_that_torchvision_and_timm_give_them(names: tuple[str, ...], tmp_path: Path) -> None:
    from torchvision.datasets import ImageFolder

    data = open_data(str(folder(tmp_path, *names)), data_root=None).fetch()
    assert list(data.classes) == ImageFolder(tmp_path).classes
    assert [names[int(image[0, 0, 0])] for image in data.images] == list(data.classes)
    readers = pytest.importorskip("timm.data.readers", reason="timm is not installed")
    numbers = readers.create_reader("", root=str(tmp_path)).class_to_idx
    assert sorted(numbers, key=numbers.__getitem__) == list(data.classes)


def test_where_the_two_differ_by_case_ours_are_torchvisions(tmp_path: Path) -> None:
    from torchvision.datasets import ImageFolder

    data = open_data(str(folder(tmp_path, "apple", "Zebra")), data_root=None).fetch()
    assert list(data.classes) == ImageFolder(tmp_path).classes == ["Zebra", "apple"]


def test_the_page_says_what_this_torch_does_to_a_clamps_gradient(repository: Path) -> None:
    """1 at the bounds before torch 2.14, 0 from then on; a change that the page must follow."""
    pixels = torch.tensor([0.0, 0.5, 1.0], requires_grad=True)
    pixels.clamp(0, 1).sum().backward()
    assert pixels.grad is not None
    at_bounds = 0.0 if tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 14) else 1.0
    assert pixels.grad.tolist() == [at_bounds, 1.0, at_bounds]
    assert "**1 in torch 2.13.0, 0 in 2.14.1" in (repository / "docs/peers.md").read_text()


# --- what the page says of robustray ----------------------------------------------------------------------------------


class Scaled(torch.nn.Module):
    """A linear classifier whose gradients are `scale` times those of another."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.layer, self.scale = torch.nn.Linear(3 * 16 * 16, 10), scale

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layer(images.flatten(1)) * self.scale


def some_images(count: int) -> torch.Tensor:
    return torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 0.4 + 0.3


@pytest.mark.parametrize("scale", [1.0, 1e-6, 3e-8])
@pytest.mark.parametrize("count", [1, 40])
def test_an_l2_step_is_as_long_as_asked_for_however_small_the_gradient(scale: float, count: int) -> None:
    torch.manual_seed(0)
    images, model = some_images(count), Scaled(scale).eval()
    attack = PGD(norm="l2", eps=1.0, step_size=0.1, num_steps=1, random_start=False, exit_rule="last")
    found = attack(model, images, model(images).argmax(1), seed=0)
    lengths = (found.images - images).flatten(1).norm(dim=1)
    assert torch.allclose(lengths, torch.full_like(lengths, 0.1), atol=1e-6)


def test_an_l2_start_lies_on_the_sphere() -> None:
    """Of torchattacks anything from 0 to the radius, of foolbox and ART uniform in the ball."""
    starts = GEOMETRIES["l2"].start(torch.randn(200, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    assert torch.allclose(starts.flatten(1).norm(dim=1), torch.ones(200), atol=1e-5)


def test_an_attack_leaves_model_and_random_state_as_they_were_whatever_the_layout() -> None:
    torch.manual_seed(0)
    layers: list[Any] = [
        torch.nn.Conv2d(3, 4, 3),
        torch.nn.BatchNorm2d(4),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1),
    ]
    model = torch.nn.Sequential(*layers, torch.nn.Flatten(), torch.nn.Linear(4, 10)).train()
    layers[1].eval()
    gradient = torch.ones_like(layers[0].weight)
    layers[0].weight.grad = gradient.clone()
    images = some_images(8)
    labels = model(images).argmax(1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes, state = [module.training for module in model.modules()], torch.get_rng_state()

    found = [
        PGD(norm="l2", eps=0.5, num_steps=3)(model, images.contiguous(memory_format=layout), labels, seed=0).images
        for layout in (torch.contiguous_format, torch.channels_last)
    ]

    assert torch.equal(*found)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert layers[0].weight.grad is not None and torch.equal(layers[0].weight.grad, gradient)
    assert model[-1].weight.grad is None and torch.equal(torch.get_rng_state(), state)
