"""Tables of the documentation: kinds found by themselves, and the one that needs no code."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import pandas as pd
import pytest

from robustray.tasks.study import STUDIES
from scripts import claims_picture, docs_tables
from scripts.docs_tables import claims, plain


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


def test_a_crosstab_has_one_cell_for_each_pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = pd.DataFrame(
        {
            "who": ["x"] * 4,
            "weather": ["rain", "fog", "rain", "snow"],
            "severity": [1, 1, 2, 0],
            "share": [0.5, 0.25, 1, 0],
        }
    )
    frame.to_parquet(tmp_path / "long.parquet")
    monkeypatch.setattr(plain, "ROOT", tmp_path)
    asked = ("long.parquet", "weather", "severity", "share:percent")
    assert plain.crosstab(*asked, "who=x").splitlines() == [
        "| weather, % | severity 0 | severity 1 | severity 2 |",
        "|---|---|---|---|",
        "| rain | – | 50.0 | 100.0 |",
        "| fog | – | 25.0 | – |",
        "| snow | 0.0 | – | – |",
    ]
    frame.iloc[:2].to_csv(tmp_path / "long.csv", index=False)
    assert plain.crosstab("long.csv", "severity", "weather", "share:.2f").splitlines() == [
        "| severity | rain | fog |",
        "|---|---|---|",
        "| 1 | 0.50 | 0.25 |",
    ]
    pd.concat([frame, frame]).to_parquet(tmp_path / "long.parquet")
    with pytest.raises(ValueError, match="duplicate"):
        plain.crosstab(*asked)


def test_every_kind_is_found_and_two_of_one_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {"sweep", "grid", "wilson", "engine", "table"} <= set(docs_tables.tables())
    monkeypatch.setattr(importlib, "import_module", lambda name: SimpleNamespace(TABLES={"sweep": len}))
    with pytest.raises(ValueError, match=r"two modules of .* render 'sweep'"):
        docs_tables.tables()


def manifest(**changed: object) -> dict[str, object]:
    """A published run with two claims of one rule and a check of the same, which could not be estimated."""
    claim = {"words": "a | b", "estimate": 0.25, "interval": [0.2, 0.3], "unit": "percent", "n": 1200}
    claim |= {"test": "share: supported", "verdict": "supported", "kind": "paper", "agrees": True}
    claim |= {"paper": {"figure": "30 %", "scale": "all images", "source": "table 1"}}
    check = claim | {"kind": "check", "verdict": "undecided", "paper": None, "agrees": None}
    return {
        "identity": {"study": "transfer", "size": "quick", "seed": 3},
        "created": "2026-01-02T03:04:05",
        "environment": {"hardware": {"cpus": 2, "cpu": "a CPU"}},
        "wall_seconds": 90.0,
        "command": "robustray run transfer",
        "answer": "So.",
        "claims": [claim, claim | {"words": "c"}, check | {"estimate": None, "interval": None}],
        **changed,
    }


def test_claims_are_shown_with_rule_interval_paper_and_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "ROOT", tmp_path)
    small = manifest(identity={"study": "transfer", "size": "small", "seed": 0}, claims=[])
    for name, content in {"transfer-quick": manifest(), "transfer-small": small}.items():
        (tmp_path / "results" / name).mkdir(parents=True)
        (tmp_path / "results" / name / "manifest.json").write_text(json.dumps(content))
    rows = claims.overview("results").splitlines()
    (row,) = [row for row in rows if "#transfer" in row]
    assert row.endswith("| [transfer](#transfer) | 2 | 2 | 0 | 0 | 0 of 1 |")
    assert len(rows) == 2 + len(STUDIES) and sum("none yet" in row for row in rows) == len(STUDIES) - 1
    text = claims.claims("results")
    assert text.index("### transfer-small") < text.index("### transfer-quick"), "the largest first"
    assert "No claims are tested: So." in text
    assert (
        "2026-01-02, size quick, 1 min 30 s on 2 CPUs (a CPU), seed 3" in text and "\nrobustray run transfer\n" in text
    )
    assert [line for line in text.splitlines() if line.startswith(("| ✓", "| ○"))] == [
        r"| ✓ supported | a \| b<br><sub>share: supported</sub> | 25.0 % [20.0, 30.0], n = 1,200 | "
        "30 %; on the same side of the rule<br><sub>all images; table 1</sub> |",
        "| ✓ supported | c<br><sub>The same rule.</sub> | 25.0 % [20.0, 30.0], n = 1,200 | "
        "30 %; on the same side of the rule<br><sub>as above</sub> |",
        r"| ○ undecided (check) | a \| b<br><sub>The same rule.</sub> | –, n = 1,200 |  |",
    ]


def test_no_published_claim_is_left_out(repository: Path) -> None:
    told = [json.loads(path.read_text())["claims"] for path in (repository / "docs/results").glob("*/manifest.json")]
    rows = re.findall(r"^\| [✓✗○] ", (repository / "docs/claims.md").read_text(), re.MULTILINE)
    assert len(rows) == sum(map(len, told)) > 100


def test_the_claims_of_one_run_are_those_of_its_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps(manifest()))
    monkeypatch.setattr(claims, "ROOT", tmp_path)
    assert claims.verdicts("manifest.json").splitlines()[2:] == [
        r"| a \| b | ✓ supported | 25.0 % [20.0, 30.0] | 1,200 |",
        "| c | ✓ supported | 25.0 % [20.0, 30.0] | 1,200 |",
        r"| a \| b | ○ undecided (check) | – | 1,200 |",
    ]


def test_the_picture_of_claims_has_a_mark_for_each_and_needs_no_colour() -> None:
    drawn = claims_picture.draw({"one": ["undecided", "supported", "contradicted"], "other": ["supported"]})
    root = ElementTree.fromstring(drawn)
    words = [each.text for each in root.iter("{http://www.w3.org/2000/svg}text")]
    legend, rows = ["2 supported", "1 contradicted", "1 undecided"], ["one", "3", "other", "1"]
    assert words == ["Claims of the papers, tested here", *legend, *rows]
    marks = [each for each in root.iter("{http://www.w3.org/2000/svg}rect") if "rx" in each.attrib][1:]
    order = [each.attrib["fill"] for each in marks[:3]]
    assert [each.attrib["fill"] for each in marks[3:]] == [*order, order[0]], "supported, contradicted, undecided"
    crosses = [each for each in root.iter("{http://www.w3.org/2000/svg}path")]
    assert len(crosses) == 2, "one in the legend, one for the contradicted claim"
    widths = {float(each.attrib["x"]) + float(each.attrib["width"]) for each in marks}
    assert max(widths) <= float(root.attrib["width"])
