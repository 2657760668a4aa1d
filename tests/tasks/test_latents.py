"""Latents as a lab keeps them, the head on them, and judges that may not judge themselves."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from robustray.tasks.data.images import ImageData
from robustray.tasks.errors import InputError
from robustray.tasks.lab.protocol import Context
from robustray.tasks.lab.serial import SerialLab
from robustray.tasks.lab.store import Store
from robustray.tasks.latents.cache import latent_block, latents, look, matrix
from robustray.tasks.latents.head import fit_head
from robustray.tasks.latents.judges import check_judge
from robustray.tasks.latents.taps import LATENT, tapped, taps_of
from robustray.tasks.models.registry import build_model
from robustray.tasks.models.weights import to_safetensors, weights_of
from tests.tasks.digits_networks import digits, trained

pytestmark = pytest.mark.usefixtures("one_thread")


def context(model: nn.Module) -> Context:
    images, labels = digits(40)
    data = ImageData(
        name="own", images=images.numpy(), labels=labels.numpy(), classes=tuple(str(digit) for digit in range(10))
    )
    return Context(settings=None, seed=0, device="cpu", load={"model": model, "data": data}.__getitem__)


def test_a_latent_is_what_the_head_of_the_network_reads() -> None:
    net: Any = trained("cnn")
    found = latent_block(range(40), context(net))
    images, labels = digits(40)
    torch.testing.assert_close(net.backbone.classify(found["latent"]), net(images))
    assert found["latent"].shape == (40, 64) and found["latent"].min() >= 0, "after the ReLU"
    assert torch.equal(found["label"], labels) and torch.equal(found["prediction"], net(images).argmax(1))
    part = latent_block([7], context(net))
    assert torch.equal(part["latent"][0], found["latent"][7])


def test_without_latents_it_is_refused() -> None:
    with pytest.raises(InputError, match="forward_with_latent"):
        look(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), digits(2)[0])


def test_two_askers_share_the_pieces(tmp_path: Path) -> None:
    torch.manual_seed(0)
    (tmp_path / "w.safetensors").write_bytes(to_safetensors(weights_of(build_model("digits:mlp"))))
    store = Store(str(tmp_path / "store"))
    store.create()
    counts = []
    for num_images in (600, 1_100):
        lab = SerialLab(store=store)
        model, data = lab.model(f"digits:mlp@{tmp_path / 'w.safetensors'}"), lab.data("digits:train")
        rows = latents(lab, model, data, range(num_images)).result()
        assert matrix(rows).shape == (num_images, 64) and rows["index"].tolist() == list(range(num_images))
        counts.append(lab.journal.count("latents"))
    assert (counts[0].computed_blocks, counts[1].computed_blocks, counts[1].reused_blocks) == (2, 2, 1)


def clusters(num_classes: int, count: int = 60, width: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Classes around the first unit vectors, far apart."""
    generator = np.random.default_rng(0)
    labels = np.arange(count) % num_classes
    return 10 * np.eye(width)[labels] + generator.normal(size=(count, width)), labels


@pytest.mark.parametrize("num_classes", [2, 3, 4])
def test_what_is_linearly_separable_is_separated(num_classes: int) -> None:
    x, y = clusters(num_classes)
    head = fit_head(x, 7 + y, seed=0)
    assert (head.predict(x) == 7 + y).all() and head.converged
    assert head.classes.tolist() == [7 + label for label in range(num_classes)]
    assert head.logits(x).shape == (60, num_classes)


def test_it_is_scikit_learns_on_standardised_latents() -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    x, y = clusters(3)
    head = fit_head(x, y, seed=0, strengths=(0.1,))
    model: Any = LogisticRegression(C=0.1, max_iter=1_000).fit(StandardScaler().fit_transform(x), y)
    expected = model.predict_proba(StandardScaler().fit_transform(x))
    logits = head.logits(x)
    np.testing.assert_allclose(np.exp(logits) / np.exp(logits).sum(1, keepdims=True), expected, atol=1e-6)


