"""Cascades in the sweep: stages on gathered survivors give the bits of one call, whatever is left after a stage."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from robustray.tasks.attacks.autoattack import AutoAttack, FastCascade
from robustray.tasks.attacks.blocks import predict_block
from robustray.tasks.errors import InputError
from robustray.tasks.lab.serial import SerialLab
from robustray.tasks.lab.store import Store
from robustray.tasks.studies.attack_sweep.settings import SIZES, Settings, estimate
from robustray.tasks.studies.attack_sweep.study import STUDY
from robustray.tasks.study import Findings
from robustray.tasks.sweeps.cells import attack_one_size, sweep_cells
from robustray.tasks.sweeps.named import named_attack, named_stages
from robustray.tasks.sweeps.options import PASSED, PASSES, STAGES, block_size, passes
from robustray.tasks.sweeps.records import Cell, merged, survivors, survivors_of_clean
from robustray.tasks.training.recipes import RECIPES

RECORD = {"link", "name", "authors", "additional_data", "number_forward_passes", "dataset", "venue", "architecture",
          "eps", "clean_acc", "reported", "autoattack_acc"}  # fmt: skip
OWN = '''
"""AutoAttack with budgets for tests, a tiny network, and one that hides its gradients."""

from dataclasses import replace

import torch
from torch import nn

from robustray.tasks.attacks.autoattack import AutoAttack
from robustray.tasks.attacks.family import Square


class Small(AutoAttack):
    def stages(self):
        return tuple(
            replace(stage, num_queries=20) if isinstance(stage, Square) else replace(stage, num_steps=4)
            for stage in super().stages()
        )


def standard(norm, eps):
    return Small(norm=norm, eps=eps)


def plus(norm, eps):
    return Small(norm=norm, eps=eps, version="plus")


class Twice(AutoAttack):
    def stages(self):
        return super().stages()[:1] * 2


def twice(norm, eps):
    return Twice(norm=norm, eps=eps)


class Tiny(nn.Module):
    """Mean brightness of ten groups of pixels: right for data that is labelled so."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(1.0))

    def forward(self, x):
        return self.gain * 5 * x.flatten(1)[:, :60].unflatten(1, (10, 6)).mean(2)


class Stairs(Tiny):
    """Sees rounded pixels, and shows a gradient that leads nowhere."""

    def forward(self, x):
        rounded = (x * 4).round() / 4
        return super().forward(rounded.detach()) + 1e-6 * x.flatten(1)[:, :10]


def tiny():
    return Tiny()


def stairs():
    return Stairs()


