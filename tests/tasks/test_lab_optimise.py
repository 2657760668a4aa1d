"""`lab.optimise`: kept by content, killed and resumed to the bit, its arrays a reference for later steps."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from robustray.tasks.attacks.objective import CrossEntropy
from robustray.tasks.cost import Work
from robustray.tasks.errors import InputError, WorkFailed
from robustray.tasks.inputs.settings import SharedAscent
from robustray.tasks.inputs.shared import SharedParameter
from robustray.tasks.lab.checkpoints import Interval
from robustray.tasks.lab.journal import Journal
from robustray.tasks.lab.optimise import Optimised, OptimiseSpec, optimisation
from robustray.tasks.lab.optimising import optimise_key
from robustray.tasks.lab.protocol import Context, Needs, Reference
from robustray.tasks.lab.resumable import complete
from robustray.tasks.lab.serial import SerialLab
from robustray.tasks.lab.store import Store
from robustray.tasks.study import TRAIN, Findings, Opened, Outline, Study
from robustray.tasks.training.fit import Fit
from tests.tasks.optimisations import (
    Regress,
    Universal,
    broken,
    perturbation,
    perturbed_block,
    points_block,
    regression,
)

ASCENT = SharedAscent(
    norm="linf", step_size=0.05, num_steps=12, batch_size=64, precision="fp32", gradients="cumulative"
)
FIT = Regress(num_steps=40)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(str(tmp_path / "store"))
    made.create()
    return made


@pytest.fixture(scope="module")
def refs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Reference]:
    """A network that knows the digits, and the digits."""
    lab = SerialLab(store=Store(str(tmp_path_factory.mktemp("digits"))))
    return {"model": lab.model("digits:mlp"), "data": lab.data("digits:train")}


def test_a_fit_on_a_cpu_asks_for_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """`fork_rng` without devices would open every GPU of a machine with several, and warn."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    module = torch.nn.Linear(1, 1)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    fit = Fit(module=module, optimizer=optimizer, loss=lambda _: module(torch.ones(1, 1)).square().mean(), num_steps=2)
    complete(fit)
    assert fit.step == 2


def points(lab: SerialLab) -> Reference:
    return lab.rows("points", lab.map("points", points_block, range(200), block=100, seed=1))


def fitted(store: Store, *specs: OptimiseSpec, **options: Any) -> list[Optimised]:
    return SerialLab(store=store, **options).optimise("fit", specs).result()


def spec_of(store: Store, **changed: Any) -> OptimiseSpec:
    given: dict[str, Any] = {"settings": FIT, "seed": 3, "refs": {"points": points(SerialLab(store=store))}}
    return OptimiseSpec(function=regression, **given | changed)


