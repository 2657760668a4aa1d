"""Do deep policy gradient methods do what they are derived from?  (arXiv:1811.02553)

Agents are looked at before some of their updates. From each look comes one pool of steps by that policy, its filters
frozen: estimates of the gradient of several sizes against each other and against one from many more steps; value
functions on steps that neither was fitted on; and, around the last look, surrogate and reward along the step that the
algorithm takes. Analyses change no agent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from robustray.tasks.kit.compare import Compared, comparison
from robustray.tasks.policy_gradients.environments import library_versions, open_environment
from robustray.tasks.studies.closer_look import findings
from robustray.tasks.studies.closer_look.concentration import Gradients
from robustray.tasks.studies.closer_look.gradients import gradient_block
from robustray.tasks.studies.closer_look.landscapes import landscape_block
from robustray.tasks.studies.closer_look.pools import COLUMNS, collect_block
from robustray.tasks.studies.closer_look.reduce import Key
from robustray.tasks.studies.closer_look.results import Results
from robustray.tasks.studies.closer_look.settings import ARMS, KINDS, OUTLINE, SOURCES, Settings, agent_specs
from robustray.tasks.studies.closer_look.steps import step_block
from robustray.tasks.studies.closer_look.values import truth_block, value_block
from robustray.tasks.study import LEARN, Opened, Study

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from robustray.tasks.lab import Lab
    from robustray.tasks.lab.protocol import Reference
    from robustray.tasks.policy_gradients.jobs import Learned
    from robustray.tasks.study import Findings

BLOCKS_AT_ONCE = 4
"""Rollouts, gradients or points of a landscape in one block of work."""


def door(settings: Settings, lab: Lab) -> Opened:
    """Make the environment once. Raises: InputError, with what to install, where it cannot be made."""
    open_environment(settings.environment, clip_actions=False).close()
    return Opened(refs={}, decided=library_versions())


def run(settings: Settings, lab: Lab) -> Findings:
    parts = settings.parts
    specs = agent_specs(settings)
    learned = dict(zip(specs, lab.learn(list(specs.values())).result(), strict=True))
    agents: dict[Key, Reference] = {
        (algorithm, number, update): found.states[update]
        for (arm, algorithm, number), found in learned.items()
        if arm == LOOKED_AT
        for update in settings.updates
    }

    # 1. One pool for each agent and milestone; from a part of it, the value function taken for the true one.
    collected = {
        key: lab.map("collect", collect_block, range(parts.num_blocks), block=BLOCKS_AT_ONCE, refs={"agent": agent})
        for key, agent in agents.items()
    }
    pools: dict[Key, dict[str, Reference]] = {
        key: {"agent": agents[key], "pool": lab.rows(_name(key), handle, COLUMNS)} for key, handle in collected.items()
    }
    truths = {
        key: lab.map("truth", truth_block, [0], block=1, settings=_ends(parts.fit), refs=found)
        for key, found in pools.items()
    }
    refs = {
        key: {**pools[key], "truth": lab.rows(f"true values of {_name(key)}", handle, ["value"])}
        for key, handle in truths.items()
    }

    # 2. Gradients of several sizes and kinds, the algorithm's steps, and value functions.
    gradients = {
        key: lab.map("gradients", gradient_block, estimates(settings), block=BLOCKS_AT_ONCE, refs=found)
        for key, found in refs.items()
    }
    steps = {
        key: lab.map("steps", step_block, step_estimates(settings), block=BLOCKS_AT_ONCE, refs=found)
        for key, found in pools.items()
    }
    asked = [parts.update, _ends(parts.heldout)]
    values = {key: lab.map("values", value_block, [0], block=1, settings=asked, refs=refs[key]) for key in agents}

    # 3. Surrogate and reward along the step at every milestone, and on a grid around the last one.
    last = len(step_estimates(settings)) - 1
    sources = [[last, parts.update, parts.update + 1], [last - 3, *_ends(parts.truth)]]
    landscapes = {
        key: lab.map(
            "landscape",
            landscape_block,
            points(settings, grid=_has_grid(settings, key)),
            block=BLOCKS_AT_ONCE,
            settings=[sources, _ends(parts.heldout), settings.landscape_steps],
            refs={**found, "steps": lab.rows(f"steps of {_name(key)}", steps[key])},
        )
        for key, found in pools.items()
    }
    return findings.findings(
        Results(
            settings=settings,
            curves=pd.concat([_curve(key, found) for key, found in learned.items()], ignore_index=True),
            pools=pd.DataFrame([_pool_row(key, handle.result()) for key, handle in collected.items()]),
            gradients={key: _gradients(settings, handle.result()) for key, handle in gradients.items()},
            steps={key: _steps(settings, handle.result()) for key, handle in steps.items()},
            values=pd.concat(
                [_labelled(key, handle.result(), truths[key].result()) for key, handle in values.items()],
                ignore_index=True,
            ),
            landscapes={
                key: landscape(points(settings, grid=_has_grid(settings, key)), handle.result())
                for key, handle in landscapes.items()
            },
        )
    )


LOOKED_AT = next(iter(ARMS))
"""The arm whose agents are looked at."""


def _name(key: Key) -> str:
    algorithm, agent, update = key
    return f"{algorithm} {agent} before update {update}"


def _ends(blocks: range) -> list[int]:
    return [blocks.start, blocks.stop]


def _has_grid(settings: Settings, key: Key) -> bool:
    return key[1] < settings.landscape_agents and key[2] == settings.updates[-1]


def estimates(settings: Settings, sizes: Sequence[int] | None = None) -> list[list[int]]:
    """(first block, steps): all repeats of all sizes, then the truth and its two halves."""
    parts, steps = settings.parts, settings.update_steps
    sizes = settings.sample_sizes if sizes is None else sizes
    repeats = [[parts.repeat(number), size] for size in sizes for number in range(settings.num_repeats)]
    half = len(parts.truth) // 2
    middle = parts.truth.start + half
    truth = [[parts.truth.start, len(parts.truth) * steps], [parts.truth.start, half * steps], [middle, half * steps]]
    return repeats + truth


def step_estimates(settings: Settings) -> list[list[int]]:
    """The same of the sizes that an update may have; and, the last one, the update's own."""
    return [*estimates(settings, settings.step_sizes), [settings.parts.update, settings.update_steps]]


