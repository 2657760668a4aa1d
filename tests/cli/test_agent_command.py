"""`robustray agent`: what each verb prints and writes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from robustray.tasks.lab.serial import SerialLab
from robustray.tasks.lab.store import Store
from robustray.tasks.policy_gradients.agent import load_agent
from robustray.tasks.policy_gradients.settings import AgentSpec, PolicyGradient
from tests.cli.conftest import TYPED
from tests.tasks.rl_environments import HERE

SETTINGS = PolicyGradient(steps_per_stream=64, num_minibatches=4, hidden=(8,))


@pytest.fixture
def key(tmp_path: Path) -> str:
    """Of an agent in ./runs, kept before updates 0 and 2."""
    store = Store(str(tmp_path / "runs"))
    store.create()
    spec = AgentSpec(environment=f"{HERE}:Drawn", settings=SETTINGS, iterations=2, milestones=(0,))
    return SerialLab(store=store).learn([spec]).result()[0].key


def test_agents_are_listed_with_what_to_type_next(cli: Any, key: str) -> None:
    outcome = cli("agent list")
    assert outcome.code == 0 and re.search(rf"^{key} +ppo +{HERE}:Drawn +0 +0 2$", outcome.out, re.MULTILINE)
    assert f"next: {TYPED} agent evaluate {key}" in outcome.out
    (row,) = json.loads(cli("agent list --json").out)["agents"]
    assert row["key"] == key and row["kept"] == [0, 2]
    empty = cli("agent list --store other")
    assert empty.code == 0 and "no agents in" in empty.out and "tune five-algorithms --store other" in empty.out


def test_episodes_are_told_one_by_one_and_their_mean_with_its_interval(cli: Any, key: str) -> None:
    outcome = cli(f"agent evaluate {key} --episodes 4 --seed 1")
    assert outcome.code == 0 and not outcome.err
    played = load_agent(key).evaluate(episodes=4, seed=1)
    rows = [line.split()[:4] for line in outcome.out.splitlines() if re.match(r" +\d+ ", line)]
    wanted = [[str(r.episode), str(r.seed), str(r.length), f"{r.episode_return:.2f}"] for r in played.itertuples()]
    assert rows == wanted
    assert f"ppo agent of {HERE}:Drawn, seed 0, after 2 of 2 updates (128 environment steps)" in outcome.out
    assert re.search(r"mean return: −\S+ \[−\S+, −?\S+\], n = 4 episodes of this one agent", outcome.out), outcome.out

    document = json.loads(cli(f"agent evaluate {key}@0 --episodes 4 --seed 1 --deterministic --json").out)
    assert document["agent"]["update"] == 0 and document["deterministic"] and document["mean_return"]["n"] == 4
    other = load_agent(f"{key}@0").evaluate(episodes=4, seed=1, deterministic=True)
    assert document["episodes"] == other.to_dict(orient="records")


def test_an_environment_that_breaks_ends_the_command_with_its_place(cli: Any, key: str) -> None:
    outcome = cli(f"agent evaluate {key} --environment {HERE}:RaisesInStep")
    assert outcome.code == 1 and "RaisesInStep, step 7 after the reset with seed" in outcome.err


def test_what_cannot_be_repeated_is_said(cli: Any, key: str) -> None:
    outcome = cli(f"agent evaluate {key} --environment {HERE}:Unrepeatable --episodes 2")
    assert outcome.code == 0 and "gives other numbers for the same seed" in outcome.err


def test_a_clip_and_a_module_are_written(cli: Any, key: str, tmp_path: Path) -> None:
    outcome = cli(f"agent render {key} clip.gif --steps 30 --seed 1")
    assert outcome.code == 0 and "wrote clip.gif: 30 steps in" in outcome.out
    assert (tmp_path / "clip.gif").read_bytes().startswith(b"GIF89a")

    outcome = cli(
        f"agent export runs/agents/{key}/{sorted((tmp_path / 'runs/agents' / key).glob('state*'))[-1].name} out"
    )
    assert outcome.code == 0 and "load_policy" in outcome.out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["agent.json", "policy.safetensors"]
