#!/usr/bin/env bash
# Ray Train gives the places of a killed run back only while no other Ray runs on the machine.
#
# Seen with ray 2.60.0 (Linux x86-64, Python 3.11). When the controller of a run dies, a detached actor, its placement
# group cleaner, is to remove the run's placement group. It asks the state API whether the controller is alive, without
# saying in which Ray. With one Ray on the machine the place is free after seconds. With a second one, started by
# ray.init(address="local") in any other process, the question raises "Found multiple active Ray instances", the cleaner's
# thread ends, and CPUs and GPUs of the dead run stay taken until its driver ends: a next attempt waits for them for ever.
# Two experiments side by side on one machine are enough.
#
# robustray gives such places back by itself, all through the next attempt (robustray/distributed/training.py). Fails if the
# behaviour changes.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check "ray[default,train]==2.60.0" psutil==7.1.3
cat > "$place/killed.py" <<'PYTHON'
import subprocess
import sys
import threading
import time

import psutil
import ray


def start(cpus):
    ray.init(address="local", num_cpus=cpus, log_to_driver=False, logging_level="ERROR")


if sys.argv[1] == "other":
    start(1)
    print("up", flush=True)
    sys.stdin.read()
    sys.exit()

from ray.train import RunConfig, ScalingConfig
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer


def processes(name):
    found = psutil.Process().children(recursive=True)
    return [each for each in found if each.status() != psutil.STATUS_ZOMBIE and name in " ".join(each.cmdline())]


def states():
    return [about["state"] for about in ray.util.placement_group_table().values()]


other = None
if sys.argv[1] == "2":
    other = subprocess.Popen([sys.executable, __file__, "other"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdout.readline() == b"up\n"
start(2)
trainer = DataParallelTrainer(
    lambda: time.sleep(600), scaling_config=ScalingConfig(num_workers=1), run_config=RunConfig(storage_path=sys.argv[2])
)
threading.Thread(target=trainer.fit, daemon=True).start()
while not (states() == ["CREATED"] and processes("RayTrainWorker") and processes("TrainController")):
    time.sleep(0.2)
time.sleep(5)
processes("TrainController")[0].kill()
end = time.monotonic() + 40
while states() == ["CREATED"] and time.monotonic() < end:
    time.sleep(0.5)
print(f"{sys.argv[1]} on the machine: the place is {states()[0]}, {ray.available_resources().get('CPU', 0):g} of 2 CPUs free")
if other:
    other.communicate()
PYTHON
for rays in 1 2; do
    (cd "$place" && timeout 300 venv/bin/python killed.py "$rays" "$place/runs") 2> "$place/errors" | tee -a "$place/seen" || {
        cat "$place/errors" >&2
        exit 1
    }
done
# Seen:
#   1 on the machine: the place is REMOVED, 2 of 2 CPUs free
#   2 on the machine: the place is CREATED, 1 of 2 CPUs free
grep -q "^1 on the machine: the place is REMOVED" "$place/seen"
grep -q "^2 on the machine: the place is CREATED, 1 of 2" "$place/seen"
