"""A case of bad input: what is typed, in which folder, and what the line must say."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

from robustray.tasks.data.export import write_shards
from robustray.tasks.models.registry import build_model
from robustray.tasks.models.weights import to_safetensors, weights_of

Prepare = Callable[[Path], None]
RUN = "run attack-sweep --workers 0 "
EIGHT = "np.zeros((4, 1, 8, 8), np.float32)"


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is typed, in which folder, and what the line must say."""

    name: str
    typed: str
    says: tuple[str, ...]
    prepare: Prepare = field(default=lambda folder: None)
    environment: Mapping[str, str] = field(default_factory=dict)


# -- files to prepare --------------------------------------------------------------------------------------------------


def module(text: str) -> Prepare:
    """`own.py` in the current folder."""
    return file("own.py", f"import numpy as np\nimport torch\nfrom torch import nn\n{text}".encode())


def model(forward: str) -> Prepare:
    """`own:build`, a network on 1x8x8 images whose forward pass is `forward` of images x and correct logits z."""
    return module(
        "class Net(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.layer = nn.Linear(64, 10)\n"
        "    def forward(self, x):\n"
        "        z = self.layer(x.flatten(1))\n"
        f"        {forward}\n"
        "def build():\n"
        "    return Net()\n"
    )


def data(result: str) -> Prepare:
    """`own:data`, which returns `result`."""
    return module(f"def data():\n    return {result}\n")


def attack(body: str) -> Prepare:
    """`own:attack`, called with norm and eps."""
    header = "from dataclasses import dataclass\nfrom typing import Any\nfrom robustray.tasks.attacks import FGSM\n"
    return module(f"{header}{body}\n")


def shards(spoil: Callable[[bytes], bytes]) -> Prepare:
    """`shards.parquet` with 20 digits-like images, spoilt."""

    def prepare(folder: Path) -> None:
        images = np.random.default_rng(0).integers(0, 256, (20, 1, 8, 8), dtype=np.uint8)
        names = [str(digit) for digit in range(10)]
        write_shards(folder, "x", images, np.arange(20) % 10, names * 2, names)
        written = folder / "x-00000-of-00001.parquet"
        (folder / "shards.parquet").write_bytes(spoil(written.read_bytes()))
        written.unlink()

    return prepare


def flip(data: bytes) -> bytes:
    """One bit in the middle of the first image's pixels."""
    at = data.index(b"IDAT") + 12
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def parquet(**columns: Any) -> Prepare:
    return lambda folder: pq.write_table(pa.table(columns), folder / "shards.parquet")


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png")
    return buffer.getvalue()


def bad_png(folder: Path) -> None:
    """The Parquet file is whole, one image in it is not."""
    good = png(np.zeros((8, 8), np.uint8))
    encoded = [good, good[:40] + b"\xff\xff" + good[42:]]
    image = pa.array([{"bytes": each, "path": "x"} for each in encoded])
    pq.write_table(pa.table({"image": image, "label": pa.array([0, 1])}), folder / "shards.parquet")


def folders(*names: str) -> Prepare:
    """`images/CLASS/0.png`."""

    def prepare(folder: Path) -> None:
        for name in names:
            (folder / "images" / name).mkdir(parents=True)
            (folder / "images" / name / "0.png").write_bytes(png(np.zeros((8, 8), np.uint8)))

    return prepare


def weights(name: str = "digits:mlp", spoil: Callable[[bytes], bytes] = bytes, file: str = "w.safetensors") -> Prepare:
    """A weights file of an untrained network, spoilt."""

    def prepare(folder: Path) -> None:
        torch.manual_seed(0)
        (folder / file).write_bytes(spoil(to_safetensors(weights_of(build_model(name)))))

    return prepare


def not_finite(folder: Path) -> None:
    values = weights_of(build_model("digits:mlp"))
    values["head.weight"][0, 0] = np.nan
    (folder / "w.safetensors").write_bytes(to_safetensors(values))


class Evil:
    """A pickle that runs code when it is loaded."""

    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return (exec, ("raise SystemExit('the pickle was run')",))


def pickled(folder: Path) -> None:
    (folder / "w.pt").write_bytes(pickle.dumps(Evil()))


def pickled_by_torch(folder: Path) -> None:
    torch.save({"state_dict": Evil()}, folder / "w.pt")


def file(name: str, content: bytes = b"not what was expected") -> Prepare:
    def prepare(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)

    return prepare


def both(*steps: Prepare) -> Prepare:
    def prepare(folder: Path) -> None:
        for step in steps:
            step(folder)

    return prepare


def some_runs(*names: str) -> Prepare:
    """Runs that were interrupted before they found anything."""

    def prepare(folder: Path) -> None:
        from robustray.tasks.lab import keys, runs
        from robustray.tasks.lab.store import Store
        from robustray.tasks.studies.attack_sweep.settings import quick

        for name in names:
            identity = runs.RunIdentity(
                study="attack-sweep", size="quick", settings=keys.plain(quick()), seed=0, hash8=name, code="c"
            )
            runs.create(Store(str(folder / "runs")), identity, command="x", options={"workers": 0}).save("interrupted")

    return prepare