def files(store: Store) -> dict[str, bytes]:
    return {name: store.read(f"optimised/{name}") for name in store.list("optimised")}


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The steps that regressors take from here on."""
    made: list[int] = []
    monkeypatch.setattr("tests.tasks.optimisations.obey", lambda folder, step: made.append(step))
    return made


class Killed(BaseException):
    """As a kill: nothing in the code catches it."""


# --- What comes out ---------------------------------------------------------------------------------------------------


def test_a_regressor_is_fitted_and_kept_with_its_curve(store: Store, taken: list[int]) -> None:
    spec = spec_of(store)
    (found,) = fitted(store, spec)
    rows = points(SerialLab(store=store)).fetch()
    alone = regression(Context(settings=FIT, seed=3, device="cpu", load=lambda role: rows))
    for name, tensor in complete(alone).items():
        np.testing.assert_array_equal(found.arrays[name], tensor.numpy())
    assert found.arrays["1.weight"][0] == pytest.approx([2, -1], abs=0.2) and found.spec is spec
    assert list(found.curve.columns) == ["step", "loss"] and list(found.curve.step) == list(range(40))
    assert found.curve.loss[-5:].mean() < 0.2 * found.curve.loss.iloc[0]
    taken.clear()
    (again,) = fitted(store, spec)
    assert not taken and again.curve.equals(found.curve) and again.ref.content_hash == found.ref.content_hash
    assert not store.list(f"checkpoints/{found.key}")


def test_the_tensorboard_file_has_the_curve(store: Store) -> None:
    """Its format: length (8 bytes), checksum (4), event, checksum (4)."""
    from tensorboardX.proto.event_pb2 import Event

    (found,) = fitted(store, spec_of(store))
    (name,) = store.list(f"tensorboard/{found.key}")
    data, at, seen = store.read(f"tensorboard/{found.key}/{name}"), 0, []
    while at < len(data):
        length = int.from_bytes(data[at : at + 8], "little")
        event = Event.FromString(data[at + 12 : at + 12 + length])
        seen += [(event.step, value.tag, value.simple_value) for value in event.summary.value]
        at += 12 + length + 4
    expected = [(int(step), "loss", float(np.float32(loss))) for step, loss in found.curve.itertuples(index=False)]
    assert seen == expected and len(seen) == 40


def test_a_universal_perturbation_is_designed_and_evaluated_by_later_steps(
    store: Store, refs: dict[str, Reference]
) -> None:
    lab = SerialLab(store=store)
    spec = OptimiseSpec(function=perturbation, settings=Universal(eps=0.2, ascent=ASCENT), seed=5, refs=refs)
    (found,) = lab.optimise("design", [spec]).result()
    assert np.abs(found.arrays["parameter"]).max() <= np.float32(0.2) and len(found.curve) == 12
    looked = {**refs, "data": lab.data("digits:test"), "perturbation": found.ref}
    accuracy = {
        how: lab.map("look", perturbed_block, range(355), block=100, settings=how, refs=looked).result().correct.mean()
        for how in ("clean", "perturbed")
    }
    assert accuracy["clean"] > 0.9 and accuracy["perturbed"] < accuracy["clean"] - 0.2
    loaded = lab.load(found.ref)
    np.testing.assert_array_equal(loaded["parameter"], found.arrays["parameter"])


# --- Kept by content --------------------------------------------------------------------------------------------------


def test_what_only_watches_is_in_no_key_and_changes_no_byte(store: Store, tmp_path: Path) -> None:
    spec = spec_of(store)
    first = fitted(store, spec)[0]
    assert first.key == optimise_key(dataclasses.replace(spec, needs=Needs(gpus=0.5)), "cpu")
    other = Store(str(tmp_path / "other"))
    watched = SerialLab(store=other, checkpoint_every=Interval(steps=1, seconds=None))
    (second,) = watched.optimise("another step", [spec]).result()
    assert second.key == first.key and files(other) == files(store)


def test_all_that_is_computed_is_in_the_key(store: Store) -> None:
    spec = spec_of(store)
    lab = SerialLab(store=store)
    others = lab.rows("others", lab.map("points", points_block, range(200), block=100, seed=2))
    changed = [
        spec,
        dataclasses.replace(spec, seed=4),
        dataclasses.replace(spec, settings=dataclasses.replace(FIT, lr=0.01)),
        dataclasses.replace(spec, refs={"points": others}),
        dataclasses.replace(spec, needs=Needs(threads=2)),
        dataclasses.replace(spec, function=dataclasses.replace(regression, version=2)),
        dataclasses.replace(spec, function=broken),
    ]
    assert len({optimise_key(each, "cpu") for each in changed}) == len(changed)
    assert optimise_key(spec, "cpu") != optimise_key(spec, "cuda")


def test_several_at_once_each_its_own_and_equal_ones_once(store: Store, taken: list[int]) -> None:
    specs = [spec_of(store, seed=seed) for seed in (0, 1, 0)]
    journal = Journal()
    found = fitted(store, *specs, journal=journal)
    assert found[0].key == found[2].key != found[1].key and len(taken) == 2 * 40
    assert journal.count("fit").items == 2


def test_damaged_and_fresh_ones_are_made_again(store: Store, taken: list[int]) -> None:
    spec = spec_of(store)
    fitted(store, spec)
    before = files(store)
    ((name, data),) = before.items()
    store.write(f"optimised/{name}", data[:-1] + bytes([data[-1] ^ 1]))
    taken.clear()
    fitted(store, spec)
    assert len(taken) == 40 and files(store) == before
    journal = Journal()
    for _ in range(2):
        fitted(store, spec, fresh=["fit"], journal=journal)
    assert len(taken) == 80 and journal.count("fit").reused_blocks == 1


def test_results_of_other_code_are_used_and_counted(
    store: Store, taken: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_of(store)
    before = fitted(store, spec)[0]
    monkeypatch.setattr("robustray.tasks.lab.optimising._code", lambda spec: "0123456789ab")
    journal = Journal()
    after = fitted(store, spec, journal=journal)[0]
    assert len(taken) == 40 and journal.count("fit").old_blocks == 1 and after.curve.equals(before.curve)


# --- Killed and resumed -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["SGD", "Adam", "Adagrad", "NAdam"])
@pytest.mark.parametrize("killed", [1, 4, 17, 39])
def test_a_killed_regressor_goes_on_to_the_bit(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed: int, optimizer: str
) -> None:
    spec = spec_of(store, settings=dataclasses.replace(FIT, optimizer=optimizer))
    calm = Store(str(tmp_path / "calm"))
    fitted(calm, spec)
    taken: list[int] = []

    def obey(folder: str, step: int) -> None:
        if step == killed and step not in taken:
            taken.append(step)
            raise Killed
        taken.append(step)

    monkeypatch.setattr("tests.tasks.optimisations.obey", obey)
    often = Interval(steps=4, seconds=None)
    with pytest.raises(Killed):
        fitted(store, spec, checkpoint_every=often)
    assert not files(store)
    taken.clear()
    taken.append(killed)
    fitted(store, spec, checkpoint_every=often)
    assert taken[1] == 4 * (killed // 4), "at most one interval is repeated"
    assert files(store) == files(calm), "with all of its curve"
    assert not store.list(f"checkpoints/{optimise_key(spec, 'cpu')}")


def test_a_killed_universal_perturbation_goes_on_to_the_bit(
    store: Store, refs: dict[str, Reference], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a lab: model, data and a sum of gradients that has a memory."""
    spec = OptimiseSpec(function=perturbation, settings=Universal(eps=0.2, ascent=ASCENT), refs=refs)
    calm = Store(str(tmp_path / "calm"))
    SerialLab(store=calm).optimise("design", [spec]).result()
    real = SharedParameter.steps

    def steps(self: SharedParameter) -> Generator[dict[str, float], None, None]:
        for row in real(self):
            if self.step == 8:
                raise Killed
            yield row

    often = Interval(steps=3, seconds=None)
    with monkeypatch.context() as patch:
        patch.setattr(SharedParameter, "steps", steps)
        with pytest.raises(Killed):
            SerialLab(store=store, checkpoint_every=often).optimise("design", [spec]).result()
    said: list[str] = []

    class Notes(Journal):
        def note(self, text: str) -> None:
            said.append(text)

    SerialLab(store=store, checkpoint_every=often, journal=Notes()).optimise("design", [spec]).result()
    assert files(store) == files(calm)
    assert said == ["design, perturbation with seed 0: goes on from its checkpoint after step 6"]


