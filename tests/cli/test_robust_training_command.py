"""`robustray run robust-training`, through its real entry point, with a tiny budget."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.cli.conftest import OWN, computed, only_document

RUN = "run robust-training --workers 0 "
TINY = (
    RUN + "--model digits:mlp --norm linf --eps-train-linf 0.2 --eps-test-linf 0.1 0.2 --num-seeds 1 --epochs 1 "
    "--num-images 40 --num-autoattack 0 --num-traced 16 --num-examples 1"
)


def test_a_tiny_grid_is_trained_tested_and_shown(cli: Any, tmp_path: Path) -> None:
    document = only_document(cli(f"{TINY} --json"))
    run, store = document["run"], tmp_path / "runs"
    assert computed(store, run).count("train") == 2
    grid = pd.read_parquet(document["tables"]["grid-linf"])
    assert grid.eps_test.tolist() == [0, 0.1, 0.2] and {"standard", "ℓ∞ 0.2"} <= set(grid.columns)
    assert [claim["verdict"] for claim in document["claims"]][:3] == ["undecided"] * 3, "one seed decides nothing"
    page = Path(document["report"]).read_text()
    for words in ("one seed: intervals cover other images", "Clean against robust accuracy", "drawn at random, not"):
        assert words in page, words

    # Another grid takes the networks and the tested images that are there.
    wider = TINY.replace("--eps-test-linf 0.1 0.2", "--eps-test-linf 0.1 0.2 0.3")
    other = only_document(cli(f"{wider} --json"))["run"]
    assert other != run and set(computed(store, other)) == {"attack"}

    # And the networks are there for every other study.
    (weights,) = pd.read_parquet(document["tables"]["networks"]).query("trained == 'standard'").weights
    sweep = "run attack-sweep --workers 0 --num-images 40 --norm linf --eps-linf 0.1 --attack pgd --num-examples 0"
    assert cli(f"{sweep} --model {weights}").code == 0


def test_show_counts_the_work_of_each_size(cli: Any, tmp_path: Path) -> None:
    works = {}
    for size in ("quick", "small", "paper"):
        outcome = cli(f"show robust-training --size {size} --json")
        assert outcome.code == 0
        works[size] = json.loads(outcome.out)["work"]
    passes = {size: work["counts"]["passes of single images"] for size, work in works.items()}
    assert passes["quick"] < passes["small"] < passes["paper"]
    assert "9 trainings" in works["small"]["note"] and not any(tmp_path.iterdir())
    assert "step_share" in cli("show robust-training --step-share 0.25").out


def test_help_explains_every_flag(cli: Any) -> None:
    outcome = cli("run robust-training --help")
    assert outcome.code == 0 and "--eps-train-linf" in outcome.out and "--autoattack-at" in outcome.out


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is typed behind the study's name, and what the line must say."""

    typed: str
    says: tuple[str, ...]


BAD = [
    Case(typed="--eps-train-linf -0.1", says=("eps_train_linf", "positive", "-0.1")),
    Case(typed="--eps-train-linf 0 0.1", says=("eps_train_linf", "positive")),
    Case(typed="--eps-train-l2 0.8 0.4", says=("eps_train_l2", "ascend", "0.8, 0.4")),
    Case(typed="--eps-test-l2 nan", says=("eps_test_l2", "nan")),
    Case(typed="--eps-test-linf 8", says=("eps_test_linf", "8/255")),
    Case(typed="--eps-test-linf 0.1 0.3", says=("eps_test_linf: 0.2 is missing",)),
    Case(typed="--norm l3", says=("'l3'", "linf", "l2")),
    Case(typed="--norm l2 --norm l2", says=("norms", "names one twice")),
    Case(typed="--norms", says=("norms", "at least one")),
    Case(typed="--num-seeds 0", says=("num_seeds", "at least 1")),
    Case(typed="--seed -1", says=("seed", "at least 0")),
    Case(typed="--epochs 0", says=("epochs", "at least 1")),
    Case(typed="--epochs many", says=("--epochs", "'many' is no whole number")),
    Case(typed="--batch-size 0", says=("batch_size", "at least 1")),
    Case(typed="--batch-size 2000", says=("batch_size 2000", "larger than", "digits:train")),
    Case(typed="--lr -1", says=("lr", "not negative")),
    Case(typed="--schedule stairs", says=("--schedule", "'stairs'")),
    Case(typed="--schedule steps", says=("lr_drops", "steps")),
    Case(typed="--lr-drop 5", says=("lr_drops", "triangular")),
    Case(typed="--weight-decay -1", says=("weight_decay",)),
    Case(typed="--augmentation flip", says=("--augmentation", "'flip'")),
    Case(typed="--num-steps 0", says=("num_steps", "at least 1")),
    Case(typed="--step-share -1", says=("step_share", "above 0")),
    Case(typed="--validation 0", says=("validation", "held-out")),
    Case(typed="--validation 1442", says=("digits:train", "1442 for validation")),
    Case(typed="--select first", says=("--select", "'first'")),
    Case(typed="--attack-precision fp64", says=("--attack-precision", "'fp64'")),
    Case(typed="--precision fp64", says=("--precision", "'fp64'")),
    Case(typed="--threads 0", says=("threads", "at least 1")),
    Case(typed="--num-images 356", says=("356", "digits:test has 355")),
    Case(typed="--test-steps 0", says=("test_steps", "at least 1")),
    Case(typed="--trace-steps 20", says=("trace_steps", "more than test_steps (20)")),
    Case(typed="--num-autoattack 356", says=("num_autoattack 356", "355")),
    Case(typed="--autoattack-at all", says=("--autoattack-at", "'all'")),
    Case(typed="--num-traced -1", says=("num_traced", "at least 0")),
    Case(typed="--num-examples 400", says=("num_examples 400", "355")),
    Case(typed="--block 0", says=("block", "at least 1")),
    Case(typed="--model digits:cn", says=("did you mean 'digits:cnn'",)),
    Case(typed="--model small:s", says=("small:s on digits:train",)),
    Case(typed="--train-data digits:trian", says=("did you mean 'digits:train'",)),
    Case(typed="--test-data digits:train", says=("--test-data digits:train", "the same images")),
    Case(typed="--test-data own:data", says=("own:data", "3 classes", "digits:train", "10")),
    Case(typed="--train-data own:data --test-data own:data", says=("the same images",)),
    Case(typed="--eps-train 0.1", says=("no flag --eps-train", "--eps-train-l")),
    Case(typed="--fresh attak", says=("--fresh attak", "did you mean 'attack'?")),
    Case(typed="--size small", says=("cifar10:train", "--data-root")),
]


@pytest.mark.parametrize("case", BAD, ids=[case.typed for case in BAD])
def test_bad_flags_are_refused_in_one_line(case: Case, cli: Any, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    outcome = cli(RUN + case.typed)
    assert outcome.code == 2 and outcome.out == "", outcome
    assert outcome.err.startswith("robustray: error: ") and outcome.err.count("\n") == 1, outcome.err
    missing = [words for words in case.says if words not in outcome.err]
    assert not missing, f"{missing} not in: {outcome.err}"
    assert [path.name for path in tmp_path.iterdir()] == ["own.py"]
