"""The study of transfer from networks that exist: one looks at one's own photographs through them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from robustray.tasks.errors import InputError
from robustray.tasks.lab.serial import SerialLab
from robustray.tasks.lab.store import Store
from robustray.tasks.models.registry import build_model
from robustray.tasks.models.weights import to_safetensors, weights_of
from robustray.tasks.studies.transfer.kinds import FIXED, FULL, short_models
from robustray.tasks.studies.transfer.settings import Settings
from robustray.tasks.studies.transfer.study import STUDY
from robustray.tasks.study import Claim
from tests.cli.bad_input.transfer import photos
from tests.tasks.transfer_rows import QUICK


def test_what_tables_call_a_source_tells_sources_apart() -> None:
    assert short_models(["a:b@x/std.safetensors", "twin:linf8:0", "own:build"]) == {
        "a:b@x/std.safetensors": "std",
        "twin:linf8:0": "twin:linf8:0",
        "own:build": "own:build",
    }
    same = ["a:b@x/w.safetensors", "a:b@y/w.safetensors"]
    assert short_models(same) == {name: name for name in same}


def torchvision_pair(folder: Path) -> tuple[str, str]:
    """Two torchvision networks of random weights, as `robustray import weights` leaves them."""
    names = []
    for seed in (0, 1):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = build_model("torchvision:shufflenet_v2_x0_5", 1000)
        file = folder / f"seed{seed}.safetensors"
        file.write_bytes(to_safetensors(weights_of(model)))
        names.append(f"torchvision:shufflenet_v2_x0_5@{file}")
    return names[0], names[1]


def test_photographs_of_mixed_sizes_under_torchvision_networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first thing one tries: own pictures, networks of a library, no training of sources."""
    monkeypatch.chdir(tmp_path)
    photos("cat", "dog", count=10, channels=3, side=40)(tmp_path)
    Image.new("L", (61, 37), 90).save(next((tmp_path / "photos" / "cat").iterdir()))
    settings = Settings(
        sources=torchvision_pair(tmp_path),
        target=("photos",),
        metric="per-class",
        image_side=48,
        per_class=6,
        num_seeds=2,
        tune_epochs=1,
        tune_lrs=(0.01,),
        attack_eps=0.5,
        num_attacked=4,
        probe_steps=2,
    )
    lab = SerialLab(store=Store(str(tmp_path / "store")))
    opened = STUDY.door(settings, lab)
    assert any("made for images of 224 pixels and sees 48" in words for words in opened.warnings)
    assert any("40 x 40 to 61 x 37 pixels are resized to 48 x 48" in words for words in opened.warnings)
    assert {"source data", "source_test data"}.isdisjoint(opened.refs)
    before = {name: lab.load(lab.model(name)).state_dict() for name in settings.sources}
    found = STUDY.run(settings, lab)
    for name, state in before.items():
        after = lab.load(lab.model(name)).state_dict()
        assert all(torch.equal(value, after[key]) for key, value in state.items()), "weights and running statistics"
    frame = next(table.frame for table in found.tables if table.name == "transfer")
    assert frame.sim_lo.isna().tolist() == [True, False] * 2
    assert frame.source.tolist() == ["seed0", "seed1"] * 2 and set(frame["mode"]) == {FIXED, FULL}
    assert frame.attacked.tolist() == [4] * 4 and (frame.robust <= 1).all()
    assert not any(isinstance(claim, Claim) for claim in found.claims)
    gains = [each for each in found.descriptions if each.unit == "points"]
    assert len(gains) == 2 and all("seed1 in place of seed0" in each.words for each in gains)
    attacked = [each for each in found.descriptions if each.unit == "percent"]
    for each, row in zip(attacked, frame.itertuples(), strict=True):
        assert each.words.startswith(f"{row.source} under PGD-2 at ℓ2 0.5") and each.n == 4
        assert (each.estimate, each.interval) == (row.robust, (row.robust_lo, row.robust_hi))
    assert any(figure.name == "under-attack" for figure in found.figures)
    assert "has a mean per-class accuracy of" in found.answer
    assert all("mean per-class accuracy on the target" in each.measured for each in gains)


def test_networks_that_exist_are_given_in_a_form_that_can_be_compared() -> None:
    refused: tuple[tuple[dict[str, Any], str], ...] = (
        ({"sources": ("a:b", "c:d")}, "give --target"),
        ({"sources": ("a:b",), "target": ("photos",)}, "at least two different"),
        ({"sources": ("a:b", "a:b"), "target": ("photos",)}, "at least two different"),
        ({"sources": ("a:b", "c:d"), "target": ("photos", "others")}, "--target others"),
    )
    for changed, words in refused:
        with pytest.raises(InputError, match=words):
            Settings(**changed)
    given = Settings(sources=("a:b", "c:d"), target=("photos",), fine_tuning=False)
    assert {"epochs", "eps_train", "arch", "tune_lrs", "train_precision", "weight_decay"} <= given.idle().keys()
    assert "image_side" not in given.idle() and "weight_decay" not in replace(given, fine_tuning=True).idle()
    assert given.modes == (FIXED,) and {"image_side", "attack_eps"} <= QUICK.idle().keys()
    assert "probe_steps" in given.idle() and given.on_target == 0, "no attack unless its size is given"
    attacked = replace(given, attack_eps=3.0)
    assert "probe_steps" not in attacked.idle() and attacked.attack().eps == 3 and attacked.on_target == 100
