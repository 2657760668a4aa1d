"""The files of deploy/ are what their tools take, as far as that can be known without a cluster."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shlex
import stat
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from robustray.distributed.commands.submit import check_words


@pytest.fixture(scope="module")
def deploy(repository: Path) -> Path:
    return repository / "deploy"


@pytest.fixture(scope="module")
def version(repository: Path) -> str:
    return tomllib.loads((repository / "pyproject.toml").read_text())["project"]["version"]


@pytest.fixture(scope="module")
def ray_version(repository: Path) -> str:
    (found,) = re.findall(r"^ray==(\S+)$", (repository / "constraints.txt").read_text(), re.MULTILINE)
    return found


def schema_of(kind: str, repository: Path) -> dict[str, Any]:
    """KubeRay's names and types; see tests/assets/kuberay."""
    job = json.loads((repository / "tests/assets/kuberay/rayjob.json").read_text())
    if kind == "RayCluster":
        job["properties"]["spec"] = job["properties"]["spec"]["properties"]["rayClusterSpec"]
    return job


@pytest.mark.parametrize("kind", ["RayCluster", "RayJob"])
def test_what_kuberay_gets(kind: str, deploy: Path, repository: Path, version: str, ray_version: str) -> None:
    manifest = yaml.safe_load((deploy / f"{kind.lower()}.yaml").read_text())
    schema = schema_of(kind, repository)
    jsonschema.validate(manifest, schema)
    with pytest.raises(jsonschema.ValidationError, match="was unexpected"):
        jsonschema.validate({**manifest, "spec": {**manifest["spec"], "headGroupSpecs": {}}}, schema)
    assert (manifest["apiVersion"], manifest["kind"]) == ("ray.io/v1", kind)
    cluster = manifest["spec"] if kind == "RayCluster" else manifest["spec"]["rayClusterSpec"]
    assert cluster["rayVersion"] == ray_version and cluster["authOptions"] == {"mode": "token"}
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        pod = group["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"]
        (container,) = pod["containers"]
        assert container["image"].endswith(f"/robustray:{version}")
        mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"]: "/shared" for volume in pod["volumes"]}
        assert container["resources"]["limits"] == container["resources"]["requests"], "Ray takes the limit for granted"
    if kind == "RayJob":
        python, *words = shlex.split(manifest["spec"]["entrypoint"])
        assert [python, *words[:2]] == ["python", "-m", "robustray"]
        check_words(words[2:])


def test_what_rays_launcher_gets(deploy: Path) -> None:
    config = yaml.safe_load((deploy / "launcher.yaml").read_text())
    validate_config(prepare_config(config))
    with pytest.raises(jsonschema.ValidationError):
        validate_config({**config, "head_start_commands": []})
    for start in (config["head_start_ray_commands"][-1], config["worker_start_ray_commands"][-1]):
        assert "RAY_AUTH_MODE=token" in start
        assert subprocess.run(["bash", "-n", "-c", start]).returncode == 0
    assert len(config["provider"]["worker_ips"]) == config["max_workers"]


FAKES = {
    "scontrol": 'echo "$@" > scontrol.txt; printf "n7\\nn8\\nn9\\n"',
    "ray": 'echo "ray $*" >> ray.txt',
    "srun": 'printf "%s\\n" "$@" > srun.txt; env | grep ^RAY_ > env.txt',
}
"""Programs of a Slurm node that write down what they were asked for."""


def slurm(deploy: Path, folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    (folder / "bin").mkdir(exist_ok=True)
    for name, text in FAKES.items():
        program = folder / "bin" / name
        program.write_text(f"#!/bin/bash\n{text}\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    kept = {key: value for key, value in os.environ.items() if not key.startswith("RAY_") and key != "STORE"}
    given = {"SLURM_JOB_NODELIST": "n[7-9]", "SLURM_JOB_NUM_NODES": "3", "SLURM_JOB_ID": "1234567", **environment}
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", str(deploy / "slurm.sh"), *words],
        env={**kept, **given, "PATH": path}, cwd=folder, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def test_what_slurm_runs(deploy: Path, tmp_path: Path) -> None:
    assert subprocess.run(["bash", "-n", str(deploy / "slurm.sh")]).returncode == 0
    ended = slurm(deploy, tmp_path, "run", "attack-sweep", "--models", "a b", STORE="/shared/my runs")
    assert ended.returncode == 0, ended.stderr
    asked = (tmp_path / "srun.txt").read_text().splitlines()
    ray = asked[asked.index("ray") :]
    assert ray[:7] == ["ray", "symmetric-run", "--address", "n7:24567", "--min-nodes", "3", "--"]
    assert ray[7:10] == ["python", "-m", "robustray"]
    sent = ["run", "attack-sweep", "--models", "a b", "--store", "/shared/my runs", "--address", "n7:24567"]
    assert ray[10:] == sent
    assert "RAY_AUTH_MODE=token" in (tmp_path / "env.txt").read_text().splitlines()
    assert (tmp_path / "ray.txt").read_text() == "ray get-auth-token --generate\n"
    assert not any(word.startswith("--exclusive") for word in asked)
    assert "#SBATCH --exclusive\n" in (deploy / "slurm.sh").read_text(), "symmetric-run stops every Ray of a node"


def test_slurm_without_a_store_or_a_command_says_so(deploy: Path, tmp_path: Path) -> None:
    without = slurm(deploy, tmp_path, "run", "attack-sweep")
    assert without.returncode != 0 and "export STORE=" in without.stderr
    nothing = slurm(deploy, tmp_path, STORE="/s")
    assert nothing.returncode == 2 and "usage: sbatch" in nothing.stderr
    assert not (tmp_path / "srun.txt").exists()


def test_what_the_image_is_built_of(deploy: Path, repository: Path, version: str) -> None:
    """No Docker runs in the tests: instructions, sources and the user are looked at."""
    text = re.sub(r"\\\n", " ", (deploy / "Dockerfile").read_text())
    assert f"-t robustray:{version} ." in text
    lines = [line.split(maxsplit=1) for line in text.splitlines() if line and not line.startswith("#")]
    known = {"FROM", "ARG", "RUN", "WORKDIR", "COPY", "USER", "ENV", "CMD"}
    assert {name for name, _ in lines} <= known
    assert [rest for name, rest in lines if name == "USER"] == ["ray"]
    assert json.loads(lines[-1][1])[0] == "robustray"
    for name, rest in lines:
        if name == "COPY":
            assert all((repository / source).exists() for source in rest.split()[:-1])
        if name == "RUN":
            assert subprocess.run(["bash", "-n", "-c", rest]).returncode == 0
    ignored = (deploy / "Dockerfile.dockerignore").read_text().splitlines()
    needed = ["README.md", "LICENSE", "pyproject.toml", "constraints.txt", "robustray", "tasks", "distributed"]
    assert not [name for name in (*needed, "tune_configs") for glob in ignored if fnmatch.fnmatch(name, glob)]
