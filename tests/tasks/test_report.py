"""The page and the terminal say everything that was found, in the same numbers, whatever the names are."""

from __future__ import annotations

import base64
import html
import importlib.util
import io
import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from robustray.tasks.report import page as page_module
from robustray.tasks.report.facts import SCALES, RunFacts
from robustray.tasks.report.index import Card, render_index
from robustray.tasks.report.numbers import (
    FIGURE_SPACE,
    POINT_SPACE,
    format_column,
    format_estimate,
    format_interval,
    format_seconds,
    format_value,
    pad_decimals,
)
from robustray.tasks.report.page import paper_link, render_page
from robustray.tasks.report.progress import BarProgress, LineProgress, SilentProgress, make_progress
from robustray.tasks.report.tables import columns_of
from robustray.tasks.report.terminal import MAX_ROWS, json_document, print_end, print_start
from robustray.tasks.study import Claim, Figure, Findings, PaperFigure, Picture, Table, Work

HOSTILE = "<script>alert('\"&{{ 7*7 }}')</script>[bold]"
NAN = float("nan")


def _example() -> Any:
    spec = importlib.util.spec_from_file_location("report_example", Path(__file__).with_name("report_example.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def findings() -> Findings:
    return _example().example_findings()


@pytest.fixture(scope="module")
def facts() -> RunFacts:
    return _example().example_facts()


class Reader(HTMLParser):
    """Text and attributes of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(re.sub(r"(<script>|<style>).*?(</script>|</style>)", r"\1\2", page, flags=re.DOTALL))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, tag: str, attribute: str) -> list[str]:
        return [attrs[attribute] or "" for name, attrs in self.tags if name == tag and attribute in attrs]


# Numbers


@pytest.mark.parametrize(
    "value, fmt, shown",
    [
        (0.375, "percent", "37.5 %"),
        (0, "percent", "0.0 %"),
        (1, "percent", "100.0 %"),
        (0.0004, "percent", "0.04 %"),
        (0.0006, "percent", "0.06 %"),
        (0.00001, "percent", "0.001 %"),
        (1e-17, "percent", "0.0 %"),
        (-1e-17, "percent", "0.0 %"),
        (0.9996, "percent", "99.96 %"),
        (0.99999, "percent", "99.999 %"),
        (1 - 1e-12, "percent", "100.0 %"),
        (0.5349, "percent", "53.5 %"),
        (-0.021, "percent", "−2.1 %"),
        (0.031, "points", "+3.1 points"),
        (-0.031, "points", "−3.1 points"),
        (0.0, "points", "0.0 points"),
        (-0.0004, "points", "0.0 points"),
        (0.0, "eps", "0"),
        (8 / 255, "eps", "8/255"),
        (np.float32(8 / 255), "eps", "8/255"),
        (0.0314, "eps", "0.0314"),
        (0.5 / 255, "eps", "0.5/255"),
        (0.5, "eps", "0.5"),
        (1.0, "eps", "1"),
        (0.2, "eps", "0.2"),
        (0.0123, "eps", "0.0123"),
        (75.2, "seconds", "1 min 15 s"),
        (10000, "", "10,000"),
        (np.int64(-3), "", "−3"),
        (0.12345, "", "0.123"),
        (999.7, "", "1,000"),
        (1234.5, "", "1,234"),
        (3e12, "number", "3.00e+12"),
        (0.12345, ".3f", "0.123"),
        (-0.12345, ".3f", "−0.123"),
        (7.0, "d", "7"),
        ("pgd", "percent", "pgd"),
        ("", "", ""),
        (True, "", "yes"),
        (np.bool_(False), "", "no"),
        (None, "percent", "–"),
        (NAN, "percent", "–"),
        (NAN, ".3f", "–"),
        (pd.NA, "", "–"),
        (pd.NaT, "", "–"),
        (math.inf, "percent", "∞"),
        (-math.inf, "", "−∞"),
    ],
)
def test_format_value(value: object, fmt: str, shown: str) -> None:
    assert format_value(value, fmt) == shown


@pytest.mark.parametrize(
    "seconds, shown",
    [
        (0, "0.0 s"),
        (0.44, "0.4 s"),
        (12.3, "12 s"),
        (59.7, "1 min 00 s"),
        (75, "1 min 15 s"),
        (7380, "2 h 03 min"),
        (3599.6, "1 h 00 min"),
    ],
)
def test_format_seconds(seconds: float, shown: str) -> None:
    assert format_seconds(seconds) == shown


def test_intervals_and_estimates() -> None:
    assert format_interval(0.346, 0.404, "percent") == "[34.6, 40.4]"
    assert format_estimate(0.375, (0.346, 0.404), "percent") == "37.5 % [34.6, 40.4]"
    assert format_estimate(0.0, (0.0, 0.0004), "percent") == "0.0 % [0.0, 0.04]"
    assert format_estimate(None, None, "percent") == "–"
    assert format_interval(NAN, 1, "percent") == "[–, 100.0]"


def test_decimals_stand_below_each_other() -> None:
    padded = pad_decimals(["1.5", "22", "–", "0.044", "1,234.25", "−3.0"])
    assert [cell.rstrip(FIGURE_SPACE + POINT_SPACE) for cell in padded] == [
        "1.5",
        "22",
        "–",
        "0.044",
        "1,234.25",
        "−3.0",
    ]
    points = {
        len(cell) - (cell.index(".") if "." in cell else cell.index(POINT_SPACE)) for cell in padded if cell != "–"
    }
    assert points == {4}
    assert pad_decimals(["0", "0.5/255", "8/255"]) == ["0", "0.5/255", "8/255"]
    assert pad_decimals([]) == []


def test_plain_floats_of_a_column_share_their_decimals() -> None:
    assert format_column([41.2, 96.04, 1893.5]) == ["41.2", "96.0", "1,893.5"]
    assert format_column([70000.0, 3.0, NAN]) == ["70,000", "3", "–"]
    assert format_column([0.5, 0.0]) == ["0.500", "0.000"]
    assert format_column([1e-7, 5.0]) == ["1e−07", "5"]
    assert format_column([1, 2.5, "x"]) == ["1", "2.50", "x"]


# Page


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
        said += [claim.words, claim.test, claim.verdict, format_value(claim.estimate, claim.unit), f"n = {claim.n:,}"]
        said += [format_interval(*claim.interval, claim.unit)] if claim.interval else []
        said += [claim.paper.figure, claim.paper.scale, claim.paper.source] if claim.paper else []
    parts: list[Figure | Table | Picture] = [*findings.figures, *findings.tables, *findings.pictures]
    for part in parts:
        said += [part.title, part.caption]
    said += [step.name for step in facts.steps]
    missing = [words for words in said if " ".join(words.split()) not in reader.text]
    assert not missing
    alts = reader.all("img", "alt") + reader.all("svg", "aria-label")
    assert set(alts) == {f.alt for f in findings.figures} | {p.alt for p in findings.pictures}


def test_parts_stand_in_the_agreed_order(findings: Findings, facts: RunFacts) -> None:
    assert Reader(render_page(findings, facts)).all("h2", "id") == [
        "claims",
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
    assert render_page(findings, facts) == render_page(_example().example_findings(), _example().example_facts())


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


def hostile_findings() -> Findings:
    frame = pd.DataFrame({HOSTILE: [HOSTILE, "=1+1"], "value": [NAN, 0.5], "lo": [NAN, 0.4], "hi": [NAN, 0.6]})
    return Findings(
        answer=HOSTILE,
        claims=(
            Claim(
                words=HOSTILE,
                estimate=NAN,
                interval=(NAN, math.inf),
                n=0,
                test=HOSTILE,
                verdict="undecided",
                paper=PaperFigure(figure=HOSTILE, scale=HOSTILE, source=HOSTILE),
            ),
            Claim(words="nothing", estimate=None, interval=None, n=0, test="none", verdict="undecided"),
        ),
        tables=(
            Table(
                name="hostile",
                title=HOSTILE,
                caption=HOSTILE,
                frame=frame,
                formats={"value": "percent", "interval:value": "lo,hi"},
            ),
            Table(name="empty", title="Empty", caption="Nothing.", frame=pd.DataFrame({"a": [], "b": []})),
        ),
        figures=(Figure(name="f", title=HOSTILE, caption=HOSTILE, alt=HOSTILE, svg="<svg viewBox='0 0 1 1'></svg>"),),
        pictures=(Picture(name="p", title=HOSTILE, caption=HOSTILE, alt=HOSTILE, png=b"png", width=1, height=1),),
        warnings=(HOSTILE,),
    )


def hostile_facts() -> RunFacts:
    return RunFacts(
        study=HOSTILE,
        question=HOSTILE,
        paper=HOSTILE,
        size="custom",
        run=HOSTILE,
        command=HOSTILE,
        seed=0,
        date="2026-01-01",
        settings={HOSTILE: HOSTILE, "list": [{HOSTILE: 1}, 2], "empty": {}},
        hashes={HOSTILE: HOSTILE},
        warnings=(HOSTILE,),
        tables={"hostile": HOSTILE},
    )


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
        )
        for i, figure in enumerate([findings.figures[0], findings.figures[0], None])
    ]
    page = render_index(cards)
    reader = Reader(page)
    assert reader.all("a", "href") == ["0/report.html", "1/report.html", "2/report.html"]
    assert "answer 2" in reader.text and "2026-01-02" in reader.text and HOSTILE in reader.text
    assert page.count("<svg") == 2 and "<script" not in page
    ids = [attrs["id"] for _, attrs in reader.tags if "id" in attrs]
    assert ids and len(ids) == len(set(ids)), "the same figure twice must not share ids"
    assert render_index([]).startswith("<!doctype html>")


# Terminal


def console(width: int = 120) -> Console:
    return Console(file=io.StringIO(), width=width, force_terminal=False, color_system=None)


def printed(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_start_takes_two_lines() -> None:
    out = console(200)
    work = Work(images=10_000, evaluations=2_000_000, note="PGD dominates: 12 min on 2 cores.")
    print_start(
        study="attack-sweep", size="small", store="./runs", workers=2, devices="2 CPU cores", work=work, console=out
    )
    lines = printed(out).splitlines()
    assert len(lines) == 2
    assert lines[0] == "attack-sweep (small) · 2 workers · 2 CPU cores · store ./runs"
    assert "2,000,000" in lines[1] and "10,000 images" in lines[1] and "12 min" in lines[1]


def test_end_says_answer_claims_table_paths_and_next_command(findings: Findings, facts: RunFacts) -> None:
    out = console(140)
    page = "/some/long/" + "folder/" * 30 + "report.html"
    print_end(
        findings,
        facts,
        page=page,
        tables={"cost": "runs/x/cost.parquet"},
        next_command="robustray report X",
        console=out,
    )
    text = printed(out)
    assert findings.answer in text
    assert "0.0 % [0.0, 0.04]" in text and "✗ contradicted" in text and "53.49 %" in text
    assert "0.5/255" in text and "61.2 [60.2, 62.2]" in text
    assert f"and {len(findings.tables[0].frame) - MAX_ROWS} more rows" in text
    assert any(line.endswith(page) for line in text.splitlines()), "a path is never broken"
    assert text.rstrip().endswith("robustray report X")


def test_hostile_names_in_the_terminal() -> None:
    out = console(4000)
    print_end(
        hostile_findings(), hostile_facts(), page=HOSTILE, tables={HOSTILE: HOSTILE}, next_command=None, console=out
    )
    assert printed(out).count("[bold]") >= 8, "markup in a name is shown, not obeyed"


def test_json_document_is_json(findings: Findings, facts: RunFacts) -> None:
    document = json_document(findings, facts, "runs/x/report.html", {"cost": "runs/x/cost.parquet"})
    assert list(document) == ["run", "answer", "claims", "tables", "report"]
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert document["run"] == facts.run and document["tables"] == {"cost": "runs/x/cost.parquet"}
    claim = document["claims"][0]
    assert (claim["estimate"], claim["interval"], claim["verdict"], claim["n"]) == (
        0.0,
        [0.0, 0.00038],
        "supported",
        10_000,
    )
    assert claim["paper"]["figure"] == "0.00 %" and document["claims"][2]["paper"] is None
    odd = json_document(hostile_findings(), hostile_facts(), "r", {})["claims"]
    assert odd[0]["estimate"] is None and odd[0]["interval"] == [None, None]
    json.dumps(odd, allow_nan=False)


def test_json_document_takes_numpy_numbers(facts: RunFacts) -> None:
    half: Any = np.float32(0.5)
    three: Any = np.int64(3)
    claim = Claim(words="w", estimate=half, interval=(half, half), n=three, test="t", verdict="supported")
    document = json_document(Findings(answer="a", claims=(claim,)), facts, "r", {})
    (plain,) = json.loads(json.dumps(document, allow_nan=False))["claims"]
    assert (plain["estimate"], plain["interval"], plain["n"]) == (0.5, [0.5, 0.5], 3)


# Progress


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_lines_come_every_few_seconds_and_at_the_end_of_a_step() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = LineProgress(stream, every=5, clock=clock)
    progress.start("attack", 100, 20)
    for second in range(1, 9):
        clock.now = second
        progress.advance("attack", 10)
    clock.now = 8.5
    progress.finish("attack")
    progress.close()
    progress.close()
    assert stream.getvalue().splitlines() == [
        "attack: 70/100 · 10.0/s · 3.0 s left · 20 from the store",
        "attack: 100/100 · 10.0/s · 20 from the store",
    ]


def test_many_handles_of_one_step_add_up() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = LineProgress(stream, clock=clock)
    for _ in range(300):
        progress.start("attack", 10, 0)
    clock.now = 3
    for _ in range(300):
        progress.advance("attack", 10)
        progress.finish("attack")
    assert stream.getvalue() == "attack: 3,000/3,000 · 1,000.0/s\n"


def test_handles_one_after_the_other_are_no_noise() -> None:
    stream = io.StringIO()
    progress = LineProgress(stream, clock=Clock())
    for _ in range(300):
        progress.start("attack", 10, 10)
        progress.finish("attack")
    progress.close()
    assert stream.getvalue().splitlines() == [
        "attack: 10/10 · 10 from the store",
        "attack: 3,000/3,000 · 3,000 from the store",
    ]


def test_a_step_found_in_the_store_is_one_line_without_a_rate() -> None:
    stream = io.StringIO()
    progress = LineProgress(stream, clock=Clock())
    progress.start("clean", 50, 50)
    progress.finish("clean")
    progress.start("nothing", 0, 0)
    progress.finish("nothing")
    assert stream.getvalue().splitlines() == ["clean: 50/50 · 50 from the store", "nothing: 0/0"]


def test_bars_show_each_step_once() -> None:
    stream = io.StringIO()
    progress = BarProgress(stream, clock=Clock())
    progress.start("[bold]attack", 10, 2)
    progress.start("[bold]attack", 10, 0)
    progress.advance("[bold]attack", 3)
    progress.message("[red]a retry")
    progress.finish("[bold]attack")
    progress.finish("[bold]attack")
    progress.close()
    progress.close()
    text = stream.getvalue()
    assert "[bold]attack" in text and "5/20" in text and "[red]a retry" in text


def test_the_kind_of_progress_follows_the_stream() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    assert isinstance(make_progress(io.StringIO()), LineProgress)
    assert isinstance(make_progress(Terminal()), BarProgress)
    assert isinstance(make_progress(Terminal(), silent=True), SilentProgress)


def test_a_step_that_ends_more_often_than_it_began_is_our_mistake() -> None:
    progress = LineProgress(io.StringIO())
    progress.start("a", 1, 0)
    progress.finish("a")
    with pytest.raises(AssertionError):
        progress.finish("a")
