"""Fine-tuning: what is taken from the initial model, what is drawn anew, what stays, and what the key holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from robustray.tasks.data.images import ImageData
from robustray.tasks.errors import InputError
from robustray.tasks.lab.serial import SerialLab
from robustray.tasks.lab.store import Store
from robustray.tasks.models.registry import build_model
from robustray.tasks.training import handle
from robustray.tasks.training.doors import check_training
from robustray.tasks.training.loop import train_model
from robustray.tasks.training.parts import normalisation
from robustray.tasks.training.settings import TrainSpec
from robustray.tasks.training.state import TrainState, initial_model

BODY = ("convs", "norms")


def source(num_classes: int = 5) -> Any:
    """A network whose running statistics have moved, with a normalisation of its own."""
    torch.manual_seed(7)
    model = build_model("scenes:cnn", num_classes, mean=[0.1, 0.2, 0.3], std=[0.5, 0.6, 0.7])
    model.train()(torch.rand(8, 3, 16, 16))
    return model.eval().requires_grad_(False)


def spec(**changed: Any) -> TrainSpec:
    fields: dict[str, Any] = {"model": "scenes:cnn", "data": "random", "epochs": 2, "batch_size": 8, "lr": 0.1}
    fields |= {"initial": "source", "schedule": "constant"} | changed
    return TrainSpec(**fields)


def data(num_classes: int = 4) -> ImageData:
    images = np.random.default_rng(0).integers(256, size=(24, 3, 16, 16), dtype=np.uint8)
    names = tuple(str(label) for label in range(num_classes))
    return ImageData(name="random", images=images, labels=np.arange(24) % num_classes, classes=names)


def same(one: Any, other: Any, key: str) -> bool:
    return one[key].shape == other[key].shape and bool(torch.equal(one[key], other[key]))


@pytest.mark.parametrize(("classes", "new_head", "is_new"), [(4, False, True), (5, True, True), (5, False, False)])
def test_all_but_the_head_is_taken(classes: int, new_head: bool, is_new: bool) -> None:
    given = source()
    model: Any = initial_model(spec(new_head=new_head), classes, given)
    found, theirs = model.state_dict(), given.state_dict()
    assert all(same(found, theirs, key) for key in theirs if not key.startswith("head."))
    assert same(found, theirs, "head.weight") == same(found, theirs, "head.bias") == (not is_new)
    assert found["head.weight"].shape[0] == classes
    assert normalisation(model) == normalisation(given), "its normalisation comes along"
    assert normalisation(model)["std"] == pytest.approx([0.5, 0.6, 0.7])
    images = torch.rand(3, 3, 16, 16)
    latents = [each.eval().latent(images) for each in (model, given)]
    assert torch.equal(*latents)


def test_the_new_head_depends_on_the_seed_and_not_on_the_initial_model() -> None:
    one, other = (initial_model(spec(seed=seed), 4, source()).state_dict() for seed in (0, 1))
    assert not same(one, other, "head.weight")
    assert same(one, initial_model(spec(initial=None), 4).state_dict(), "head.weight")


def test_frozen_parts_keep_weights_and_running_statistics_to_the_bit() -> None:
    given = source()
    trained = train_model(spec(frozen=BODY), data(), "cpu", initial=given).weights["last"].tensors
    theirs = given.state_dict()
    assert all(same(trained, theirs, key) for key in theirs if not key.startswith("head."))
    assert not same(trained, initial_model(spec(), 4, given).state_dict(), "head.weight")
    whole = train_model(spec(), data(), "cpu", initial=given).weights["last"].tensors
    moved = [key for key in theirs if not key.startswith("head.") and not same(whole, theirs, key)]
    assert {"convs.0.weight", "norms.0.weight", "norms.0.running_mean"} <= set(moved)


def test_all_but_the_head_may_be_frozen_by_one_word() -> None:
    given = source()
    named, starred = (train_model(spec(frozen=f), data(), "cpu", initial=given).weights["last"] for f in (BODY, ("*",)))
    assert all(same(named.tensors, starred.tensors, key) for key in given.state_dict())


def test_frozen_parts_in_training_mode_keep_their_weights_while_statistics_follow_the_images() -> None:
    """With a momentum of 0.1, after k steps on the same batch: s_k = 0.9^k s_0 + (1 - 0.9^k) s of the batch."""
    given = source()
    wanted = spec(frozen=("*",), frozen_mode="training", epochs=3, batch_size=24)
    trained = train_model(wanted, data(), "cpu", initial=given).weights["last"].tensors
    weights = [key for key in given.state_dict() if key.startswith(BODY) and key.endswith(("weight", "bias"))]
    assert weights and all(same(trained, given.state_dict(), key) for key in weights)
    images = torch.from_numpy(data().images / 255).float()
    seen: list[torch.Tensor] = []
    hook = given.backbone.norms[0].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    given(images)
    hook.remove()
    ours = seen[0].mean(dim=(0, 2, 3))
    expected = 0.9**3 * given.backbone.norms[0].running_mean + (1 - 0.9**3) * ours
    torch.testing.assert_close(trained["norms.0.running_mean"], expected, rtol=1e-4, atol=1e-5)


def test_a_part_is_a_level_of_the_name_and_not_its_beginning() -> None:
    model = initial_model(spec(initial=None, frozen=("convs.1", "norms.1")), 4)
    frozen = {key for key, value in model.state_dict(keep_vars=True).items() if not value.requires_grad}
    buffers = {key for key in frozen if "running" in key or "num_batches" in key}
    assert frozen - buffers == {"convs.1.weight", "norms.1.weight", "norms.1.bias"}
    assert [norm.training for norm in model.backbone.norms] == [True, False, True, True]  # type: ignore[union-attr]


def no_head(num_classes: int) -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Conv2d(3, num_classes, 16), torch.nn.Flatten())


class InMemory:
    """One state, kept at step `at` and restored later."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.kept: tuple[dict[str, torch.Tensor], dict[str, Any]] | None = None

    def restore(self, state: TrainState) -> None:
        if self.kept is not None:
            state.load(*self.kept)

    def due(self, step: int) -> bool:
        return step == self.at and self.kept is None

    def save(self, state: TrainState) -> None:
        tensors = {name: tensor.clone() for name, tensor in state.tensors().items()}
        self.kept = tensors, dict(state.record(), curve=list(state.curve))


