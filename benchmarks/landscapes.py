"""Points of a landscape of the study closer-look, against re-collecting them by a plain loop.

python benchmarks/landscapes.py [--steps 2048] [--points 4] [--environment Hopper-v5]

A point is: move the policy, play `--steps` environment steps with frozen filters, and take the surrogate on stored
steps. Ours: `rollouts_of` and `surrogates`, what `landscape_block` calls. The loop: the exported PyTorch module and
Gymnasium, one action at a time, and the surrogate by PyTorch. Both on one thread; CPU seconds, medians of rounds that
take turns. The two draw different noise, so returns are not compared; surrogates are. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import torch

from benchmarks.gradient_estimates import median_seconds
from robustray.tasks.policy_gradients.advantages import standardised
from robustray.tasks.policy_gradients.agent import Agent
from robustray.tasks.policy_gradients.environments import open_environment
from robustray.tasks.policy_gradients.export import policy_of
from robustray.tasks.policy_gradients.presets import preset
from robustray.tasks.policy_gradients.settings import AgentSpec
from robustray.tasks.policy_gradients.state import AgentState, policy_layout
from robustray.tasks.policy_gradients.torch_nets import Network
from robustray.tasks.studies.closer_look.landscapes import surrogates
from robustray.tasks.studies.closer_look.pools import LANDSCAPE, collect_block, rollouts_of, steps_of
from robustray.tasks.studies.closer_look.steps import random_direction


@torch.no_grad()
def plain_rewards(agent: Agent, policy: np.ndarray, num_steps: int) -> list[float]:
    """Returns of the complete episodes of `num_steps` steps."""
    module = policy_of(agent)
    module.network.load_flat(policy)
    state = agent.state
    spread = torch.from_numpy(policy_layout(state.spec.settings, state.shape).free(policy).copy()).exp()
    environment = gymnasium.make(state.spec.environment)
    returns, total = [], 0.0
    observation, _ = environment.reset(seed=0)
    for _ in range(num_steps):
        mean = module(torch.from_numpy(observation)[None])[0]
        action = torch.distributions.Normal(mean, spread).sample()
        observation, reward, terminated, truncated, _ = environment.step(action.numpy())
        total += float(reward)
        if terminated or truncated:
            returns.append(total)
            observation, _ = environment.reset()
            total = 0.0
    environment.close()
    return returns


@torch.no_grad()
def plain_surrogate(state: AgentState, policy: np.ndarray, rows: dict[str, Any]) -> float:
    """Unclipped, in float64."""
    layout = policy_layout(state.spec.settings, state.shape)
    seen = torch.from_numpy(rows["observations"]).double()
    actions = torch.from_numpy(rows["actions"]).double()

    def log_probs(flat: np.ndarray) -> torch.Tensor:
        network = Network(layout)
        network.load_flat(flat)
        spread = torch.from_numpy(layout.free(flat).copy()).double().exp()
        return torch.distributions.Normal(network.double()(seen), spread).log_prob(actions).sum(1)

    wanted = torch.from_numpy(standardised(rows["advantages"].astype(np.float64)))
    return float(((log_probs(policy) - log_probs(state.policy)).exp() * wanted).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--environment", default="Hopper-v5")
    parser.add_argument("--steps", type=int, default=2048, help="environment steps of a point")
    parser.add_argument("--points", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    spec = AgentSpec(environment=arguments.environment, settings=preset("ppo", arguments.environment), iterations=1)
    opened = open_environment(spec.environment, clip_actions=False)
    agent = Agent(AgentState.start(spec, opened.shape))
    opened.close()
    context: Any = SimpleNamespace(load={"agent": agent}.__getitem__)
    rows = steps_of(collect_block([0], context), 0, spec.settings.steps_per_stream)
    moved = [agent.state.policy + random_direction(agent.state, 0.1 * (i + 1)) for i in range(arguments.points)]

    def ours() -> list[float]:
        found = []
        for i, policy in enumerate(moved):
            list(rollouts_of(agent, policy, [i], LANDSCAPE, arguments.steps))
            found.append(surrogates(agent.state, policy, rows)[1])
        return found

    def plain() -> list[float]:
        for policy in moved:
            plain_rewards(agent, policy, arguments.steps)
        return [plain_surrogate(agent.state, policy, rows) for policy in moved]

    apart = float(np.abs(np.subtract(ours(), plain())).max())
    loop_s, ours_s = median_seconds([plain, ours], arguments.rounds)
    found = {
        "environment": arguments.environment,
        "environment steps of a point": arguments.steps,
        "largest difference of surrogates": apart,
        "loop, points per CPU s": round(arguments.points / loop_s, 2),
        "ours, points per CPU s": round(arguments.points / ours_s, 2),
        "times faster": round(loop_s / ours_s, 2),
    }
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
