"""Where a run computes: versions and hardware. Written down and shown; no key depends on it."""

from __future__ import annotations

import platform
from importlib import metadata
from typing import Any

PACKAGES = ("robustray", "torch", "torchvision", "numpy", "pandas", "pyarrow", "ray")


def versions() -> dict[str, str]:
    """Python and the packages that results may depend on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    if found["robustray"] == "not installed":
        import robustray

        found["robustray"] = robustray.__version__
    return found


def hardware(device: str) -> dict[str, Any]:
    """What the driver's machine is; never its name."""
    import psutil
    import torch

    facts: dict[str, Any] = {
        "device": device,
        "cpu": _cpu_name(),
        "cpus": psutil.cpu_count(),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
    }
    if device == "cuda" and torch.cuda.is_available():
        facts["gpu"] = torch.cuda.get_device_name()
    return facts


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):  # not Linux, or a CPU without that line
        return platform.processor() or platform.machine()
