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
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.acceptance

ROOT = Path(__file__).resolve().parents[2]
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


@pytest.fixture(scope="module")
def machines() -> Iterator[Machines]:
    folder = Path(tempfile.mkdtemp(prefix="rr-", dir="/tmp"))
    for home in ("head", "node", "stranger"):
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


@pytest.fixture(scope="module")
def cluster(machines: Machines, repository: Path) -> Machines:
    """Two nodes, started by the README's lines.

    All that differs: where the head is, ports that are free, one CPU a node. And the nodes have folders of their own:
    in a shared one the second node unpacks the job's code anew, over the head's, while the job imports it (Ray 2.60).
    """
    head, node, *_ = readme_blocks(repository)
    assert head.count("ray start --head --port 6379\n") == 1 and node.count("ray start --address HEAD:6379\n") == 1
    agents = ["--num-cpus 1 --dashboard-agent-listen-port " + str(machines.ports["6379"] + i) for i in (1, 2)]
    agents[1] += f" --temp-dir {machines.folder / 'n'}"
    head = head.replace("--port 6379", f"--port 6379 --dashboard-port {machines.ports['8265']} {agents[0]}")
    node = node.replace("HEAD:6379", f"127.0.0.1:6379 {agents[1]}")
    head, node = (lines.replace("6379", str(machines.ports["6379"])) for lines in (head, node))

    machines.run(head, "head", repository)
    token = machines.folder / "head" / ".ray" / "auth_token"
    assert token.is_file()
    shutil.copytree(token.parent, machines.folder / "node" / ".ray")  # "copy that file to the other nodes, same place"
    machines.run(node, "node", repository)
    return machines


def ready(lines: str, machines: Machines) -> str:
    """A submission of the README as it is typed here: a small run, a store and a server that are there, and no
    `robustray` in the PATH."""
    assert lines.count(LARGE) == 1 and lines.count("http://127.0.0.1:8265") == 1
    lines = lines.replace(LARGE, SMALL.format(store=machines.folder / "runs"))
    lines = re.sub(r"^robustray ", "python -m robustray ", lines, flags=re.MULTILINE)
    return lines.replace("127.0.0.1:8265", f"127.0.0.1:{machines.ports['8265']}")


def test_the_lines_of_the_readme_start_a_cluster_and_run_a_study_on_it(cluster: Machines, repository: Path) -> None:
    *_, submit, _ = readme_blocks(repository)
    said = cluster.run(ready(submit, cluster), "head", repository)

    assert "n = 20 images of digits:test" in " ".join(said.split())
    assert "2 nodes" in said and "2 CPUs" in said
    (run,) = (cluster.folder / "runs").glob("attack-sweep-*/run.json")
    assert json.loads(run.read_text())["status"] == "finished"


def test_by_rays_own_command_as_well(cluster: Machines, repository: Path) -> None:
    """Without a token no one gets in."""
    *_, submit = readme_blocks(repository)
    lines = ready(submit, cluster)
    said = cluster.run(lines, "head", repository)
    assert "succeeded" in said and "finished before" in said, "the same command, so the same run"
    unset = "\n".join(line for line in lines.splitlines() if "RAY_AUTH_MODE" not in line)
    with pytest.raises(AssertionError, match="Missing authentication token"):
        cluster.run(unset, "head", repository)


def test_a_folder_of_ones_own_travels_and_the_exit_code_comes_back(cluster: Machines, tmp_path: Path) -> None:
    """robustray is not installed on the nodes and not in that folder: it travels along."""
    (tmp_path / "my_mod.py").write_text(
        "import os\n\nimport torch\n\n\ndef build():\n    assert os.environ['MINE'] == 'as given'\n"
        "    torch.manual_seed(0)\n    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))\n"
    )
    (tmp_path / "left-here.bin").write_bytes(b"x")
    to = f"--to http://127.0.0.1:{cluster.ports['8265']} --env 'MINE=as given' --exclude left-here.bin"
    study = SMALL.format(store=cluster.folder / "own").replace("digits:mlp", "my_mod:build")
    start = f"export PYTHONPATH={ROOT}; set +e; python -m robustray submit {to}"
    said = cluster.run(f"{start} run attack-sweep {study}; echo code $?", "head", tmp_path)
    assert "code 0" in said and "n = 20 images of digits:test" in " ".join(said.split()), said
    # A command that fails there fails here, with its own code and words.
    said = cluster.run(f"{start} resume nothing --store {cluster.folder / 'own'}; echo code $?", "head", tmp_path)
    assert "no run 'nothing'" in said and "code 2" in said, said


def test_what_prevents_a_submission_is_said_in_a_line(cluster: Machines, tmp_path: Path) -> None:
    port = cluster.ports["8265"]
    start = f"export PYTHONPATH={ROOT}; set +e; python -m robustray submit"
    study = f"run attack-sweep --store {cluster.folder / 'none'}"
    nobody = cluster.run(f"{start} --to http://127.0.0.1:9 {study}; echo code $?", "head", tmp_path)
    assert "nobody answers" in nobody and "ssh -N -L" in nobody and "code 2" in nobody, nobody
    without = cluster.run(f"{start} --to http://127.0.0.1:{port} {study}; echo code $?", "stranger", tmp_path)
    assert "wants a token" in without and "code 2" in without, without
    other = f"RAY_AUTH_TOKEN={'0' * 64} python -m robustray submit --to http://127.0.0.1:{port} {study}"
    wrong = cluster.run(f"export PYTHONPATH={ROOT}; set +e; {other}; echo code $?", "stranger", tmp_path)
    assert "another token" in wrong and "code 2" in wrong, wrong
    assert not (cluster.folder / "none").exists()
