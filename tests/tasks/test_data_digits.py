"""The digits: their split, and where they are read from."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
from sklearn.datasets import load_digits

from robustray.tasks.data import open_data
from robustray.tasks.data.digits import read_digits


def test_digits_are_split_evenly_and_for_ever() -> None:
    train, test = (open_data(f"digits:{split}", data_root=None).fetch() for split in ("train", "test"))
    assert (len(train), len(test), test.shape, test.num_classes) == (1442, 355, (1, 8, 8), 10)
    assert set(np.unique(train.images)) == {round(255 * level / 16) for level in range(17)}
    share = np.bincount(test.labels) / (np.bincount(test.labels) + np.bincount(train.labels))
    assert np.all(np.abs(share - 0.2) < 0.01)
    hashes = [open_data(f"digits:{split}", data_root=None).content_hash[:16] for split in ("train", "test")]
    assert hashes == ["151031ad6dd089fd", "cb242420fcc2effb"], "another split or scale makes every stored result old"


def test_the_digits_are_those_of_scikit_learn_and_do_not_import_it() -> None:
    """Its package takes a second of CPU time, of every process that loads them."""
    code = "import sys; from robustray.tasks.data.digits import read_digits; read_digits(); print(*sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"sklearn", "scipy"} & set(ended.stdout.split())
    levels, labels = read_digits()
    expected: Any = load_digits()
    assert np.array_equal(levels, expected.images) and np.array_equal(labels, expected.target)
