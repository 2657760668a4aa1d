"""The pages say everything that was found, in the same numbers, whatever the names are."""

from __future__ import annotations

import base64
import html
import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from robustray.tasks.report import page as page_module
from robustray.tasks.report.claims import MARKS
from robustray.tasks.report.comparison import Difference, render_comparison
from robustray.tasks.report.facts import SCALES, RunFacts, StepFacts
from robustray.tasks.report.index import Card, render_index
from robustray.tasks.report.numbers import format_interval, format_value
from robustray.tasks.report.page import paper_link, render_page
from robustray.tasks.report.tables import columns_of
from robustray.tasks.study import Document, Figure, Findings, Picture, Table
from tests.tasks.report_example import (
    HOSTILE,
    Reader,
    comparison_facts,
    example_facts,
    example_findings,
    hostile_facts,
    hostile_findings,
)


@pytest.fixture(scope="module")
def findings() -> Findings:
    return example_findings()


@pytest.fixture(scope="module")
def facts() -> RunFacts:
    return example_facts()


def test_everything_found_is_on_the_page(findings: Findings, facts: RunFacts) -> None:
    reader = Reader(render_page(findings, facts))
    said = [
        findings.answer,
        facts.question,
        facts.study,
        facts.run,
        facts.command,
        SCALES[facts.size],
        *findings.warnings,
    ]
    said += [*facts.warnings, *facts.hashes.values(), *facts.versions.values(), "8 GiB", "attacks[0].num_steps"]
    for claim in findings.claims:
        said += [
            claim.words,
            *claim.test.split(": supported if"),
            claim.verdict,
            format_value(claim.estimate, claim.unit),
            f"n = {claim.n:,}",
        ]
        said += [format_interval(*claim.interval, claim.unit)] if claim.interval else []
        said += [claim.paper.figure, claim.paper.scale, claim.paper.source] if claim.paper else []
    for each in findings.descriptions:
        said += [each.words, each.measured, format_value(each.estimate, each.unit), f"n = {each.n:,}"]
        said += [each.paper.figure, each.paper.scale, each.paper.source] if each.paper else []
    parts: list[Figure | Table | Picture] = [*findings.figures, *findings.tables, *findings.pictures]
    for part in parts:
        said += [part.title, part.caption]
    said += [step.name for step in facts.steps]
    missing = [words for words in said if " ".join(words.split()) not in reader.text]
    assert not missing
    alts = reader.all("img", "alt") + reader.all("svg", "aria-label")
    assert set(alts) == {f.alt for f in findings.figures} | {p.alt for p in findings.pictures}


def test_a_rule_that_serves_several_claims_is_written_once(findings: Findings) -> None:
    """Beside each stands what is measured, unless that is the same, too."""
    one, rule = findings.claims[0], "supported if it is above 0"
    tests = [
        f"gain of A: {rule}",
        f"gain of B: {rule}",
        "all: supported if above 1",
        "all: supported if above 1",
        "odd",
    ]
    claims = tuple(replace(one, words=f"claim {number}", test=test) for number, test in enumerate(tests))
    text = Reader(render_page(replace(findings, claims=claims), example_facts())).text
    assert text.count(rule) == 1 and f"The next 2: {rule}" in text and "gain of A" in text and "gain of B" in text
    assert text.count("all: supported if above 1") == 1 and text.count("odd") == 1


def test_how_several_numbers_were_measured_is_written_once(findings: Findings) -> None:
    one = findings.descriptions[0]
    three = [replace(one, words=f"number {number}", measured="in the same way") for number in range(3)]
    last = replace(one, words="number 3", measured="in another way")
    page = render_page(replace(findings, descriptions=(*three, last)), example_facts())
    assert ">How</th>" in page and ">How</th>" not in render_page(
        replace(findings, descriptions=tuple(three)), example_facts()
    )
    text = Reader(page).text
    assert text.count("in the same way") == 1 and "The next 3: in the same way" in text
    assert text.count("in another way") == 1 and all(f"number {number}" in text for number in range(4))


def test_the_table_of_steps_has_the_columns_that_say_something() -> None:
    grid = StepFacts(name="cells", items=3, blocks=3, computed_blocks=1, reused_blocks=1, failed_items=1)
    assert page_module.step_table((grid,)) == (
        ["items", "computed", "from the store", "failed items"],
        [["cells", "3", "1", "1", "1"]],
    )
    run = StepFacts(
        name="attack", items=8, blocks=2, computed_blocks=2, old_blocks=2, seconds=4.0, items_per_second=2.0
    )
    heads, (row, other) = page_module.step_table((run, StepFacts(name="empty", items=0, blocks=0)))
    assert heads == ["items", "blocks", "computed", "from the store", "old", "seconds", "items/s"]
    assert row == ["attack", "8", "2", "2", "0", "2", "4.0", "2"] and len(other) == len(row)
    assert page_module.step_table(()) == (["items", "computed", "from the store"], [])


def test_what_concerns_a_repetition_stands_beside_the_steps_and_not_at_the_top(findings: Findings) -> None:
    text = Reader(render_page(findings, example_facts())).text
    (note,) = example_facts().notes
    assert text.count(note) == 1 and text.index("Steps") < text.index(note) < text.index("Hardware")


