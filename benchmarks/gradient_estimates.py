"""Estimates of the policy gradient of the study closer-look, against a plain loop of autograd over trajectories.

python benchmarks/gradient_estimates.py [--blocks 16]

One pool of an untrained Hopper agent. Ours: all five kinds of advantages in one pass (`policy_gradients`), and one
kind alone. The loop: for each trajectory, the policy in PyTorch, the sum of log-probabilities times advantages,
backward; the gradients add up. Both on one thread, float64; medians of rounds that take turns. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from robustray.tasks.policy_gradients.advantages import standardised
from robustray.tasks.policy_gradients.agent import Agent
from robustray.tasks.policy_gradients.environments import open_environment
from robustray.tasks.policy_gradients.presets import preset
from robustray.tasks.policy_gradients.settings import AgentSpec
from robustray.tasks.policy_gradients.state import AgentState, policy_layout
from robustray.tasks.studies.closer_look.gradients import advantages_of, policy_gradients
from robustray.tasks.studies.closer_look.pools import collect_block, steps_of


def autograd_loop(state: AgentState, rows: dict[str, Any], advantages: np.ndarray) -> np.ndarray:
    """The same estimate, trajectory by trajectory."""
    layout = policy_layout(state.spec.settings, state.shape)
    flat = torch.tensor(state.policy, dtype=torch.float64, requires_grad=True)
    observations = torch.tensor(rows["observations"], dtype=torch.float64)
    actions = torch.tensor(rows["actions"], dtype=torch.float64)
    wanted = torch.tensor(standardised(advantages.astype(np.float64)))
    steps = state.spec.settings.steps_per_stream
    cut = np.flatnonzero(~rows["not_terminal"]) + 1
    ends = np.unique([*cut, *range(steps, len(advantages) + 1, steps)])
    total, start = torch.zeros_like(flat), 0
    for end in ends.tolist():
        x, at = observations[start:end], 0
        for i, (n, m) in enumerate(zip(layout.sizes, layout.sizes[1:], strict=False)):
            x = x @ flat[at : at + m * n].reshape(m, n).T + flat[at + m * n : at + m * n + m]
            x = torch.tanh(x) if i < len(layout.sizes) - 2 else x
            at += m * n + m
        normal = torch.distributions.Normal(x, flat[-layout.extra :].exp())
        surrogate = (normal.log_prob(actions[start:end]).sum(1) * wanted[start:end]).sum()
        total += torch.autograd.grad(surrogate, flat)[0]
        start = end
    return (total / len(advantages)).detach().numpy()


def median_seconds(functions: Sequence[Callable[[], object]], rounds: int) -> list[float]:
    """CPU time of this process: the machine may be busy."""
    times: list[list[float]] = [[] for _ in functions]
    for _ in range(rounds):
        for found, function in zip(times, functions, strict=True):
            start = time.process_time()
            function()
            found.append(time.process_time() - start)
    return [statistics.median(each) for each in times]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--blocks", type=int, default=8, help="rollouts of 2,048 steps")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    spec = AgentSpec(environment="Hopper-v5", settings=preset("ppo", "Hopper-v5"), iterations=1)
    opened = open_environment(spec.environment, clip_actions=False)
    agent = Agent(AgentState.start(spec, opened.shape))
    opened.close()
    context: Any = SimpleNamespace(load={"agent": agent}.__getitem__)
    pool = collect_block(list(range(arguments.blocks)), context)
    num_steps = arguments.blocks * spec.settings.steps_per_stream
    rows = steps_of(pool, 0, num_steps)
    given = rows["observations"], rows["actions"]
    kinds = advantages_of(agent.state, agent.state, pool, 0, num_steps)
    loop = autograd_loop(agent.state, rows, kinds[0])
    apart = float(np.abs(policy_gradients(agent.state, *given, kinds)[0] - loop).max())
    plain, one, five = median_seconds(
        [
            lambda: autograd_loop(agent.state, rows, kinds[0]),
            lambda: policy_gradients(agent.state, *given, kinds[:1]),
            lambda: policy_gradients(agent.state, *given, kinds),
        ],
        arguments.rounds,
    )
    found = {
        "steps": num_steps,
        "trajectories": int((~rows["not_terminal"]).sum()) + arguments.blocks,
        "largest difference": apart,
        "loop, one kind, CPU s": round(plain, 4),
        "ours, one kind, CPU s": round(one, 4),
        "ours, five kinds, CPU s": round(five, 4),
        "times faster, one kind": round(plain / one, 1),
        "times faster, five kinds": round(5 * plain / five, 1),
    }
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
