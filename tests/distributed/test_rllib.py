"""RLlib around the same functions: the plain loop's weights to the bit, whatever collects, dies, or is restored."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from robustray.distributed.rllib.job import advance_in
from robustray.tasks.errors import InputError
from robustray.tasks.lab import seeds
from robustray.tasks.lab.checkpoints import Checkpoints, Interval
from robustray.tasks.lab.store import Store
from robustray.tasks.policy_gradients import files
from robustray.tasks.policy_gradients.agent import Agent
from robustray.tasks.policy_gradients.environments import EnvironmentFailed
from robustray.tasks.policy_gradients.jobs import learn_jobs
from robustray.tasks.policy_gradients.loop import Training, begin, train_agent
from robustray.tasks.policy_gradients.presets import preset
from robustray.tasks.policy_gradients.settings import AgentSpec
from tests.distributed.rllib_agents import spec_of
from tests.tasks.rl_environments import HERE, Choice


def config_of(spec: AgentSpec, *, runners: int = 0) -> Any:
    from robustray.distributed.rllib import PPOConfig, TRPOConfig

    config = PPOConfig() if spec.settings.step == "ppo" else TRPOConfig()
    config.environment(spec.environment).env_runners(num_env_runners=runners)
    own = {name: getattr(spec, name) for name in ("iterations", "horizon", "heldout_every")}
    return config.training(settings=spec.settings, agent_seed=spec.seed, **own)


@pytest.fixture
def build(eight_cpus: Path) -> Iterator[Any]:
    """`build(spec, runners=2)`: an algorithm that is stopped at the end."""
    built = []

    def make(config: Any) -> Any:
        algorithm = config.build_algo()
        built.append(algorithm)
        return algorithm

    yield make
    for algorithm in built:
        algorithm.stop()
        assert not Path(algorithm.logdir).exists(), "it leaves nothing behind"


def same(algorithm: Any, plain: Training) -> bool:
    """State, curve and episodes, to the bit."""
    return (
        files.state_bytes(algorithm.agent) == files.state_bytes(plain.state)
        and json.dumps(algorithm.training.curve) == json.dumps(plain.curve)
        and algorithm.training.episodes == plain.episodes
    )


@pytest.mark.parametrize("goes_on", [False, True])
@pytest.mark.parametrize("step", ["ppo", "trpo"])
@pytest.mark.parametrize("num_streams", [1, 5])
def test_one_process_makes_the_plain_loops_agent(build: Any, step: str, num_streams: int, goes_on: bool) -> None:
    spec = spec_of(step, num_streams, goes_on)
    algorithm = build(config_of(spec))
    result = [algorithm.train() for _ in range(4)][-1]
    assert same(algorithm, train_agent(spec))
    row = algorithm.training.curve[-1]
    learned = result["learners"]["default_policy"]
    for name, value in row.items():
        assert learned[name] == value or (np.isnan(learned[name]) and np.isnan(value)), f"{name} was smoothed"
    assert result["env_runners"]["num_env_steps_sampled_lifetime"] == 4 * 64 * num_streams
    assert result["env_runners"]["episode_return_mean"] == row["episode_return"]


def test_several_updates_in_one_iteration_repeat_no_noise(build: Any) -> None:
    """RLlib calls `training_step` until there are steps enough: seeds and schedules follow our own counter."""
    spec = spec_of("ppo", 1)
    algorithm = build(config_of(spec).reporting(min_sample_timesteps_per_iteration=128))
    for _ in range(2):
        algorithm.train()
    assert algorithm.iteration == 2 and same(algorithm, train_agent(spec))


@pytest.mark.acceptance
@pytest.mark.parametrize("goes_on", [False, True])
def test_two_runners_of_which_one_dies_make_the_plain_loops_agent(build: Any, goes_on: bool) -> None:
    """And the evaluation that they play is the one process's."""
    spec = spec_of("ppo", 5, goes_on, environment=f"{HERE}:Slow", iterations=3)
    config = config_of(spec, runners=2).evaluation(evaluation_duration=7, evaluation_interval=10)
    algorithm = build(config)
    algorithm.train()
    (victim, _) = pids = algorithm.env_runner_group.foreach_env_runner(lambda _: os.getpid(), local_env_runner=False)
    assert len(set(pids)) == 2
    kill = threading.Timer(0.3, os.kill, (victim, signal.SIGKILL))
    kill.start()
    algorithm.train()
    kill.join()
    algorithm.train()
    assert not psutil.pid_exists(victim) or psutil.Process(victim).status() == psutil.STATUS_ZOMBIE
    plain = train_agent(spec)
    assert same(algorithm, plain)

    before = algorithm.agent.filters.observations.mean.tobytes()
    result = algorithm.evaluate()
    assert result["env_runners"]["num_episodes"] == len(algorithm.evaluated) == 7
    assert algorithm.agent.filters.observations.mean.tobytes() == before
    assert same(algorithm, plain), "an evaluation changes nothing"
    alone = build(config_of(spec).evaluation(evaluation_duration=7, evaluation_interval=10))
    alone.learner.take(algorithm.agent)
    alone.evaluate()
    assert alone.evaluated == algorithm.evaluated