def test_files_beside_the_page_are_named_on_it(findings: Findings, facts: RunFacts) -> None:
    record = Document(path="model_info/d/Linf/m.json", words="m on d", content={"name": HOSTILE, "clean_acc": "91.00"})
    shown = replace(findings, documents=(record,))
    reader = Reader(render_page(shown, facts))
    assert record.path in reader.all("a", "href") and "m on d" in reader.text


def test_parts_stand_in_the_agreed_order(findings: Findings, facts: RunFacts) -> None:
    assert Reader(render_page(findings, facts)).all("h2", "id") == [
        "main-figure",
        "claims",
        "checks",
        "described",
        "figures",
        "tables",
        "pictures",
        "evidence",
    ]
    text = render_page(findings, facts)
    assert (
        text.index(html.escape(findings.answer).replace("&#x27;", "&#39;"))
        < text.index(html.escape(findings.warnings[0]))
        < text.index('id="claims"')
    )


def test_the_same_input_gives_the_same_page(findings: Findings, facts: RunFacts) -> None:
    assert render_page(findings, facts) == render_page(example_findings(), example_facts())


def test_nothing_is_loaded_from_elsewhere(findings: Findings, facts: RunFacts) -> None:
    page = render_page(findings, facts)
    reader = Reader(page)
    for tag, attrs in reader.tags:
        for name in ("src", "srcset", "data", "action", "poster"):
            assert (attrs.get(name) or "data:").startswith("data:"), (tag, attrs)
        if tag == "link":
            assert attrs["href"] == "data:,"
        if tag == "a":
            assert re.match(r"#|data:text/csv|tables/|https://arxiv\.org/abs/", attrs["href"] or "")
    assert "url(http" not in page and "@import" not in page and "DOCTYPE svg" not in page
    assert len(page.encode()) < 3_000_000
    ids = [attrs["id"] for _, attrs in reader.tags if "id" in attrs]
    assert len(ids) == len(set(ids))


def test_the_script_is_the_one_the_content_policy_allows(findings: Findings, facts: RunFacts) -> None:
    import hashlib

    page = render_page(findings, facts)
    script = re.search(r"<script>(.*?)</script>", page, re.DOTALL)
    assert script is not None
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page and "default-src 'none'" in page


def test_csv_on_the_page_is_the_table(findings: Findings, facts: RunFacts) -> None:
    reader = Reader(render_page(findings, facts))
    links = {a["download"]: a["href"] for tag, a in reader.tags if tag == "a" and "download" in a}
    assert set(links) == {f"{table.name}.csv" for table in findings.tables if table.on_page}
    for table in findings.tables:
        if table.on_page:
            text = base64.b64decode((links[f"{table.name}.csv"] or "").split(",", 1)[1])
            pd.testing.assert_frame_equal(pd.read_csv(io.BytesIO(text)), table.frame, check_exact=True)
        else:
            assert f'href="{facts.tables[table.name]}"' in render_page(findings, facts)


def test_hostile_names_stay_words() -> None:
    page = render_page(hostile_findings(), hostile_facts())
    reader = Reader(page)
    assert [tag for tag, _ in reader.tags].count("script") == 1
    assert "49" not in reader.text.replace("2049", ""), "a name was run as a template"
    # Title, answer, claim, captions, head and cell ...: each shows the name as it is.
    assert reader.text.count(HOSTILE) >= 20
    assert HOSTILE in reader.all("img", "alt") + reader.all("svg", "aria-label")
    assert not re.search(r"\bnan\b", reader.text.lower())


def test_nan_is_a_dash_and_sorts_as_nothing() -> None:
    page = render_page(hostile_findings(), hostile_facts())
    assert '<td class="num" data-key="">–</td><td class="ci"></td>' in page
    assert re.search(r'data-key="0.5">50.0</td><td class="ci">\[40.0, 60.0\]', page)


def test_a_page_without_findings_is_a_page() -> None:
    reader = Reader(render_page(Findings(answer="Nothing was asked."), replace(hostile_facts(), study="none")))
    assert "Nothing was asked." in reader.text
    assert reader.all("h2", "id") == ["evidence"]


def test_intervals_are_folded_into_their_column(findings: Findings) -> None:
    names = [column.name for column in columns_of(findings.tables[0])]
    assert "robust_accuracy" in names and "lo" not in names and "hi" not in names
    table = replace(findings.tables[0], formats={"interval:robust_accuracy": "low,hi"})
    with pytest.raises(AssertionError, match="low"):
        columns_of(table)


def test_a_heavy_page_says_what_makes_it_heavy(findings: Findings, facts: RunFacts) -> None:
    heavy = Picture(name="all-images", title="t", caption="c", alt="a", png=b"\0" * 2_500_000, width=1, height=1)
    text = Reader(render_page(replace(findings, pictures=(heavy,)), facts)).text
    assert re.search(r"This page has 3\.\d MB", text) and "all-images" in text
    assert "pleasant to send" not in Reader(render_page(findings, facts)).text


