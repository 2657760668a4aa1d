"""`robustray.evaluate`: the sweep's numbers, the definition of the worst case, and the doors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import robustray
from robustray.tasks.attacks import FGSM, PGD, ApgdCE, FastCascade, FreePGD, RandomNoise, Square
from robustray.tasks.attacks.result import AttackResult
from robustray.tasks.data.images import ImageData
from robustray.tasks.errors import InputError
from robustray.tasks.evaluation.evaluate import evaluate
from robustray.tasks.evaluation.results import Evaluation
from robustray.tasks.lab.serial import SerialLab
from robustray.tasks.lab.store import Store
from robustray.tasks.statistics import proportion
from robustray.tasks.studies.attack_sweep.settings import SIZES
from robustray.tasks.studies.attack_sweep.study import STUDY

N = 40


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Where digits:mlp trains itself, once."""
    return str(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def digits(store: str) -> tuple[nn.Module, ImageData]:
    from robustray.tasks.training.recipes import RECIPES

    lab = SerialLab(store=Store(store))
    (ref,) = lab.train([RECIPES["digits:mlp"]]).result()
    return lab.load(ref), lab.load(lab.data("digits:test"))


def linear(seed: int = 0, classes: int = 3) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, classes))


def batch(n: int = 12, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, 1, 4, 4, generator=generator), torch.randint(3, (n,), generator=generator)


# -- numbers -----------------------------------------------------------------------------------------------------------


def test_the_numbers_are_those_of_attack_sweep(store: str, digits: tuple[nn.Module, ImageData]) -> None:
    settings = replace(
        SIZES["quick"],
        models=("digits:mlp",),
        attacks=("pgd", "fgsm", "noise"),
        num_images=N,
        eps_linf=(0.05, 0.1),
        eps_l2=(0.4,),
        num_examples=0,
        seed=3,
        block=16,
    )
    swept = {t.name: t.frame for t in STUDY.run(settings, SerialLab(store=Store(store))).tables}
    model, data = digits
    sizes: list[tuple[Any, float]] = [("linf", 0.05), ("linf", 0.1), ("l2", 0.4)]
    attacks: list[Any] = []
    for norm, eps in sizes:
        attacks += [PGD(norm=norm, eps=eps), FGSM(norm=norm, eps=eps), RandomNoise(norm=norm, eps=eps, num_draws=1)]
    found = evaluate(model, data, attacks, seed=3, num_images=N)
    worst = swept["worst-case"].astype({"norm": str}).set_index(["norm", "eps"])
    assert found.clean.value == worst.robust_accuracy["linf", 0.0]
    for case in found.worst:
        row = worst.loc[(case.norm, case.eps)]
        assert (case.robust.value, case.robust.lo, case.robust.hi) == (row.robust_accuracy, row.lo, row.hi)
    # Image by image, at the smallest sizes (at larger ones the sweep does not attack again what fell before).
    keys = ["attack", "norm", "eps", "index"]
    columns = [*keys, "label", "clean_prediction", "prediction", "success", "distance"]
    rows = swept["images"].astype({"attack": str, "norm": str}).query("eps != 0.1")[columns]
    ours = found.examples.query("eps != 0.1")[columns]
    both = rows.merge(ours, on=keys, suffixes=("_sweep", ""))
    assert len(both) == len(rows) == len(ours) == 6 * N
    for name in columns[4:]:
        np.testing.assert_array_equal(both[f"{name}_sweep"], both[name], err_msg=name)


def test_names_and_objects_are_the_same_call(store: str, digits: tuple[nn.Module, ImageData]) -> None:
    model, data = digits
    by_name = robustray.evaluate(
        "digits:mlp", "digits:test", "pgd", eps=(0.05, 0.1), seed=1, num_images=N, store=store, device="cpu"
    )
    images = torch.from_numpy(data.images[:N].copy())
    by_hand = evaluate(model, (images, data.labels[:N]), [PGD(norm="linf", eps=e) for e in (0.05, 0.1)], seed=1)
    pd.testing.assert_frame_equal(by_name.examples, by_hand.examples)
    assert (by_name.model, by_name.data, by_name.n) == ("digits:mlp", "digits:test", N)
    assert (by_hand.model, by_hand.data) == (type(model).__name__, "images")


@pytest.mark.parametrize("form", [torch.as_tensor, np.asarray, lambda x: np.asarray(x).tolist()])
def test_arrays_of_any_kind(form: Callable[[Any], Any]) -> None:
    images, labels = (batch()[0] * 255).round().to(torch.uint8), batch()[1]
    expected = evaluate(linear(), (images.float() / 255, labels), FGSM(norm="linf", eps=0.1))
    if form in (torch.as_tensor, np.asarray):
        found = evaluate(linear(), (form(images), form(labels)), FGSM(norm="linf", eps=0.1))
    else:
        found = evaluate(linear(), (form(images.double() / 255), form(labels)), FGSM(norm="linf", eps=0.1))
    assert found.examples.success.tolist() == expected.examples.success.tolist()
    assert expected.n == 12


