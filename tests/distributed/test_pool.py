"""The pool on a real Ray: the same bytes as in one process, whatever dies. All decisions: `test_pool_simulated.py`."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.machinery
import logging
import os
import re
import signal
import sys
import threading
import time
import types
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest

from robustray.tasks.errors import InputError, WorkFailed
from robustray.tasks.lab.base import BlockLab
from robustray.tasks.lab.checkpoints import Interval
from robustray.tasks.lab.executor import Silent
from robustray.tasks.lab.handles import Pending
from robustray.tasks.lab.journal import Journal
from robustray.tasks.lab.optimise import OptimiseSpec
from robustray.tasks.lab.protocol import Needs
from robustray.tasks.lab.serial import SerialLab
from robustray.tasks.lab.store import Store
from tests.tasks import optimisations

HERE = Path(__file__).resolve().parent
if str(HERE) not in sys.path:
    sys.path.append(str(HERE))
blocks: Any = importlib.import_module("block_functions")


def start(**resources: Any) -> None:
    """A Ray of our own whose workers find `block_functions`."""
    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
    import ray

    ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR, **resources)


@pytest.fixture(scope="module")
def search_path() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), str(HERE.parents[1])]))
        yield


@pytest.fixture(scope="module")
def two_cpus(search_path: None) -> Iterator[None]:
    import ray

    start(num_cpus=2, num_gpus=0)
    yield
    ray.shutdown()


class Told(Silent):
    """Progress that remembers what was said, and runs `at[n]` once `n` items are done."""

    def __init__(self, at: dict[int, Callable[[], None]] | None = None) -> None:
        self.messages: list[str] = []
        self.done = 0
        self.at = dict(at or {})

    def advance(self, step: str, n: int, seconds: float) -> None:
        self.done += n
        for moment in [moment for moment in self.at if self.done >= moment]:
            self.at.pop(moment)()

    def message(self, text: str) -> None:
        self.messages.append(text)


class Pools:
    """One pool for the tests of this file: its two actors are started once."""

    def __init__(self, folder: Path) -> None:
        from robustray.distributed.pool import Pool

        self.store = Store(str(folder / "store"))
        self.folder = folder
        self.said: list[str] = []
        self.pool = Pool(
            store=self.store,
            payload=lambda ref: ref.fetch(),
            message=self.said.append,
            cpus=2.0,
            quantum_s=0.5,
        )

    def lab(self, journal: Journal | None = None, progress: Told | None = None) -> BlockLab:
        return BlockLab(store=self.store, executor=self.pool, journal=journal, progress=progress)

    def behaviour(self, name: str, **does: Any) -> Any:
        folder = self.folder / name
        folder.mkdir()
        return blocks.Behaviour(folder=str(folder), **does)


@pytest.fixture(scope="module")
def pools(two_cpus: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pools]:
    made = Pools(tmp_path_factory.mktemp("pool"))
    yield made
    made.pool.close()


def ask(lab: BlockLab, does: Any, num_items: int, block: int = 4, **changed: Any) -> pd.DataFrame:
    return lab.map(
        Path(does.folder).name, blocks.work, range(num_items), block=block, settings=does, **changed
    ).result()


def undisturbed(does: Any, tmp_path: Path, num_items: int, block: int = 4) -> pd.DataFrame:
    """The same rows from this process. The key is another (so are the settings), the rows must be the same."""
    calm = blocks.Behaviour(folder=str(tmp_path))
    return (
        SerialLab(store=Store(str(tmp_path / "serial")))
        .map(Path(does.folder).name, blocks.work, range(num_items), block=block, settings=calm)
        .result()
    )


def same(first: pd.DataFrame, second: pd.DataFrame) -> bool:
    plain = [frame.assign(image=[image.tobytes() for image in frame["image"]]) for frame in (first, second)]
    return plain[0].equals(plain[1]) and list(first.dtypes) == list(second.dtypes)


def pieces_of(store: Store, key: str) -> dict[str, bytes]:
    return {name: store.read(f"pieces/{key}/{name}") for name in store.list(f"pieces/{key}")}


# -- the same bytes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_items", [0, 1, 2, 3, 4, 5, 9, 40])
def test_pieces_are_those_of_one_process(num_items: int, pools: Pools, tmp_path: Path) -> None:
    """At, one below and one above the number of workers, and a block more or less."""
    does = pools.behaviour(f"sizes-{num_items}")
    here, there = Journal(), Journal()
    serial = Store(str(tmp_path / "serial"))
    expected = ask(SerialLab(store=serial, journal=here), does, num_items, block=1 if num_items <= 3 else 4)
    found = ask(pools.lab(there), does, num_items, block=1 if num_items <= 3 else 4)
    assert same(found, expected) and found["item"].tolist() == list(range(num_items))
    ((key,),) = here.step_keys.values()
    assert there.step_keys == here.step_keys
    assert pieces_of(pools.store, key) == pieces_of(serial, key)


def test_blocks_are_handed_out_as_actors_are_free(pools: Pools) -> None:
    ask(pools.lab(), pools.behaviour("warm-up", seconds=0.1), 8, block=1)
    does = pools.behaviour("many", seconds=0.005)
    in_flight: list[int] = []

    def look() -> None:
        in_flight.append(sum(len(actor.in_flight) for group in pools.pool.groups for actor in group.actors))

    told = Told({moment: look for moment in range(1, 400, 7)})
    ask(pools.lab(progress=told), does, 400, block=1)
    assert len(in_flight) > 50 and max(in_flight) <= 4
    counts = Counter(pid for pid, _ in blocks.ran(does.folder))
    assert len(counts) == 2 and min(counts.values()) > 40


def test_an_answer_costs_the_same_however_many_blocks_wait(pools: Pools, monkeypatch: pytest.MonkeyPatch) -> None:
    """The queues are looked through where a step has failed, and not after every answer."""
    looks: list[str] = []

    def stopped(handle: Pending) -> bool:
        looks.append(handle.step)
        return bool(handle.error)

    monkeypatch.setattr(Pending, "stopped", property(stopped))
    ask(pools.lab(), pools.behaviour("long-queue"), 200, block=1)
    assert len(looks) <= 2 * 200


# -- what dies ---------------------------------------------------------------------------------------------------------


def actor_pids() -> list[int]:
    """The living block actors of this process's Ray."""
    return [
        child.pid
        for child in psutil.Process().children(recursive=True)
        if child.is_running() and "BlockActor" in " ".join(child.cmdline() or [child.name()])
    ]


