"""`robustray.run` is the same as the command."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import robustray
from robustray.tasks.errors import InputError
from robustray.tasks.lab.serial import SerialLab
from robustray.tasks.lab.store import Store
from robustray.tasks.studies.attack_sweep.settings import SIZES, Settings, quick
from tests.cli.conftest import (
    Original,
    computed,
    ids,
    run_file,
)

SETTINGS = replace(
    quick(),
    models=("digits:mlp",),
    num_images=40,
    attacks=("fgsm",),
    norms=("linf",),
    eps_linf=(0.1, 0.3),
    num_examples=1,
)
"""What `FIRST` asks for."""


def test_from_python_it_is_the_same_run(cli: Any, runs: Path, original: Original) -> None:
    findings = robustray.run("attack-sweep", SETTINGS, store=Path("runs"), data_root=Path("nowhere"))
    assert findings.answer == run_file(original.store, original.run)["document"]["answer"]
    assert ids(runs) == [original.run] and len(computed(runs, original.run)) == 5
    assert findings.tables[0].name == "worst-case"


def test_from_python_with_a_lab_of_ones_own(cli: Any, runs: Path, original: Original) -> None:
    lab = SerialLab(store=Store(str(runs)))
    findings = robustray.run("attack-sweep", SETTINGS, lab=lab)
    assert findings.answer == run_file(original.store, original.run)["document"]["answer"]
    assert lab.journal.counts["attack"].computed_blocks == 0 and lab.journal.counts["attack"].reused_blocks == 2
    assert ids(runs) == [original.run]
    lab.close()


def test_settings_that_begin_with_those_of_any_size_or_the_defaults_are_not_idle(cli: Any) -> None:
    """Sizes of l2 do nothing without the norm, and nobody gave them."""
    few = {"models": ("digits:mlp",), "data": ("digits:test",), "attacks": ("fgsm",), "norms": ("linf",)}
    for begun in (replace(SIZES["small"], **few), Settings(**few)):  # type: ignore[arg-type]
        tiny = replace(begun, num_images=4, num_examples=1, num_transfer=0, eps_linf=(0.1,))
        assert "n = 4" in robustray.run("attack-sweep", tiny).answer


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: robustray.run("attack-swep"), "did you mean 'attack-sweep'"),
        (lambda: robustray.run("attack-sweep", size="smal"), "did you mean 'small'"),
        (lambda: robustray.run("attack-sweep", {"models": ()}), "settings of attack-sweep must be Settings"),
        (
            lambda: robustray.run("attack-sweep", replace(SETTINGS, num_draws=7)),
            "--num-draws does nothing here: only the attack noise takes it",
        ),
        (lambda: robustray.run("attack-sweep", workers=-1), "--workers -1"),
    ],
)
def test_from_python_bad_input_is_an_input_error(call: Callable[[], Any], says: str, cli: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=re.escape(says)):
        call()
    assert not any(tmp_path.iterdir())
