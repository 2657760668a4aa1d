"""Make what corruptions are compared with: `python tests/golden/make_corruptions.py [DATA_ROOT]`.

The Python is that of `benchmarks/peers_corruptions.txt`. Written are, for the corruptions without random numbers, the
peer's own pixels; for those with them, by how much they change images in the mean; and, with a folder of real data,
how often ResNet-20 is right on the first CIFAR-10 test images that the peer has corrupted.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.versus.corruptions import peer
from robustray.tasks.corruptions.tables import SEVERITIES, Table
from tests.golden import corruptions as cases

HERE = Path(__file__).resolve().parent


def main() -> None:
    images = cases.pictures()
    arrays: dict[str, Any] = {f"images-{side}": picture for side, picture in images.items()}
    for side, table in cases.EXACT:
        for name in cases.SETTLED:
            done = [
                [cases.sampled(peer(name, table, severity)(image)) for image in images[side][: cases.NUM_EXACT[side]]]
                for severity in SEVERITIES
            ]
            arrays[f"{name}-{side}"] = np.round(255 * np.array(done)).astype(np.uint8)
    np.savez_compressed(HERE / "corruptions.npz", **arrays)
    np.random.seed(0)
    found: dict[str, Any] = {"versions": versions(), "change": {}}
    for side, table in cases.IN_THE_MEAN:
        for name in cases.RANDOM:
            rows = [change(images[side], name, table, severity, cases.DRAWS[side]) for severity in SEVERITIES]
            found["change"][f"{name}-{side}"] = rows
            print(name, side, rows, flush=True)
    (HERE / "corruptions.json").write_text(json.dumps(found, indent=1) + "\n")
    if len(sys.argv) > 1:
        found["resnet20"] = {"images": cases.NUM_REAL, "right": right(sys.argv[1])}
        (HERE / "corruptions.json").write_text(json.dumps(found, indent=1) + "\n")


def change(images: Any, name: str, table: Table, severity: int, draws: int) -> float:
    """Mean absolute change of a pixel over images and draws."""
    corrupted = peer(name, table, severity)
    changes = [np.abs(corrupted(image) - image / 255).mean() for _ in range(draws) for image in images]
    return round(float(np.mean(changes)), 6)


def right(data_root: str) -> dict[str, dict[int, int]]:
    import torch

    from robustray.tasks.attacks.gradient.verdicts import predict_logits

    torch.set_num_threads(1)
    images, labels, model = cases.real(data_root)
    found: dict[str, dict[int, int]] = {}
    for name in cases.RANDOM:
        found[name] = {}
        for severity in cases.REAL_SEVERITIES:
            corrupted = peer(name, "cifar10-c", severity)
            pixels = np.stack([corrupted(image) for image in images.transpose(0, 2, 3, 1)]).transpose(0, 3, 1, 2)
            logits = predict_logits(model, torch.from_numpy(pixels.astype(np.float32)))
            found[name][severity] = int((logits.argmax(1).numpy() == labels).sum())
        print(name, found[name], flush=True)
    return found


def versions() -> dict[str, str]:
    from importlib import metadata

    packages = ("imagecorruptions-imaug", "scikit-image", "scipy", "opencv-python-headless", "pillow", "numpy")
    return {name: metadata.version(name) for name in packages}


if __name__ == "__main__":
    main()
