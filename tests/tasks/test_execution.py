"""What a study raises, and what then stands in its run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from robustray.tasks import execution
from robustray.tasks.errors import InputError, WorkFailed
from robustray.tasks.execution import Request, execute
from robustray.tasks.lab import code, runs
from robustray.tasks.lab.serial import SerialLab
from robustray.tasks.lab.store import Store
from robustray.tasks.studies.attack_sweep.settings import SIZES
from robustray.tasks.studies.attack_sweep.study import STUDY
from robustray.tasks.study import Study
from robustray.tasks.training import reference_twins as twins
from robustray.tasks.training.handle import training_key
from robustray.tasks.training.settings import TrainSpec


@pytest.mark.parametrize(
    ("error", "raised", "says"),
    [
        (InputError("--model m: no image is classified correctly"), InputError, "--model m: no image"),
        (ZeroDivisionError("division by zero"), WorkFailed, "ZeroDivisionError: division by zero"),
    ],
)
def test_bad_input_that_shows_only_in_results_is_still_the_users(
    error: Exception, raised: type[Exception], says: str, tmp_path: Path
) -> None:
    """An InputError ends the command with 2 and one line; a bug ends it with 1 and a traceback in the log."""

    def refuse(settings: Any, lab: Any) -> Any:
        raise error

    refuse.__module__ = STUDY.run.__module__  # whose source is hashed
    settings = replace(SIZES["quick"], models=("digits:mlp",), num_images=20)
    request = Request(study=replace(STUDY, run=refuse), settings=settings, size="custom", command="", options={})
    store = Store(str(tmp_path))
    with pytest.raises(raised) as caught:
        execute(request, store=store, make_lab=lambda store: SerialLab(store=store))
    (run,) = runs.all_runs(store)
    assert says in str(caught.value) and says in run.file.error
    assert run.file.status == "failed"
    assert ("traceback" in str(caught.value)) == (raised is WorkFailed)


TWIN = "twin:linf8:0"


@pytest.fixture(name="request_")
def request_fixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Request:
    """A sweep over a twin that is found nowhere, trains in a second, and has the key of that training."""
    tiny = TrainSpec(model="digits:mlp", data="digits:train", epochs=1)
    lab = SerialLab(store=Store(str(tmp_path / "no store")))
    monkeypatch.setattr(twins, "PUBLISHED", tmp_path / "nothing")
    monkeypatch.setattr("robustray.tasks.training.reference.reference_specs", lambda seed: {"linf8": tiny})
    monkeypatch.setitem(twins.TWINS, TWIN, training_key(tiny.settled("cpu"), lab.data("digits:train"), "cpu"))
    settings = replace(SIZES["quick"], models=(TWIN,), attacks=("pgd",), norms=("linf",), num_images=20)
    return Request(study=STUDY, settings=settings, size="custom", command="", options={})


def start(request: Request, store: Store) -> Any:
    return execute(request, store=store, make_lab=lambda store: SerialLab(store=store))


def killed_after_training(study: Study) -> Study:
    """A driver that is killed when its models are there."""

    def run(settings: Any, lab: Any) -> Any:
        lab.models(settings.models)
        raise KeyboardInterrupt

    run.__module__, run.__qualname__ = study.run.__module__, study.run.__qualname__  # whose source is hashed
    return replace(study, run=run)


def test_a_run_that_was_killed_after_it_trained_a_twin_goes_on(request_: Request, tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    with pytest.raises(KeyboardInterrupt):
        start(replace(request_, study=killed_after_training(STUDY)), store)
    (killed,) = runs.all_runs(store)
    assert killed.file.status == "interrupted"
    finished = start(request_, store).run
    assert finished.id == killed.id and finished.file.attempts == 2 and finished.file.status == "finished"
    assert finished.file.identity == killed.file.identity
    again = start(request_, store)
    assert again.findings is None and again.run.id == killed.id, "a finished run is shown again"


def test_a_twin_that_another_run_trained_makes_no_other_run(request_: Request, tmp_path: Path) -> None:
    """Whether the twin is missing, found, or was trained by another run: one command is one run, in any store."""
    here, there = Store(str(tmp_path / "here")), Store(str(tmp_path / "there"))
    missing = start(request_, here).run
    SerialLab(store=there).model(TWIN)
    found = start(request_, there).run
    assert found.file.identity == missing.file.identity
    assert {run.counts.get("train") is None for run in (missing, found)} == {True, False}
    other = start(replace(request_, settings=replace(request_.settings, num_images=21)), here).run
    assert other.file.identity.hash8 != missing.file.identity.hash8, "settings still do"
    assert other.counts.get("train") is None and start(request_, here).run.id == missing.id


def test_the_code_of_a_run_is_also_that_of_what_it_trains(
    request_: Request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a finished run is walked through again where a network, or the training, has changed."""
    asked: list[set[str]] = []

    def noted(roots: Any) -> str:
        asked.append(set(roots))
        return code.code_hash(roots)

    monkeypatch.setattr(execution, "code_hash", noted)
    lab = SerialLab(store=Store(str(tmp_path / "store")))
    for name in (TWIN, "digits:cnn"):
        wanted = replace(request_, settings=replace(request_.settings, models=(name,)))
        execution.identify(wanted, wanted.study.door(wanted.settings, lab), lab)
    for roots, network in zip(asked, ("DigitsMlp", "DigitsCnn"), strict=True):
        reached = code.reached(roots)
        assert {f"robustray.tasks.models.digits:{network}", "robustray.tasks.training.loop:train_model"} <= set(reached)