# --- What is refused --------------------------------------------------------------------------------------------------


def test_specs_that_cannot_be_used_are_refused_in_words(store: Store) -> None:
    for bad, says in (
        ({"function": lambda context: None}, "begins no optimisation; decorate it with @optimisation"),
        ({"seed": -1}, "seed must be a whole number of at least 0"),
        ({"refs": {"points": "digits:train"}}, "its points is 'digits:train', no reference: open it with"),
    ):
        given: dict[str, Any] = {"function": regression, "settings": FIT} | bad
        with pytest.raises(InputError, match=says):
            OptimiseSpec(**given)
    for settings, says in ((CrossEntropy, "no exact JSON form"), ({"lr": float("nan")}, "only finite numbers")):
        with pytest.raises(InputError, match=says):
            fitted(store, spec_of(store, settings=settings))
    with pytest.raises(InputError, match="no stable name"):

        @optimisation(version=1)
        def closure(context: Context) -> Any: ...


@optimisation(version=1)
def misspelt(context: Context) -> Any:
    return context.load(context.settings)


@optimisation(version=1)
def nothing(context: Context) -> Any:
    return context.settings


def test_what_a_function_gets_wrong_is_told_in_words(store: Store, refs: dict[str, Reference]) -> None:
    lab = SerialLab(store=store)
    for function, given, says in (
        (misspelt, refs, r"there is no reference 'modle': did you mean 'model'\? Known: data, model"),
        (misspelt, {}, "there is no reference 'modle'; its spec has none"),
        (nothing, refs, "it returned 'modle', no optimisation"),
    ):
        spec = OptimiseSpec(function=function, settings="modle", refs=given)
        with pytest.raises(WorkFailed, match=says):
            lab.optimise("design", [spec]).result()


