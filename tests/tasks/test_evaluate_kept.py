"""`robustray.evaluate` with a store: it forgets nothing, goes on after a kill, and takes no other model's rows."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from robustray.tasks.attacks import PGD, FastCascade, RandomNoise
from robustray.tasks.errors import InputError
from robustray.tasks.evaluation import attacking as module
from robustray.tasks.evaluation.evaluate import evaluate
from tests.tasks.evaluation_attacks import Counted

N = 60


class Net(nn.Module):
    """A linear model with a number that is no parameter."""

    def __init__(self, seed: int = 0, temperature: float = 1.0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.layer = nn.Linear(16, 4)
        self.temperature = temperature

    def forward(self, images: Tensor) -> Tensor:
        return self.layer(images.flatten(1)) / self.temperature


class Remembers(Net):
    """Has a state that is no tensor."""

    def get_extra_state(self) -> dict[str, int]:
        return {"seen": 1}


def data(n: int = N) -> tuple[Tensor, Tensor]:
    """The first n of images that a model of seed 0 gets right."""
    images = torch.rand(N, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    return images[:n], Net()(images).argmax(1)[:n]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT_BLOCK", 16)


@pytest.fixture
def store(tmp_path: Path) -> str:
    return str(tmp_path / "store")


def counted(tmp_path: Path) -> Any:
    return Counted(norm="linf", eps=0.1, file=str(tmp_path / "calls"))


def calls(tmp_path: Path) -> list[str]:
    file = tmp_path / "calls"
    return file.read_text().split() if file.exists() else []


def test_the_same_call_again_answers_from_the_store(tmp_path: Path, store: str) -> None:
    attack = counted(tmp_path)
    first = evaluate(Net(), data(), attack, store=store, progress=False)
    assert calls(tmp_path) == ["16", "16", "16", "12"]
    again = evaluate(Net(), data(), attack, store=Path(store), progress=False)  # the same folder, given as a path
    assert len(calls(tmp_path)) == 4, "nothing was attacked again"
    pd.testing.assert_frame_equal(again.examples, first.examples)
    assert repr(again) == repr(first)


def test_kept_rows_are_those_of_a_call_without_a_store(store: str) -> None:
    """A cascade's table and all columns with their types, too."""
    attacks: list[Any] = [
        PGD(norm="linf", eps=0.1, num_steps=3),
        RandomNoise(norm="l2", eps=0.5),
        FastCascade(norm="linf", eps=0.1),
    ]
    plain = evaluate(Net(), data(), attacks, progress=False)
    for _ in range(2):
        found = evaluate(Net(), data(), attacks, store=store, progress=False)
        pd.testing.assert_frame_equal(found.examples, plain.examples)
        pd.testing.assert_frame_equal(found.stages, plain.stages)
        assert (found.attacks, found.worst, found.warnings) == (plain.attacks, plain.worst, plain.warnings)


def test_more_images_cost_only_themselves(tmp_path: Path, store: str) -> None:
    attack = counted(tmp_path)
    evaluate(Net(), data(), attack, num_images=32, store=store, progress=False)
    evaluate(Net(), data(), attack, store=store, progress=False)
    assert calls(tmp_path) == ["16", "16", "16", "12"]


@pytest.mark.parametrize("other", ["weights", "a number that is no parameter", "seed", "data", "eps", "class"])
def test_anything_else_is_computed(tmp_path: Path, store: str, other: str) -> None:
    class Same(Net):
        """As Net, by another source."""

    attack: Any = counted(tmp_path)
    model, given, seed = Net(), data(), 0
    evaluate(model, given, attack, store=store, progress=False)
    before = len(calls(tmp_path))
    if other == "weights":
        with torch.no_grad():
            model.layer.bias.add_(1e-6)
    elif other == "a number that is no parameter":
        model = Net(temperature=2.0)
    elif other == "class":
        model = Same()
    elif other == "seed":
        seed = 1
    elif other == "data":
        given = given[0].flip(3), given[1]
    else:
        attack = Counted(norm="linf", eps=0.2, file=attack.file)
    evaluate(model, given, attack, seed=seed, store=store, progress=False)
    assert len(calls(tmp_path)) > before


def test_a_damaged_piece_is_computed_again(tmp_path: Path, store: str) -> None:
    attack = counted(tmp_path)
    first = evaluate(Net(), data(), attack, store=store, progress=False)
    piece = sorted(Path(store).glob("pieces/*/*.parquet"))[1]
    piece.write_bytes(piece.read_bytes()[:-9])
    again = evaluate(Net(), data(), attack, store=store, progress=False)
    assert calls(tmp_path)[4:] == ["16"]
    pd.testing.assert_frame_equal(again.examples, first.examples)


def test_a_killed_call_goes_on_where_it_was(tmp_path: Path, store: str, repository: Path) -> None:
    """Killed in its third block, another process takes the two that were finished."""
    script = f"""
from tests.tasks import test_evaluate_kept as t
t.module.KEPT_BLOCK = 16
t.evaluate(t.Net(), t.data(), t.Counted(norm="linf", eps=0.1, file={str(tmp_path / "calls")!r}), store={store!r})
"""
    environment = {**os.environ, "PYTHONPATH": str(repository), "DIES_IN": "3", "OMP_NUM_THREADS": "1"}
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert calls(tmp_path) == ["16", "16", "16"]
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env={**environment, "DIES_IN": "0"}
    )
    assert ended.returncode == 0, ended.stderr
    assert calls(tmp_path)[3:] == ["16", "12"] and "32 from the store" in ended.stderr


@pytest.mark.parametrize(
    ("model", "attack", "says"),
    [
        (lambda images: images.flatten(1)[:, :4], PGD(norm="linf", eps=0.1), "a function could not be known again"),
        (Remembers(), PGD(norm="linf", eps=0.1), "_extra_state of the model is no tensor"),
        (Net(), type("Odd", (), {"norm": "linf", "eps": 0.1, "__call__": lambda *_, **__: None})(), "known again"),
    ],
)
def test_what_could_not_be_known_again_is_refused(store: str, model: object, attack: object, says: str) -> None:
    with pytest.raises(InputError, match=says):
        evaluate(model, data(), attack, store=store, progress=False)  # type: ignore[arg-type]


def test_without_a_store_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    evaluate(Net(), data(), PGD(norm="linf", eps=0.1, num_steps=2), progress=False)
    assert list(tmp_path.iterdir()) == []