@pytest.mark.parametrize(("step", "goes_on"), [("ppo", False), ("trpo", False), ("ppo", True)])
def test_a_restored_algorithm_goes_on_to_the_bit(build: Any, tmp_path: Path, step: str, goes_on: bool) -> None:
    """Also an older state into an algorithm that is further."""
    from ray.rllib.algorithms.algorithm import Algorithm

    spec = spec_of(step, 2, goes_on)
    algorithm = build(config_of(spec))
    for _ in range(2):
        algorithm.train()
    path = algorithm.save_to_path(str(tmp_path / "two"))
    for _ in range(2):
        algorithm.train()
    wanted = files.state_bytes(algorithm.agent)
    assert wanted == files.state_bytes(train_agent(spec).state)
    other: Any = Algorithm.from_checkpoint(path)
    algorithm.restore_from_path(path)
    for restored in (other, algorithm):
        assert restored.agent.updates_done == 2
        for _ in range(2):
            restored.train()
        assert files.state_bytes(restored.agent) == wanted
    other.stop()


def test_the_module_is_a_view_of_the_agent(build: Any) -> None:
    import torch

    spec = spec_of("ppo", 1)
    algorithm = build(config_of(spec))
    algorithm.train()
    module, seen = algorithm.get_module(), np.linspace(-1, 1, 5, dtype=np.float32)[:, None]
    from robustray.tasks.policy_gradients.batch import outputs_of, values_of

    batch = {"obs": torch.from_numpy(seen)}
    found = module.forward_inference(batch)["action_dist_inputs"].numpy()
    np.testing.assert_allclose(found[:, :1], outputs_of(algorithm.agent, seen), rtol=1e-5)
    np.testing.assert_allclose(found[0, 1], algorithm.agent.policy[-1])
    with torch.no_grad():
        np.testing.assert_allclose(module.compute_values(batch).numpy(), values_of(algorithm.agent, seen), rtol=1e-5)


def test_an_environment_that_breaks_ends_the_training_with_its_place(build: Any) -> None:
    spec = dataclasses.replace(spec_of("ppo", 1), environment=f"{HERE}:RaisesInStep")
    with pytest.raises(EnvironmentFailed, match="step 7 after the reset with seed"):
        build(config_of(spec)).train()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: c.training(lr=1e-3), "there is no 'lr'"),
        (lambda c: c.training(value_clipp=1.0), "did you mean 'value_clip'"),
        (lambda c: c.training(value_clip=-1.0).validate(), "value_clip"),
        (lambda c: c.update_from_dict({"value_clipp": 1.0}).validate(), "no setting 'value_clipp': did you mean"),
        (lambda c: c.learners(num_learners=2).validate(), "one local learner"),
        (lambda c: c.env_runners(num_envs_per_env_runner=2).validate(), "num_streams"),
        (lambda c: c.debugging(seed=1).validate(), "agent_seed"),
        (lambda c: c.evaluation(evaluation_duration_unit="timesteps").validate(), "episodes"),
        (lambda c: c.training(settings=preset("trpo", "Hopper")), "TRPOConfig"),
        (lambda c: c.environment(7).agent_spec, "Gymnasium id"),
    ],
)
def test_what_cannot_be_trained_is_refused(change: Any, says: str) -> None:
    with pytest.raises(InputError, match=says):
        change(config_of(spec_of("ppo", 1)))