def _gradients(settings: Settings, found: pd.DataFrame) -> dict[str, Gradients]:
    """Gradients by kind of advantages."""
    rows = np.stack(list(found.gradients)).astype(np.float64)
    return {kind: by_size(rows[:, place], settings.sample_sizes, settings) for place, kind in enumerate(KINDS)}


def _steps(settings: Settings, found: pd.DataFrame) -> Gradients | None:
    """None where no size is one that an update may have."""
    rows = np.stack(list(found.step)).astype(np.float64)
    return by_size(rows[:-1], settings.step_sizes, settings) if settings.step_sizes else None


def by_size(rows: NDArray[np.float64], sizes: Sequence[int], settings: Settings) -> Gradients:
    repeats = settings.num_repeats
    return Gradients(
        by_size={size: rows[i * repeats : (i + 1) * repeats] for i, size in enumerate(sizes)},
        truth=rows[-3],
        halves=rows[-2:],
    )


def points(settings: Settings, *, grid: bool) -> list[list[float]]:
    """(number, source, scale, along the step, along the random direction): the lines, then what makes them grids."""
    asides = [(0, 0.0)]
    if grid:
        asides += [(scale, aside) for scale in (0, 1) for aside in settings.landscape if aside]
    places = [
        (source, scale, along, aside)
        for scale, aside in asides
        for source in range(len(SOURCES))
        for along in settings.landscape
    ]
    return [[number, *place] for number, place in enumerate(places)]


def landscape(places: Sequence[Sequence[float]], rows: pd.DataFrame) -> pd.DataFrame:
    """One row per point: where it is, surrogates, mean return."""
    frame = pd.DataFrame(places, columns=["point", "source", "scale", "along", "aside"])
    found = rows.reset_index(drop=True)
    means = [float(np.mean(each)) if len(each) else float("nan") for each in found.episode_returns]
    joined = pd.concat([frame, found], axis=1).assign(
        mean_return=means, episodes=[len(each) for each in found.episode_returns]
    )
    return joined.assign(source=[SOURCES[int(each)] for each in frame.source])


def _curve(key: tuple[str, str, int], found: Learned) -> pd.DataFrame:
    arm, algorithm, agent = key
    return found.curve.assign(arm=arm, algorithm=algorithm, agent=agent)


def _labelled(key: Key, rows: pd.DataFrame, truth: pd.DataFrame) -> pd.DataFrame:
    algorithm, agent, update = key
    return pd.DataFrame({"algorithm": [algorithm], "agent": [agent], "update": [update]}).join(
        [rows.reset_index(drop=True), truth.reset_index(drop=True)[["rounds", "better"]]]
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
        "truth": truth_block,
        "gradients": gradient_block,
        "steps": step_block,
        "values": value_block,
        "landscape": landscape_block,
    },
    compare=comparison(
        Compared(table="concentration", keys=("algorithm", "agent", "update", "steps"), value="pairwise", unit="number")
    ),
)
