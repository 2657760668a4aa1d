"""Pools of steps with frozen filters, and what is computed from a pool. Nothing here changes an agent.

A block of a pool is one rollout of an update's length from the policy of a milestone, with its filters frozen. Its
random numbers are a function of the agent's seed, the milestone and the block's number.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from robustray.tasks.lab import Context, block_function, seeds
from robustray.tasks.lab.protocol import Tensor
from robustray.tasks.policy_gradients import measures
from robustray.tasks.policy_gradients.adam import Adam
from robustray.tasks.policy_gradients.advantages import standardised
from robustray.tasks.policy_gradients.agent import Agent
from robustray.tasks.policy_gradients.batch import Batch, make_batch, outputs_of, values_of
from robustray.tasks.policy_gradients.environments import open_environment
from robustray.tasks.policy_gradients.mlp import forward
from robustray.tasks.policy_gradients.rollout import Rollout, rollout
from robustray.tasks.policy_gradients.state import AgentState, policy_layout, value_layout
from robustray.tasks.policy_gradients.steps import fit_values, ppo_step, surrogate_gradient
from robustray.tasks.policy_gradients.trust_region import options_of, trpo_step

Array = NDArray[Any]
Pool = Mapping[str, Array]
"""Columns of `collect_block`, (blocks, steps, ...)."""
POOL, LANDSCAPE = "closer look: pool", "closer look: landscape"
"""Purposes of rollouts."""
CHUNK = 65_536
"""Steps in one pass of a gradient."""
FIT_EPOCHS = 20
"""Passes over the pool in which the value function that stands for the true one is fitted."""


# --- Pools ------------------------------------------------------------------------------------------------------------


@block_function(
    version=1,
    columns={
        "observations": Tensor("float32"),
        "actions": Tensor("float32"),
        "values": Tensor("float32"),
        "advantages": Tensor("float32"),
        "returns": Tensor("float32"),
        "not_terminal": Tensor("bool"),
        "complete": Tensor("bool"),
        "episode_returns": pa.list_(pa.float64()),
    },
)
def collect_block(items: Sequence[int], context: Context) -> Mapping[str, Any]:
    """Block numbers -> rollouts of an update's length, with values, advantages and returns by the milestone's networks.

    refs: agent.
    """
    agent: Agent = context.load("agent")
    state = agent.state
    rollouts = list(_rollouts(agent, state.policy, items, POOL, state.spec.settings.steps_per_stream))
    batches = [make_batch(state, [each]) for each in rollouts]
    names = ("observations", "actions", "values", "advantages", "returns", "not_terminal", "complete")
    found: dict[str, Any] = {name: np.stack([getattr(batch, name) for batch in batches]) for name in names}
    return found | {"episode_returns": [each.episode_returns.tolist() for each in rollouts]}


def _rollouts(
    agent: Agent, policy: NDArray[np.float32], streams: Sequence[int], purpose: str, num_steps: int
) -> Iterator[Rollout]:
    """With the agent's filters, frozen, whatever the policy."""
    state = agent.state
    environment = open_environment(state.spec.environment, clip_actions=state.spec.settings.clip_actions)
    try:
        for stream in streams:
            yield rollout(
                environment,
                state.spec,
                policy,
                agent.filters,
                update=state.updates_done,
                stream=stream,
                purpose=purpose,
                learn=False,
                num_steps=num_steps,
            )
    finally:
        environment.close()