def test_settings_and_the_algorithms_own_attributes_do_not_clash() -> None:
    """`clip_actions` means the same in both."""
    from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

    from robustray.distributed.rllib.config import FIELDS, OWN

    assert {*FIELDS, *OWN} & set(vars(AlgorithmConfig())) == {"clip_actions"}
    found = config_of(AgentSpec(environment="Hopper-v5", settings=preset("trpo+", "Hopper"), iterations=3))
    assert found.agent_settings == preset("trpo+", "Hopper")


def test_more_than_the_cluster_has_is_refused(build: Any) -> None:
    """Built here, the algorithm needs no CPU of Ray; as a trial it does."""
    config = config_of(spec_of("ppo", 1), runners=20)
    with pytest.raises(InputError, match=r"asks for 20 CPUs .* the cluster has 8, .*: lower num_env_runners"):
        build(config)
    with pytest.raises(InputError, match=r"asks for 21 CPUs \(1 for itself, 20 env runners .*: lower num_env_runners"):
        config.algo_class.default_resource_request(config)


# --- Longer ones --------------------------------------------------------------------------------------------------


@pytest.mark.acceptance
@pytest.mark.parametrize(
    ("step", "num_streams", "runners", "goes_on"),
    [
        ("trpo", 1, 1, True),
        ("ppo", 1, 2, False),
        ("ppo", 1, 3, True),
        ("ppo", 5, 1, False),
        ("trpo", 5, 2, False),
        ("ppo", 5, 3, True),
    ],
)
def test_any_number_of_runners_makes_the_plain_loops_agent(
    build: Any, step: str, num_streams: int, runners: int, goes_on: bool
) -> None:
    spec = spec_of(step, num_streams, goes_on)
    algorithm = build(config_of(spec, runners=runners))
    for _ in range(4):
        algorithm.train()
    assert same(algorithm, train_agent(spec))


@pytest.mark.acceptance
def test_a_runner_that_hangs_is_started_again(build: Any, eight_cpus: Path) -> None:
    """The first process that gets there sleeps for ever; its stream goes to another, and numbers don't change."""
    spec = dataclasses.replace(spec_of("ppo", 4), environment=f"{HERE}:HangsOnce")
    config = config_of(spec, runners=2).training(stream_deadline_s=5.0)
    algorithm = build(config)
    began = time.monotonic()
    for _ in range(4):
        algorithm.train()
    assert eight_cpus.exists() and time.monotonic() - began < 120
    assert same(algorithm, train_agent(spec))


@pytest.mark.acceptance
@pytest.mark.parametrize("environment", ["NaNObservation", "NaNReward", "RaisesInReset", "RaisesInStep"])
def test_an_error_in_a_remote_runner_arrives_at_once(build: Any, environment: str) -> None:
    algorithm = build(config_of(dataclasses.replace(spec_of("ppo", 2), environment=f"{HERE}:{environment}"), runners=1))
    with ends_at_once(algorithm, rf"{environment}, step \d after the reset with seed \d+"):
        algorithm.train()


@contextlib.contextmanager
def ends_at_once(algorithm: Any, says: str) -> Iterator[None]:
    """Long before RLlib's own timeouts of a minute, with these words, and without a runner that was started again."""
    group, began = algorithm.env_runner_group, time.monotonic()
    pids = group.foreach_env_runner(lambda _: os.getpid(), local_env_runner=False)
    with pytest.raises(EnvironmentFailed, match=says):
        yield
    assert time.monotonic() - began < 30
    assert group.num_remote_worker_restarts() == 0
    assert group.foreach_env_runner(lambda _: os.getpid(), local_env_runner=False) == pids


