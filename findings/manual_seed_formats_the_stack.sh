#!/usr/bin/env bash
# torch.manual_seed takes longer the deeper it is called, on a machine without any accelerator.
#
# Seen with torch 2.14.1, default wheel (CUDA build), on a CPU without GPUs (Linux x86-64, Python 3.11). The call seeds
# the CPU's generator, and for CUDA, XPU and MTIA, none of which is there, it formats the whole Python call stack to keep
# it for an error message: 0.08 ms at the top of a script, 0.4 ms sixty calls deep, more below a framework. Setting the
# generator alone takes 0.001 ms and gives the same draws. Who seeds once per training step (so that dropout does not
# depend on what ran before) pays for it in every step: a sixth of the time of training a small network on digits.
#
# robustray seeds the generators that are in use (robustray/tasks/lab/seeds.py). Fails if the behaviour changes.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.14.1 numpy==2.4.6
"$place/venv/bin/python" - <<'PYTHON'
import time
import traceback
from unittest import mock

import torch


def deep(depth, function):
    return function() if depth == 0 else deep(depth - 1, function)


def microseconds(seed):
    start = time.perf_counter()
    for number in range(2_000):
        seed(number)
    return (time.perf_counter() - start) / 2_000 * 1e6


print("torch", torch.__version__)
assert not torch.cuda.is_available()
with mock.patch.object(traceback, "format_stack", wraps=traceback.format_stack) as formatted:
    torch.manual_seed(0)
print("stacks formatted by one call:", formatted.call_count)
assert formatted.call_count >= 1

torch.manual_seed(7)
wanted = torch.rand(4)
torch.default_generator.manual_seed(7)
assert torch.equal(torch.rand(4), wanted)

top, low, alone = (
    deep(0, lambda: microseconds(torch.manual_seed)),
    deep(60, lambda: microseconds(torch.manual_seed)),
    deep(60, lambda: microseconds(torch.default_generator.manual_seed)),
)
print(f"manual_seed: {top:.0f} us at the top, {low:.0f} us 60 calls deep; the generator alone: {alone:.1f} us")
assert low > 1.5 * top and low > 20 * alone
PYTHON
