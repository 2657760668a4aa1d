"""What an algorithm asks of a cluster, compared with its nodes. No Ray is started."""

from __future__ import annotations

from typing import Any

import pytest
import ray

from robustray.tasks.errors import InputError


def nodes(*each: tuple[float, float]) -> list[dict[str, Any]]:
    """(CPUs, GPUs) of nodes, and a dead one with a hundred of both."""
    alive = [{"Alive": True, "Resources": {"CPU": c} | ({"GPU": g} if g else {})} for c, g in each]
    return [*alive, {"Alive": False, "Resources": {"CPU": 100.0, "GPU": 100.0}}]


TWO = nodes((5, 1), (5, 0))


@pytest.mark.parametrize(
    ("change", "there", "says"),
    [
        # More than any node has, in a cluster that has it in all.
        (
            lambda c: c.env_runners(num_env_runners=1, num_cpus_per_env_runner=6),
            TWO,
            "6 CPUs for an env",
        ),
        (lambda c: c.env_runners(num_env_runners=1, num_gpus_per_env_runner=2), nodes((5, 1), (5, 1)), "2 GPUs for an"),
        (
            lambda c: c.resources(num_cpus_for_main_process=6),
            TWO,
            "6 CPUs for itself, the largest node has 5",
        ),
        # Each fits somewhere, and all are not more than all nodes have, but an actor is not divided.
        (
            lambda c: c.env_runners(num_env_runners=3, num_cpus_per_env_runner=3),
            TWO,
            "10 CPUs .* room for 2 env",
        ),
        (
            lambda c: c.env_runners(num_env_runners=2, num_gpus_per_env_runner=1),
            TWO,
            "room for 1 env runner on",
        ),
        (lambda c: c.env_runners(num_env_runners=10), TWO, "asks for 11 CPUs .* has 10, .*: lower num_env_runners"),
        (
            lambda c: c.env_runners(num_env_runners=5).evaluation(evaluation_num_env_runners=5),
            TWO,
            "10 env runners .*: lower num_env_runners or evaluation_num_env_runners",
        ),
        # What just fits.
        (lambda c: c.env_runners(num_env_runners=9), TWO, None),
        (lambda c: c.env_runners(num_env_runners=2, num_cpus_per_env_runner=4), TWO, None),
        (lambda c: c.env_runners(num_env_runners=2, num_gpus_per_env_runner=0.5), TWO, None),
        (lambda c: c.env_runners(num_env_runners=0, num_cpus_per_env_runner=99), TWO, None),
        (lambda c: c.resources(num_cpus_for_main_process=5).env_runners(num_env_runners=5), TWO, None),
    ],
)
def test_an_actor_is_compared_with_the_largest_node(
    change: Any, there: list[dict[str, Any]], says: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from robustray.distributed.rllib import PPO, PPOConfig
    from robustray.distributed.rllib.algorithm import check_resources

    monkeypatch.setattr(ray, "nodes", lambda: there)
    config = change(PPOConfig())
    if says is None:
        check_resources(config, PPO, itself=True)
        return
    with pytest.raises(InputError, match=says):
        check_resources(config, PPO, itself=True)
