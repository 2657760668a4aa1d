"""`robustray audit MODEL`: its table, its page, its exit codes, through the real entry point."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

OWN = """
import numpy as np
import torch
from torch import nn


class Rounded(nn.Module):
    def forward(self, x):
        return (4 * x).round() / 4


def build():
    torch.manual_seed(0)
    return nn.Sequential(Rounded(), nn.Flatten(), nn.Linear(16, 3))


def honest():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 3))


def data():
    pixels = np.random.default_rng(0).random((12, 1, 4, 4), dtype=np.float32)
    return pixels, np.arange(12) % 3
"""


@pytest.fixture(autouse=True)
def own(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)


def test_a_rounded_input_is_found_named_and_told(cli: Any, tmp_path: Path) -> None:
    outcome = cli("audit own:build --data own:data --eps 0.1")
    assert outcome.code == 1 and outcome.err == ""
    assert outcome.out.startswith("A robust accuracy of own:build by gradients is no evidence")
    assert "this number is no evidence because there is no gradient to follow" in outcome.out
    assert "in the layer 0: try adaptive, square" in outcome.out
    (page,) = (tmp_path / "runs" / "audits").glob("*/index.html")
    assert str(page) in outcome.out
    text = page.read_text()
    assert "audit own:build" in text and "this number is no evidence because" in text and "zero gradient" in text


def test_an_honest_model_passes_and_the_document_says_so(cli: Any) -> None:
    outcome = cli("audit own:honest --data own:data --eps 1/10 --num-images 8 --surrogate own:build --json")
    document = json.loads(outcome.out)
    assert outcome.code == 0 and document["passed"] and document["images"] == 8
    assert {each["verdict"] for each in document["findings"]} == {"ok"}
    assert document["findings"][-1]["check"] == "transfer" and Path(document["report"]).is_file()


def test_evaluate_and_the_page_of_a_sweep_say_it_beside_their_numbers(cli: Any) -> None:
    reason = "this number is no evidence because there is no gradient to follow for 100% of the images"
    outcome = cli("evaluate own:build --data own:data --attacks pgd --eps 0.1")
    assert outcome.code == 0 and reason in outcome.out
    sweep = (
        "run attack-sweep --data own:data --attack fgsm --norm linf --eps-linf 0.1 --num-examples 0 --workers 0 --json"
    )
    document = json.loads(cli(f"{sweep} --model own:build own:honest").out)
    page = Path(document["report"]).read_text()
    assert f"own:build with own:data: {reason}" in page and "own:honest with own:data: this number" not in page


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("audit", "needs one model, got 0"),
        ("audit digits:mlp digits:cnn", "needs one model, got 2"),
        ("audit digits:mpl", "did you mean 'digits:mlp'"),
        ("audit own:build --data own:data --eps 8", "pixel units"),
        ("audit own:build --data digits:test", "fails on images of shape"),
        ("audit own:build --data own:data --num-images 1", "num_images"),
        ("audit own:build --nrom l2", "--norm"),
    ],
)
def test_bad_input_is_one_line(line: str, says: str, cli: Any, tmp_path: Path) -> None:
    outcome = cli(line)
    assert outcome.code == 2 and outcome.out == "" and outcome.err.count("\n") == 1 and says in outcome.err
    assert not (tmp_path / "runs").exists()
