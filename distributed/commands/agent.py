"""`robustray agent VERB`: look at a trained agent, and use it. No Ray."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from robustray.distributed.commands.parsing import Switch, again, gather, optional, parse, split_names, typed_as
from robustray.distributed.commands.run import print_document
from robustray.tasks.errors import InputError, WorkFailed
from robustray.tasks.kit.words import plural
from robustray.tasks.words import nearest

if TYPE_CHECKING:
    from robustray.tasks.policy_gradients.agent import Agent

HELP = """usage: robustray agent VERB [AGENT] [flags]      (agent VERB --help lists the flags)

AGENT is the path of a state (agents/KEY/state-....safetensors), or a key in a store: KEY is the last state that is kept
there, KEY@150 the one before update 150. Agents are trained by studies, grids and lab.learn (docs/agents.md).

  robustray agent list                                       the agents of a store, with their keys
  robustray agent evaluate KEY --episodes 20 --seed 1        episodes one by one, their mean with its interval
  robustray agent evaluate KEY --environment my_mod:Maze     in another environment of the same shape
  robustray agent render KEY hopper.gif --steps 500          a clip of these episodes
  robustray agent export KEY FOLDER                          one plain PyTorch module, filter and action rule inside"""


@dataclass(frozen=True, kw_only=True)
class ListFlags:
    """List the agents of a store: how each was trained, and the updates before which its state is stored."""

    store: Annotated[str | None, optional("FOLDER")] = None
    """Folder or URL; ./runs if not given."""
    json: Switch = False
    """Print one JSON document."""


@dataclass(frozen=True, kw_only=True)
class EvaluateFlags:
    """Play whole episodes with frozen filters: one line each, then the mean return with a 95 % interval over them.

    The interval is about this one agent: how much trainings differ, only other seeds of the training can say."""

    environment: Annotated[str | None, optional("NAME")] = None
    """Hopper-v5, my_pkg.my_mod:Name-v0 or my_pkg.my_mod:ClassName; the agent's own if not given."""
    episodes: int = 20
    """Number of episodes."""
    seed: int = 0
    """Seed of the episodes; with the same seed an episode depends on its number only."""
    deterministic: Switch = False
    """Take the mean action, or the most probable choice; else actions are drawn, as in training."""
    store: Annotated[str | None, optional("FOLDER")] = None
    """Folder or URL; ./runs if not given."""
    json: Switch = False
    """Print one JSON document."""


@dataclass(frozen=True, kw_only=True)
class RenderFlags:
    """Write a clip of the episodes that `evaluate` plays with this seed: CLIP is a .gif, or an animated .png.

    The environment draws itself (render_mode="rgb_array"). MuJoCo's do so by OpenGL; without a display they are drawn
    by EGL unless MUJOCO_GL names something else."""

    environment: Annotated[str | None, optional("NAME")] = None
    """Environment as for `evaluate`; the agent's own if not given."""
    steps: int = 500
    """Steps that are shown, over as many episodes as they make."""
    seed: int = 0
    """Seed of the episodes."""
    deterministic: Switch = False
    """Take the mean action, or the most probable choice, as for `evaluate`."""
    store: Annotated[str | None, optional("FOLDER")] = None
    """Folder or URL; ./runs if not given."""


@dataclass(frozen=True, kw_only=True)
class ExportFlags:
    """Write FOLDER/policy.safetensors, a plain PyTorch module from raw observations to actions, and FOLDER/agent.json.

    `robustray.tasks.policy_gradients.export.load_policy` reads it. Nothing is pickled."""

    store: Annotated[str | None, optional("FOLDER")] = None
    """Folder or URL; ./runs if not given."""


def main(argv: list[str]) -> int:
    """Run one verb."""
    if argv and argv[0] in ("-h", "--help"):
        print(HELP.replace("robustray agent", f"{typed_as()} agent"))
        return 0
    verb = argv[0] if argv else ""
    if verb not in VERBS:
        asked = f"there is no verb {verb!r} of agents" if verb else "agent: no verb is given"
        raise InputError(f"{asked}{nearest(verb, VERBS)}; `{typed_as()} agent --help` explains them")
    kind, wanted, do = VERBS[verb]
    names, words = split_names(argv[1:], kind)
    usage = " ".join(["agent", verb, *wanted])
    flags: Any = parse(kind, gather(words, kind), prog=f"{typed_as()} {usage}", default=kind())
    if len(names) != len(wanted):
        more = f"; `{again('agent list', store=flags.store)}` lists agents" if wanted else ""
        raise InputError(f"it is `{typed_as()} {usage}`, got {len(names)} name(s): {' '.join(names) or 'none'}{more}")
    from robustray.tasks.policy_gradients.environments import EnvironmentFailed

    try:
        return do(flags, *names)
    except EnvironmentFailed as error:
        raise WorkFailed(str(error)) from error


