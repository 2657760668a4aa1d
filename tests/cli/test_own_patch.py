"""A user's own classifier of photographs at 224 pixels: patches designed, printed and described, from one command."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.cli.conftest import only_document

OWN = """\
import numpy as np
import torch
import torchvision


def build():
    torch.manual_seed(0)
    return torchvision.models.mobilenet_v3_small(weights=None, num_classes=2)


def data():
    images = np.random.default_rng(0).integers(90, 166, (8, 3, 224, 224), dtype=np.uint8)
    return images, np.arange(8) % 2, ["mug", "soup plate"]
"""
LINE = (
    "run unadversarial --model own:build --data own:data --side 70 --num-images 0 --design-steps 1 --design-batch 2 "
    "--corruptions contrast --severities 3 --table imagenet-c --print-mm 60 --print-dpi 127 --bleed-mm 2 "
    "--num-examples 0 --workers 0 --json"
)


def test_a_patch_for_a_network_of_torchvision_is_taken_away(cli: Any, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    outcome = cli(LINE)
    found = only_document(outcome)
    assert not found["claims"] and len(found["descriptions"]) == 6, "of one's own classifier nothing is claimed"
    folder = tmp_path / Path(found["report"]).parent / "print"
    assert sorted(file.name for file in folder.iterdir()) == [
        "0-mug.png",
        "1-soup-plate.png",
        "patches.npy",
        "patches.pdf",
    ]
    patches = np.load(folder / "patches.npy", allow_pickle=False)
    assert patches.shape == (2, 3, 70, 70) and 0 <= patches.min() < patches.max() <= 1
    sheet = np.asarray(Image.open(folder / "1-soup-plate.png"))
    assert sheet.shape == (370, 370, 3), "60 mm, and on each side 2 mm bleed, 1 mm gap and 4 mm marks, at 5 dots a mm"
    centre = patches[1][:, 35, 35] * 255
    assert np.abs(sheet[35 + 300 * 71 // 140, 35 + 300 * 71 // 140] - centre).max() <= 0.5
    pages = re.findall(rb"/MediaBox \[ 0 0 ([\d.]+)", (folder / "patches.pdf").read_bytes())
    assert [float(side) / 72 * 25.4 for side in pages] == pytest.approx([74, 74], abs=0.01)
