#!/usr/bin/env bash
# The first optimizer that a process makes imports torch's compiler, though nothing is compiled.
#
# Seen with torch 2.14.1, default wheel, on CPUs (Linux x86-64, Python 3.11). `import torch` leaves torch._dynamo and sympy
# out, and so do a forward and a backward pass. Three harmless calls bring them in, once in every process:
#   torch.optim.SGD(parameters, lr=0.1)              torch._dynamo and sympy: 893 modules, 1.4 to 2.6 s, 165 MB
#   torch.autograd.grad(outputs, inputs, direction)  sympy: 487 modules, 0.5 to 1.2 s, 36 MB; that of a sum doesn't
#   any operation below a TorchDispatchMode          as the optimizer
# A worker that trains a network of a second, or audits one, spends more on this than on its work, and eight workers on one
# machine hold 1.3 GB of it.
#
# robustray descends by itself (robustray/tasks/training/sgd.py), pulls gradients back through a product
# (robustray/tasks/attacks/gradient/chain.py), and its audit's mode says no when torch asks. Fails if the behaviour changes.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.14.1 numpy==2.4.6
cat > "$place/one.py" <<'PYTHON'
import sys
import time

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class Passing(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))


def megabytes():
    with open("/proc/self/statm") as pages:
        return int(pages.read().split()[1]) * 4096 / 1e6


def below_a_mode():
    with Passing():
        inputs.detach() + 1


model = torch.nn.Linear(4, 4)
inputs = torch.ones(2, 4, requires_grad=True)
model(inputs).sum().backward()
assert not {"torch._dynamo", "sympy"} & set(sys.modules)
calls = {
    "another backward pass": lambda: model(inputs).sum().backward(),
    "gradient of a sum": lambda: torch.autograd.grad(model(inputs).sum(), inputs),
    "gradient along a direction": lambda: torch.autograd.grad(model(inputs), inputs, torch.ones(2, 4)),
    "optimizer": lambda: torch.optim.SGD(model.parameters(), lr=0.1),
    "operation below a mode": below_a_mode,
}
modules, memory, began = len(sys.modules), megabytes(), time.process_time()
calls[sys.argv[1]]()
spent = time.process_time() - began
brought = [name for name in ("torch._dynamo", "sympy") if name in sys.modules]
print(
    f"{sys.argv[1]}: {spent:.2f} s of CPU time, {len(sys.modules) - modules} modules, {megabytes() - memory:.0f} MB, "
    f"imports {' and '.join(brought) or 'neither'}"
)
assert brought == {"gradient along a direction": ["sympy"]}.get(
    sys.argv[1], ["torch._dynamo", "sympy"] if sys.argv[1] in ("optimizer", "operation below a mode") else []
)
PYTHON
for call in "another backward pass" "gradient of a sum" "gradient along a direction" optimizer "operation below a mode"; do
    "$place/venv/bin/python" "$place/one.py" "$call"
done
