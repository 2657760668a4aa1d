"""Do deep policy gradient methods do what they are derived from?  (arXiv:1811.02553)

Agents are looked at before some of their updates. From each look comes one pool of steps by that policy, its filters
frozen: estimates of the gradient of several sizes against each other and against one from many more steps; value
functions on steps that neither was fitted on; and, around the last look, surrogate and reward along the step that the
algorithm takes. Analyses change no agent.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from robustray.tasks.kit.compare import Compared, comparison
from robustray.tasks.policy_gradients.environments import library_versions, open_environment
from robustray.tasks.studies.closer_look import findings
from robustray.tasks.studies.closer_look.blocks import (
    collect_block,
    gradient_block,
    landscape_block,
    step_block,
    value_block,
)
from robustray.tasks.studies.closer_look.reduce import Gradients
from robustray.tasks.studies.closer_look.settings import OUTLINE, Settings, agent_specs
from robustray.tasks.study import LEARN, Opened, Study

if TYPE_CHECKING:
    from robustray.tasks.lab import Lab
    from robustray.tasks.lab.protocol import Handle, Reference
    from robustray.tasks.study import Findings

BLOCKS_AT_ONCE = 4
"""Rollouts, gradients or points of a landscape in one block of work."""
Key = tuple[str, int, int]
"""Algorithm, number of the agent, update before which it is looked at."""


def door(settings: Settings, lab: Lab) -> Opened:
    """Make the environment once. Raises: InputError, with what to install, where it cannot be made."""
    open_environment(settings.environment, clip_actions=False).close()
    return Opened(refs={}, decided=library_versions())


def run(settings: Settings, lab: Lab) -> Findings:
    parts = settings.parts
    specs = agent_specs(settings)
    agents: dict[Key, Reference] = {
        (spec.settings.step, number % settings.num_agents, update): found.states[update]
        for number, (spec, found) in enumerate(zip(specs, lab.learn(specs).result(), strict=True))
        for update in settings.updates
    }

    # 1. One pool for each agent and milestone.
    collected = {
        key: lab.map("collect", collect_block, range(parts.num_blocks), block=BLOCKS_AT_ONCE, refs={"agent": agent})
        for key, agent in agents.items()
    }
    refs: dict[Key, dict[str, Reference]] = {
        key: {"agent": agents[key], "pool": lab.rows(_name(key), handle, POOL_COLUMNS)}
        for key, handle in collected.items()
    }

    # 2. Gradients of several sizes, and value functions.
    gradients = {
        key: lab.map("gradients", gradient_block, _estimates(settings), block=BLOCKS_AT_ONCE, refs=refs[key])
        for key in agents
    }
    asked = [parts.update, (parts.truth.start, parts.truth.stop), (parts.heldout.start, parts.heldout.stop)]
    values = {key: lab.map("values", value_block, [0], block=1, settings=asked, refs=refs[key]) for key in agents}

    # 3. A landscape around the last milestone: the step that would be taken, then surrogate and reward on a grid.
    last = {key: refs[key] for key in agents if key[2] == settings.updates[-1]}
    steps = {
        key: lab.map("step", step_block, [0], block=1, settings=parts.update, refs=found) for key, found in last.items()
    }
    landscapes = {
        key: lab.map(
            "landscape",
            landscape_block,
            _points(settings),
            block=BLOCKS_AT_ONCE,
            settings=[parts.update, (parts.heldout.start, parts.heldout.stop), settings.landscape_steps],
            refs={**found, "directions": lab.rows(f"step of {_name(key)}", steps[key])},
        )
        for key, found in last.items()
    }
    return findings.findings(
        findings.Results(
            settings=settings,
            pools=pd.DataFrame([_pool_row(key, handle.result()) for key, handle in collected.items()]),
            gradients={key: _gradients(settings, handle) for key, handle in gradients.items()},
            values=pd.concat([_labelled(key, handle.result()) for key, handle in values.items()], ignore_index=True),
            landscapes={key: _landscape(settings, handle) for key, handle in landscapes.items()},
        )
    )


POOL_COLUMNS = ("observations", "actions", "values", "advantages", "returns", "not_terminal", "complete")


def _name(key: Key) -> str:
    algorithm, agent, update = key
    return f"{algorithm} {agent} before update {update}"


def _estimates(settings: Settings) -> list[list[int]]:
    """(first block, steps): all repeats of all sizes, then the truth and its two halves."""
    parts, steps = settings.parts, settings.update_steps
    repeats = [[parts.repeat(number), size] for size in settings.sample_sizes for number in range(settings.num_repeats)]
    half = len(parts.truth) // 2
    middle = parts.truth.start + half
    truth = [[parts.truth.start, len(parts.truth) * steps], [parts.truth.start, half * steps], [middle, half * steps]]
    return repeats + truth


def _gradients(settings: Settings, handle: Handle[pd.DataFrame]) -> Gradients:
    rows = np.stack(list(handle.result().gradient)).astype(np.float64)
    repeats = settings.num_repeats
    return Gradients(
        by_size={size: rows[i * repeats : (i + 1) * repeats] for i, size in enumerate(settings.sample_sizes)},
        truth=rows[-3],
        halves=rows[-2:],
    )


def _points(settings: Settings) -> list[list[float]]:
    """(number, along the step, along the random direction)"""
    places = itertools.product(settings.landscape, settings.landscape)
    return [[number, along, aside] for number, (along, aside) in enumerate(places)]


def _landscape(settings: Settings, handle: Handle[pd.DataFrame]) -> pd.DataFrame:
    places = pd.DataFrame(_points(settings), columns=["point", "along", "aside"])
    found = handle.result().reset_index(drop=True)
    means = [float(np.mean(each)) if len(each) else float("nan") for each in found.episode_returns]
    return pd.concat([places, found], axis=1).assign(
        mean_return=means, episodes=[len(each) for each in found.episode_returns]
    )


def _labelled(key: Key, rows: pd.DataFrame) -> pd.DataFrame:
    algorithm, agent, update = key
    return pd.DataFrame({"algorithm": [algorithm], "agent": [agent], "update": [update]}).join(
        rows.reset_index(drop=True)
    )


def _pool_row(key: Key, rows: pd.DataFrame) -> dict[str, Any]:
    algorithm, agent, update = key
    returns = np.concatenate([np.asarray(each, dtype=np.float64) for each in rows.episode_returns])
    return {
        "algorithm": algorithm,
        "agent": agent,
        "update": update,
        "blocks": len(rows),
        "episodes": len(returns),
        "mean_return": float(returns.mean()) if len(returns) else float("nan"),
    }


STUDY = Study(
    outline=OUTLINE,
    door=door,
    run=run,
    steps={
        "learn": LEARN,
        "collect": collect_block,
        "gradients": gradient_block,
        "values": value_block,
        "step": step_block,
        "landscape": landscape_block,
    },
    compare=comparison(
        Compared(table="concentration", keys=("algorithm", "agent", "update", "steps"), value="pairwise", unit="number")
    ),
)