def test_what_an_optimisation_refuses_ends_the_step_in_words(store: Store, refs: dict[str, Reference]) -> None:
    lab = SerialLab(store=store)
    ascent = dataclasses.replace(ASCENT, batch_size=5000)
    spec = OptimiseSpec(function=perturbation, settings=Universal(eps=0.2, ascent=ascent), refs=refs)
    with pytest.raises(WorkFailed, match=r"design, perturbation with seed 0 failed: InputError: batch_size 5000: only"):
        lab.optimise("design", [spec]).result()


@pytest.mark.parametrize(
    ("gives", "says"),
    [
        ("nothing", "its result is empty"),
        ("infinite", "its result 'a' has entries that are not finite"),
        ("bfloat16", "its result 'a' is torch.bfloat16, expected a tensor"),
        ("number", "its result 'a' is float, expected a tensor"),
        ("diverges", "the loss is not finite in step 0"),
    ],
)
def test_results_that_later_steps_cannot_read_are_not_kept(store: Store, gives: str, says: str) -> None:
    with pytest.raises(WorkFailed, match=says):
        fitted(store, OptimiseSpec(function=broken, settings=gives))
    assert not files(store)


def test_a_lab_refuses_what_the_study_does_not_declare(store: Store) -> None:
    outline = Outline(
        name="nothing",
        question="?",
        paper="none",
        settings=dict,
        sizes={},
        estimate=lambda settings: Work(counts={"fits": 1}, note="A second."),
    )
    study = Study(
        outline=outline,
        door=lambda s, lab: Opened(refs={}),
        run=lambda s, lab: Findings(answer=""),
        steps={"train": TRAIN, "fit": regression, "points": points_block},
    )
    assert study.functions == (regression, points_block) and study.declared["fit"] == (regression,)
    assert {"robustray.tasks.lab.optimising:OptimiseJob", regression.qualified_name} <= study.roots
    lab = SerialLab(store=store)
    spec = spec_of(store)
    lab.declared = study.declared
    assert len(lab.optimise("fit", [spec]).result()) == 1
    for step, function in (("other", regression), ("fit", broken)):
        with pytest.raises(InputError, match=f"its step '{step}' runs .*:{function.function.__name__}"):
            lab.optimise(step, [dataclasses.replace(spec, function=function)])


def test_one_that_is_gone_is_told(store: Store) -> None:
    (found,) = fitted(store, spec_of(store))
    (name,) = files(store)
    store.delete(f"optimised/{name}")
    with pytest.raises(WorkFailed, match="is gone or damaged; run the same command again"):
        found.ref.fetch()
