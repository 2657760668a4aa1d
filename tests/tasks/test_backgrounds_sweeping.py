"""Adversarial backgrounds: compositions, answers that a fast copy finds and the network confirms, and early stops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robustray.tasks.attacks.gradient.verdicts import predict_logits
from robustray.tasks.compose.cut import tiled
from robustray.tasks.data import open_data
from robustray.tasks.data.images import ImageData
from robustray.tasks.lab.protocol import Context
from robustray.tasks.models.registry import build_model
from robustray.tasks.studies.backgrounds import in9
from robustray.tasks.studies.backgrounds.sweeping import (
    NONE,
    Answerer,
    Canvas,
    Sweep,
    batches,
    challenge_block,
    foregrounds,
    sweep_block,
)


@pytest.fixture(name="data", scope="module")
def data_fixture() -> ImageData:
    return open_data("scenes:test,n=45,rho=1,aa=1", data_root=None).fetch()


@pytest.fixture(name="backgrounds", scope="module")
def backgrounds_fixture(data: ImageData) -> ImageData:
    assert data.boxes is not None
    images = np.stack([tiled(image, box) for image, box in zip(data.images, data.boxes, strict=True)])
    return ImageData(name="tiled", images=images, labels=data.labels, classes=data.classes)


@pytest.fixture(name="model", scope="module")
def model_fixture() -> nn.Module:
    """A network whose batch norms have statistics of their own, so that folding has something to do."""
    torch.manual_seed(0)
    model = build_model("scenes:cnn")
    model.train()
    with torch.no_grad():
        for _ in range(3):
            model(torch.rand(64, 3, 32, 32))
        for parameter in model.parameters():
            parameter.mul_(1.5)
    return model.eval()


def composed(data: ImageData, backgrounds: ImageData, indices: list[int]) -> Tensor:
    """(foregrounds, backgrounds, channels, height, width): all of them at once, in NumPy."""
    assert data.masks is not None
    masks = data.masks[indices][:, None, None]
    whole = np.where(masks, data.images[indices][:, None], backgrounds.images[None])
    return torch.from_numpy(whole).float() / 255


def context(settings: Sweep, **loaded: object) -> Context:
    return Context(settings=settings, seed=0, device="cpu", load=loaded.__getitem__)


def test_compositions_are_those_of_numpy_to_the_bit(data: ImageData, backgrounds: ImageData) -> None:
    expected = composed(data, backgrounds, [0, 7, 20, 7])
    objects = foregrounds(data, [0, 7, 20, 7], "cpu")
    for first, batch in batches(torch.from_numpy(backgrounds.images), 16):
        canvas = Canvas(batch)
        for row, each in enumerate(objects):
            shown = canvas.put(each)
            assert torch.equal(shown, expected[row, first : first + len(batch)])


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("batch_size", [16, 45, 64])
def test_the_sweeps_answers_are_the_networks(
    precision: str, batch_size: int, data: ImageData, backgrounds: ImageData, model: nn.Module
) -> None:
    """Whatever the search computes in, and wherever the batches end."""
    how = Sweep(backgrounds=tuple(range(45)), batch_size=batch_size, precision=precision)  # type: ignore[arg-type]
    found = sweep_block([3, 11, 44], context(how, model=model, data=data, backgrounds=backgrounds))
    whole = composed(data, backgrounds, [3, 11, 44])
    expected = predict_logits(model, whole.flatten(0, 1)).argmax(1).reshape(3, 45)
    assert np.array_equal(found["answers"], expected.numpy())
    assert len(set(expected.flatten().tolist())) > 2, "a network that says one thing would agree with anything"


def test_what_the_copy_cannot_tell_is_asked_again(data: ImageData, model: nn.Module) -> None:
    """Two classes get equal weights but for the last bits: no copy in bf16 knows the answer."""
    twin = build_model("scenes:cnn")
    twin.load_state_dict(model.state_dict())
    with torch.no_grad():
        weights = twin.state_dict()
        name = next(each.removesuffix("weight") for each in weights if each.endswith("head.weight"))
        weights[f"{name}weight"][1] = weights[f"{name}weight"][0] * (1 + 1e-6)
        weights[f"{name}bias"][:2] = 50.0
    images, _ = data.batch(range(45))
    with Answerer(twin.eval(), images.shape[1:], "bf16") as answer:
        assert torch.equal(answer(images), predict_logits(twin, images).argmax(1))
        assert answer.num_asked_again == 45


def test_a_network_that_writes_into_its_images_spoils_no_composition(data: ImageData, backgrounds: ImageData) -> None:
    class Writer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = build_model("scenes:cnn")

        def forward(self, images: Tensor) -> Tensor:
            return self.inner(images.sub_(0.2))

    torch.manual_seed(1)
    model = Writer().eval()
    how = Sweep(backgrounds=tuple(range(45)), batch_size=16)
    found = sweep_block([3, 11, 44], context(how, model=model, data=data, backgrounds=backgrounds))
    whole = composed(data, backgrounds, [3, 11, 44]).flatten(0, 1)
    assert np.array_equal(found["answers"].flatten(), predict_logits(model, whole).argmax(1).numpy())


def test_an_object_of_no_pixels_leaves_the_backgrounds(data: ImageData) -> None:
    masks = np.zeros((1, 32, 32), bool)
    empty = ImageData(name="e", images=data.images[:1], labels=data.labels[:1], classes=data.classes, masks=masks)
    canvas = Canvas(torch.rand(2, 3, 32, 32).contiguous(memory_format=torch.channels_last))
    first, whole = foregrounds(empty, [0], "cpu")[0], foregrounds(data, [0], "cpu")[0]
    before = canvas.put(first).clone()
    assert not torch.equal(canvas.put(whole), before) and torch.equal(canvas.put(first), before)


def test_the_challenge_stops_early_with_the_verdicts_of_a_full_sweep(
    data: ImageData, backgrounds: ImageData, model: nn.Module
) -> None:
    order = tuple(np.random.default_rng(0).permutation(45).tolist())
    indices = list(range(0, 45, 2))
    whole = sweep_block(indices, context(Sweep(backgrounds=order), model=model, data=data, backgrounds=backgrounds))
    wrong = whole["answers"] != np.array(whole["label"])[:, None]
    how = Sweep(backgrounds=order, batch_size=16, precision="bf16")
    found = challenge_block(indices, context(how, model=model, data=data, backgrounds=backgrounds))
    assert found["vulnerable"] == wrong.any(1).tolist() and any(found["vulnerable"])
    for row, background in enumerate(found["background"]):
        if background == NONE:
            assert found["looked_at"][row] == 45 and found["answer"][row] == found["label"][row]
        else:
            first = int(wrong[row].argmax())
            assert order[first] == background and found["answer"][row] == whole["answers"][row, first]
            assert found["looked_at"][row] == min(45, 16 * (first // 16 + 1))


class Brightest(nn.Module):
    """Answers with the number of the brightest of the first nine pixels of the first row."""

    def forward(self, images: Tensor) -> Tensor:
        return images[:, :1, 0, :9].flatten(1)


def test_a_foreground_that_nothing_fools_has_seen_everything() -> None:
    images = np.zeros((4, 1, 12, 12), np.uint8)
    images[:, 0, 0, 3] = 200
    masks = np.zeros((4, 12, 12), bool)
    masks[:, 4:8, 4:8] = True
    labels = np.full(4, 3)
    data = ImageData(name="x", images=images, labels=labels, classes=tuple("abcdefghi"), masks=masks)
    other = images.copy()
    other[2, 0, 0, 5] = 250
    rooms = ImageData(name="b", images=other, labels=labels, classes=data.classes)
    how = Sweep(backgrounds=(0, 1, 3), batch_size=16)
    calm = challenge_block([0, 1], context(how, model=Brightest(), data=data, backgrounds=rooms))
    assert calm["vulnerable"] == [False, False] and calm["looked_at"] == [3, 3] and calm["background"] == [NONE, NONE]
    how = Sweep(backgrounds=(0, 1, 2, 3), batch_size=16)
    fooled = challenge_block([0], context(how, model=Brightest(), data=data, backgrounds=rooms))
    assert (fooled["vulnerable"], fooled["background"], fooled["answer"]) == ([True], [2], [5])


def test_answers_of_a_thousand_classes_are_read_as_nine(data: ImageData, backgrounds: ImageData) -> None:
    class Reader(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return nn.functional.one_hot((images[:, 0, 0, 0] * 999).long().clamp(0, 999), 1000).float() * 9

    how = Sweep(backgrounds=(4, 9), looked_up=True)
    found = sweep_block([2], context(how, model=Reader(), data=data, backgrounds=backgrounds))
    first = torch.from_numpy(backgrounds.images[[4, 9], 0, 0, 0]).float() / 255
    assert found["answers"][0].tolist() == in9.table()[(first * 999).long().numpy()].tolist()
