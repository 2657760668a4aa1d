"""What a study declares, and one's own study by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import make_dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from robustray.distributed.commands import run as run_command
from robustray.tasks.cost import Work
from robustray.tasks.errors import InputError
from robustray.tasks.lab.protocol import Context, block_function
from robustray.tasks.lab.serial import SerialLab
from robustray.tasks.lab.store import Store
from robustray.tasks.study import (
    LEARN,
    STUDIES,
    TRAIN,
    Findings,
    Opened,
    Outline,
    Size,
    Study,
    load_outline,
    load_study,
    scale_of,
)


@block_function(version=1, columns={"item": pa.int64()})
def first(items: Sequence[int], context: Context) -> Mapping[str, Any]:
    return {"item": items}


@block_function(version=1, columns={"item": pa.int64()})
def second(items: Sequence[int], context: Context) -> Mapping[str, Any]:
    return {"item": items}


def study(**steps: Any) -> Study:
    outline = Outline(
        name="nothing",
        question="?",
        paper="none",
        settings=dict,
        sizes={},
        estimate=lambda settings: Work(counts={"environment steps": 50_000, "updates": 200}, note="Steps dominate."),
    )
    return Study(
        outline=outline, door=lambda s, lab: Opened(refs={}), run=lambda s, lab: Findings(answer=""), steps=steps
    )


UNADVERSARIAL, SYNTHESIS = load_outline("unadversarial"), load_outline("synthesis")


@pytest.mark.parametrize(
    "outline, size, changes, shown",
    [
        (UNADVERSARIAL, "small", {}, "small"),
        (UNADVERSARIAL, "paper", {}, "paper"),
        (UNADVERSARIAL, "small", {"task": "objects"}, "small"),
        (UNADVERSARIAL, "quick", {"task": "objects"}, "quick"),
        (UNADVERSARIAL, "paper", {"task": "objects"}, "paper"),  # trains the paper's networks
        (UNADVERSARIAL, "small", {"task": "landing"}, "small"),
        (UNADVERSARIAL, "paper", {"task": "landing"}, "small"),  # reads nothing that differs from the small size
        (UNADVERSARIAL, "small", {"task": "objects", "num_views": 300}, "custom"),
        (UNADVERSARIAL, "small", {"task": "objects", "seed": 1}, "custom"),
        (UNADVERSARIAL, "small", {"task": "objects", "mesh": "my.obj", "mesh_class": "cat"}, "custom"),
        (UNADVERSARIAL, "small", {"num_images": 5}, "custom"),
        (SYNTHESIS, "small", {"task": "inpaint"}, "small"),
        (SYNTHESIS, "small", {"task": "inpaint", "image": "mine.png"}, "custom"),
        (load_outline("gaussian-features"), "quick", {"seed": 100}, "custom"),
    ],
)
def test_a_task_of_a_study_is_of_the_size_whose_settings_it_reads(
    outline: Outline, size: Any, changes: Mapping[str, Any], shown: str
) -> None:
    assert scale_of(outline, replace(outline.sizes[size], **changes), size) == shown


def test_of_sizes_that_are_the_same_a_run_is_of_the_one_that_was_asked_for() -> None:
    quick = SYNTHESIS.sizes["quick"]
    same = replace(SYNTHESIS, sizes={"quick": quick, "small": quick, "paper": quick})
    asked: Sequence[Size | None] = (None, "small", "paper")
    found = [scale_of(same, quick, each) for each in asked]
    assert found == ["quick", "small", "paper"]


def test_the_next_command_after_a_quick_task_names_it() -> None:
    quick = UNADVERSARIAL.sizes["quick"]
    for settings, words in ((quick, ""), (replace(quick, task="objects"), " --task objects")):
        request: Any = SimpleNamespace(size="quick", study=SimpleNamespace(outline=UNADVERSARIAL), settings=settings)
        assert f"show unadversarial{words} --size small" in run_command._next_command(request, run_command.Where())


def test_a_size_that_a_study_of_ones_own_does_not_have_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    one = replace(SYNTHESIS, sizes={"quick": SYNTHESIS.sizes["quick"]})
    monkeypatch.setattr(run_command, "load_outline", lambda name: one)
    with pytest.raises(InputError, match="--size small: synthesis has no such size"):
        run_command.read_command(["synthesis", "--size", "small"], "run")


def test_the_task_of_a_study_is_one_of_its_settings() -> None:
    with pytest.raises(InputError, match="task names 'taks', which is no setting: did you mean 'task'"):
        replace(SYNTHESIS, task="taks")


@pytest.mark.parametrize("name", ["size", "sizes"])
def test_a_setting_can_not_be_named_like_the_flag_of_a_run(name: str) -> None:
    settings = make_dataclass("Settings", [(name, int)])
    with pytest.raises(InputError, match=f"'{name}': --size chooses"):
        replace(study().outline, settings=settings)


def test_functions_follow_from_steps_each_once() -> None:
    found = study(train=TRAIN, clean=first, attack=(first, second), learn=LEARN)
    assert found.functions == (first, second)
    assert found.declared == {"train": (), "clean": (first,), "attack": (first, second), "learn": ()}


def test_a_lab_refuses_what_is_not_declared(tmp_path: Path) -> None:
    lab = SerialLab(store=Store(str(tmp_path)))
    assert len(lab.map("anything", first, [1], block=1).result()) == 1  # a notebook's lab takes all
    lab.declared = study(clean=first).declared
    assert len(lab.map("clean", first, [2], block=1).result()) == 1
    for step, function in (("attack", first), ("clean", second)):
        with pytest.raises(InputError, match=rf"its step '{step}' runs .*:{function.function.__name__}"):
            lab.map(step, function, [1], block=1)


def test_work_is_counted_in_the_units_of_the_study() -> None:
    work = study().outline.estimate({})
    assert work.words == "up to 50,000 environment steps, 200 updates. Steps dominate."


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_has_its_name_and_declares_its_steps(name: str) -> None:
    found = load_study(name)
    assert found.outline is load_outline(name) and found.outline.name == name
    assert found.steps and set(found.outline.sizes) == {"quick", "small", "paper"}


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("atack-sweep", "there is no study 'atack-sweep': did you mean 'attack-sweep'?"),
        ("not_there_at_all:study", "there is no module 'not_there_at_all'"),
        ("json:study", "json has no function 'study'"),
        ("json:JSONDecoder", "must return a robustray.tasks.study.Study"),
        ("json:loads", "study json:loads: TypeError"),
    ],
)
def test_a_name_that_is_no_study_is_refused_in_words(name: str, says: str) -> None:
    for load in (load_study, load_outline):
        with pytest.raises(InputError, match=says.replace("?", r"\?")) as refused:
            load(name)
        assert "\n" not in str(refused.value)
