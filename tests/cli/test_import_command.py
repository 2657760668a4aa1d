"""`robustray import`, and a run on what it brought."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.cli.conftest import (
    TYPED,
    only_document,
)


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A look-alike of the published CIFAR-10 folder, whose sums are declared to be the published ones."""
    from robustray.tasks.data import cifar

    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for file in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
        batch = {
            "data": rng.integers(0, 256, (4, 3072), dtype=np.uint8),
            "labels": rng.integers(0, 10, 4).tolist(),
            "filenames": [f"{file}_{i}.png" for i in range(4)],
        }
        (folder / file).write_bytes(pickle.dumps(batch, protocol=4))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list(cifar.CIFAR10_CLASSES)}))
    sums = {path.name: hashlib.md5(path.read_bytes()).hexdigest() for path in folder.iterdir()}

    def published(name: str, split: str) -> tuple[dict[str, str], tuple[str, str], str]:
        files = ["test_batch"] if split == "test" else [f"data_batch_{i}" for i in range(1, 6)]
        return {file: sums[file] for file in files}, ("batches.meta", sums["batches.meta"]), "label_names"

    monkeypatch.setattr(cifar, "published", published)
    return folder


def test_import_brings_data_and_weights_to_a_run(cli: Any, archive: Path, tmp_path: Path) -> None:
    import torch

    from robustray.tasks.models.registry import build_model

    outcome = cli("import cifar10 cifar-10-batches-py --data-root 'my root'")
    assert outcome.code == 0 and outcome.err == ""
    *written, following = outcome.out.splitlines()
    assert len(written) == 2 and all(Path(line.removeprefix("wrote ")).is_file() for line in written)

    torch.manual_seed(0)
    torch.save({"state_dict": {f"module.{key}": value for key, value in build_model("small:s").state_dict().items()}},
               tmp_path / "net.pt")  # fmt: skip
    outcome = cli("import weights net.pt --arch small:s")
    assert outcome.code == 0, outcome
    first, *between, last = outcome.out.splitlines()
    assert first.startswith("wrote net.safetensors (") and last.endswith("--model small:s@net.safetensors")
    assert any("they fit small:s" in line for line in between)

    # the printed command, with its placeholder filled in
    assert following.startswith(f"next: {TYPED} run attack-sweep --data cifar10:test")
    line = following.removeprefix(f"next: {TYPED} ").replace("NAME@WEIGHTS", "small:s@net")
    document = only_document(
        cli(f"{line} --workers 0 --attack fgsm --norm linf --eps-linf 8/255 --num-examples 0 --json")
    )
    images = pd.read_parquet(document["tables"]["images"])
    assert len(images) == 4 and set(images.data) == {"cifar10:test"}
    outcome = cli("doctor --data-root 'my root'")
    assert outcome.code == 0 and "cifar10:test in my root" in outcome.out