def test_scale_and_shift_of_a_coordinate_change_nothing_and_a_constant_one_is_no_harm() -> None:
    x, y = clusters(3)
    other = np.hstack((x * [1, 10, 100, 1e-3, 1] + [0, 5, -3, 1, 9], np.full((60, 1), 2.5)))
    a, b = fit_head(x, y, seed=0), fit_head(other, y, seed=0)
    np.testing.assert_allclose(a.logits(x), b.logits(other), atol=1e-4)
    assert b.scale[5] == 1 and np.isfinite(b.weights).all()


def test_of_equally_good_strengths_the_strongest_penalty_is_taken() -> None:
    x, y = clusters(3)
    head = fit_head(x, y, seed=0, strengths=(10.0, 1.0, 0.5))
    assert set(head.held_out_accuracy.values()) == {1.0} and head.strength == 0.5


def test_strength_is_chosen_on_images_that_were_set_aside() -> None:
    """Labels that latents say nothing of: what fits them best is no better on the part that was held out."""
    generator = np.random.default_rng(1)
    x, y = generator.normal(size=(200, 250)), generator.integers(0, 2, 200)
    head = fit_head(x, y, seed=0)
    fitted = float((fit_head(x, y, seed=0, strengths=(10.0,)).predict(x) == y).mean())
    assert fitted > 0.95 and max(head.held_out_accuracy.values()) < 0.75


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (np.zeros((3, 2)), [0, 0, 0]),
        (np.zeros((3, 2)), [0, 0, 1]),
        (np.zeros((3, 2)), [0, 1]),
        (np.full((4, 2), np.nan), [0, 0, 1, 1]),
        (np.zeros(4), [0, 0, 1, 1]),
    ],
)
def test_latents_that_cannot_be_used(x: Any, y: Any) -> None:
    with pytest.raises(InputError, match="a head needs"):
        fit_head(x, y, seed=0)


def test_a_judge_does_not_judge_itself() -> None:
    def network(name: str, content: str) -> Any:
        return SimpleNamespace(name=name, content_hash=content)

    check_judge(network("a", "1"), [network("b", "2"), network("c", "3")])
    with pytest.raises(InputError, match="b has the same weights"):
        check_judge(network("a", "1"), [network("c", "3"), network("b", "1")])


# --- Taps -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "shape", "blocks"),
    [
        ("digits:mlp", (1, 8, 8), ["hidden1", "hidden2"]),
        ("digits:cnn", (1, 8, 8), ["conv1", "conv2", "conv3"]),
        ("small:s", (3, 32, 32), ["stem", "blocks.0", "blocks.1"]),
    ],
)
def test_blocks_are_tapped_in_their_order_and_the_latent_comes_last(
    name: str, shape: tuple[int, ...], blocks: list[str]
) -> None:
    net = build_model(name).eval()
    images = torch.rand(3, *shape, generator=torch.Generator().manual_seed(0))
    assert taps_of(net, images) == (*(f"backbone.{block}" for block in blocks), LATENT)
    assert tapped(net, LATENT) is net and not net._forward_hooks
    assert taps_of(lambda x: x, images) == (LATENT,), "a function has no blocks"


def test_a_tap_is_what_the_block_puts_out_and_the_network_is_left_alone() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)).eval()
    images = torch.rand(5, 1, 2, 2)
    assert taps_of(net, images) == ("0", "1", "2", LATENT), "what puts out the logits is no block"
    logits, latent = look(tapped(net, "1"), images)
    torch.testing.assert_close(latent, net[:2](images))
    torch.testing.assert_close(logits, net(images))
    assert not net[1]._forward_hooks
    with pytest.raises(InputError, match="1 has no fake_relu"):
        tapped(net, "1").forward_with_latent(images, fake_relu=True)  # type: ignore[operator]
