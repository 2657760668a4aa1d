"""Agents at work: clips of the episodes that are evaluated, means with intervals, what is handed on."""

from __future__ import annotations

import dataclasses
import importlib.util
import itertools
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from robustray.tasks.errors import InputError
from robustray.tasks.lab import keys
from robustray.tasks.lab.serial import SerialLab
from robustray.tasks.lab.store import Store
from robustray.tasks.policy_gradients import clips, files, using
from robustray.tasks.policy_gradients.agent import Agent, load_agent
from robustray.tasks.policy_gradients.environments import open_environment
from robustray.tasks.policy_gradients.export import load_policy
from robustray.tasks.policy_gradients.loop import train_agent
from robustray.tasks.policy_gradients.settings import AgentSpec, PolicyGradient
from tests.tasks.rl_environments import HERE, Drawn

SMALL: dict[str, Any] = {"steps_per_stream": 64, "num_minibatches": 4, "hidden": (8,)}
SPEC = AgentSpec(environment=f"{HERE}:Drawn", settings=PolicyGradient(**SMALL), iterations=2, milestones=(1,))


@pytest.fixture(scope="module")
def agent() -> Agent:
    return Agent(train_agent(SPEC).state)


def frames_of(path: Path) -> list[np.ndarray[Any, Any]]:
    with Image.open(path) as clip:
        found = []
        for number in range(getattr(clip, "n_frames", 1)):
            clip.seek(number)
            found.append(np.asarray(clip.convert("RGB")))
    return found


# --- Clips --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["clip.gif", "clip.png"])
def test_a_clip_shows_the_episodes_that_evaluate_plays(agent: Agent, tmp_path: Path, name: str) -> None:
    """Every second step, as the environment says 50 a second and a clip shows 25; and the last one of each episode."""
    clip = agent.render(tmp_path / name, steps=60, seed=3)
    played = agent.evaluate(episodes=len(clip.episodes), seed=3)
    assert list(clip.episodes[:-1]) == played.to_dict(orient="records")[:-1]
    assert sum(row["length"] for row in clip.episodes) == 60
    assert [path.name for path in tmp_path.iterdir()] == [name], "no draft is left behind"

    wanted, environment = [], agent.open(drawn=True)
    for row in clip.episodes:
        for step in itertools.islice(agent.steps(environment, row["episode"], 3, False), row["length"] + 1):
            if step["length"] % 2 == 0 or step["terminated"]:
                wanted.append(environment.frame()[0, 0, 0])
    shown = frames_of(clip.path)
    assert len(wanted) == clip.num_frames and clip.seconds == pytest.approx(0.04 * clip.num_frames)
    # Equal frames that follow each other are one frame of a file.
    runs = [grey for i, grey in enumerate(wanted) if i == 0 or grey != wanted[i - 1]]
    assert [int(frame[0, 0, 0]) for frame in shown] == [int(grey) for grey in runs]
    assert all(frame.shape == (6, 8, 3) for frame in shown)


class NoPicture(Drawn):
    def render(self) -> Any:
        return "a hopper"


class Broken(Drawn):
    def render(self) -> Any:
        raise OSError("no pencil")


class Growing(Drawn):
    def render(self) -> Any:
        return np.zeros((6 + self.steps, 8, 3), np.uint8)


@pytest.mark.parametrize(
    ("environment", "name", "says"),
    [
        (f"{HERE}:Drawn", "clip.mp4", "its name ends in .gif or .png"),
        (f"{HERE}:Drawn", "no/folder/clip.gif", "there is no folder"),
        (f"{HERE}:Target", "clip.gif", 'its class takes render_mode="rgb_array"'),
        (f"{HERE}:RobustrayTarget-v0", "clip.gif", 'its class takes render_mode="rgb_array"'),
        (f"{__name__}:NoPicture", "clip.gif", r"not bytes \(height, width, 3\)"),
        (f"{__name__}:Broken", "clip.gif", "it cannot be drawn: OSError: no pencil"),
        (f"{__name__}:Growing", "clip.gif", "its frames are not all of one size"),
        (f"{HERE}:Choice", "clip.gif", "made for other observations or actions|render_mode"),
    ],
)
def test_what_cannot_be_drawn_is_refused_and_leaves_nothing(
    agent: Agent, tmp_path: Path, environment: str, name: str, says: str
) -> None:
    with pytest.raises(InputError, match=says):
        agent.render(tmp_path / name, environment, steps=5)
    assert not list(tmp_path.rglob("*"))


@pytest.mark.parametrize("steps", [0, clips.MAX_STEPS + 1])
def test_a_clip_has_a_length(agent: Agent, tmp_path: Path, steps: int) -> None:
    with pytest.raises(InputError, match="steps must be 1 to"):
        agent.render(tmp_path / "clip.gif", steps=steps)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is always something to draw by")
def test_mujoco_without_a_display_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MUJOCO_GL", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InputError, match=r"set MUJOCO_GL=egl \(needs libEGL.*it is not set"):
        open_environment("Hopper-v5", clip_actions=False, drawn=True)
    open_environment("Hopper-v5", clip_actions=False).close()


def test_classic_control_says_that_it_wants_pygame() -> None:
    environment = open_environment("CartPole-v1", clip_actions=False, drawn=True)
    environment.reset(seed=0)
    if importlib.util.find_spec("pygame") is None:
        with pytest.raises(InputError, match=r"it cannot be drawn: .*pygame is not installed, run `pip install"):
            environment.frame()
    else:
        assert environment.frame().shape == (400, 600, 3)
    environment.close()


def test_hopper_is_drawn_where_there_is_gl(tmp_path: Path) -> None:
    """In a process of its own: what MuJoCo draws by is settled once in each."""
    code = (
        "from robustray.tasks.policy_gradients.environments import open_environment as o\n"
        "e = o('Hopper-v5', clip_actions=False, drawn=True); e.reset(seed=0); f = e.frame()\n"
        "print('drawn', f.shape, f.std() > 10)"
    )
    variables = {"MUJOCO_GL": "egl", **os.environ}
    command = [sys.executable, "-c", code]
    without = {**variables, "__EGL_VENDOR_LIBRARY_FILENAMES": "/nowhere"}  # most EGLs find no driver then
    for environment in (variables, without) if variables["MUJOCO_GL"] == "egl" else (variables,):
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
        if ended.returncode:
            reason = ended.stderr.strip().splitlines()[-1]  # and nothing behind it
            assert "InputError" in reason and "MUJOCO_GL=egl (needs libEGL" in reason, ended.stderr
            if environment is variables:
                pytest.skip(reason)
        else:
            assert "drawn (480, 480, 3) True" in ended.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="OSMesa is Linux's")
