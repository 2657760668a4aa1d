"""What an answer hangs on, what goes with accuracy, and which backgrounds are the strongest: closed forms."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from robustray.tasks.data.images import ImageData
from robustray.tasks.kit.frames import one
from robustray.tasks.lab.protocol import Context
from robustray.tasks.studies.backgrounds import adversarial, reduce, saliency, success
from robustray.tasks.studies.backgrounds.adversarial import Met
from robustray.tasks.studies.backgrounds.settings import ORIGINAL

# -- saliency ----------------------------------------------------------------------------------------------------------


class Linear(nn.Module):
    """Its gradients are its weights: those of class 1 lie in the left half but for one pixel, class 0 has none."""

    def __init__(self) -> None:
        super().__init__()
        weights = torch.zeros(2, 3, 4, 4)
        weights[1, :, :, :2] = 1.0
        weights[1, 0, 3, 3] = -4.0
        self.register_buffer("weights", weights)
        self.register_buffer("bias", torch.tensor([100.0, 0.0]))

    def forward(self, images: Tensor) -> Tensor:
        bias = self.bias if images.mean() > 0.5 else self.bias.flip(0)  # type: ignore[operator]
        return images.flatten(1) @ self.weights.flatten(1).T + bias  # type: ignore[operator]


def mapped(brightness: int) -> dict[str, object]:
    images = np.full((2, 3, 4, 4), brightness, np.uint8)
    masks = np.zeros((2, 4, 4), bool)
    masks[0, :, :2] = True
    masks[1, 3, 3] = True
    data = ImageData(name="x", images=images, labels=np.zeros(2, np.int64), classes=("a", "b"), masks=masks)
    context = Context(settings=None, seed=0, device="cpu", load={"model": Linear().eval(), "data": data}.__getitem__)
    return dict(saliency.saliency_block([0, 1], context))


def test_the_gradient_of_the_answer_is_shared_between_object_and_background() -> None:
    found = mapped(20)
    assert list(found["answer"]) == [1, 1], "the answer's logit, not the label's"  # type: ignore[call-overload]
    left, corner = 8 * np.sqrt(3), 4.0
    assert np.allclose(found["on_object"], [left / (left + corner), corner / (left + corner)])  # type: ignore[arg-type]
    assert np.allclose(found["area"], [8 / 16, 1 / 16])  # type: ignore[arg-type]
    expected = torch.zeros(4, 4)
    expected[:, :2], expected[3, 3] = np.sqrt(3), 4
    assert torch.allclose(found["map"][0], expected)  # type: ignore[index]


def test_an_answer_that_hangs_on_nothing_has_no_share() -> None:
    found = mapped(200)
    assert list(found["answer"]) == [0, 0] and np.isnan(found["on_object"]).all()  # type: ignore[call-overload]
    nothing = saliency.on_object([pd.DataFrame({"on_object": [np.nan, np.nan]})])
    assert np.isnan(nothing.value) and nothing.n == 0


def maps(shares: list[float]) -> pd.DataFrame:
    rows = {"index": range(len(shares)), "label": 0, "answer": 0, "on_object": shares, "area": 0.25}
    return pd.DataFrame({**rows, "map": [np.eye(8, dtype=np.float32)] * len(shares)})


def test_shares_are_compared_image_by_image() -> None:
    plain, cured = [maps([0.1, 0.2, 0.3])] * 2, [maps([0.3, 0.4, 0.5])] * 2
    assert saliency.difference(plain, cured).interval == pytest.approx((0.2, 0.2))
    both = {("plain", 0): plain[0], ("plain", 1): plain[1], ("cured", 0): cured[0], ("cured", 1): cured[1]}
    table = saliency.saliency_table(both, 2)
    assert table is not None and one(table.frame, network="cured").on_object == pytest.approx(0.4)
    assert saliency.saliency_table({}, 2) is None
    blank = saliency.saliency_table({("plain", 0): maps([0.1, np.nan, 0.3])}, 1)
    assert blank is not None and blank.frame.n.item() == 2, "an image whose gradient is 0 is not among them"
    images = np.zeros((3, 3, 8, 8), np.uint8)
    picture = saliency.saliency_picture(both, images, ("a",), num_examples=2)
    assert picture is not None and "columns: a, a" in picture.alt


# -- what goes with accuracy -------------------------------------------------------------------------------------------


def test_trends_are_slopes_of_every_version_against_accuracy() -> None:
    def network(clean: int, tiled: int, lost: int, seed: int) -> pd.DataFrame:
        def right(count: int) -> list[int]:
            return [0] * count + [1] * (100 - count)

        versions = {ORIGINAL: right(clean), "only_bg_t": right(tiled), "mixed_same": right(80)}
        return pd.DataFrame({"seed": seed, "label": 0, **versions, "mixed_rand": right(80 - lost)})

    kinds = [[network(50, 20, 40, s), network(60, 30, 30, s), network(80, 50, 10, s)] for s in (0, 1)]
    by_kind = [list(kind) for kind in zip(*kinds, strict=True)]
    found = reduce.trends(by_kind, ("only_bg_t", "mixed_same"), over="seeds")
    assert found[reduce.GAP].interval == pytest.approx((-1, -1)) and found[reduce.GAP].n == 2
    assert found["only_bg_t"].value == pytest.approx(1) and found["mixed_same"].value == pytest.approx(0, abs=1e-9)
    models = reduce.trends([[kind[0]] for kind in by_kind], ("only_bg_t",), over="models")
    assert models["only_bg_t"].value == pytest.approx(1) and models[reduce.GAP].n == 3


# -- the strongest backgrounds -----------------------------------------------------------------------------------------


def test_success_is_averaged_over_seeds_and_a_half_never_reports_what_it_chose() -> None:
    labels, rooms = np.repeat([0, 1], 20), np.repeat([0, 1], 5)
    answers = np.where(np.arange(10)[None] % 5 == 3, rooms[None], labels[:, None])  # the fourth room of a class wins
    sweep = pd.DataFrame({"index": range(40), "label": labels, "answers": list(answers)})

    def met(seed: int, swept: pd.DataFrame) -> Met:
        return Met(network="net", seed=seed, sweep=swept, challenge=pd.DataFrame(), background_labels=rooms,
                   clean=pd.Series(dtype=bool))  # fmt: skip

    calm = sweep.assign(answers=[np.full(10, label) for label in labels])
    assert success.mean_success([met(0, sweep), met(1, calm)]).tolist() == [0, 0, 0, 0.5, 0] * 2
    parts = adversarial.halves(met(0, sweep), 1, 0)
    assert parts is not None and not set(parts[0]) & set(parts[1])
    assert sorted(np.concatenate(parts)) == np.flatnonzero(labels == 0).tolist()
    assert success.hits(met(0, sweep), 1)[parts[1]].mean(0).tolist() == [0, 0, 0, 1, 0]
