"""Twins and judges: what was given is opened, what was not is trained, and nobody judges itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from robustray.tasks.data.digits import DigitsSource
from robustray.tasks.errors import InputError
from robustray.tasks.lab.serial import SerialLab
from robustray.tasks.lab.store import Store
from robustray.tasks.models.registry import build_model
from robustray.tasks.models.weights import to_safetensors, weights_of
from robustray.tasks.training.twin_networks import check_twins, gather, try_network
from robustray.tasks.training.twins import KINDS, TwinSettings
from tests.tasks.digits_networks import trained

pytestmark = pytest.mark.usefixtures("one_thread")

TINY = TwinSettings(
    architecture="digits:mlp",
    judge_architecture="digits:cnn",
    train_data="digits:train",
    test_data="digits:test",
    eps=0.5,
    num_seeds=1,
    epochs=1,
    batch_size=64,
    lr=0.1,
    train_steps=1,
    attack_precision="fp32",
)


@pytest.fixture(name="lab")
def lab_fixture(tmp_path: Path) -> SerialLab:
    store = Store(str(tmp_path / "store"))
    store.create()
    return SerialLab(store=store)


def weights(folder: Path, seed: int) -> str:
    """The name of an untrained network with weights of its own."""
    torch.manual_seed(seed)
    file = folder / f"{seed}.safetensors"
    file.write_bytes(to_safetensors(weights_of(build_model("digits:mlp"))))
    return f"digits:mlp@{file}"


def test_what_was_given_is_opened_and_the_rest_is_trained(lab: SerialLab, tmp_path: Path) -> None:
    given = replace(TINY, standard=(weights(tmp_path, 0),), judge=weights(tmp_path, 1))
    assert set(check_twins(given, lab)) >= {f"model {given.judge}", "data digits:test"}
    found = gather(given, lab)
    assert found.twins["standard", 0].name == given.standard[0] and found.judges["standard"].name == given.judge
    assert found.twins["robust", 0].name.startswith("run:")
    assert lab.journal.count("train").computed_items == 1
    gather(given, lab)
    assert lab.journal.count("train").computed_items == 1, "the second time it is there"


def test_a_second_judge_is_trained_where_one_is_asked_for(lab: SerialLab) -> None:
    check_twins(TINY, lab, judges=KINDS)
    found = gather(TINY, lab, judges=KINDS)
    assert set(found.judges) == set(KINDS)
    assert len({ref.content_hash for ref in (*found.twins.values(), *found.judges.values())}) == 4


def test_a_judge_is_refused_that_is_a_twin_under_another_name(lab: SerialLab, tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    judge = weights(tmp_path / "copy", 0)
    given = replace(TINY, robust=(weights(tmp_path, 0),), judge=judge)
    with pytest.raises(InputError, match="has the same weights"):
        check_twins(given, lab)


def test_twins_differ_in_the_threat_and_judges_in_architecture_and_seed() -> None:
    standard, robust = (TINY.spec(kind, 0) for kind in KINDS)
    back: dict[str, Any] = {"loss": "standard", "norm": "linf", "eps": 0.0, "step_size": None, "num_steps": 7}
    assert replace(robust, **back) == standard and (robust.norm, robust.eps, robust.step_size) == ("l2", 0.5, 0.25)
    for kind, twin in zip(KINDS, (standard, robust), strict=True):
        judge = TINY.judge_spec(kind)
        assert judge.model == "digits:cnn" and judge.seed != twin.seed
        assert replace(judge, model=twin.model, seed=twin.seed) == twin


def test_a_network_is_named_in_what_is_wrong_with_it() -> None:
    data = DigitsSource(split="test").fetch("digits:test")
    try_network(trained("cnn"), "mine", data, latents=True, fake_relu=True)
    plain = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    try_network(plain, "mine", data, latents=False)
    with pytest.raises(InputError, match="mine with digits:test: it has no latents"):
        try_network(plain, "mine", data, latents=True)
    with pytest.raises(InputError, match=r"mine with digits:test: .*3 outputs"):
        try_network(nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), "mine", data, latents=False)
