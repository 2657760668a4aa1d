"""Which weights say how many classes a network has: those that grow with the classes, wherever they are defined."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from robustray.tasks.models.reference import open_model
from robustray.tasks.models.weights import class_key, to_safetensors, weights_of

SOURCE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.body, self.head, self.rotation = nn.Linear(64, 16), nn.Linear(16, num_classes), nn.Linear(16, 4)

    def forward(self, x):
        return self.head(torch.relu(self.body(x.flatten(1))))

def build(num_classes=10):
    return Net(num_classes)
"""


@pytest.mark.parametrize("num_classes", [3, 4, 10])
def test_a_rotation_head_behind_the_classifier_is_not_taken_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_classes: int
) -> None:
    (tmp_path / "rotating_net.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "rotating_net", raising=False)
    from robustray.tasks.data.own import load_function

    net = load_function("rotating_net:build")(num_classes)
    (tmp_path / "w.safetensors").write_bytes(to_safetensors(weights_of(net)))
    ref = open_model(f"rotating_net:build@{tmp_path / 'w.safetensors'}", data_root=None)
    opened = ref.build(ref.fetch(), "cpu")
    images = torch.rand(3, 1, 8, 8)
    assert torch.equal(opened(images), net(images))


@pytest.mark.parametrize(
    ("layers", "key"),
    [
        (lambda n: [nn.Linear(4, n)], "0.weight"),
        (lambda n: [nn.Linear(4, 10), nn.Linear(10, n), nn.Linear(n, 4)], "1.weight"),
        (lambda n: [nn.Linear(4, n), nn.Linear(4, n)], "1.weight"),
        (lambda n: [nn.Conv2d(4, n, 1)], None),
    ],
)
def test_the_key_that_grows_with_the_classes(layers: object, key: str | None) -> None:
    assert class_key(lambda n: nn.Sequential(*layers(n))) == key  # type: ignore[operator]
