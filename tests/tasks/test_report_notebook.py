"""What a study found, as a prompt and a notebook show it."""

from __future__ import annotations

import base64
import re
from dataclasses import replace

import pandas as pd

from robustray.tasks.report.notebook import MAX_ROWS
from robustray.tasks.study import Claim, Findings, Table
from tests.tasks.report_example import example_findings


def test_a_prompt_shows_the_answer_and_a_line_for_each_claim() -> None:
    found = example_findings()
    lines = repr(found).splitlines()
    assert lines[0] == found.answer
    assert len(lines) == 1 + len(found.claims) + len(found.descriptions) + len(found.warnings)
    first = found.claims[0]
    assert first.words.removesuffix(".") in lines[1] and first.verdict in lines[1] and f"n = {first.n:,}" in lines[1]
    assert "svg" not in repr(found)


def test_a_notebook_shows_claims_the_main_figure_and_a_table() -> None:
    found = example_findings()
    text = found._repr_html_()
    for claim in found.claims:
        assert claim.verdict in text and f"{claim.n:,}" in text
    (picture,) = re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', text)
    assert base64.b64decode(picture).decode() == found.figures[0].svg
    table = next(table for table in found.tables if table.on_page)
    shown = min(MAX_ROWS, len(table.frame))
    assert text.count("<tr>") == 2 + len(found.claims) + shown + (1 + len(found.descriptions)) * bool(
        found.descriptions
    )
    assert "<script" not in text and "http" not in text, "nothing runs, nothing is fetched"


def test_what_a_name_holds_is_text_and_not_markup() -> None:
    bad = '<img src=x onerror="alert(1)">&'
    claim = Claim(words=bad, estimate=0.5, interval=None, n=1, test=bad, verdict="supported")
    table = Table(name="t", title=bad, caption="", frame=pd.DataFrame({bad: [bad]}))
    text = replace(Findings(answer=bad), claims=(claim,), tables=(table,), warnings=(bad,))._repr_html_()
    assert "<img" not in text and text.count("&lt;img") == 7


def test_findings_of_nothing_but_an_answer_are_shown() -> None:
    assert repr(Findings(answer="So.")) == "So."
    assert Findings(answer="So.")._repr_html_().split() == ["<div>", "<p><b>So.</b></p>", "</div>"]


def test_a_long_table_ends_with_how_much_is_left() -> None:
    table = Table(name="t", title="t", caption="", frame=pd.DataFrame({"a": range(1500)}))
    assert f"{1500 - MAX_ROWS:,} more rows" in Findings(answer="So.", tables=(table,))._repr_html_()