def steps_of(pool: Pool, first: int, num_steps: int) -> dict[str, Array]:
    """The first steps from block `first` on, as one row per step."""
    blocks = -(-num_steps // pool["values"].shape[1])
    names = ("observations", "actions", "values", "advantages", "returns", "not_terminal", "complete")
    return {name: pool[name][first : first + blocks].reshape(-1, *pool[name].shape[2:])[:num_steps] for name in names}


# --- Gradients --------------------------------------------------------------------------------------------------------


def policy_gradient(state: AgentState, observations: Array, actions: Array, advantages: Array) -> NDArray[np.float64]:
    """Of the surrogate, which is to grow, at the policy as it is, where every ratio is 1; with regard to all its
    parameters. Advantages are standardised over all steps. Computed in float64, in chunks."""
    layout, head = policy_layout(state.spec.settings, state.shape), state.shape.head
    flat = state.policy.astype(np.float64)
    layers, relu = layout.layers(flat), layout.activation == "relu"
    wanted = standardised(advantages.astype(np.float64))
    total, part = np.zeros_like(flat), np.empty_like(flat)
    for start in range(0, len(wanted), CHUNK):
        rows = slice(start, start + CHUNK)
        seen = observations[rows].astype(np.float64)
        log_probs = head.log_prob(forward(layers, seen, relu=relu)[-1], layout.free(flat), actions[rows])
        surrogate_gradient(
            layout,
            head,
            flat,
            seen,
            actions[rows],
            log_probs,
            wanted[rows],
            clip=None,
            entropy_bonus=0.0,
            gradient=part,
        )
        total -= part * (len(seen) / len(wanted))
    return total


@block_function(version=1, columns={"gradient": Tensor("float32"), "episodes": pa.int64()})
def gradient_block(items: Sequence[Sequence[int]], context: Context) -> Mapping[str, Any]:
    """(first block, number of steps) -> the gradient estimated from these steps; and the episodes that they touch.

    refs: agent, pool. Advantages are those of whole blocks, also where an estimate uses the first steps of one only.
    """
    agent, pool = context.load("agent"), context.load("pool")
    gradients, episodes = [], []
    for first, num_steps in items:
        rows = steps_of(pool, first, num_steps)
        gradients.append(policy_gradient(agent.state, rows["observations"], rows["actions"], rows["advantages"]))
        starts = -(-num_steps // pool["values"].shape[1])
        episodes.append(starts + int((~rows["not_terminal"][:-1]).sum()))
    return {"gradient": np.stack(gradients).astype(np.float32), "episodes": episodes}


# --- Value functions --------------------------------------------------------------------------------------------------

VALUE_COLUMNS = (
    *measures.VALUES,
    "true_explained_variance",
    "true_returns_mre",
    "true_returns_mre_median",
    "to_true_mre",
)


@block_function(version=1, columns={name: pa.float64() for name in VALUE_COLUMNS})
def value_block(items: Sequence[int], context: Context) -> Mapping[str, Any]:
    """(one item) How well value functions predict on steps that neither was fitted on.

    settings: (update block, (first, end) of the blocks for the "true" one, (first, end) of held-out blocks). The
    agent's is fitted on the update block as the training does, and compared with V_old + A and with returns. The "true"
    one has the same layers and is fitted to the returns of complete episodes. refs: agent, pool.
    """
    agent, pool = context.load("agent"), context.load("pool")
    update, truth, heldout = context.settings
    steps = pool["values"].shape[1]
    mine = _fitted(agent.state, steps_of(pool, update, steps))
    unseen = steps_of(pool, heldout[0], (heldout[1] - heldout[0]) * steps)
    batch = _batch(agent.state, unseen)
    found = measures.value_prediction(mine, batch)

    true = _fitted_to_returns(agent.state, steps_of(pool, truth[0], (truth[1] - truth[0]) * steps))
    judged = measures.value_prediction(true, batch)
    best, own = values_of(true, batch.observations), values_of(mine, batch.observations)
    among = best != 0
    row = found | {
        "true_explained_variance": judged["explained_variance"],
        "true_returns_mre": judged["returns_mre"],
        "true_returns_mre_median": judged["returns_mre_median"],
        "to_true_mre": float(np.mean(np.abs(own - best)[among] / np.abs(best[among]), dtype=np.float64)),
    }
    return {name: [row[name]] * len(items) for name in VALUE_COLUMNS}


def _batch(state: AgentState, rows: Mapping[str, Array]) -> Batch:
    outputs = outputs_of(state, rows["observations"])
    free = policy_layout(state.spec.settings, state.shape).free(state.policy)
    return Batch(outputs=outputs, log_probs=state.shape.head.log_prob(outputs, free, rows["actions"]), **rows)


def _fitted(state: AgentState, rows: Mapping[str, Array]) -> AgentState:
    """A copy whose value network was fitted to V_old + A, as before a step of the training."""
    settings, number = state.spec.settings, state.updates_done
    fitted = copy.deepcopy(state)
    fit_values(
        value_layout(settings, state.shape),
        fitted.value,
        fitted.value_adam,
        rows["observations"],
        rows["values"] + rows["advantages"],
        rows["values"],
        rows["not_terminal"],
        seeds.stream(state.spec.seed, "closer look: value fit", number),
        epochs=settings.value_epochs,
        num_minibatches=settings.num_minibatches,
        clip=settings.value_clip,
        lr=settings.learning_rate(settings.value_lr, number, state.spec.schedule_horizon),
        eps=settings.adam_eps,
    )
    return fitted


def _fitted_to_returns(state: AgentState, rows: Mapping[str, Array]) -> AgentState:
    """A copy whose value network starts anew and learns the discounted returns of complete episodes."""
    settings = state.spec.settings
    fitted = AgentState.start(state.spec, state.shape)
    adam, rng = Adam.fresh(fitted.value), seeds.stream(state.spec.seed, "closer look: true values", state.updates_done)
    counts = rows["complete"]
    num_minibatches = max(1, len(counts) // 64)
    for rate in (1e-3, 1e-4):  # the second half refines
        fit_values(
            value_layout(settings, state.shape),
            fitted.value,
            adam,
            rows["observations"],
            rows["returns"],
            rows["returns"],
            counts,
            rng,
            epochs=FIT_EPOCHS // 2,
            num_minibatches=num_minibatches,
            clip=None,
            lr=rate,
            eps=settings.adam_eps,
        )
    return fitted


# --- Landscapes -------------------------------------------------------------------------------------------------------


@block_function(version=1, columns={"step": Tensor("float32"), "random": Tensor("float32")})
def step_block(items: Sequence[int], context: Context) -> Mapping[str, Any]:
    """(one item) The step that the algorithm takes from the update block, in all parameters of the policy; and a random
    Gaussian direction of the same length. settings: update block. refs: agent, pool."""
    agent, pool = context.load("agent"), context.load("pool")
    state: AgentState = copy.deepcopy(agent.state)
    settings, number, horizon = state.spec.settings, state.updates_done, state.spec.schedule_horizon
    layout, head = policy_layout(settings, state.shape), state.shape.head
    rows = steps_of(pool, context.settings, pool["values"].shape[1])
    rng = seeds.stream(state.spec.seed, "closer look: step", number)
    if settings.step == "trpo":
        trpo_step(
            layout,
            head,
            state.policy,
            rows["observations"],
            rows["actions"],
            rows["advantages"],
            rng,
            max_kl=settings.kl_limit(number, horizon),
            **options_of(settings),
        )
    else:
        ppo_step(
            layout,
            head,
            state.policy,
            state.policy_adam,
            rows["observations"],
            rows["actions"],
            _batch(state, rows).log_probs,
            rows["advantages"],
            rng,
            epochs=settings.policy_epochs,
            num_minibatches=settings.num_minibatches,
            clip=settings.ratio_clip,
            entropy_bonus=settings.entropy_bonus,
            gradient_clip=settings.gradient_clip,
            lr=settings.learning_rate(settings.policy_lr, number, horizon),
            eps=settings.adam_eps,
        )
    step = state.policy - agent.state.policy
    direction = seeds.stream(state.spec.seed, "closer look: direction", number).standard_normal(len(step))
    random = direction * (np.linalg.norm(step) / np.linalg.norm(direction))
    return {"step": np.stack([step] * len(items)), "random": np.stack([random.astype(np.float32)] * len(items))}


def surrogate(state: AgentState, policy: NDArray[np.float32], rows: Mapping[str, Array]) -> float:
    """Mean of ratio times standardised advantage, the ratio clipped where the agent's is: what the step climbs. 0 at
    the agent's own policy."""
    settings, head = state.spec.settings, state.shape.head
    layout = policy_layout(settings, state.shape)
    relu, seen = layout.activation == "relu", rows["observations"].astype(np.float64)

    def log_probs(flat: Array) -> Array:
        flat = flat.astype(np.float64)
        return head.log_prob(forward(layout.layers(flat), seen, relu=relu)[-1], layout.free(flat), rows["actions"])

    ratios = np.exp(log_probs(policy) - log_probs(state.policy))
    wanted = standardised(rows["advantages"].astype(np.float64))
    gains = ratios * wanted
    if settings.step == "ppo" and settings.ratio_clip is not None:
        gains = np.minimum(gains, np.clip(ratios, 1 - settings.ratio_clip, 1 + settings.ratio_clip) * wanted)
    return float(gains.mean())


@block_function(
    version=1,
    columns={"surrogate": pa.float64(), "heldout_surrogate": pa.float64(), "episode_returns": pa.list_(pa.float64())},
)
def landscape_block(items: Sequence[Sequence[float]], context: Context) -> Mapping[str, Any]:
    """(point, along the step, along the random direction) -> the surrogate on the steps that made the step and on
    held-out ones, and returns of the complete episodes that the policy plays there, raw and undiscounted.

    settings: (update block, (first, end) of held-out blocks, environment steps per point). refs: agent, pool,
    directions. Every point has random numbers of its own.
    """
    agent, pool, directions = context.load("agent"), context.load("pool"), context.load("directions")
    update, heldout, num_steps = context.settings
    steps = pool["values"].shape[1]
    seen = steps_of(pool, update, steps)
    unseen = steps_of(pool, heldout[0], (heldout[1] - heldout[0]) * steps)
    found: dict[str, list[Any]] = {"surrogate": [], "heldout_surrogate": [], "episode_returns": []}
    step, random = directions["step"][0], directions["random"][0]
    for point, along, aside in items:
        moved = agent.state.policy + np.float32(along) * step + np.float32(aside) * random
        (played,) = _rollouts(agent, moved, [int(point)], LANDSCAPE, num_steps)
        found["surrogate"].append(surrogate(agent.state, moved, seen))
        found["heldout_surrogate"].append(surrogate(agent.state, moved, unseen))
        found["episode_returns"].append(played.episode_returns.tolist())
    return found
