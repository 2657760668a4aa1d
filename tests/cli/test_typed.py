"""Commands that are printed can be typed: they start as the user's did and name the store that was given."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from robustray.distributed.commands.parsing import gather
from robustray.tasks.typed import spell_commands, spell_like, store_of
from tests.cli.conftest import TYPED

RETRY = "item 3 is missing; `robustray resume RUN --failed` tries it again."


@pytest.mark.parametrize(
    ("text", "store", "spelt"),
    [
        (RETRY, None, "item 3 is missing; `python -m robustray resume RUN --failed` tries it again."),
        (RETRY, "my runs", "item 3 is missing; `python -m robustray resume RUN --failed --store 'my runs'` tries it"),
        ("`robustray list --store a` and `robustray status`", "b", "list --store a` and `python -m robustray status -"),
        ("`robustray import weights w.pt`", "b", "`python -m robustray import weights w.pt`"),
        ("robustray is no command, `robustray.run(...)` neither", "b", "robustray is no command, `robustray.run(...)`"),
    ],
)
def test_commands_in_a_text(text: str, store: str | None, spelt: str) -> None:
    assert spelt in spell_commands(text, "python -m robustray", store)


@pytest.mark.parametrize(
    ("command", "starts", "ends"),
    [
        ("robustray run attack-sweep", "`robustray resume", "--failed`"),
        ("python -m robustray run attack-sweep --store x --seed 1", "`python -m robustray resume", "--store x`"),
        ("'/my venv/bin/python' -m robustray run x --store=a --store b", "`'/my venv/bin/python' -m ", "--store b`"),
        ("'/to run in/robustray' run attack-sweep", "`'/to run in/robustray' resume", "--failed`"),
        ("robustray.run('attack-sweep', Settings(models=(\"it's\",)))", "`robustray resume", "--failed`"),
    ],
)
def test_a_page_spells_commands_like_its_own(command: str, starts: str, ends: str) -> None:
    text = spell_like(RETRY, command)
    assert starts in text and ends in text


def test_the_store_that_was_given_is_the_last_one() -> None:
    assert store_of(["--store", "a", "--store=b"]) == "b"
    assert store_of(["status"]) is None and store_of(["--store"]) is None


def test_the_page_names_the_command_as_it_was_typed(
    cli: Any, runs: Path, troubled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the page is written again by someone who starts robustray in another way."""
    (runs.parent / "MemoryError").write_text("20")
    outcome = cli(f"{troubled} --store runs")
    assert outcome.code == 1
    (run,) = re.findall(r"report +\S*/runs/(\S+)/report.html", outcome.out)
    printed = f"`{TYPED} resume {run} --failed --store runs` tries it again"
    assert printed in " ".join(outcome.out.split())
    page = runs / run / "report.html"
    assert printed in page.read_text()
    monkeypatch.setattr("sys.orig_argv", ["/home/me/.venv/bin/python", "-m", "robustray", "report"])
    outcome = cli(f"report {run}")
    assert printed in page.read_text() and "/home/me" not in page.read_text()
    assert f"`/home/me/.venv/bin/python -m robustray resume {run} --failed` tries it" in " ".join(outcome.out.split())


def test_errors_and_lists_name_commands_as_they_are_typed(cli: Any, runs: Path) -> None:
    outcome = cli("run attack-sweep --workers 0 --model digits:mlp@w.pt --store 'my runs'")
    assert outcome.code == 2 and f"`{TYPED} import weights w.pt`" in outcome.err
    assert f"`{TYPED} import cifar10`" in cli("list").out and "`robustray " not in cli("list").out
    assert not any("`robustray " in words for words in json.loads(cli("list --json").out)["data"].values())


@dataclass
class Sized:
    side: int = 1
    sides: tuple[int, ...] = ()
    models: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()


def test_a_singular_that_is_a_field_of_its_own_is_that_field() -> None:
    """`--side 70` once set sides, in silence."""
    assert gather(["--side", "70"], Sized) == ["--side", "70"]
    assert gather(["--sides", "3", "--sides", "4", "--model", "a", "--model", "b"], Sized) == [
        *("--sides", "3", "4"),
        *("--models", "a", "b"),
    ]
    assert gather(["--class", "star"], Sized) == ["--classes", "star"]