@pytest.mark.acceptance
@pytest.mark.parametrize(
    ("environment", "steps", "says"),
    [
        ("RaisesAt777", (777, 265), "step raised ZeroDivisionError: a joint came off"),
        ("RaisesInLateReset", (780,), "reset raised OSError: no such arena"),
        ("NaNObservationAt777", (777,), "the observation is not finite"),
        ("NaNRewardAt777", (777,), "the reward is nan"),
    ],
)
def test_an_error_late_in_a_remote_runner_leaves_the_store_clean(
    build: Any, tmp_path: Path, environment: str, steps: tuple[int, ...], says: str
) -> None:
    """In the first update nothing is left; in the second one whole states only, from which the next try goes on."""
    spec = spec_of("ppo", 1, environment=f"{HERE}:{environment}", milestones=(1,), heldout_every=None)
    for step, length, kept in zip(steps, (1024, 512), ([], [1]), strict=False):
        asked = dataclasses.replace(spec, settings=dataclasses.replace(spec.settings, steps_per_stream=length))
        store = Store(str(tmp_path / str(length)))
        store.create()
        (job,) = learn_jobs([asked], interval=Interval(steps=1, seconds=None))
        algorithm = build(config_of(asked, runners=1))
        with ends_at_once(algorithm, rf"{HERE}:{environment}, step {step} after the reset with seed \d+: {says}"):
            job.learn(store, advance_in(algorithm))
        found = files.list_files(store, job.key)
        assert [(file.kind, file.update) for file in found] == [("state", update) for update in kept]
        assert all(files.read_file(store, file) is not None for file in found)
        left = {str(path.relative_to(store.url)) for path in Path(store.url).rglob("*") if path.is_file()}
        others = sorted(name for name in left - {file.name for file in found} if not name.startswith("tensorboard/"))
        assert [name.split("/")[:2] for name in others] == [["checkpoints", job.key]] * len(kept), others
        again = begin(asked)
        Checkpoints(store=store, key=job.key, code=job.code, interval=Interval(), say=print).restore(again)
        assert again.state.updates_done == len(kept), "whole, and where the next try begins"


@pytest.mark.acceptance
def test_an_evaluation_plays_exactly_its_episodes_with_the_trainings_moments(build: Any) -> None:
    """With 0 and 2 evaluation runners the same ones, which a loaded agent plays too, also where one of the two dies on
    the way. Nothing of the agent moves: observations, rewards, discounted sums, weights."""
    spec, episodes = spec_of("ppo", 3, environment=f"{HERE}:Slow"), 7
    found = []
    for runners in (0, 2):
        options = {"evaluation_duration": episodes, "evaluation_interval": 100, "evaluation_num_env_runners": runners}
        algorithm = build(config_of(spec).evaluation(**options))
        for _ in range(2):
            algorithm.train()
        state = algorithm.agent
        before = files.state_bytes(state)
        moments = {name: array.copy() for name, array in state.arrays().items() if name.startswith(("obs", "rewards"))}
        assert set(moments) == {
            *(f"{of}/{what}" for of in ("observations", "rewards") for what in ("mean", "squares")),
            "rewards/discounted",
        }
        counts = (state.filters.observations.count, state.filters.rewards.count)
        group = algorithm.eval_env_runner_group
        pids = group.foreach_env_runner(lambda _: os.getpid(), local_env_runner=False) if runners else []
        kills = [threading.Timer(0.1, os.kill, (pid, signal.SIGKILL)) for pid in pids[:1]]
        for kill in kills:
            kill.start()
        result = algorithm.evaluate()
        for kill in kills:
            kill.join()
        assert result["env_runners"]["num_episodes"] == len(algorithm.evaluated) == episodes
        for name, array in moments.items():
            assert array.tobytes() == state.arrays()[name].tobytes(), name
        assert counts == (state.filters.observations.count, state.filters.rewards.count) and min(counts) > 300
        assert files.state_bytes(state) == before
        seed = seeds.integer(spec.seed, "evaluation in RLlib", 2) % 2**31
        played = Agent(files.state_of(before)).evaluate(episodes=episodes, seed=seed)
        assert algorithm.evaluated == played.to_dict(orient="records")
        found.append(algorithm.evaluated)
        algorithm.train()
        row = train_agent(dataclasses.replace(spec, iterations=3, horizon=4)).curve[-1]
        assert json.dumps(algorithm.training.curve[-1]) == json.dumps(row), (
            "and training goes on as if nothing had been"
        )
    assert found[0] == found[1]