def test_it_says_how_far_it_is_unless_told_not_to(capsys: pytest.CaptureFixture[str]) -> None:
    attacks = [FGSM(norm="linf", eps=0.1), FGSM(norm="linf", eps=0.2)]
    found = evaluate(linear(), batch(), attacks, names=["small", "large"])
    lines = capsys.readouterr().err.splitlines()
    right = round(found.clean.value * 12)
    assert [line.partition(" · ")[0] for line in lines] == [
        "clean: 12/12", f"small: {right}/{right}", f"large: {right}/{right}"
    ]  # fmt: skip
    evaluate(linear(), batch(), attacks, progress=False)
    assert capsys.readouterr().err == ""


def test_the_model_is_left_as_it_was() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    evaluate(model, batch(), FGSM(norm="linf", eps=0.1))
    assert all(module.training for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


# -- the worst case ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Breaks:
    """Claims to break the images it is told to, by their first pixel; `model_of` believes it."""

    norm: str
    eps: float
    which: tuple[int, ...]
    name: str = "breaks"

    def __call__(self, model: Any, images: Tensor, labels: Tensor, *, seed: int = 0, indices: Any = None) -> Any:
        hit = torch.tensor([i in self.which for i in indices])
        adversarial = images.clone()
        adversarial[hit, 0, 0, 0] = self.eps / 2
        zeros = torch.zeros(len(images))
        return AttackResult(
            images=adversarial,
            success=hit,
            loss=zeros,
            distance=hit * self.eps / 2,
            predictions=hit.long(),
            clean_predictions=labels,
            num_evaluations=torch.ones(len(images), dtype=torch.int64),
        )


def first_pixel(images: Tensor) -> Tensor:
    """Class 1 where the first pixel is above 0, else class 0."""
    pixel = images[:, 0, 0, 0]
    return torch.stack([torch.full_like(pixel, 1e-9), pixel], 1) * 1e3


def broken_by(*attacks: Any, n: int = 10, wrong: int = 0) -> Evaluation:
    images, labels = torch.zeros(n, 1, 4, 4), torch.zeros(n, dtype=torch.int64)
    labels[:wrong] = 1
    return evaluate(first_pixel, (images, labels), attacks)


def test_the_worst_case_by_hand() -> None:
    """Three attacks of one threat model and one of another: survivors are counted image by image."""
    found = broken_by(
        Breaks("linf", 0.1, (1, 2), "a"),
        Breaks("linf", 0.1, (2, 3), "b"),
        Breaks("l2", 0.1, (4, 5, 6), "c"),
        wrong=1,
    )
    assert found.clean.value == 0.9
    assert [score.robust.value for score in found.attacks] == [0.7, 0.7, 0.6]
    worst = {(w.norm, w.eps): w for w in found.worst}
    assert worst["linf", 0.1].robust == proportion([False] * 4 + [True] * 6)  # 0 wrong, 1 2 3 broken
    assert worst["linf", 0.1].attacks == ("a", "b") and worst["l2", 0.1].robust.value == 0.6
    assert not found.warnings


def test_a_smaller_ball_lies_in_the_larger_one_but_not_the_other_way_round() -> None:
    found = broken_by(Breaks("linf", 0.1, (1,), "small"), Breaks("linf", 0.2, (2, 3), "large"))
    assert {w.eps: w.robust.value for w in found.worst} == {0.1: 0.9, 0.2: 0.7}


def test_one_attack_at_several_sizes_has_a_worst_case_where_a_smaller_one_broke_more() -> None:
    found = broken_by(Breaks("linf", 0.1, (1,)), Breaks("linf", 0.2, (2, 3)))
    (line,) = [line for line in repr(found).splitlines() if "worst case" in line]
    assert line.split("  ")[1:3] == ["worst case of breaks up to this size", "ℓ∞ 0.2"] and "70.0 %" in line
    assert "worst case" not in repr(broken_by(Breaks("linf", 0.1, (1,)), Breaks("linf", 0.2, (1, 2))))


def test_an_image_that_is_wrong_anyway_is_not_attacked_and_never_won_back() -> None:
    found = broken_by(Breaks("linf", 0.1, tuple(range(10))), wrong=4)
    assert found.attacks[0].robust.value == 0.0 and found.clean.value == 0.6
    rows = found.examples[:4]
    assert rows.success.all() and (rows.distance == 0).all() and (rows.evaluations == 0).all()
    nothing = broken_by(Breaks("linf", 0.1, ()), wrong=10)
    assert nothing.attacks[0].robust.value == 0.0 and nothing.attacks[0].evaluations == 0


def test_ones_own_attack_is_not_taken_at_its_word() -> None:
    """It reports success where it changed nothing that the model would notice."""

    @dataclass(frozen=True)
    class Boasts(Breaks):
        def __call__(self, model: Any, images: Tensor, labels: Tensor, **others: Any) -> Any:
            found = super().__call__(model, images, labels, **others)
            return replace(found, images=images, success=torch.ones(len(images), dtype=torch.bool))

    found = broken_by(Boasts("linf", 0.1, (1,)))
    assert found.attacks[0].robust.value == 1.0 and not found.examples.success.any()
    assert len(found.warnings) == 1 and "reported wrongly" in found.warnings[0]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda r: replace(r, images=r.images + 0.5), "left its ball"),
        (lambda r: replace(r, images=r.images - 0.01), r"outside \[0, 1\]"),
        (lambda r: replace(r, images=r.images * torch.nan), r"outside \[0, 1\]"),
        (lambda r: replace(r, images=r.images[:1]), "images of shape"),
        (lambda r: replace(r, success=r.success.long()), "bool tensor"),
        (lambda r: r.images, "AttackResult"),
    ],
)
def test_a_result_outside_the_threat_model_is_refused(change: Callable[[Any], Any], says: str) -> None:
    @dataclass(frozen=True)
    class Cheats(Breaks):
        def __call__(self, *args: Any, **others: Any) -> Any:
            return change(super().__call__(*args, **others))

    with pytest.raises(InputError, match=says):
        broken_by(Cheats("linf", 0.1, (1,)))


