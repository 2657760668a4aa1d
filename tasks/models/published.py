"""Published weights by name: a line each."""

from __future__ import annotations

from collections.abc import Mapping

PUBLISHED: Mapping[str, tuple[str, str]] = {
    "cifar:resnet20": ("cifar:resnet20", "resnet20_cifar10.safetensors"),
    "cifar:resnet56": ("cifar:resnet56", "resnet56_cifar10.safetensors"),
    "small:standard": ("small:s", "small_standard.safetensors"),
    "small:linf8": ("small:s", "small_linf8.safetensors"),
    "small:l2_05": ("small:s", "small_l2_05.safetensors"),
}
"""Names that need no `@WEIGHTS`: (architecture, file under DATA_ROOT/models)."""