def test_an_actor_killed_from_outside_costs_nothing(pools: Pools, tmp_path: Path) -> None:
    does = pools.behaviour("killed-from-outside", seconds=0.05)
    pids = actor_pids()
    assert len(pids) == 2
    told = Told({8: lambda: os.kill(pids[0], signal.SIGKILL)})
    journal = Journal()
    found = ask(pools.lab(journal, told), does, 80)
    assert same(found, undisturbed(does, tmp_path, 80))
    assert not journal.failures and journal.count("killed-from-outside").retried >= 1
    (message, *_) = [message for message in told.messages if "died" in message]
    assert "its process ended" in message
    assert len(set(actor_pids())) == 2 and pids[0] not in actor_pids(), "another took its place"


def exported(name: str, step: str) -> float:
    """A counter of the pool's, as this node exports it to Prometheus; 0 where it is not there yet."""
    import ray

    (node,) = (node for node in ray.nodes() if node["Alive"])
    url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            text = answer.read().decode()
    except OSError:  # the node's agent starts after the node
        return 0.0
    pattern = rf'^ray_robustray_{name}(?:_total)?{{[^}}]*step="{step}"[^}}]*}} (\S+)$'
    return sum(float(value) for value in re.findall(pattern, text, re.MULTILINE))


def test_ray_exports_blocks_items_failures_deaths_and_restarts(pools: Pools) -> None:
    ask(pools.lab(), pools.behaviour("metered", kill_once=(5,)), 20)
    with pytest.raises(WorkFailed):
        ask(pools.lab(), pools.behaviour("metered-failing", fail=(1,)), 4)
    wanted = {
        ("items_done", "metered"): 20,
        ("blocks_done", "metered"): 5,
        ("workers_died", "metered"): 1,
        ("blocks_failed", "metered-failing"): 1,
    }
    deadline = time.monotonic() + 120  # every ten seconds Ray passes them on
    found: dict[tuple[str, str], float] = {}
    restarts, asked = 0.0, 0
    while time.monotonic() < deadline and (found != wanted or not restarts):
        asked += 1  # the pool hears of a restart while it works
        ask(pools.lab(), pools.behaviour(f"after-{asked}", seconds=0.5), 2, block=1)
        found = {named: exported(*named) for named in wanted}
        restarts = exported("worker_restarts", "-")
    assert found == wanted and restarts >= 1