@pytest.mark.acceptance
def test_a_runner_killed_at_a_random_moment_changes_no_bit(build: Any) -> None:
    """One of two, at the moment of a seed: while it collects, or waits, or between updates."""
    spec = spec_of("ppo", 5, goes_on=True, environment=f"{HERE}:Slow")
    algorithm, rng = build(config_of(spec, runners=2)), np.random.default_rng(1)
    pids = algorithm.env_runner_group.foreach_env_runner(lambda _: os.getpid(), local_env_runner=False)
    killed = []

    def kill(pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        killed.append(pid)

    timer = threading.Timer(rng.uniform(0, 3), kill, (pids[int(rng.integers(2))],))  # an update takes about a second
    timer.start()
    for _ in range(4):
        algorithm.train()
    timer.join()
    assert len(killed) == 1 and same(algorithm, train_agent(spec))


@pytest.mark.acceptance
@pytest.mark.parametrize(
    ("environment", "runners"),
    [("CartPole-v1", 0), ("Pendulum-v1", 0), (f"{HERE}:Matrix", 1), (f"{HERE}:RobustrayTarget-v0", 1), (Choice, 1)],
    ids=["choices", "boxes", "4 x 4", "registered", "class"],
)
def test_any_environment_is_made_in_each_runner(build: Any, environment: Any, runners: int) -> None:
    """By its name, or a class; a module of one's own is imported where the runner is."""
    name = environment if isinstance(environment, str) else f"{HERE}:{environment.__name__}"
    spec = spec_of("ppo", 2, environment=name, iterations=2)
    algorithm = build(config_of(spec, runners=runners).environment(environment))
    for _ in range(2):
        algorithm.train()
    assert same(algorithm, train_agent(spec))


@pytest.mark.acceptance
def test_a_restored_algorithm_with_runners_goes_on_to_the_bit(build: Any, tmp_path: Path) -> None:
    from ray.rllib.algorithms.algorithm import Algorithm

    spec = spec_of("trpo", 5, goes_on=True)
    algorithm = build(config_of(spec, runners=2))
    algorithm.train()
    path = algorithm.save_to_path(str(tmp_path / "one"))
    other: Any = Algorithm.from_checkpoint(path)
    for _ in range(3):
        other.train()
    assert files.state_bytes(other.agent) == files.state_bytes(train_agent(spec).state)
    other.stop()


@pytest.mark.acceptance
def test_tune_searches_over_switches(eight_cpus: Path, tmp_path: Path) -> None:
    """The config itself is the search space; a trial's agent is the plain loop's."""
    from ray import tune

    spec = spec_of("ppo", 1, iterations=3)
    config = config_of(spec).training(value_clip=tune.grid_search([None, 0.2]))
    tuner = tune.Tuner(
        config.algo_class,
        param_space=config,
        run_config=tune.RunConfig(storage_path=str(tmp_path), stop={"training_iteration": 3}, verbose=0),
    )
    results: Any = tuner.fit()
    assert len(results) == 2 and not results.errors
    found = {}
    for result in results:
        learned = result.metrics["learners"]["default_policy"]
        found[result.config["value_clip"]] = (learned["kl"], learned["value_error"])
    for clip in (None, 0.2):
        settings = dataclasses.replace(spec.settings, value_clip=clip)
        row = train_agent(dataclasses.replace(spec, settings=settings)).curve[-1]
        assert found[clip] == (row["kl"], row["value_error"])
