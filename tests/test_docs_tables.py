"""Tables of the documentation: kinds found by themselves, and the one that needs no code."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from scripts import docs_tables
from scripts.docs_tables import plain


def test_the_plain_table_formats_estimates_with_their_intervals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = pd.DataFrame(
        {"kind": ["a", "b"], "error_rate": [0.25, 0.5], "lo": [0.2, 0.4], "hi": [0.3, 0.6], "n": [10, 1200]}
    )
    frame.to_csv(tmp_path / "errors.csv", index=False)
    monkeypatch.setattr(plain, "ROOT", tmp_path)
    assert plain.table("errors.csv", "kind", "error_rate:percent:lo,hi", "n").splitlines() == [
        "| kind | error rate, % | n |",
        "|---|---|---|",
        "| a | 25.0 [20.0, 30.0] | 10 |",
        "| b | 50.0 [40.0, 60.0] | 1,200 |",
    ]
    assert plain.table("errors.csv", "kind=b", "kind", "n").splitlines()[2:] == ["| b | 1,200 |"]
    with pytest.raises(ValueError, match="no row with kind=c"):
        plain.table("errors.csv", "kind=c", "n")


def test_every_kind_is_found_and_two_of_one_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {"sweep", "grid", "wilson", "engine", "table"} <= set(docs_tables.tables())
    monkeypatch.setattr(importlib, "import_module", lambda name: SimpleNamespace(TABLES={"sweep": len}))
    with pytest.raises(ValueError, match=r"two modules of .* render 'sweep'"):
        docs_tables.tables()
