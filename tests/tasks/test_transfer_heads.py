"""The study of transfer: heads on latents, attacks on both, and how sources differ."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from robustray.tasks.data.images import ImageData
from robustray.tasks.errors import InputError
from robustray.tasks.lab.protocol import Context
from robustray.tasks.lab.serial import SerialLab
from robustray.tasks.lab.store import Store
from robustray.tasks.latents.cache import latents, look, matrix, quick_latent_block, quick_look
from robustray.tasks.latents.head import fit_head
from robustray.tasks.models.registry import build_model
from robustray.tasks.studies.transfer.blocks import (
    HEAD_COLUMNS,
    HeadAttack,
    attack_head_block,
    head_block,
    under_head,
)
from robustray.tasks.studies.transfer.kinds import DRIFTING, FIXED, FULL, OTHERS, RANDOM, STANDARD
from robustray.tasks.studies.transfer.reduce import source_table
from robustray.tasks.studies.transfer.settings import OUTLINE
from robustray.tasks.studies.transfer.transferring import probe
from robustray.tasks.studies.transfer.worlds import open_worlds
from tests.tasks.transfer_rows import DIGITS, QUICK


def head(train: dict[str, Any], test: dict[str, Any]) -> dict[str, Any]:
    context = Context(settings=0.3, seed=0, device="cpu", load={"train": train, "test": test}.__getitem__)
    return dict(head_block([[0, 0], [5, 1]], context))


def test_heads_separate_what_is_linear_and_never_read_test_labels() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(40) % 4
    latent = np.eye(4)[labels] * 3 + rng.normal(0, 0.1, (40, 4))
    train, test = {"latent": latent, "label": labels}, {"latent": np.eye(4) * 3}
    found = head(train, test)
    assert [each.tolist() for each in found["prediction"]] == [[0, 1, 2, 3]] * 2 and found["validation"] == [1.0] * 2
    shuffled = head(train, test | {"label": labels[::-1]})
    assert all(np.array_equal(*pair) for name in found for pair in zip(found[name], shuffled[name], strict=True))


def test_cached_latents_are_those_of_the_network(tmp_path: Path) -> None:
    lab = SerialLab(store=Store(str(tmp_path)))
    world = open_worlds(DIGITS, lab, [0])[0]
    settings = replace(DIGITS, epochs=1)
    (ref,) = lab.train([settings.source_spec(settings.robust[0], 0, world.source)]).result()
    images = world.targets[OTHERS].train
    rows = latents(lab, ref, images, range(20)).result()
    again = look(lab.load(ref), lab.load(images).batch(range(20))[0])[1]
    assert np.array_equal(matrix(rows), again.numpy())


@pytest.mark.parametrize(("num_probed", "attacked"), [(30, 30), (0, None), (10_000, None)])
def test_sources_are_attacked_on_some_of_their_own_images(
    tmp_path: Path, num_probed: int, attacked: int | None
) -> None:
    """The same for all sources of a chain; 0, or more than there are, is all of them. What is robust is right."""
    settings = replace(DIGITS, epochs=1, num_probed=num_probed, probe_steps=1)
    lab = SerialLab(store=Store(str(tmp_path)))
    world = open_worlds(settings, lab, [0])[0]
    named = [settings.all_sources()[0], settings.robust[0]]
    models = lab.train([settings.source_spec(source, 0, world.source) for source in named]).result()
    rows, _ = probe(settings, lab, [world], {(0, source): ref for source, ref in zip(named, models, strict=True)})
    table = source_table(rows, [source.name for source in named], shared=False)
    assert world.source_test is not None
    tested = len(lab.load(world.source_test))
    assert (table["n"] == tested).all() and (table["attacked"] == (attacked or tested)).all()
    for row in rows.itertuples():
        assert row.robust.sum() <= row.clean.sum() and row.clean.sum() > 0
        if attacked is None:
            assert not (row.robust & ~row.clean).any()


def test_features_in_bf16_are_near_and_those_that_cannot_be_had_are_refused() -> None:
    images = torch.rand(20, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    model = build_model("scenes:cnn", 9).eval()
    exact, quick = look(model, images)[1], quick_look(model, images)
    assert quick.dtype == torch.float32 and quick.shape == exact.shape and not torch.equal(quick, exact)
    assert (quick - exact).norm() < 0.02 * exact.norm()
    assert torch.equal(quick_look(model, images[:3]), quick[:3]), "whatever else is in the batch"
    data = ImageData(
        name="t", images=(images.numpy() * 255).astype(np.uint8), labels=np.zeros(20, np.int64), classes=("a",)
    )
    context = Context(settings=None, seed=0, device="cpu", load={"data": data, "model": model}.__getitem__)
    rows = quick_latent_block([4, 2], context)
    assert torch.equal(rows["latent"], quick_look(model, data.batch([4, 2])[0]))

    class NeedsFp32(torch.nn.Module):
        def forward_with_latent(self, images: torch.Tensor, fake_relu: bool = False) -> tuple[Any, Any]:
            latent = images.flatten(1) @ torch.eye(768)
            if latent.dtype != torch.float32:
                raise TypeError("fp32 only")
            return latent[:, :3], latent

        def forward(self, images: torch.Tensor) -> Any:
            return self.forward_with_latent(images)[0]

    with pytest.raises(InputError, match="does not run in bf16"):
        quick_look(NeedsFp32(), images)


def test_a_network_under_a_head_is_the_head_on_its_latents_and_is_attacked_as_one() -> None:
    """Its logits are those of the head on cached latents, and no step of the attack leaves the ball."""
    images = torch.rand(12, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    model = build_model("digits:mlp", 10).eval()
    labels = np.arange(12) % 3
    latent = look(model, images)[1].numpy()
    fitted = fit_head(latent, labels, seed=0)
    parts = {name: getattr(fitted, name) for name in HEAD_COLUMNS}
    under = under_head(model, device="cpu", **parts)
    np.testing.assert_allclose(under(images).detach().numpy(), fitted.logits(latent), atol=1e-4)
    data = ImageData(name="t", images=(images.numpy() * 255).astype(np.uint8), labels=labels, classes=("a", "b", "c"))
    rows = {name: np.stack([np.zeros_like(part), part]) for name, part in parts.items()}
    loaded = {"data": data, "model": model, "head": rows}
    for eps, changed in ((1e-6, False), (5.0, True)):
        attack = HeadAttack(attack=replace(QUICK.attack(), eps=eps, precision="fp32"), head=1)
        context = Context(settings=attack, seed=0, device="cpu", load=loaded.__getitem__)
        found = attack_head_block(range(12), context)
        assert np.array_equal(found["clean_prediction"], fitted.predict(look(model, data.batch(range(12))[0])[1]))
        assert np.array_equal(found["clean_prediction"], found["prediction"]) is not changed


def test_steps_of_fine_tuning_take_no_more_images_than_there_are() -> None:
    counts = (5, QUICK.tune_batch, 900)
    specs = [QUICK.tune_spec(FULL, "source", 0, "digits:train", 0.1, QUICK.arch, most) for most in counts]
    assert [spec.batch_size for spec in specs] == [5, QUICK.tune_batch, QUICK.tune_batch]


def test_drifting_features_train_the_head_alone_and_let_batch_norm_follow() -> None:
    """As the reference implementation does; everything else is that of fine-tuning."""
    asked = replace(QUICK, drifting_features=True)
    assert asked.modes == (FIXED, FULL, DRIFTING) and QUICK.modes == (FIXED, FULL)
    assert replace(asked, fine_tuning=False).modes == (FIXED, DRIFTING)
    assert "tune_lrs" not in replace(asked, fine_tuning=False).idle()
    assert "tune_lrs" in replace(QUICK, fine_tuning=False).idle()
    full, drifting = (asked.tune_spec(mode, "s", 0, "digits:train", 0.1, QUICK.arch, 28) for mode in (FULL, DRIFTING))
    assert (drifting.frozen, drifting.frozen_mode) == (("*",), "training")
    assert replace(drifting, frozen=(), frozen_mode="evaluation") == full


def test_all_trainings_of_a_run_have_one_arithmetic() -> None:
    """It is decided once, and said: sources that are compared must not differ by it."""
    small = OUTLINE.sizes["small"]
    assert QUICK.train_precision == "fp32" and small.train_precision == "auto", "quick keeps its figures"
    asked = replace(QUICK, train_precision="bf16", drifting_features=True)
    specs = [asked.source_spec(source, 0, "digits:train") for source in asked.all_sources()]
    specs += [asked.tune_spec(mode, "s", 0, "digits:train", 0.1, QUICK.arch, 28) for mode in asked.tuned_modes]
    assert {spec.precision for spec in specs} == {"bf16"}
    with pytest.raises(InputError, match="train_precision cannot be 'fp16'"):
        replace(QUICK, train_precision="fp16")  # type: ignore[arg-type]


def test_sources_differ_in_what_their_names_say_only() -> None:
    by_name = {source.name: QUICK.source_spec(source, 1, "digits:train") for source in QUICK.all_sources()}
    standard = by_name[STANDARD]
    assert [by_name[source.name].eps for source in QUICK.robust] == list(QUICK.eps_train)
    for source in QUICK.robust:
        same = replace(by_name[source.name], loss="standard", eps=0.0, num_steps=7, norm="linf")
        assert same == standard, "size 0 is standard training"
    assert len(QUICK.null) == len(QUICK.robust), "as many candidates"
    seeds = {by_name[source.name].seed for source in QUICK.null} | {standard.seed}
    assert len(seeds) == len(QUICK.null) + 1
    assert all(replace(by_name[source.name], seed=standard.seed) == standard for source in QUICK.null)
    assert by_name[RANDOM].lr == 0 and by_name[RANDOM].seed == standard.seed