# -- verbs -------------------------------------------------------------------------------------------------------------


def show_list(flags: ListFlags) -> int:
    from robustray.tasks.lab.store import Store
    from robustray.tasks.policy_gradients import using

    store = Store(flags.store or "runs")
    found = using.list_agents(store)
    if flags.json:
        print_document({"store": store.url, "agents": found})
        return 0
    if not found:
        print(f"no agents in {store.url}; train ten small ones: {again('tune five-algorithms', store=flags.store)}")
        return 0
    rows = [
        [each["key"], each["step"], each["environment"], str(each["seed"]), " ".join(map(str, each["kept"]))]
        for each in found
    ]
    _print_table(["key", "step", "environment", "seed", "kept before updates"], rows, numeric=())
    first = found[0]["key"]
    print(f"\nnext: {again(f'agent evaluate {first}', store=flags.store)}")
    return 0


def evaluate(flags: EvaluateFlags, name: str) -> int:
    from robustray.tasks.policy_gradients import using
    from robustray.tasks.report.numbers import format_estimate

    agent = _load(name, flags.store)
    found = using.evaluate(
        agent, flags.environment, episodes=flags.episodes, seed=flags.seed, deterministic=flags.deterministic
    )
    for warning in found.warnings:
        print(f"robustray: {warning}", file=sys.stderr)
    if flags.json:
        print_document({"agent": using.about(agent), **found.document()})
        return 0
    how = "the most probable action" if flags.deterministic else "actions are drawn"
    print(f"{_words(agent)}\n{plural(flags.episodes, 'episode')} in {found.environment}, seed {flags.seed}, {how}\n")
    rows = [
        [str(row.episode), str(row.seed), f"{row.length:,}", f"{row.episode_return:,.2f}", _end(row.terminated)]
        for row in found.episodes.itertuples()
    ]
    _print_table(["episode", "seed", "length", "return", "end"], rows, numeric=(0, 1, 2, 3))
    print()
    mean = found.mean_return
    print(
        f"mean return: {format_estimate(mean.value, mean.interval)}, n = {plural(mean.n, 'episode')} of this one agent"
    )
    return 0


def render(flags: RenderFlags, name: str, clip: str) -> int:
    from robustray.tasks.policy_gradients.clips import check_path

    check_path(Path(clip))
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        os.environ.setdefault("MUJOCO_GL", "egl")
    agent = _load(name, flags.store)
    made = agent.render(clip, flags.environment, flags.steps, flags.seed, deterministic=flags.deterministic)
    steps = sum(row["length"] for row in made.episodes)
    returns = ", ".join(f"{row['episode_return']:,.1f}" for row in made.episodes)
    print(f"wrote {made.path}: {plural(steps, 'step')} in {plural(made.num_frames, 'frame')}, {made.seconds:.1f} s")
    print(f"{plural(len(made.episodes), 'episode')}, the last one as far as it is shown; returns: {returns}")
    return 0


def export(flags: ExportFlags, name: str, folder: str) -> int:
    from robustray.tasks.policy_gradients import using

    written = using.export(_load(name, flags.store), Path(folder))
    for path in written:
        print(f"wrote {path}")
    print(
        "use it: from robustray.tasks.policy_gradients.export import load_policy; "
        f'load_policy("{written[0]}")(observations)'
    )
    return 0


VERBS: Mapping[str, tuple[type, tuple[str, ...], Callable[..., int]]] = {
    "list": (ListFlags, (), show_list),
    "evaluate": (EvaluateFlags, ("AGENT",), evaluate),
    "render": (RenderFlags, ("AGENT", "CLIP"), render),
    "export": (ExportFlags, ("AGENT", "FOLDER"), export),
}
"""Verb -> (its flags, what must be named, what does it)."""


# -- words -------------------------------------------------------------------------------------------------------------


def _load(name: str, store: str | None) -> Agent:
    from robustray.tasks.policy_gradients.agent import load_agent

    return load_agent(name, store=store or "runs")


def _words(agent: Agent) -> str:
    from robustray.tasks.policy_gradients import using

    about = using.about(agent)
    return (
        f"{about['step']} agent of {about['environment']}, seed {about['seed']}, after {about['update']} of "
        f"{about['iterations']} updates ({about['env_steps']:,} environment steps)"
    )


def _end(terminated: bool) -> str:
    return "ended" if terminated else "time limit"


def _print_table(heads: list[str], rows: list[list[str]], *, numeric: tuple[int, ...]) -> None:
    widths = [max(len(row[i]) for row in [heads, *rows]) for i in range(len(heads))]
    for row in [heads, *rows]:
        cells = [c.rjust(w) if i in numeric else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))]
        print("  ".join(cells).rstrip())
