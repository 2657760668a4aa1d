"""The README's cluster section, word for word: its lines start a cluster on this machine, join it and give it a job."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.acceptance

LARGE = "--size small --store /shared/runs --data-root /shared/data"
SMALL = "--num-images 20 --norm linf --eps-linf 0.1 --attack fgsm --model digits:mlp --num-examples 0 --store {store}"


def free_port() -> int:
    """Above the ports that Ray keeps for its workers (10002 to 19999)."""
    for port in range(21000, 32000, 7):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port
    raise AssertionError("no free port")


class Machines:
    """This machine as several: each has a home folder, and all that Ray started in one is found and ended."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = {"6379": free_port()}
        self.ports["8265"] = self.ports["6379"] + 3

    def environment(self, home: str) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("RAY_") and key != "PYTHONPATH"}
        return {
            **kept,
            "HOME": str(self.folder / home),
            "RAY_TMPDIR": str(self.folder),  # marks the processes, and is short enough for their sockets
            "RAY_USAGE_STATS_ENABLED": "0",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }

    def run(self, lines: str, home: str, folder: Path) -> str:
        """Run lines as one types them into a new shell. Returns what they said."""
        command = ["bash", "-e", "-c", lines]
        environment = self.environment(home)
        log = self.folder / "said"
        with log.open("w") as file:  # a file: daemons keep a pipe open for ever
            ended = subprocess.run(
                command, stdout=file, stderr=subprocess.STDOUT, cwd=folder, env=environment, timeout=240
            )
        assert ended.returncode == 0, f"{lines}\n{log.read_text()}"
        return log.read_text()

    def stop(self) -> None:
        """End what was started here, and nothing else: `ray stop` ends every Ray of the machine."""
        for process in psutil.process_iter():
            try:
                if process.environ().get("RAY_TMPDIR") == str(self.folder):
                    process.kill()
            except psutil.Error:  # gone meanwhile, or another user's
                continue


@pytest.fixture
def machines() -> Iterator[Machines]:
    folder = Path(tempfile.mkdtemp(prefix="rr-", dir="/tmp"))
    for home in ("head", "node"):
        (folder / home).mkdir()
    made = Machines(folder)
    yield made
    made.stop()
    shutil.rmtree(folder, ignore_errors=True)


def readme_blocks(repository: Path) -> list[str]:
    """The shell blocks of the section, in their order."""
    section = re.search(r"^## On a cluster\n(.*?)^## ", (repository / "README.md").read_text(), re.M | re.S)
    assert section is not None
    return re.findall(r"```bash\n(.*?)```", section[1], re.S)


def submitted(machines: Machines, lines: str, repository: Path) -> str:
    """What a submission said. Right after its start a cluster answers that it has no agent for jobs yet."""
    for left in reversed(range(4)):
        try:
            return machines.run(lines, "head", repository)
        except AssertionError as error:
            if "No available agent" not in str(error) or not left:
                raise
            time.sleep(5)
    raise AssertionError("unreachable")


def test_the_lines_of_the_readme_start_a_cluster_and_run_a_study_on_it(machines: Machines, repository: Path) -> None:
    head, node, submit = readme_blocks(repository)
    # All that differs: where the head is, ports that are free, one CPU a node, a small run, a store that is there. And
    # the nodes have folders of their own: in a shared one the second node unpacks the job's code anew,
    # over the head's, while the job imports it (Ray 2.60).
    assert head.count("ray start --head --port 6379\n") == 1 and node.count("ray start --address HEAD:6379\n") == 1
    assert submit.count(LARGE) == 1 and submit.count("http://127.0.0.1:8265") == 1
    agents = ["--num-cpus 1 --dashboard-agent-listen-port " + str(machines.ports["6379"] + i) for i in (1, 2)]
    agents[1] += f" --temp-dir {machines.folder / 'n'}"
    head = head.replace("--port 6379", f"--port 6379 --dashboard-port {machines.ports['8265']} {agents[0]}")
    node = node.replace("HEAD:6379", f"127.0.0.1:6379 {agents[1]}")
    submit = submit.replace(LARGE, SMALL.format(store=machines.folder / "runs"))
    submit = submit.replace("127.0.0.1:8265", f"127.0.0.1:{machines.ports['8265']}")
    head, node = (lines.replace("6379", str(machines.ports["6379"])) for lines in (head, node))

    machines.run(head, "head", repository)
    token = machines.folder / "head" / ".ray" / "auth_token"
    assert token.is_file()
    shutil.copytree(token.parent, machines.folder / "node" / ".ray")  # "copy that file to the other nodes, same place"
    machines.run(node, "node", repository)
    said = submitted(machines, submit, repository)

    assert "succeeded" in said and "n = 20 images of digits:test" in " ".join(said.split())
    assert "2 nodes" in said and "2 CPUs" in said
    (run,) = (machines.folder / "runs").glob("attack-sweep-*/run.json")
    assert json.loads(run.read_text())["status"] == "finished"
    # and the token is what lets one in
    unset = "\n".join(line for line in submit.splitlines() if "RAY_AUTH_MODE" not in line)
    with pytest.raises(AssertionError, match="Missing authentication token"):
        machines.run(unset, "head", repository)
