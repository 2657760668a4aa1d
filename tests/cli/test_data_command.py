"""`robustray data NAME`: the page and the table of a data set, through the real entry point."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from robustray.tasks.data import open_data
from robustray.tasks.data.scenes import facts, parse_scenes
from tests.cli.conftest import OWN

SCENES = "scenes:test,n=36,multi=0.5,confusable=0.3"


def test_scenes_are_shown_with_all_that_is_true_of_them(cli: Any, tmp_path: Path) -> None:
    outcome = cli(f"data {SCENES}")
    assert outcome.code == 0 and outcome.err == ""
    assert "36 images of 18 classes, 32 x 32 pixels, in colour." in outcome.out
    (page,) = (tmp_path / "runs" / "data").glob("scenes-test-n-36-*/index.html")
    assert str(page) in outcome.out
    text = page.read_text()
    for words in (
        "Contact sheet",
        "Single images, and what",
        "Images by class",
        f"data {SCENES}",
        "confusable: whether nobody",
    ):
        assert words in text, words
    assert text.count("<img ") == 2 and "tables/images.parquet" in text

    assert len(pd.read_csv(page.parent / "tables" / "images.csv")) == 36
    table = pd.read_parquet(page.parent / "tables" / "images.parquet")
    settings = parse_scenes(SCENES)
    truth = facts(settings, range(36))
    data = open_data(SCENES, data_root=None).fetch()
    assert table["index"].tolist() == list(range(36)) and table["label"].tolist() == data.labels.tolist()
    assert table["objects"].tolist() == [", ".join(names) for names in truth["objects"]]
    assert table["confusable"].tolist() == truth["confusable"]
    assert table[["x0", "y0", "x1", "y1"]].to_numpy().tolist() == data.boxes.tolist()  # type: ignore[union-attr]
    assert table["objects"].str.contains(", ").any() and table["confusable"].any(), "else nothing is shown here"
    # The page's folder is not taken for a run.
    assert json.loads(cli("status --json").out)["runs"] == []


def photographs(folder: Path, *pictures: tuple[str, tuple[int, ...]]) -> None:
    """A folder of class folders: a class and a shape, (height, width) or (height, width, 3), for each picture."""
    pixels = np.random.default_rng(0)
    for k, (label, shape) in enumerate(pictures):
        (folder / label).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.integers(0, 256, shape, dtype=np.uint8)).save(folder / label / f"{k}.png")


def test_any_study_says_what_was_done_to_photographs(cli: Any, tmp_path: Path) -> None:
    (tmp_path / "my_mod.py").write_text(OWN)
    pictures = [(label, (12 + k, 20 - k)) for label in ("ant", "bee", "cat") for k in range(4)]
    photographs(tmp_path / "photos", *pictures)
    flags = "--attack fgsm --norm linf --eps-linf 0.1 --num-images 0 --num-examples 1 --workers 0"
    typed = f"run attack-sweep --data ./photos,size=8 --model my_mod:build {flags}"
    outcome = cli(f"{typed} --json")
    assert outcome.code == 0, outcome.err
    said = "./photos,size=8: pictures of 20 x 12 to 17 x 15 pixels are resized to 8 x 8 (bicubic, short side first"
    page = Path(json.loads(outcome.out)["report"])
    assert said in page.read_text()
    again = cli(f"report {page.parent.name}")
    assert again.code == 0 and said in page.read_text(), "a page that is written again says it, too"


def test_photographs_of_mixed_sizes_are_shown_with_what_was_done_to_them(cli: Any, tmp_path: Path) -> None:
    photographs(tmp_path / "photos", ("ant", (50, 80, 3)), ("ant", (70, 60, 3)), ("bee", (64, 64, 3)))
    outcome = cli("data ./photos,size=60 --json")
    assert outcome.code == 0
    document = json.loads(outcome.out)
    assert (document["images"], document["shape"], document["classes"]) == (3, [3, 60, 60], ["ant", "bee"])
    (note,) = document["notes"]
    text = Path(document["report"]).read_text()
    assert "60 x 60" in note and note[1:] in text
    assert "The first image of each class" in text and "Single images, and" not in text, (
        "nothing is known beside labels"
    )


@pytest.mark.parametrize("name", ["digits:test", "my_own:data"])
def test_any_data_has_a_page(name: str, cli: Any, tmp_path: Path) -> None:
    (tmp_path / "my_own.py").write_text(
        "import numpy as np\n\n\ndef data():\n"
        "    images = np.random.default_rng(0).random((30, 3, 5, 90), dtype=np.float32)\n"
        "    return images, np.arange(30), tuple(f'class {k}' for k in range(30))\n"
    )
    outcome = cli(f"data {name} --store elsewhere")
    assert outcome.code == 0 and not (tmp_path / "runs").exists()
    (page,) = (tmp_path / "elsewhere" / "data").glob("*/index.html")
    more = re.search(r"(\d+) more classes are not shown", page.read_text())
    assert (more is not None) == (name == "my_own:data")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("data", "the name of one data set, got 0"),
        ("data digits:test digits:train", "the name of one data set, got 2"),
        ("data digits:tset", "did you mean 'digits:test'"),
        ("data scenes:test,confusable=2", "confusable must be within"),
        ("data cifar10:test", "--data-root"),
        ("data digits:test --stor x", "--store"),
    ],
)
def test_bad_input_is_one_line(line: str, says: str, cli: Any, tmp_path: Path) -> None:
    outcome = cli(line)
    assert outcome.code == 2 and outcome.out == "" and outcome.err.count("\n") == 1 and says in outcome.err
    assert not (tmp_path / "runs").exists()