def data():
    images = torch.rand(48, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    images[:, 0, 7] = 0
    labels = Stairs()(images).argmax(1)
    return images.numpy(), labels.numpy(), tuple("abcdefghij")
'''


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SerialLab]:
    folder = tmp_path_factory.mktemp("own")
    (folder / "sweep_cascades.py").write_text(OWN)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield SerialLab(store=Store(str(folder / "store")))
    torch.set_num_threads(before)


def settings(**changed: Any) -> Settings:
    tiny: dict[str, Any] = {
        "models": ("sweep_cascades:tiny",),
        "data": ("sweep_cascades:data",),
        "norms": ("linf",),
        "eps_linf": (0.02, 0.05),
        "precision": "fp32",
        "num_transfer": 0,
        "num_examples": 2,
        "block": 16,
    }
    return Settings(**{**tiny, **changed})


def table(found: Findings, name: str) -> pd.DataFrame:
    return next(t.frame for t in found.tables if t.name == name)


# --- The same bits as one call ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("attack", ["standard", "plus"])
@pytest.mark.parametrize(
    ("model", "data", "norm", "eps"),
    [
        ("sweep_cascades:tiny", "sweep_cascades:data", "linf", (0.01, 0.03)),
        ("digits:mlp", "digits:test", "l2", (0.3, 0.6)),
    ],
)
def test_gathered_stages_are_one_call(
    attack: str, model: str, data: str, norm: Any, eps: tuple[float, ...], lab: SerialLab
) -> None:
    """Success, prediction, loss, distance and evaluations, at a size and on what is left for the next one."""
    chosen = settings(
        models=(model,),
        data=(data,),
        attacks=(f"sweep_cascades:{attack}",),
        norms=(norm,),
        num_images=48,
        seed=3,
        **{f"eps_{norm}": eps},
    )
    (ref,) = lab.train([RECIPES[model]]).result() if model in RECIPES else [lab.model(model)]
    refs = {"model": ref, "data": lab.data(data)}
    clean = lab.map("clean", predict_block, range(48), block=16, refs=refs).result()
    cell = Cell(data, model, norm, chosen.attacks[0], 3)
    alive = survivors_of_clean(clean)
    found = sweep_cells(chosen, lab, {model: ref}, {data: refs["data"]}, {cell: eps}, {cell: alive})
    network, source = lab.load(ref), lab.load(refs["data"])
    fell: set[str] = set()
    for expected_eps, (size, rows) in zip(eps, found[cell], strict=True):
        assert size == expected_eps
        assert rows["index"].tolist() == alive
        images, labels = source.batch(alive)
        cascade = named_attack(cell.attack, norm, size, chosen)
        whole: Any = cascade(network, images, labels, seed=3, indices=alive)
        for column, values in {
            "success": whole.success,
            "prediction": whole.predictions,
            "clean_prediction": whole.clean_predictions,
            "loss": whole.loss,
            "distance": whole.distance,
            "evaluations": whole.num_evaluations,
        }.items():
            assert np.array_equal(rows[column].to_numpy(), values.numpy()), column
        names = [whole.stages[position] if position >= 0 else "" for position in whole.fell_to.tolist()]
        assert rows.fell_to.tolist() == names
        fell |= set(names)
        alive = survivors(rows)
    assert "apgd-ce" in fell and "" in fell


@pytest.mark.parametrize("left", [0, 1])
def test_awkward_survivors(left: int, lab: SerialLab) -> None:
    """None left after the first stage, and one."""
    chosen = settings(attacks=("sweep_cascades:standard",))
    models, data = ({name: door(name)} for name, door in ((chosen.models[0], lab.model), (chosen.data[0], lab.data)))
    cell, eps = Cell(chosen.data[0], chosen.models[0], "linf", chosen.attacks[0], 0), 0.03
    rows = attack_one_size(chosen, lab, models, data, {cell: eps}, {cell: range(48)})[cell]
    fallen, stand = (rows.loc[which, "index"].tolist() for which in (rows.fell_to == "apgd-ce", ~rows.success))
    items = sorted(fallen[:20] + stand[:left])
    again = attack_one_size(chosen, lab, models, data, {cell: eps}, {cell: items})[cell]
    expected = rows[rows["index"].isin(items)].reset_index(drop=True)
    pd.testing.assert_frame_equal(again, expected)
    assert (~again.success).sum() == left


def test_an_image_given_up_in_a_later_stage_has_no_verdict() -> None:
    def rows(indices: list[int], broken: list[int], loss: float, passes: int) -> pd.DataFrame:
        return pd.DataFrame(
            {
                "index": indices,
                "success": [i in broken for i in indices],
                "prediction": np.array([i in broken for i in indices], np.int16),
                "loss": np.float32(loss),
                "evaluations": np.int32(passes),
            }
        )

    first = merged(None, rows([4, 5, 6, 7], [5], -1.0, 10), "a")
    second = merged(first, rows([4, 7], [7], -2.0, 3), "b")  # 6 killed its worker
    assert second["index"].tolist() == [4, 5, 7]
    assert second.fell_to.tolist() == ["", "a", "b"]
    assert second.evaluations.tolist() == [13, 10, 13]
    assert second.loss.tolist() == [-1, -1, -2]  # 4 keeps the point that came closer, 7 takes the one that succeeded
    assert second.dtypes.loss == np.float32 and second.dtypes.evaluations == np.int32


def test_what_two_attacks_share_is_computed_once(lab: SerialLab, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    plain = SerialLab.map

    def counting(self: SerialLab, step: str, *args: Any, **given: Any) -> Any:
        asked.append((step, type(given.get("settings")).__name__))
        return plain(self, step, *args, **given)

    monkeypatch.setattr(SerialLab, "map", counting)
    STUDY.run(settings(attacks=("apgd-ce", "fast-cascade"), eps_linf=(0.02,), num_examples=0), lab)
    assert asked.count(("attack", "ApgdCE")) == 1
    assert asked.count(("attack", "ApgdT")) == 1


# --- The report -------------------------------------------------------------------------------------------------------


def test_the_stage_table_adds_up(lab: SerialLab) -> None:
    found = STUDY.run(settings(attacks=("sweep_cascades:standard", "noise")), lab)
    stages = table(found, "stages")
    assert stages.stage.tolist() == 2 * ["apgd-ce", "apgd-t", "fab-t", "square"]
    assert (stages.attacked - stages.broken == stages.standing).all()
    assert (stages.attacked[1:4].to_numpy() == stages.standing[:3].to_numpy()).all()
    assert stages.attacked[4] == stages.standing[3]  # what is left goes on to the next size
    assert (stages.n == 48).all()
    by_attack = table(found, "by-attack").query("attack == 'sweep_cascades:standard'").set_index("eps")
    for eps, last in stages.groupby("eps").last().iterrows():
        assert last.robust_accuracy == by_attack.robust_accuracy[eps] == last.standing / 48
        assert last.lo < last.robust_accuracy < last.hi
    assert "AutoAttack" not in found.answer  # it is one's own
    images = table(found, "images")
    assert set(images[~images.success].fell_to) == {""}
    assert "" not in set(images[images.success].fell_to)


def test_answer_and_claims_take_autoattacks_number(lab: SerialLab) -> None:
    """And not the worst case over all attacks of the sweep; fast-cascade is never called by that name."""
    chosen = settings(attacks=("autoattack", "fgsm"), num_images=10, eps_linf=(0.03,))
    found = STUDY.run(chosen, lab)
    accuracy = table(found, "by-attack").query("attack == 'autoattack'").robust_accuracy.iloc[0]
    assert found.answer.startswith("Under AutoAttack at") and "(n = 10" in found.answer
    assert f"{100 * accuracy:.1f} %" in found.answer
    (record,) = found.documents
    assert record.path.startswith("model_info/") and "/Linf/" in record.path and record.path.endswith(".json")
    assert not isinstance(record.content, bytes)
    assert record.content["autoattack_acc"] == f"{100 * accuracy:.2f}" and record.content["eps"] == "0.03"
    assert set(record.content) - {"robustray"} == RECORD, "the fields of a leaderboard's records"
    assert record.content["robustray"]["n"] == 10 and len(record.content["robustray"]["sha256"]["model"]) == 64
    json.dumps(record.content, allow_nan=False)
    rows = table(found, "images").query("attack == 'autoattack' and clean_prediction == label")
    assert found.descriptions[0].estimate == rows.success.mean()
    assert "AutoAttack" in found.descriptions[0].measured
    fast = STUDY.run(replace(chosen, attacks=("fast-cascade",)), lab)
    assert "Under fast-cascade" in fast.answer and "AutoAttack" not in fast.answer


@pytest.mark.parametrize(("attacks", "n"), [(("sweep_cascades:standard",), 48), (("apgd-ce", "square"), 12)])
def test_hidden_gradients_are_noticed(attacks: tuple[str, ...], n: int, lab: SerialLab) -> None:
    """As a stage or by itself, Square breaks what APGD could not; on the honest network it does not."""
    models = ("sweep_cascades:stairs", "sweep_cascades:tiny")
    warnings = STUDY.run(settings(models=models, attacks=attacks, eps_linf=(0.1,), num_images=n), lab).warnings
    assert len(warnings) == 1
    assert warnings[0].startswith("sweep_cascades:stairs on sweep_cascades:data, ℓ∞ 0.1: Square, which sees no")
    assert f"of {n} images" in warnings[0]


def test_square_alone_says_nothing_about_gradients(lab: SerialLab) -> None:
    chosen = settings(models=("sweep_cascades:stairs",), attacks=("square",), eps_linf=(0.1,), num_images=16)
    assert STUDY.run(chosen, lab).warnings == ()


# --- Settings ---------------------------------------------------------------------------------------------------------


def test_the_stages_of_a_name() -> None:
    chosen = settings()
    assert [name for name, _ in named_stages("pgd", "linf", 0.1, chosen)] == ["pgd"]
    standard = named_stages("autoattack", "l2", 0.5, chosen)
    assert tuple(stage for _, stage in standard) == AutoAttack(norm="l2", eps=0.5, precision="fp32").stages()
    for name, kind in (("autoattack", AutoAttack), ("fast-cascade", FastCascade)):
        assert PASSES[name] == sum(PASSES[stage.name] for stage in kind(norm="l2", eps=0.5).stages())


def test_an_own_cascade_of_two_equal_stages_is_refused(lab: SerialLab) -> None:
    with pytest.raises(InputError, match="same name"):
        STUDY.door(settings(attacks=("sweep_cascades:twice",)), lab)


def test_too_few_classes_are_found_at_the_door(lab: SerialLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "three_classes.py").write_text(
        "import numpy as np\nfrom torch import nn\n"
        "def net():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))\n"
        "def data():\n    return np.zeros((20, 1, 8, 8), np.float32), np.arange(20) % 3, ('a', 'b', 'c')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    three = settings(models=("three_classes:net",), data=("three_classes:data",), attacks=("autoattack",))
    with pytest.raises(InputError, match=r"apgd-t.*at least 4 classes; three_classes:data has 3"):
        STUDY.door(three, lab)
    STUDY.door(replace(three, attacks=("apgd-dlr", "square")), lab)


def test_blocks_cost_about_the_same() -> None:
    small = SIZES["small"]
    assert {name: block_size(name, small) for name in ("pgd", "fgsm", "noise")} == dict.fromkeys(
        ("pgd", "fgsm", "noise"), 512
    )
    assert block_size("pgd", replace(small, num_steps=100, num_restarts=5)) == 512
    assert block_size("noise", replace(small, num_draws=50)) == 512
    assert block_size("apgd-ce", small) == 96
    assert {block_size(name, small) for name in ("apgd-t", "fab-t", "square", "nes")} == {16}
    assert block_size("apgd-ce", small, num_restarts=5) == 16
    assert block_size("my_mod:own", small) == 512
    for name in PASSES:
        assert block_size(name, replace(small, block=7)) == 7  # never more than was asked for


def test_the_estimate_counts_stages_and_transfer(lab: SerialLab) -> None:
    chosen = settings(attacks=("apgd-ce",), eps_linf=(0.02,))
    assert estimate(chosen).counts[PASSED] == 10_000 * passes("apgd-ce", chosen)
    both = replace(chosen, models=("a", "b"), num_images=50, num_transfer=100, num_steps=9)
    without = estimate(replace(both, num_transfer=0))
    assert estimate(both).counts[PASSED] - without.counts[PASSED] == 2 * 50 * (10 + 2 + 2)
    assert "transfer" in estimate(both).note
    for attack in STAGES:
        assert "a cascade's stages are counted as if nothing fell" in estimate(replace(chosen, attacks=(attack,))).note
    assert "a cascade's" not in estimate(chosen).note
    cost = table(STUDY.run(replace(chosen, num_images=16), lab), "cost")
    assert cost.evaluations.sum() <= estimate(replace(chosen, num_images=16)).counts[PASSED]
