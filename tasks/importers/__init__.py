"""What `robustray import NAME SOURCE` reads: a module each, with `Flags` and `run`, and a line here.

    Flags                           frozen dataclass; its docstrings are the help
    run(source, flags) -> Written   convert; nothing is downloaded. Raises: InputError

Imports nothing heavy, and neither does an importer before it runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

IMPORTERS: Mapping[str, tuple[str, str]] = {
    "cifar10": (
        "robustray.tasks.importers.cifar10",
        "cifar10 SOURCE --data-root DIR: torchvision's cifar-10-batches-py, its .tar.gz, or Parquet shards",
    ),
    "cifar10h": (
        "robustray.tasks.importers.cifar10h",
        "cifar10h cifar10h-counts.npy --labels FILE: people's answers to the CIFAR-10 test images",
    ),
    "imagenet-multilabel": (
        "robustray.tasks.importers.imagenet_multilabel",
        "imagenet-multilabel FOLDER [--labels FILE]: what people see in ImageNet images; nothing in its pickles is run",
    ),
    "predictions": (
        "robustray.tasks.importers.predictions",
        "predictions FOLDER [--dataset NAME.json | --labels FILE] [--correctness]: CIFAR-10.1's or ImageNetV2's models",
    ),
    "real": (
        "robustray.tasks.importers.real",
        "real real.json|raters.npz --labels FILE: all labels that fit ImageNet images, or raters' answers",
    ),
    "weights": (
        "robustray.tasks.importers.weights",
        "weights FILE.pt [--output FILE.safetensors] [--arch NAME]: a PyTorch checkpoint; no code in it is run",
    ),
}
"""Name -> (module, how it is typed and what it takes)."""


@dataclass(frozen=True, kw_only=True)
class Written:
    """What an importer did."""

    lines: Sequence[str]
    """Lines for the terminal."""
    next: str
    """What one would type next, without `robustray`: "run attack-sweep --data cifar10:test"."""