def test_all_actors_killed_at_once(pools: Pools, tmp_path: Path) -> None:
    does = pools.behaviour("all-killed", seconds=0.02)

    def kill() -> None:
        for pid in actor_pids():
            os.kill(pid, signal.SIGKILL)

    journal = Journal()
    found = ask(pools.lab(journal, Told({8: kill})), does, 60)
    assert same(found, undisturbed(does, tmp_path, 60)) and not journal.failures


def test_a_poison_item_is_found_and_everything_else_is_there(pools: Pools, tmp_path: Path) -> None:
    does = pools.behaviour("poison", kill=(6,))
    journal, told = Journal(), Told()
    found = ask(pools.lab(journal, told), does, 32, block=4)
    expected = undisturbed(does, tmp_path, 32)
    assert same(found, expected[expected["item"] != 6].reset_index(drop=True))
    ((failure),) = journal.failures
    assert (failure["index"], failure["item"]) == (6, 6) and "killed worker" in failure["reason"]
    begun = [items for _, items in blocks.ran(does.folder)]
    assert begun.count((6,)) == 2, "alone it had a second chance"
    assert begun.count((4, 5, 6, 7)) == 2
    healthy = [items for items in begun if 6 not in items and len(items) == 4]
    assert all(len(items) == 4 for items in healthy) and max(Counter(healthy).values()) <= 2

    # The same run again: the item stays given up, and nothing is computed.
    before = len(begun)
    assert same(ask(pools.lab(journal), does, 32, block=4), found)
    assert len(blocks.ran(does.folder)) == before


def test_bad_luck_is_forgiven(pools: Pools, tmp_path: Path) -> None:
    """Items that kill their worker only once: even alone in their block they are not given up."""
    does = pools.behaviour("bad-luck", kill_once=(3,))
    journal = Journal()
    assert same(ask(pools.lab(journal), does, 8, block=1), undisturbed(does, tmp_path, 8, block=1))
    assert not journal.failures


def test_out_of_memory_is_halved(pools: Pools, tmp_path: Path) -> None:
    does = pools.behaviour("memory", out_of_memory=(5, 17))
    journal = Journal()
    found = ask(pools.lab(journal), does, 24, block=8)
    expected = undisturbed(does, tmp_path, 24)
    assert same(found, expected[~expected["item"].isin([5, 17])].reset_index(drop=True))
    assert sorted(failure["item"] for failure in journal.failures) == [5, 17]


def test_memory_that_a_neighbour_had_is_tried_again(pools: Pools, tmp_path: Path) -> None:
    does = pools.behaviour("memory-once", out_of_memory_once=(2,))
    journal = Journal()
    assert same(ask(pools.lab(journal), does, 6, block=1), undisturbed(does, tmp_path, 6, block=1))
    assert not journal.failures


