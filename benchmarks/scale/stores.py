"""A store of many pieces: how it is made, and how long it takes to find something in it."""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import statistics
import subprocess
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa

from benchmarks.load import ForeignLoad
from benchmarks.scale.records import Case, PeakMemory
from robustray.tasks.lab import keys, pieces, runs
from robustray.tasks.lab.pruning import prune
from robustray.tasks.lab.store import Store

PER_STEP, STEPS_OF_RUN = 1_000, 10
ROWS = 100
CODE = "c" * 16
LOOK_UPS = 100
_TEMPLATES = 100
"""Pieces that are encoded as Parquet; the others hold the bytes of one of them, under their own names."""


def plan(size: int) -> dict[str, int]:
    """Step key -> its pieces: one step has a tenth of all, the others 1,000 each."""
    large = max(size // 10, PER_STEP)
    counts = [large, *[PER_STEP] * ((size - large) // PER_STEP)]
    return {keys.digest(["scale", number], length=24): count for number, count in enumerate(counts)}


def make(store: Store, size: int) -> None:
    """Fill a store: pieces under their true names, and one run, finished, that refers to its first ten steps."""
    templates = []
    for number in range(_TEMPLATES):
        table = pa.table({"index": pa.array(range(ROWS)), "value": pa.array([number + 0.5 * i for i in range(ROWS)])})
        piece = pieces.publish(store, table, step_key="template", first=0, block_key=f"{number:016x}", code=CODE)
        templates.append((piece.sha, store.read(piece.name)))
        store.delete(piece.name)
    store.remove_if_empty(pieces.folder("template"))
    steps = plan(size)
    for key, count in steps.items():
        for number in range(count):
            sha, data = templates[number % _TEMPLATES]
            block = keys.block_key(key, ROWS * number, [number])
            piece = pieces.Piece(step_key=key, first=ROWS * number, block_key=block, code=CODE, sha=sha)
            store.write(piece.name, data)
    identity = runs.RunIdentity(study="scale", size="", settings={}, seed=0, hash8="0" * 8, code=CODE)
    run = runs.RunFile(
        id="scale-20260101-000000-00000000", identity=identity, status="finished", created=runs.now(), command="",
        options={}, step_keys={"attack": list(steps)[: STEPS_OF_RUN + 1]},
    )  # fmt: skip
    store.write(f"{run.id}/run.json", json.dumps(asdict(run)).encode())


def look_up(name: str, store: Store, size: int, seed: int) -> Case:
    """Seconds of each kind of look-up; directories of a local disk are in memory by then."""
    case = Case(part="store", case=name, size=size)
    steps, rng = plan(size), random.Random(seed)
    large, *ordinary = steps
    foreign = ForeignLoad()
    found = []
    for _ in range(LOOK_UPS):
        key, number = rng.choice(ordinary), rng.randrange(PER_STEP)
        began = time.perf_counter()
        versions = pieces.listing(store, key)[keys.block_key(key, ROWS * number, [number])]
        table = pieces.read(store, versions[0])
        found.append(time.perf_counter() - began)
        assert table is not None and table.num_rows == ROWS
    case.add("a piece of a step of 1,000: listed, read, checked", 1e3 * statistics.median(found), "ms", foreign.cpus())
    chosen = rng.sample(ordinary, min(STEPS_OF_RUN, len(ordinary)))
    with case.timed(f"names of all pieces of {len(chosen)} steps of 1,000"):
        assert sum(len(pieces.listing(store, key)) for key in chosen) == len(chosen) * PER_STEP
    with PeakMemory() as memory, case.timed(f"names of all pieces of a step of {steps[large]:,}"):
        assert len(pieces.listing(store, large)) == steps[large]
    with PeakMemory() as pruning, case.timed("`prune --dry-run` of all"):
        pruned = prune(store, older_than_s=0, dry_run=True)
    assert pruned.kept + pruned.pieces + pruned.young == sum(steps.values())
    case.add("memory meanwhile, at most", max(memory.growth, pruning.growth), "MiB", 0.0)
    return case


def local(size: int, folder: Path, seed: int) -> Case:
    return look_up("a local disk", Store(folder), size, seed)


def in_memory(size: int, seed: int) -> Case:
    """pyarrow's file system in memory: what a URL costs without any network."""
    store = Store("mock://store")
    make(store, size)
    return look_up("a URL, in memory", store, size, seed)


def on_s3(size: int, seed: int) -> Case:
    with moto(os.environ["ROBUSTRAY_MOTO"]) as url:
        store = Store(url)
        make(store, size)
        return look_up("a URL, moto's S3 server on this machine", store, size, seed)


@contextlib.contextmanager
def moto(program: str) -> Iterator[str]:
    """A store's URL on moto's server, in an empty bucket."""
    from pyarrow import fs

    os.environ |= {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    own = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    quiet = subprocess.DEVNULL
    server = subprocess.Popen([program, "-H", "127.0.0.1", "-p", str(port)], stdout=quiet, stderr=quiet, env=own)
    try:
        while socket.socket().connect_ex(("127.0.0.1", port)):
            assert server.poll() is None
            time.sleep(0.2)
        where = {"endpoint_override": f"127.0.0.1:{port}", "scheme": "http", "region": "us-east-1"}
        fs.S3FileSystem(**where, allow_bucket_creation=True).create_dir("bucket")
        yield "s3://bucket/runs?" + "&".join(f"{key}={value}" for key, value in where.items())
    finally:
        server.kill()
        server.wait()
