"""The store on a server that speaks S3's language: a study, a kill, a resume, equal tables.

The server is moto's (5.2.5; with 5.2.1 no upload of pyarrow 26 completes). It is a program in an environment of its
own, since its client library holds python-dateutil below 3, which robustray's pinned versions are not:

    python -m venv moto && moto/bin/pip install 'moto[s3,server]>=5.2.5'
    ROBUSTRAY_MOTO=moto/bin/moto_server python -m pytest -m acceptance tests/acceptance/test_object_store.py
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyarrow import fs

from robustray.distributed.cluster import check_shared_store
from robustray.tasks.lab.store import Store

pytestmark = pytest.mark.acceptance

UP_WITHIN_S = 120.0
KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_EC2_METADATA_DISABLED": "true"}
DYING = """\
import os
import signal
from dataclasses import dataclass
from pathlib import Path

from robustray.tasks.attacks import FGSM


@dataclass(frozen=True)
class Dying:
    norm: str
    eps: float

    def __call__(self, model, images, labels, *, seed=0, indices=None, **others):
        if Path("die").exists() and 20 in list(indices):
            os.kill(os.getpid(), signal.SIGKILL)
        return FGSM(norm=self.norm, eps=self.eps)(model, images, labels, seed=seed, indices=indices)


def dying(norm, eps):
    return Dying(norm, eps)
"""
STUDY = "run attack-sweep --workers 0 --num-images 40 --norm linf --eps-linf 0.1 0.3 --num-examples 1 --block 8"
STUDY += " --attack my_attack:dying --model digits:mlp --store "


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A store in an empty bucket, on a server of this machine."""
    program = os.environ.get("ROBUSTRAY_MOTO")
    if not program:
        pytest.skip("no server: ROBUSTRAY_MOTO names moto's program, moto_server")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = tmp_path_factory.mktemp("moto") / "log"
    with log.open("w") as file, pytest.MonkeyPatch.context() as patch:
        for name, value in KEYS.items():
            patch.setenv(name, value)
        own = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        server = subprocess.Popen([program, "-H", "127.0.0.1", "-p", str(port)], stdout=file, stderr=file, env=own)
        try:
            until = time.monotonic() + UP_WITHIN_S
            while socket.socket().connect_ex(("127.0.0.1", port)):
                assert server.poll() is None and time.monotonic() < until, log.read_text()
                time.sleep(0.2)
            client = fs.S3FileSystem(
                endpoint_override=f"127.0.0.1:{port}", scheme="http", region="us-east-1", allow_bucket_creation=True
            )
            client.create_dir("bucket")
            yield f"s3://bucket/runs?endpoint_override=127.0.0.1:{port}&scheme=http&region=us-east-1"
        finally:
            server.kill()
            server.wait()


def robustray(folder: Path, repository: Path, line: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "robustray", *shlex.split(line)]
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)


def test_a_killed_study_goes_on_in_a_bucket_and_its_tables_are_those_of_a_folder(
    url: str, tmp_path: Path, repository: Path
) -> None:
    (tmp_path / "my_attack.py").write_text(DYING)
    undisturbed = robustray(tmp_path, repository, STUDY + "here --json")
    assert undisturbed.returncode == 0, undisturbed.stderr
    (tmp_path / "die").touch()
    killed = robustray(tmp_path, repository, f"{STUDY}'{url}'")
    assert killed.returncode == -9, killed.stderr
    store = Store(url)
    (run,) = (name for name in store.folders() if name.startswith("attack-sweep-"))
    assert json.loads(store.read(f"{run}/run.json"))["status"] == "running"
    before = {key: store.list(f"pieces/{key}") for key in store.folders("pieces")}
    assert sum(map(len, before.values())) > 1, "blocks were finished before"

    (tmp_path / "die").unlink()
    resumed = robustray(tmp_path, repository, f"{STUDY}'{url}' --json")
    assert resumed.returncode == 0, resumed.stderr
    document = json.loads(resumed.stdout)
    assert document["run"] == run and document["report"].startswith("s3://bucket/runs/attack-sweep-")
    told = json.loads(undisturbed.stdout)
    assert document["answer"] == told["answer"] and document["claims"] == told["claims"]
    for name, path in told["tables"].items():
        if name != "cost":  # seconds
            assert store.read(f"{run}/tables/{name}.parquet") == Path(path).read_bytes(), name
    files = [json.loads(line)["file"] for line in store.read(f"{run}/blocks.jsonl").decode().splitlines()]
    assert len(files) == len(set(files)), "no block was computed twice"
    assert all(set(names) <= set(store.list(f"pieces/{key}")) for key, names in before.items())

    verified = robustray(tmp_path, repository, f"verify {run} --share 1 --workers 0 --store '{url}'")
    assert verified.returncode == 0 and "every row is the same" in verified.stdout, verified
    pruned = robustray(tmp_path, repository, f"prune --older-than 0s --json --store '{url}'")
    assert json.loads(pruned.stdout)["pieces"] == 0, pruned


def test_a_node_finds_out_whether_it_reaches_the_bucket(url: str) -> None:
    import ray

    with contextlib.ExitStack() as stack:
        ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
        stack.callback(ray.shutdown)
        check_shared_store(Store(url.replace("/runs?", "/probed?")))
    assert not Store(url.replace("/runs?", "/probed?")).list(".shared"), "nothing of the question is left"