def test_an_exception_ends_the_step_and_keeps_what_is_finished(pools: Pools, tmp_path: Path) -> None:
    does = pools.behaviour("exception", fail=(20,), seconds=0.2)  # the news of it travels meanwhile
    journal = Journal()
    with pytest.raises(WorkFailed, match=r"exception, items 20 to 23 failed: ValueError: item 20 is not to my taste"):
        ask(pools.lab(journal), does, 400)
    (key,) = journal.step_keys["exception"]
    kept = len(pieces_of(pools.store, key))
    assert 4 <= kept < 20, "those in flight are kept, the rest is not tried"
    assert not journal.failures
    # The pool goes on for others.
    calm = pools.behaviour("after-exception")
    assert same(ask(pools.lab(), calm, 8), undisturbed(calm, tmp_path, 8))


def test_settings_that_an_actor_cannot_read_end_the_step(pools: Pools, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that only the driver finds (typed in a notebook, or in a folder of its own search path)."""
    module = types.ModuleType("only_the_driver_has_this")
    settings = dataclasses.make_dataclass("Settings", [("x", int)], frozen=True)
    settings.__module__ = module.__name__
    module.Settings = settings  # type: ignore[attr-defined]
    module.__spec__ = importlib.machinery.ModuleSpec(module.__name__, None)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    with pytest.raises(WorkFailed, match="only_the_driver_has_this"):
        pools.lab().map("unreadable", blocks.work, range(3), block=1, settings=settings(1)).result()


def test_an_optimisation_whose_worker_is_killed_goes_on_to_the_bit(pools: Pools, tmp_path: Path) -> None:
    """It is held in its step 21, killed, and goes on after step 20; its arrays are read by a next step."""
    fit = optimisations.Regress(num_steps=40, orders=str(tmp_path))
    steps = tmp_path / "steps"
    kept: dict[str, dict[str, bytes]] = {}
    answers: dict[str, pd.DataFrame] = {}

    def ask(lab: BlockLab, where: str) -> None:
        mapped = lab.map("points", optimisations.points_block, range(200), block=100)
        refs = {"points": lab.rows("points", mapped)}
        spec = OptimiseSpec(function=optimisations.regression, settings=fit, seed=3, refs=refs)
        (found,) = lab.optimise("fit", [spec]).result()
        answers[where] = lab.map(
            "fitted", optimisations.fitted_block, range(200), block=100, refs={**refs, "fit": found.ref}
        ).result()
        kept[where] = {name: lab.store.read(f"optimised/{name}") for name in lab.store.list("optimised")}

    ask(SerialLab(store=Store(str(tmp_path / "serial"))), "serial")
    steps.unlink()

    def kill() -> None:
        while not steps.exists() or not steps.read_text().endswith(" 21\n"):
            time.sleep(0.02)
        os.kill(int(steps.read_text().split()[-2]), signal.SIGKILL)
        (tmp_path / "hold").unlink()

    (tmp_path / "hold").write_text("21")
    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    lab = pools.lab()
    lab.checkpoint_every = Interval(steps=4, seconds=None)
    ask(lab, "ray")
    killer.join(timeout=10)
    assert not killer.is_alive() and lab.journal.count("fit").retried == 1
    taken = [int(line.split()[1]) for line in steps.read_text().splitlines()]
    assert taken == [*range(22), *range(20, 40)], "one interval at most is repeated"
    assert kept["ray"] == kept["serial"] and answers["ray"].equals(answers["serial"])


# -- places ------------------------------------------------------------------------------------------------------------


def test_two_kinds_with_open_handles_do_not_starve_each_other(pools: Pools, tmp_path: Path) -> None:
    """Both actors are busy with one kind for as long as it takes: until the other kind is done."""
    first = pools.behaviour("patient", seconds=0.2)
    second = pools.behaviour("in-between")
    lab = pools.lab()
    patient = lab.map("patient", blocks.work, range(40), block=1, settings=first)
    between = lab.map("in-between", blocks.work, range(4), block=1, settings=second, needs=Needs(threads=2, gpus=0.5))
    assert between.result()["item"].tolist() == list(range(4))
    assert len(blocks.ran(first.folder)) < 40, "the second kind did not wait for the end of the first"
    assert same(patient.result(), undisturbed(first, tmp_path, 40, block=1))


def test_memory_does_not_grow_with_the_number_of_data_sets(pools: Pools, monkeypatch: pytest.MonkeyPatch) -> None:
    """Payloads leave the driver, the object store and the actors when no open step needs them: each data set is of 40
    MB, the driver keeps at most 64 MiB of those that are idle."""
    size, lab = 40_000_000, pools.lab()
    monkeypatch.setattr(pools.pool, "_payload", lab.payload)

    def ask(number: int) -> tuple[int, int]:
        """(memory of the driver, of the largest actor) after a step on this data set."""
        refs = {"data": blocks.Bulk(f"set {number}", size)}
        rows = lab.map("weigh", blocks.weigh, range(8), block=1, refs=refs).result()
        assert (rows["last"] == 7).all()
        return psutil.Process().memory_full_info().uss, int(rows["memory"].max())

    two = [max(each) for each in zip(*map(ask, range(2)), strict=True)]
    twelve = [max(each) for each in zip(*map(ask, range(2, 12)), strict=True)]
    assert all(more - less < 2 * size for more, less in zip(twelve, two, strict=True)), (two, twelve)
    assert sum(name.startswith("set ") for name in pools.pool._objects) <= 2, "small ones of other tests may stay"
    held = [actor.holds for group in pools.pool.groups for actor in group.actors]
    assert all(sum(name.startswith("set ") for name in each) <= 2 for each in held)


def test_needs_that_can_never_be_met_are_refused_at_once(pools: Pools) -> None:
    does = pools.behaviour("too-much")
    with pytest.raises(InputError, match=r"needs 3 CPUs and 0 GPUs, but there are 2 CPUs and 0 GPUs"):
        ask(pools.lab(), does, 4, needs=Needs(threads=3))
    assert blocks.ran(does.folder) == []


def test_a_store_that_all_nodes_share(two_cpus: None, tmp_path: Path) -> None:
    from robustray.distributed.cluster import check_shared_store

    store = Store(str(tmp_path / "shared"))
    check_shared_store(store)
    assert store.list(".shared") == [], "nothing is left"


def test_a_store_that_is_another_folder_on_a_node(
    two_cpus: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path that means another place for every process stands for the local disks of two nodes."""
    from robustray.distributed.cluster import check_shared_store

    monkeypatch.chdir(tmp_path)
    store = Store("/proc/self/cwd/not-shared")
    with pytest.raises(InputError, match=r"1 of 1 nodes .* see another folder there, or none"):
        check_shared_store(store)
    assert not any(tmp_path.iterdir()), "the folders that were made for the question are gone again"


def test_a_node_that_died_while_it_was_asked_is_no_stranger(
    two_cpus: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    from robustray.distributed.cluster import check_shared_store

    nodes = ray.nodes()
    answers = iter([nodes, [{**node, "Alive": False} for node in nodes]])
    monkeypatch.setattr(ray, "nodes", lambda: next(answers))
    monkeypatch.chdir(tmp_path)
    check_shared_store(Store("/proc/self/cwd/not-shared"))


def test_a_refused_store_keeps_what_was_in_it(two_cpus: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from robustray.distributed.cluster import check_shared_store

    (tmp_path / "not-shared").mkdir()
    (tmp_path / "not-shared" / "mine.txt").write_text("mine")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError):
        check_shared_store(Store("/proc/self/cwd/not-shared"))
    assert [path.name for path in (tmp_path / "not-shared").iterdir()] == ["mine.txt"]
