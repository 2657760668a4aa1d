#!/usr/bin/env bash
# torch.fx.symbolic_trace keeps a model's outputs and changes its gradients.
#
# Seen with torch 2.14.1 on a CPU (Linux x86-64, Python 3.11). A traced copy of a module
#   1. loses `with torch.no_grad():` around a part of the forward pass: the copy has a gradient where the module has none;
#   2. goes through `torch.autograd.Function.apply` and records what `forward` does: a straight-through estimator, whose
#      backward passes gradients on, becomes a rounding with a gradient of zero.
# Both copies agree with their module in every bit of the output, so comparing outputs finds nothing. Who attacks a
# traced copy of a defended network (straight-through rounding before it) reports a robust accuracy that is too high.
#
# robustray compares the gradients of a traced copy with the module's before it uses it (docs/design/attacks.md).
# Fails if the behaviour changes.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.14.1 numpy==2.4.6
"$place/venv/bin/python" - <<'PYTHON'
import torch
from torch import fx, nn


class StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return (x * 255).round() / 255

    @staticmethod
    def backward(ctx, gradient):
        return gradient


class Rounded(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 3)

    def forward(self, x):
        return self.layer(StraightThrough.apply(x))


class Stopped(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 3)

    def forward(self, x):
        with torch.no_grad():
            seen = self.layer(x)
        return seen + 0 * x.sum(1, keepdim=True)


def length(model, x):
    x = x.clone().requires_grad_(True)
    model(x)[:, 0].sum().backward()
    return float(x.grad.norm())


torch.manual_seed(0)
print("torch", torch.__version__)
x = torch.rand(4, 8)
for module, expected in ((Rounded(), (True, False)), (Stopped(), (False, True))):
    copy = fx.symbolic_trace(module)
    equal = torch.equal(module(x), copy(x))
    own, traced = length(module, x), length(copy, x)
    print(f"{type(module).__name__}: outputs equal {equal}; length of the gradient {own:.3f}, of the copy's {traced:.3f}")
    assert equal and (own > 0, traced > 0) == expected, "the behaviour has changed"
PYTHON