@pytest.mark.parametrize("frozen", [(), ("convs", "norms.0")])
def test_it_goes_on_to_the_same_bits(frozen: tuple[str, ...]) -> None:
    wanted, keeper = spec(frozen=frozen, ema_decay=0.9), InMemory(at=2)
    first = train_model(wanted, data(), "cpu", initial=source(), keeper=keeper)
    assert keeper.kept is not None
    again = train_model(wanted, data(), "cpu", initial=source(), keeper=keeper)
    for name, snapshot in first.weights.items():
        assert all(same(snapshot.tensors, again.weights[name].tensors, key) for key in snapshot.tensors)


@pytest.mark.parametrize(
    ("changed", "given", "says"),
    [
        ({"frozen": ("conv9",)}, source, "has no 'conv9'"),
        ({"model": f"{__name__}:no_head", "initial": None, "frozen": ("*",)}, lambda: None, "no linear layer"),
        ({"frozen": (*BODY, "head")}, source, "no parameters to train beside the frozen ones"),
        ({}, lambda: build_model("small:s"), "initial source does not fit scenes:cnn"),
        ({"model": "digits:cnn"}, source, "does not fit digits:cnn"),
    ],
)
def test_what_does_not_fit_is_refused(changed: dict[str, Any], given: Any, says: str) -> None:
    with pytest.raises(InputError, match=says):
        check_training(spec(**changed), data(), given())


def test_weights_are_looked_at_of_every_source() -> None:
    """Although another model of this build has passed."""
    broken = source()
    broken.backbone.convs[1].weight[0] = torch.nan
    check_training(spec(), data(), source(), weights_only=True)
    with pytest.raises(InputError, match="NaN or infinite logits"):
        check_training(spec(), data(), broken, weights_only=True)


def test_a_lab_keeps_fine_tuned_models_by_what_they_started_from(tmp_path: Any) -> None:
    lab = SerialLab(store=Store(str(tmp_path)))
    plain = TrainSpec(model="digits:mlp", data="digits:train", epochs=1, batch_size=512, lr=0.05)
    first, second = lab.train([plain, TrainSpec(**{**vars(plain), "seed": 1})]).result()
    tuned = [TrainSpec(**{**vars(plain), "initial": each}) for each in (first, second, first.name)]
    found = lab.train(tuned).result()
    assert found[0].name == found[2].name != found[1].name, "by name or by reference, the same training"
    assert lab.train(tuned).result() == found
    opened = lab.load(found[0]).state_dict()
    assert not same(opened, lab.load(first).state_dict(), "hidden1.weight")
    train = lab.data("digits:train")
    assert handle.training_key(plain, train, "cpu") != handle.training_key(tuned[0], train, "cpu", first)


def test_nothing_is_trained_to_tell_whether_weights_are_old(tmp_path: Path) -> None:
    """Those that started from a model that trains itself, once that one is gone."""
    lab = SerialLab(store=Store(str(tmp_path)))
    about = {"model": "digits:mlp", "spec": {"data": "digits:train", "initial": "digits:mlp"}}
    assert handle.code_now(lab, about) and "train" not in lab.journal.counts
    (found,) = lab.models(["digits:mlp"]).values()
    assert handle.code_now(lab, about) == handle.training_code(
        "digits:mlp", (*lab.data("digits:train").modules, *found.modules)
    )