def test_a_renderer_that_is_not_there_is_named() -> None:
    """`import mujoco` fails with it, whether anything is drawn or not."""
    code = (
        "from robustray.tasks.policy_gradients.environments import open_environment\n"
        "open_environment('Hopper-v5', clip_actions=True)"
    )
    variables = {**os.environ, "MUJOCO_GL": "osmesa"}
    ended = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, timeout=120)
    if ended.returncode == 0:
        pytest.skip("OSMesa is there")
    assert "MUJOCO_GL is 'osmesa': egl needs libegl1, osmesa needs libosmesa6" in ended.stderr


# --- Evaluation ---------------------------------------------------------------------------------------------------


def test_an_evaluation_is_the_episodes_and_their_mean_with_its_interval(agent: Agent) -> None:
    found = using.evaluate(agent, episodes=5, seed=1)
    returns = found.episodes["episode_return"].to_numpy()
    assert found.episodes.equals(agent.evaluate(episodes=5, seed=1)) and not found.warnings
    assert found.mean_return.value == pytest.approx(returns.mean()) and found.mean_return.n == 5
    half = 2.7764451 * returns.std(ddof=1) / math.sqrt(5)  # Student's t with 4 degrees of freedom
    assert found.mean_return.hi == pytest.approx(returns.mean() + half)
    one = using.evaluate(agent, episodes=1, seed=1).document()
    assert one["mean_return"]["interval"] == [None, None] and json.dumps(one, allow_nan=False)


def test_what_stands_against_comparing_is_said(agent: Agent) -> None:
    (warning,) = using.evaluate(agent, f"{HERE}:Unrepeatable", episodes=1, seed=0).warnings
    assert "gives other numbers for the same seed" in warning
    older = Agent(agent.state, {"mujoco": "3.3.7"})
    (warning,) = using.evaluate(older, episodes=1, seed=0).warnings
    assert "trained with mujoco 3.3.7" in warning


# --- Kept agents --------------------------------------------------------------------------------------------------


def test_agents_of_a_store_are_listed_and_one_is_handed_on(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    assert using.list_agents(store) == []
    store.create()
    (learned,) = SerialLab(store=store).learn([SPEC]).result()
    (row,) = using.list_agents(store)
    assert row["key"] == learned.key and row["kept"] == [1, 2] and row["update"] == 2 and row["env_steps"] == 128
    assert row["versions"]["gymnasium"] and row["environment"] == f"{HERE}:Drawn"

    store.write(learned.final.file.name, b"torn")
    (row,) = using.list_agents(store)
    assert row["update"] == 1, "the last one that is whole"

    agent = load_agent(f"{learned.key}@1", store=store.url)
    policy, described = using.export(agent, tmp_path / "a" / "b")
    seen = np.linspace(-1, 1, 7)[:, None]
    with torch.no_grad():
        np.testing.assert_allclose(
            load_policy(policy)(torch.from_numpy(seen)).numpy(), [agent.act(each) for each in seen], rtol=1e-5
        )
    about = json.loads(described.read_text())
    assert about["spec"]["settings"]["steps_per_stream"] == 64 and about["update"] == 1
    with pytest.raises(InputError, match="export to"):
        using.export(agent, policy)


def test_a_state_of_another_version_is_refused_in_words_and_hides_no_other_agent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its bytes are those that its name promises, but its settings have a field that this version does not know."""
    store = Store(str(tmp_path / "store"))
    store.create()
    mine, other = (
        SerialLab(store=store).learn([dataclasses.replace(SPEC, seed=seed, iterations=1, milestones=())]).result()[0]
        for seed in (0, 1)
    )
    plain = keys.plain(SPEC)
    later = {**plain, "settings": {**plain["settings"], "momentum": 0.9}}
    state = other.final.build(other.final.fetch(), "cpu").state
    store.delete(other.final.file.name)
    with monkeypatch.context() as patch:
        patch.setattr(keys, "plain", lambda spec: later)
        files.write_state(store, other.key, other.final.file.code, state)
    with pytest.raises(InputError, match=r"momentum.*another version of robustray wrote it"):
        load_agent(other.key, store=store.url)
    assert [row["key"] for row in using.list_agents(store)] == [mine.key]


def test_a_state_given_by_its_path_is_held_against_the_digest_in_its_name(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    store.create()
    (learned,) = SerialLab(store=store).learn([SPEC]).result()
    path = Path(store.path(learned.final.file.name))
    whole = path.read_bytes()
    other = bytearray(whole)
    other[-1] ^= 1  # one bit of the last tensor: still a file that loads
    path.write_bytes(other)
    with pytest.raises(InputError, match="not those that its name promises"):
        load_agent(path)
    own = tmp_path / "my-agent.safetensors"
    own.write_bytes(whole)
    assert load_agent(own).state.updates_done == 2, "a name of one's own promises nothing"
