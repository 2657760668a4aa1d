"""Agents that are not there, and what cannot be done with one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from robustray.tasks.policy_gradients import files
from robustray.tasks.policy_gradients.environments import open_environment
from robustray.tasks.policy_gradients.settings import AgentSpec, PolicyGradient
from robustray.tasks.policy_gradients.state import AgentState
from tests.cli.bad_input.case import Case, file


def agent(folder: Path) -> None:
    """`agent.safetensors`: an untrained one for Pendulum."""
    environment = open_environment("Pendulum-v1", clip_actions=True)
    spec = AgentSpec(environment="Pendulum-v1", settings=PolicyGradient(hidden=(4,)), iterations=1)
    (folder / "agent.safetensors").write_bytes(files.state_bytes(AgentState.start(spec, environment.shape)))
    environment.close()


def made(name: str, words: str, *says: str) -> Case:
    """A command about the agent."""
    return Case(name=f"agent: {name}", typed=f"agent {words}", says=says, prepare=agent)


EVALUATE, RENDER = "evaluate agent.safetensors", "render agent.safetensors"
named: dict[str, Any] = {"says": ("agent evaluate AGENT", "got 0 name(s)", "agent list")}
AGENTS = [
    Case(name="agent without a verb", typed="agent", says=("no verb is given. Known", "evaluate", "agent --help")),
    Case(name="agent with another verb", typed="agent evalute x", says=("'evalute'", "did you mean 'evaluate'")),
    Case(name="agent without a name", typed="agent evaluate --episodes 3", **named),
    Case(name="agent with two names", typed="agent evaluate a b", says=("got 2 name(s): a b",)),
    Case(name="agent without a clip", typed="agent render a", says=("agent render AGENT CLIP", "got 1 name(s): a")),
    Case(name="agent with another flag", typed="agent evaluate a --episode 3", says=("did you mean '--episodes'",)),
    Case(name="agent that is not there", typed="agent evaluate 0123", says=("agent 0123", "no such agent in")),
    Case(name="agent of no file", typed="agent evaluate no.safetensors", says=("no.safetensors", "No such file")),
    Case(
        name="agent of no state",
        typed="agent export torn.safetensors out",
        says=("torn.safetensors", "no state of an agent"),
        prepare=file("torn.safetensors", b"{}"),
    ),
    made("no episodes", f"{EVALUATE} --episodes 0", "episodes must be at least 1"),
    made("a negative seed", f"{EVALUATE} --seed -1", "seed not negative", "-1"),
    made("no environment", f"{EVALUATE} --environment Pendlum-v1", "Pendlum-v1", "cannot be made"),
    made("no module", f"{EVALUATE} --environment maze:Maze", "maze:Maze", "No module named"),
    made("another shape", f"{EVALUATE} --environment CartPole-v1", "made for other observations or actions"),
    made("no clip", f"{RENDER} clip.mp4", "clip.mp4", ".gif or .png"),
    made("no folder of a clip", f"{RENDER} there/clip.gif", "there is no folder there"),
    made("no steps", f"{RENDER} clip.gif --steps 0", "steps must be 1 to"),
    made("export to a file", "export agent.safetensors agent.safetensors", "export to agent.safetensors"),
]
