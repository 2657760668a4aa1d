"""Which block killed its worker? Suspects run alone, and are halved until the item that kills the worker is found.

Everything queued on a dead actor fails with it, and the error doesn't say which call was running (measured). So every
block whose actor died is a *suspect*: it runs again alone, on an actor in quarantine, which has nothing else. Only a
failure there counts; then the block is halved, and its halves are suspects. Meanwhile the other actors work on healthy
blocks. Blocks are handed out again here and not by Ray, which can't tell an item that always kills its worker from an
accident and would crash actors for ever.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from robustray.distributed.groups import Actor, Group, Task

STRIKES = 2
"""How often a block of one item may kill its worker before the item is given up: once may be an accident."""
RETURN_S = 15.0
"""Seconds that suspects wait until the quarantined actor that one of them killed has restarted (measured: 2 s)."""


def hand_out_suspects(group: Group, free: Sequence[Actor], send: Callable[[Actor, Task], None]) -> None:
    """Keep one actor of the group for suspects while there are any, and give it the next one when it has nothing.

    free: the actors that may get a block.
    """
    for actor in group.actors:  # its node may be gone for good: suspects don't wait for it
        if actor.quarantine and not actor.up and time.monotonic() - actor.down_at > RETURN_S:
            actor.quarantine = False
    if group.suspects and free and not any(actor.quarantine for actor in group.actors):
        min(free, key=lambda actor: len(actor.in_flight)).quarantine = True
    for actor in free:
        if actor.quarantine and not group.suspects and not actor.in_flight:
            actor.quarantine = False
        elif actor.quarantine and group.suspects and not actor.in_flight:
            task = group.suspects.popleft()
            task.alone = True
            send(actor, task)


def died(group: Group, actor: Actor, task: Task, reason: str) -> None:
    """`task` was on `actor`, which is gone. It is a suspect now; if it was one, and alone, it is guilty."""
    if not task.alone:
        task.listener.retried(task.job, f"{actor.name} died ({reason})")
        group.suspects.append(task)
        return
    task.strikes += 1
    divide(group, task, f"killed {actor.name} ({reason})", final=task.strikes >= STRIKES)


def divide(group: Group, task: Task, reason: str, *, final: bool) -> None:
    """Put the halves of a bad job into quarantine; give up what can't be divided when the verdict is final."""
    halves = task.job.halves()
    if halves:
        task.listener.retried(task.job, f"{reason}; in halves")
        task.listener.split(task.job, len(halves))
        # At the end: blocks that were only queued beside the bad one come first and are out of it.
        group.suspects.extend(Task(half, task.listener) for half in halves)
    elif final:
        task.listener.poisoned(task.job, reason)
    else:
        task.listener.retried(task.job, reason)
        group.suspects.append(task)