@pytest.mark.parametrize("size, words", SCALES.items())
def test_the_badge_says_the_scale(findings: Findings, facts: RunFacts, size: Any, words: str) -> None:
    assert f"{size} {words}" in Reader(render_page(findings, replace(facts, size=size))).text


@pytest.mark.parametrize(
    "paper, link",
    [
        ("arXiv:1905.02175", "https://arxiv.org/abs/1905.02175"),
        ("robustness library", None),
        ('arXiv:1905.02175"><script>', None),
    ],
)
def test_a_paper_links_to_itself(paper: str, link: str | None) -> None:
    assert paper_link(paper) == link


def luminance(color: str) -> float:
    color = color if len(color) == 7 else "#" + "".join(2 * c for c in color[1:])
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_text_has_the_contrast_that_wcag_aa_asks_in_light_and_dark() -> None:
    look = (Path(page_module.__file__).parent / "look.html.j2").read_text()
    blocks = re.findall(r":root \{(.*?)\}", look, re.DOTALL)
    assert len(blocks) == 3, "light, dark, print"
    for block in blocks:
        colors = dict(re.findall(r"--([\w-]+): (#\w+)", block))
        for ground in ("ground", "soft", "alarm"):
            for text in ("ink", "quiet", "link", "good", "bad", "open"):
                if ground in colors:
                    high, low = sorted((luminance(colors[ground]), luminance(colors[text])), reverse=True)
                    assert (high + 0.05) / (low + 0.05) >= 4.5, (text, ground, colors)


# Index


def test_index_has_a_card_for_each_run(findings: Findings) -> None:
    cards = [
        Card(
            study=f"study {i}",
            question=HOSTILE,
            answer=f"answer {i}",
            size="quick",
            date="2026-01-02T03:04:05",
            link=f"{i}/report.html",
            figure=figure,
            verdicts=["undecided", "supported", "supported"][:i],
        )
        for i, figure in enumerate([findings.figures[0], findings.figures[0], None])
    ]
    page = render_index(cards)
    reader = Reader(page)
    assert reader.all("a", "href") == ["0/report.html", "1/report.html", "2/report.html"]
    assert "answer 2" in reader.text and "2026-01-02" in reader.text and HOSTILE in reader.text
    assert page.count("<svg") == 2 and "<script" not in page
    assert [words for words in reader.words if words.startswith(tuple(MARKS.values()))] == [
        *("○ 1 undecided", "✓ 1 supported", "○ 1 undecided"),
    ], "for each run that tested claims, supported ones first"
    ids = [attrs["id"] for _, attrs in reader.tags if "id" in attrs]
    assert ids and len(ids) == len(set(ids)), "the same figure twice must not share ids"
    assert render_index([]).startswith("<!doctype html>")


def test_runs_of_one_study_are_told_apart_by_what_was_set() -> None:
    """What is equal in all of a study is not shown, and another study's settings are not compared with it."""

    def card(i: int, study: str, **settings: Any) -> Card:
        return Card(
            study=study, question="q", answer="a", size="quick", date="2026-01-02T03:04:05", link="l", run=f"run-{i}",
            settings=settings,
        )  # fmt: skip

    cards = [card(0, "s", steps=20, eps=8 / 255), card(1, "s", steps=50, eps=8 / 255), card(2, "t", steps=7)]
    reader = Reader(render_index(cards))
    assert [words for words in reader.words if words in ("steps", "eps", "20", "50", "7")] == [
        "steps",
        "20",
        "steps",
        "50",
    ]
    assert "2026-01-02 03:04" in reader.text and all(f"run-{i}" in reader.text for i in range(3))


# Two runs side by side


def test_a_comparison_shows_both_runs_and_what_differs(findings: Findings) -> None:
    reader = Reader(render_comparison(findings, comparison_facts()))
    for words in ("run-A", "run-B", "answer A", "num_steps", "a warning of ours", "robustray run B", findings.answer):
        assert words in reader.text
    assert "Equal in both: code." in reader.text
    assert reader.all("h2", "id") == [
        "differences",
        "main-figure",
        "claims",
        "checks",
        "described",
        "figures",
        "tables",
        "pictures",
        "evidence",
    ]
    assert reader.all("a", "href")[0] == "../../run-A/report.html"
    assert [tag for tag, _ in reader.tags].count("script") == 1 and HOSTILE in reader.text
    ids = [attrs["id"] for _, attrs in reader.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    copies = [attrs["data-copies"] for tag, attrs in reader.tags if tag == "button"]
    assert len(copies) == 3 and set(copies) <= set(ids)


def test_equal_runs_and_entirely_other_ones(findings: Findings) -> None:
    equal = Reader(render_comparison(findings, comparison_facts(differences=()))).text
    assert "Equal in both: setting, code." in equal
    every = tuple(Difference(kind=kind, name="x", a="1", b="2") for kind in ("setting", "code"))
    other = Reader(render_comparison(findings, comparison_facts(differences=every))).text
    assert "Equal in both" not in other and "Nothing that was looked at is equal" in other