# -- what it says ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def several(digits: tuple[nn.Module, ImageData]) -> Evaluation:
    model, data = digits
    sizes: dict[str, Any] = {"norm": "linf", "eps": 0.1}
    return evaluate(model, data, [PGD(**sizes), PGD(**sizes, num_steps=3), FastCascade(**sizes)], num_images=N)


def test_the_frame_has_one_row_per_number(several: Evaluation) -> None:
    frame = several.to_frame()
    assert frame.kind.tolist() == ["clean", "attack", "attack", "attack", "worst case"]
    assert (frame.n == N).all() and ((frame.lo <= frame.accuracy) & (frame.accuracy <= frame.hi)).all()
    worst = frame.iloc[-1]
    assert worst.accuracy == several.worst[0].robust.value <= frame.accuracy[1:4].min()
    assert len(several.examples) == 3 * N and (several.examples.distance <= 0.1 * (1 + 1e-5)).all()


def test_attacks_of_one_kind_are_told_apart(several: Evaluation) -> None:
    assert [score.name for score in several.attacks] == [
        "PGD(norm='linf', eps=0.1)",
        "PGD(norm='linf', eps=0.1, num_steps=3)",
        "fast-cascade",
    ]
    pgd = PGD(norm="linf", eps=0.1)
    with pytest.raises(InputError, match="two attacks are called"):
        evaluate(linear(), batch(), [pgd, pgd])
    named = evaluate(linear(), batch(), [pgd, pgd], names=["once", "twice"])
    assert [score.name for score in named.attacks] == ["once", "twice"]
    with pytest.raises(InputError, match="1 for 2 attacks"):
        evaluate(linear(), batch(), [pgd, pgd], names=["once"])


def test_a_cascade_says_who_fell_to_what(several: Evaluation) -> None:
    stages = several.stages
    assert stages.stage.tolist() == ["apgd-ce", "apgd-t"] and set(stages.attack) == {"fast-cascade"}
    assert stages.attacked.tolist() == [round(several.clean.value * N), stages.standing[0]]
    assert stages.standing.iloc[-1] == round(several.attacks[2].robust.value * N)


def test_it_reads_well_in_a_terminal_and_in_a_notebook(several: Evaluation) -> None:
    text, page = repr(several), several._repr_html_()
    for words in ("n = 40", "clean", "fast-cascade", "ℓ∞ 0.1", "worst case", "apgd-ce broke", "seed 0"):
        assert words in text and words in page
    assert len({line.index("%") for line in text.splitlines()[1:] if " % " in line}) == 1, (
        "shares stand below each other"
    )
    hostile = replace(several, model="<script>", warnings=("<b>",))
    assert "<script>" not in hostile._repr_html_() and "<b>" not in hostile._repr_html_()
    assert "warning: <b>" in repr(hostile)


def test_a_stochastic_model_is_named() -> None:
    class Noisy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = linear()

        def forward(self, images: Tensor) -> Tensor:
            return self.inner(images) + 0.01 * torch.randn(len(images), 3)

    found = evaluate(Noisy(), batch(20), PGD(norm="linf", eps=0.01, num_steps=2))
    assert len(found.warnings) == 1 and "other logits" in found.warnings[0]


