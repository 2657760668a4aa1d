"""A study in an environment that does not repeat itself: its page says so, and takes back what it would promise."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import ids, run_file
from tests.tasks.rl_environments import HERE

STUDY = """
from dataclasses import dataclass

from robustray.tasks.kit.compose import compose
from robustray.tasks.policy_gradients.settings import AgentSpec, PolicyGradient
from robustray.tasks.cost import Work
from robustray.tasks.study import LEARN, Opened, Outline, Study, Table


@dataclass(frozen=True, kw_only=True)
class Settings:
    environment: str = "HERE:Unrepeatable"
    '''Where it learns.'''
    seed: int = 0
    '''Of the agent.'''


def run(settings, lab):
    small = PolicyGradient(steps_per_stream=64, num_minibatches=4, hidden=(8,))
    spec = AgentSpec(environment=settings.environment, settings=small, seed=settings.seed, iterations=2)
    (learned,) = lab.learn([spec]).result()
    table = Table(name="curve", title="Curve", caption="One agent.", frame=learned.curve[["update", "kl"]])
    return compose("An agent was trained.", table)


def study():
    outline = Outline(
        name="luck",
        question="Does luck repeat?",
        paper="a test",
        settings=Settings,
        sizes={"quick": Settings(), "small": Settings(seed=1), "paper": Settings(seed=2)},
        estimate=lambda settings: Work(counts={"updates": 2}, note="A second."),
    )
    return Study(outline=outline, door=lambda settings, lab: Opened(refs={}), run=run, steps={"learn": LEARN})
""".replace("HERE", HERE)
PROMISE = "Run it again to get this page again"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "luck.py").write_text(STUDY)
    return tmp_path


def page_of(folder: Path, run: str) -> str:
    text = re.sub(r"<[^>]+>", "", (folder / "runs" / run / "report.html").read_text())
    return " ".join(text.split())


def takes_back(page: str) -> None:
    assert PROMISE not in page and "Computed anew it gives another page" in page
    assert "seed 0, not repeatable" in page and "what rests on it cannot be repeated" in page


def test_the_page_takes_back_the_promise_of_repeatability(cli: Any, folder: Path) -> None:
    outcome = cli("run luck:study --workers 0")
    said = " ".join((outcome.out + outcome.err).split())
    assert outcome.code == 0, outcome
    assert f"environment {HERE}:Unrepeatable gives other numbers for the same seed" in said
    (run,) = ids(folder / "runs")
    takes_back(page_of(folder, run))
    assert run_file(folder / "runs", run)["unrepeatable"] == [f"environment {HERE}:Unrepeatable"]

    # Written again from the kept agent, which nobody trains: it still says so.
    (folder / "runs" / run / "report.html").unlink()
    assert cli(f"report {run}").code == 0
    takes_back(page_of(folder, run))


def test_it_really_gives_another_page_and_one_that_repeats_does_not(cli: Any, folder: Path) -> None:
    """What is taken back is not there, and what is promised is."""
    tables: dict[str, list[bytes]] = {}
    pages = {}
    for environment in ("Unrepeatable", "Target"):
        for number in (1, 2):
            store = folder / f"{environment}-{number}"
            assert cli(f"run luck:study --workers 0 --environment {HERE}:{environment} --store {store}").code == 0
            (run,) = ids(store)
            tables.setdefault(environment, []).append((store / run / "tables" / "curve.parquet").read_bytes())
            pages[environment] = (store / run / "report.html").read_text()
            assert bool(run_file(store, run)["unrepeatable"]) == (environment == "Unrepeatable")
    assert tables["Unrepeatable"][0] != tables["Unrepeatable"][1]
    assert tables["Target"][0] == tables["Target"][1]
    assert PROMISE in pages["Target"] and "not repeatable" not in pages["Target"]
