"""Checks of a cluster before work starts."""

from __future__ import annotations

import re
import secrets
import socket
from collections.abc import Callable

from robustray.tasks.errors import InputError
from robustray.tasks.lab.store import Store

FOLDER = ".shared"
ANSWER_WITHIN_S = 5.0
NODE_WITHIN_S = 180.0
"""A machine of a cloud starts in one to three minutes."""
_HOST_AND_PORT = re.compile(r"(?:ray://)?(?P<host>[^\s:/@\[\]]+|\[[0-9a-fA-F:]+\]):(?P<port>\d+)")


def check_answers(address: str) -> None:
    """Try whether anything listens at `HOST:PORT` or `ray://HOST:PORT`. Other addresses (auto) are left to Ray.

    Ray itself keeps trying for minutes to reach a cluster that is not there.

    Raises: InputError when nothing listens there.
    """
    found = _HOST_AND_PORT.fullmatch(address)
    if found is None:
        return
    try:
        socket.create_connection((found["host"].strip("[]"), int(found["port"])), timeout=ANSWER_WITHIN_S).close()
    except (OSError, OverflowError, UnicodeError) as error:
        raise InputError(
            f"--address {address}: nothing answers there ({error}); `ray status` on its head tells"
        ) from error


def await_node(say: Callable[[str], None]) -> None:
    """Wait until the cluster that this process is connected to has a CPU, for `NODE_WITHIN_S` at most.

    It has none for a while where all its nodes were lost at once, or where an autoscaler starts one only when something
    waits for it. say: gets a line before the wait.
    """
    import ray

    if ray.cluster_resources().get("CPU", 0) >= 1:
        return
    say(f"the cluster has no CPU now: waiting for a node, for {NODE_WITHIN_S:g} s at most")
    task = ray.remote(num_cpus=1, max_retries=-1)(_nothing).remote()  # what an autoscaler starts a node for
    done, _ = ray.wait([task], timeout=NODE_WITHIN_S)
    if not done:
        ray.cancel(task)


def _nothing() -> None:
    """Runs where there is a CPU."""


def check_shared_store(store: Store) -> None:
    """Make the store and find out whether every node reaches the same: a local disk may only look shared.

    The driver writes a token; one task on each node reads it and writes its own; the driver reads them all. A node that
    died while it was asked is none of the run's any more, and is passed over.

    Raises: InputError naming the nodes that see another store; then no folder is left that was made for the question.
    """
    import ray
    import ray.exceptions
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    token = secrets.token_hex(8)
    store.create()
    store.write(f"{FOLDER}/{token}", token.encode())
    nodes = {node["NodeID"]: node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}
    task = ray.remote(num_cpus=0, max_retries=1)(_answer)
    asked = {
        node: task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(
            store.url, token, node
        )
        for node in nodes
    }
    strangers = []
    try:
        for node, answer in asked.items():
            try:
                ray.get(answer)
                same = store.read(f"{FOLDER}/{token}-{node}") == token.encode()
            except (ray.exceptions.RayError, OSError):
                same = False
            if not same:
                strangers.append(node)
        if strangers:
            alive = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
            strangers = [nodes[node] for node in strangers if node in alive]
    finally:
        for name in (token, *(f"{token}-{node}" for node in nodes)):
            store.delete(f"{FOLDER}/{name}")
    if strangers:
        store.remove_if_empty(FOLDER)
        store.abandon()
        raise InputError(
            f"--store {store.url}: {len(strangers)} of {len(nodes)} nodes ({', '.join(strangers[:3])}) see another "
            "folder there, or none; give one on a shared file system, or a URL"
        )


def _answer(url: str, token: str, node: str) -> None:
    """Runs on one node: copies the token from where the driver put it."""
    store = Store(url)
    store.write(f"{FOLDER}/{token}-{node}", store.read(f"{FOLDER}/{token}"))