def test_hidden_gradients_are_named() -> None:
    """A model of steps: its gradient is zero, and Square, which sees none, breaks what APGD cannot."""

    class Steps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = linear(seed=1)

        def forward(self, images: Tensor) -> Tensor:
            return self.inner((images * 20).round() / 20 + 0 * images)

    images, _ = batch(30)
    labels = Steps()(images).argmax(1)
    sizes: dict[str, Any] = {"norm": "linf", "eps": 0.3}
    attacks = [ApgdCE(**sizes), Square(**sizes, num_queries=200)]
    found = evaluate(Steps(), (images, labels), attacks)
    assert found.attacks[1].robust.value < found.attacks[0].robust.value
    assert any("hides its gradients" in warning for warning in found.warnings)

    @dataclass(frozen=True)
    class Nothing:
        """An attack of one's own that does not say that it follows gradients: what it leaves speaks of none."""

        norm: str = "linf"
        eps: float = 0.3

        def __call__(self, model: Any, images: Tensor, labels: Tensor, *, seed: int, indices: Any) -> Any:
            return RandomNoise(norm="linf", eps=1e-6)(model, images, labels, seed=seed, indices=indices)

    alone: Any = [Nothing(), attacks[1]]
    assert not any("hides its gradients" in warning for warning in evaluate(Steps(), (images, labels), alone).warnings)


# -- doors -------------------------------------------------------------------------------------------------------------

ATTACK = FGSM(norm="linf", eps=0.1)
IMAGES, LABELS = batch()


@pytest.mark.parametrize(
    ("model", "data", "attack", "says"),
    [
        (linear(), (IMAGES * 255, LABELS), ATTACK, "divide by 255"),
        (linear(), (IMAGES - 0.5, LABELS), ATTACK, r"expected numbers in \[0, 1\]"),
        (linear(), (IMAGES * torch.nan, LABELS), ATTACK, "pixel value nan"),
        (linear(), (IMAGES, LABELS + 1), ATTACK, "label 3, but there are 3 classes"),
        (linear(), (IMAGES, LABELS - 1), ATTACK, "label -1"),
        (linear(), (IMAGES, LABELS.float()), ATTACK, "whole numbers"),
        (linear(), (IMAGES, LABELS[:-1]), ATTACK, "as there are images"),
        (linear(), (IMAGES.movedim(1, 3), LABELS), ATTACK, "NCHW"),
        (linear(), (IMAGES[:0], LABELS[:0]), ATTACK, "no images"),
        (linear(), IMAGES, ATTACK, r"\(images, labels\)"),
        (linear(), "digits:nothing", ATTACK, "no split"),
        (linear(), "digits:test", ATTACK, "fails on images"),
        (linear(), (IMAGES[:, :, :2], LABELS), ATTACK, "fails on images"),
        (nn.Sequential(linear(), nn.Softmax(1)), (IMAGES, LABELS), ATTACK, "probabilities"),
        (nn.Sequential(nn.Flatten(), nn.Linear(16, 3), nn.Flatten(0)), (IMAGES, LABELS), ATTACK, "returns shape"),
        ("digits:mlpp", (IMAGES, LABELS), ATTACK, "digits:mlp"),
        (3, (IMAGES, LABELS), ATTACK, "torch module or a name"),
        (linear(), (IMAGES, LABELS), [], "no attack"),
        (linear(), (IMAGES, LABELS), "pgdd", "did you mean 'pgd'"),
        (linear(), (IMAGES, LABELS), "pgd", "needs a size"),
        (linear(), (IMAGES, LABELS), PGD, "is no attack"),
        (linear(), (IMAGES, LABELS), PGD(norm="linf", eps=0.1, targeted=True), "targeted"),
        (linear(), (IMAGES, LABELS), FreePGD(space="pixels", step_size=1.0, num_steps=1), "no norm and eps"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(model: Any, data: Any, attack: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        evaluate(model, data, attack)
    assert isinstance(caught.value, InputError) and "\n" not in str(caught.value)


@pytest.mark.parametrize(("given", "says"), [({"num_images": 99}, "there are 12"), ({"device": "tpu"}, "tpu")])
def test_what_cannot_be_set_is_refused(given: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        evaluate(linear(), (IMAGES, LABELS), ATTACK, **given)


def test_named_data_and_model_must_have_the_same_classes(tmp_path: Path) -> None:
    data = ImageData(name="five", images=IMAGES.numpy(), labels=LABELS.numpy(), classes=tuple("abcde"))
    with pytest.raises(InputError, match="3 outputs, the data 5 classes"):
        evaluate(linear(), data, ATTACK)
