"""The page as a browser shows it: nothing leaves, nothing overflows on a phone, sorting and copying work.

The page itself is opened unchanged, under its own content policy. A second page beside it holds it in a frame of the
wanted width, looks into it, and writes what it saw into its own document, which Chromium prints.
"""

from __future__ import annotations

import base64
import io
import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from robustray.tasks import figures
from robustray.tasks.report.comparison import render_comparison
from robustray.tasks.report.index import Card, render_index
from robustray.tasks.report.page import render_page
from robustray.tasks.study import Gallery
from tests.chromium import FLAGS, Browser, fetched_for, requests
from tests.tasks import report_example

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser(require_chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Browser:
    return Browser(require_chromium, tmp_path_factory.mktemp("browser"))


@pytest.fixture(scope="module")
def example() -> Any:
    return report_example


@pytest.fixture(scope="module")
def page(browser: Browser, example: Any) -> Path:
    path = browser.folder / "page.html"
    path.write_text(render_page(example.example_findings(), example.example_facts()), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def index(browser: Browser, example: Any, page: Path) -> Path:
    findings, facts = example.example_findings(), example.example_facts()
    cards = [
        Card(
            study=facts.study,
            question=facts.question,
            answer=findings.answer,
            size=facts.size,
            date=facts.date,
            link=page.name,
            figure=figure,
        )
        for figure in findings.figures
    ]
    path = browser.folder / "index.html"
    path.write_text(render_index(cards), encoding="utf-8")
    return path


def test_no_request_leaves_and_the_log_would_have_shown_one(browser: Browser, page: Path) -> None:
    assert fetched_for(browser, page) == set()
    leaky = browser.folder / "leaky.html"
    text = page.read_text(encoding="utf-8")
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text)
    leaky.write_text(
        text.replace("</main>", '<img src="http://example.test/pixel.png" alt=""></main>'), encoding="utf-8"
    )
    log = browser.folder / "leaky.netlog"
    address = "--host-resolver-rules=MAP * ~NOTFOUND"
    # Not `browser.run`: the failed picture is a complaint on the console, as it should be.
    subprocess.run(
        [browser.path, *FLAGS, f"--user-data-dir={browser.folder / 'profile'}", f"--log-net-log={log}", address,
         "--dump-dom", leaky.as_uri()],
        capture_output=True, timeout=120, check=True,
    )  # fmt: skip
    assert "http://example.test/pixel.png" in requests(log)


def test_a_complaint_on_the_console_would_be_seen(browser: Browser) -> None:
    planted = browser.folder / "planted.html"
    planted.write_text("<!doctype html><script>console.error('planted')</script>", encoding="utf-8")
    with pytest.raises(AssertionError, match="planted"):
        browser.run("--dump-dom", planted.as_uri())


def test_an_overflow_would_be_seen(browser: Browser, page: Path) -> None:
    wide = browser.folder / "wide.html"
    wide.write_text(page.read_text(encoding="utf-8").replace("overflow-x: auto;", ""), encoding="utf-8")
    assert browser.observe(wide, SIZES, 390)["width"] > 390


SIZES = """
  seen.viewport = view.innerWidth;
  seen.width = page.documentElement.scrollWidth;
  seen.wide = [...page.querySelectorAll("body *")]
    .filter(e => !e.closest(".scroll, svg, thead") || e.matches(".scroll"))
    .filter(e => e.getBoundingClientRect().right > view.innerWidth + 0.5).map(e => e.outerHTML.slice(0, 120));
  const shown = e => e.getClientRects().length > 0;
  seen.narrow = [...page.querySelectorAll(".narrow svg")].filter(shown).length;
  seen.drawings = [...page.querySelectorAll("figure svg, img, .cards svg")].filter(shown).map(e => {
    const box = e.getBoundingClientRect();
    const alt = e.getAttribute("alt") || e.getAttribute("aria-label");
    return [box.width, box.height, e.tagName === "IMG" ? e.naturalWidth : 1, alt];
  });
  seen.stuck = [...page.querySelectorAll(".scroll")]
    .filter(e => e.tabIndex !== 0 || !e.getAttribute("aria-label")).length;
  seen.type = Math.min(...[...page.querySelectorAll("figure svg text")].filter(shown).map(e => {
    const svg = e.closest("svg");
    const scale = svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
    return parseFloat(view.getComputedStyle(e).fontSize) * scale;
  }));
  seen.cut = [...page.querySelectorAll("figure svg")].filter(shown).flatMap(svg =>
  [...svg.querySelectorAll("text")].filter(text => {
    const a = text.getBoundingClientRect(), b = svg.getBoundingClientRect();
    return a.left < b.left - 1 || a.right > b.right + 1 || a.top < b.top - 1 || a.bottom > b.bottom + 1;
  }).map(text => text.textContent));
"""


@pytest.mark.parametrize("width", [390, 400, 1200])
def test_every_drawing_has_a_size_and_nothing_overflows(browser: Browser, page: Path, width: int) -> None:
    seen = browser.observe(page, SIZES, width)
    assert seen["viewport"] == width
    assert seen["width"] <= width and not seen["wide"]
    assert len(seen["drawings"]) == 4
    for drawn_width, height, natural, alt in seen["drawings"]:
        assert drawn_width > 100 and height > 50 and natural > 0 and alt
    assert seen["stuck"] == 0, "what scrolls can be reached with the keyboard and has a name"
    assert seen["type"] >= 9, "figures stay readable on a phone"
    assert seen["narrow"] == (3 if width <= 400 else 0), "a phone has drawings of its own, and nothing else has"
    assert not seen["cut"], "no words of a figure are cut off"


def test_on_a_phone_every_line_has_its_name_and_every_row_its_value_without_scrolling(
    browser: Browser, page: Path
) -> None:
    seen = browser.observe(
        page,
        """
        seen.words = [...page.querySelectorAll(".narrow svg")].map(svg => [...svg.querySelectorAll("text")]
          .filter(e => e.getBoundingClientRect().right <= view.innerWidth).map(e => e.textContent.trim()));
        """,
        400,
    )
    curve, rows, heat = seen["words"]
    models = list(report_example.ACCURACY)
    assert set(models) <= set(curve) and "ℓ∞ perturbation ε (pixel units)" in curve
    assert all(any(model in words for words in rows) for model in models) and sum("[" in words for words in rows) == 3
    assert set(report_example.CLASSES) <= set(heat) and len(heat) >= 100


def test_a_long_table_says_which_of_its_rows_are_seen(browser: Browser, example: Any) -> None:
    findings = example.example_findings()
    first = findings.tables[0]
    path = browser.folder / "long.html"
    long = replace(first, frame=pd.concat([first.frame] * 3, ignore_index=True))
    path.write_text(render_page(replace(findings, tables=(long,)), example.example_facts()), encoding="utf-8")
    seen = browser.observe(
        path,
        """
        const box = page.querySelector(".long"), words = page.querySelector(".seen");
        seen.first = words.textContent;
        // The event comes with the next frame, and in virtual time there may be none: it is sent by hand.
        box.scrollTop = box.scrollHeight; box.dispatchEvent(new view.Event("scroll"));
        seen.last = words.textContent;
        """,
    )
    assert re.fullmatch(r"Rows 1 to \d+ of 63: scroll inside the table", seen["first"])
    assert re.fullmatch(r"Rows \d+ to 63 of 63: scroll inside the table", seen["last"])


def test_the_index_has_one_column_on_a_phone(browser: Browser, index: Path) -> None:
    columns = "seen.lefts = [...page.querySelectorAll('.cards > li')].map(e => e.getBoundingClientRect().left);"
    phone, desk = (browser.observe(index, SIZES + columns, width) for width in (390, 1200))
    assert phone["width"] <= 390 and not phone["wide"] and len(phone["drawings"]) == 3
    assert len(set(phone["lefts"])) == 1 and len(set(desk["lefts"])) == 2


@pytest.mark.parametrize("width", [390, 1200])
def test_a_comparison_overflows_nowhere(browser: Browser, example: Any, width: int) -> None:
    path = browser.folder / "comparison.html"
    facts = example.comparison_facts(command="robustray compare " + "a-long-name-of-a-run-" * 6)
    path.write_text(render_comparison(example.example_findings(), facts), encoding="utf-8")
    seen = browser.observe(path, SIZES, width)
    assert seen["width"] <= width and not seen["wide"] and seen["stuck"] == 0 and not seen["cut"]


def test_sorting(browser: Browser, page: Path) -> None:
    seen = browser.observe(
        page,
        """
        const table = page.querySelectorAll("table.data")[0], heads = [...table.querySelectorAll("thead th")];
        const column = name => heads.find(head => head.textContent.startsWith(name));
        const read = name => [...table.tBodies[0].rows].map(row => row.cells[+column(name).dataset.column].dataset.key);
        seen.given = read("robust accuracy");
        for (const name of ["robust accuracy", "evaluations per image", "model"]) {
          const button = column(name).querySelector("button");
          button.click();
          seen[name + " up"] = [read(name), column(name).getAttribute("aria-sort")];
          button.click();
          seen[name + " down"] = [read(name), column(name).getAttribute("aria-sort")];
          button.click();
          seen[name + " off"] = [read("robust accuracy"), column(name).getAttribute("aria-sort")];
        }
        """,
    )
    for name, key in (("robust accuracy", float), ("evaluations per image", float), ("model", str)):
        up, down, off = (seen[f"{name} {way}"] for way in ("up", "down", "off"))
        convert: Callable[[str], Any] = key
        assert up == [sorted(up[0], key=convert), "ascending"]
        assert down == [sorted(up[0], key=convert, reverse=True), "descending"]
        assert off == [seen["given"], None]


def test_the_copy_button_copies_the_command(browser: Browser, page: Path, example: Any) -> None:
    seen = browser.observe(
        page,
        """
        const button = page.querySelector("button[data-copies]");
        seen.hidden = button.hidden;
        const clipboard = writeText =>
          Object.defineProperty(view.navigator, "clipboard", {value: {writeText}, configurable: true});
        clipboard(async text => { seen.copied = text; });
        button.click(); await wait();
        seen.says = button.textContent;
        clipboard(async () => { throw new Error("not allowed"); });
        button.click(); await wait();
        seen.selected = view.getSelection().toString();
        """,
    )
    assert seen["hidden"] is False and seen["says"] == "Copied"
    assert seen["copied"] == example.example_facts().command
    assert " ".join(seen["selected"].split()) == example.example_facts().command


def test_the_browser_reads_the_downloads(browser: Browser, page: Path) -> None:
    seen = browser.observe(
        page,
        """
        const links = [...page.querySelectorAll("a[download]")];
        const bytes = link => Uint8Array.from(atob(link.href.split(",")[1]), c => c.charCodeAt(0));
        seen.csv = links.map(link => [link.download, new TextDecoder().decode(bytes(link))]);
        """,
    )
    assert [name for name, _ in seen["csv"]] == ["robust-accuracy.csv", "per-class.csv", "cost.csv"]
    assert seen["csv"][2][1].startswith("attack,images,evaluations,seconds")


def test_the_answer_and_the_main_figure_come_before_the_claims(browser: Browser, page: Path) -> None:
    seen = browser.observe(
        page,
        """
        seen.order = [...page.querySelectorAll("h2")].map(e => e.id);
        seen.rules = [...page.querySelectorAll("table.claims tr.rule")].length;
        seen.heads = [...page.querySelector("table.claims").querySelectorAll("thead th")].length;
        """,
    )
    assert seen["order"] == [
        "main-figure",
        "claims",
        "checks",
        "described",
        "figures",
        "tables",
        "pictures",
        "evidence",
    ]
    assert seen["heads"] == 4 and seen["rules"] == 0, "three rules that differ"


def test_the_small_table_stands_before_the_claims(browser: Browser, example: Any) -> None:
    findings = example.example_findings()
    first, *others = findings.tables
    path = browser.folder / "short.html"
    short = replace(findings, tables=(*others, replace(first, lead=True)))
    path.write_text(render_page(short, example.example_facts()), encoding="utf-8")
    seen = browser.observe(path, SIZES + "seen.order = [...page.querySelectorAll('h2')].map(e => e.id);", 400)
    assert seen["order"][:3] == ["main-figure", "in-short", "claims"] and seen["width"] <= 400


def test_a_rule_of_several_claims_is_written_once_and_no_column_is_empty(browser: Browser, example: Any) -> None:
    findings = example.example_findings()
    alike = tuple(replace(each, test="supported if above 0", paper=None, kind="paper") for each in findings.claims)
    path = browser.folder / "alike.html"
    path.write_text(render_page(replace(findings, claims=alike), example.example_facts()), encoding="utf-8")
    seen = browser.observe(
        path,
        """
        const claims = page.querySelector("table.claims");
        seen.times = claims.textContent.split("supported if above 0").length - 1;
        seen.heads = [...claims.querySelectorAll("thead th")].map(e => e.textContent);
        """,
    )
    assert seen == {"times": 1, "heads": ["Claim", "This run", "Verdict"]}


def test_a_description_has_no_verdict_and_a_claim_says_where_the_paper_stands(browser: Browser, page: Path) -> None:
    seen = browser.observe(
        page,
        """
        const words = selector => [...page.querySelectorAll(selector)].map(e => e.textContent.replace(/\\s+/g, " "));
        seen.described = page.querySelectorAll("table.described .verdict").length;
        seen.verdicts = page.querySelectorAll("table.claims .verdict").length;
        seen.sides = words(".agreement");
        seen.numbers = words("table.claims .paper b");
        """,
    )
    assert seen == {
        "described": 0,
        "verdicts": 4,
        "sides": ["the paper's number is on the other side", "the paper's number is on the same side"],
        "numbers": ["53.49 %", "+0.2 points"],
    }


def test_on_a_phone_no_line_of_a_claim_begins_with_a_dot(browser: Browser, example: Any) -> None:
    findings = example.example_findings()
    alike = tuple(replace(claim, test="supported if above 0") for claim in findings.claims)
    path = browser.folder / "alike-phone.html"
    path.write_text(render_page(replace(findings, claims=alike), example.example_facts()), encoding="utf-8")
    seen = browser.observe(
        path,
        """
        seen.dots = [...page.querySelectorAll("table.claims td")].map(cell => {
          const small = cell.querySelector("small"), before = small && view.getComputedStyle(small, "::before").content;
          const first = small && ![...cell.childNodes].slice(0, [...cell.childNodes].indexOf(small))
            .some(node => node.textContent.trim());
          return first ? before : "none";
        }).filter(content => content !== "none");
        """,
        400,
    )
    assert seen == {"dots": []}


def test_tables_are_copied_as_markdown_and_latex(browser: Browser, page: Path) -> None:
    seen = browser.observe(
        page,
        """
        const writeText = async text => { seen.copied.push(text); };
        seen.copied = [];
        Object.defineProperty(view.navigator, "clipboard", {value: {writeText}, configurable: true});
        for (const button of page.querySelectorAll('[data-table="table-robust-accuracy"] button')) {
          button.click(); await wait();
        }
        """,
    )
    markdown, latex = seen["copied"]
    lines = markdown.splitlines()
    assert lines[0].startswith("| model | norm | eps |") and set(lines[1]) <= set("|-: ") and len(lines) == 2 + 21
    assert len({line.count("|") for line in lines}) == 1, "as many cells in every row"
    assert latex.startswith("\\begin{tabular}{ll") and latex.endswith("\\end{tabular}\n")
    assert "(\\%)" in latex and len({line.count("&") for line in latex.splitlines() if line.endswith("\\\\")}) == 1


def test_figures_are_taken_as_svg_and_png(browser: Browser, page: Path) -> None:
    seen = browser.observe(
        page,
        """
        seen.files = [];
        page.addEventListener("click", event => {
          const {download, href} = event.target;
          if (download) { event.preventDefault(); seen.files.push([download, href]); }
        });
        for (const button of page.querySelectorAll('[data-takes="accuracy-linf"] button')) {
          button.click();
          for (let i = 0; i < 20; i++) await wait();
        }
        """,
    )
    (svg, svg_address), (png, png_address) = seen["files"]
    assert (svg, png) == ("accuracy-linf.svg", "accuracy-linf.png")
    drawn = unquote(svg_address.partition(",")[2])
    assert ElementTree.fromstring(drawn).tag.endswith("svg") and "var(" not in drawn
    image = Image.open(io.BytesIO(base64.b64decode(png_address.partition(",")[2])))
    assert image.width > 1000 and len(image.convert("L").getcolors() or ()) > 10


def some_gallery(**changes: Any) -> Gallery:
    """150 images of two classes, whose thumbnails are grey steps; at the larger size every third falls to both."""
    num = 150
    few = ([[-1] if i == 0 else [] for i in range(num)], [1] + [i % 2 for i in range(1, num)])
    fell = [[-1] if i == 0 else [0, 1] if i % 3 == 0 else [1] if i % 3 == 1 else [] for i in range(num)]
    many = (fell, [1 - i % 2 if ways else i % 2 for i, ways in enumerate(fell)])
    given: dict[str, Any] = {
        "name": "single",
        "title": "Single images",
        "caption": "All 150.",
        "images": (np.arange(num) / num).reshape(-1, 1, 1, 1) * np.ones((1, 3, 4, 4)),
        "classes": ["cat", "dog"],
        "indices": [10 * i for i in range(num)],
        "labels": [i % 2 for i in range(num)],
        "ways": ["noise", "pgd"],
        "cells": {("a", "ℓ∞ 0.1"): few, ("a", "ℓ∞ 0.2"): many},
        "start": ("a", "ℓ∞ 0.2"),
    }
    return figures.gallery(**(given | changes))


@pytest.mark.parametrize("width", [400, 1200])
def test_single_images_are_chosen_by_size_class_and_fate(browser: Browser, example: Any, width: int) -> None:
    path = browser.folder / f"gallery-{width}.html"
    findings = replace(example.example_findings(), galleries=(some_gallery(),))
    path.write_text(render_page(findings, example.example_facts()), encoding="utf-8")
    seen = browser.observe(
        path,
        SIZES
        + """
        const [model, size, label, fate] = page.querySelectorAll(".choose select");
        const tell = () => [page.querySelector(".gallery > p").textContent,
          [...page.querySelectorAll(".tiles li")].map(item => item.textContent)];
        const pick = (select, value) => { select.value = value; select.dispatchEvent(new view.Event("change")); };
        seen.start = [size.value, tell()];
        const [back, on] = page.querySelectorAll(".turn button");
        on.click(); on.click();
        seen.last = [tell(), back.disabled, on.disabled];
        pick(fate, "0"); seen.noise = tell();
        pick(label, "1"); seen.dogs = tell();
        pick(fate, "stands"); seen.standing = tell();
        pick(label, ""); pick(fate, "-1"); pick(size, "ℓ∞ 0.1"); seen.wrong = tell();
        pick(fate, "fell"); seen.none = tell();
        pick(fate, ""); const first = page.querySelector(".tiles span"), box = first.getBoundingClientRect();
        seen.tile = [box.width, box.height, view.getComputedStyle(first).backgroundImage.slice(0, 15)];
        """,
        width,
    )
    assert seen["width"] <= width and not seen["wide"]
    size, (words, shown) = seen["start"]
    assert size == "ℓ∞ 0.2" and words == "150 of 150 images; shown are 1 to 60" and len(shown) == 60
    assert shown[:3] == ["cat → dogwrong without an attack · #0", "dog → catfell to pgd · #10", "catstands · #20"]
    assert shown[3] == "dog → catfell to noise, pgd · #30"
    (words, shown), back, on = seen["last"]
    assert words.endswith("121 to 150") and len(shown) == 30 and (back, on) == (False, True)
    assert seen["noise"][0] == "49 of 150 images" and all("noise" in words for words in seen["noise"][1])
    assert seen["dogs"][0] == "25 of 150 images" and all(words.startswith("dog") for words in seen["dogs"][1])
    assert seen["standing"][0] == "25 of 150 images" and all("dogstands" in words for words in seen["standing"][1])
    assert seen["wrong"] == ["1 of 150 images", ["cat → dogwrong without an attack · #0"]]
    assert seen["none"] == ["0 of 150 images", []]
    assert seen["tile"] == [64, 64, 'url("data:image']


def test_hostile_names_of_a_gallery_stay_words(browser: Browser, example: Any) -> None:
    name = example.HOSTILE + "</script><img src=x onerror=alert(1)>"
    path = browser.folder / "hostile-gallery.html"
    cell = ([[0]] * 150, [1] * 150)
    made = some_gallery(classes=[name, name], ways=[name], cells={(name, name): cell}, start=(name, name))
    findings = replace(example.example_findings(), galleries=(made,))
    path.write_text(render_page(findings, example.example_facts()), encoding="utf-8")
    seen = browser.observe(
        path,
        """
        seen.images = page.querySelectorAll(".gallery img").length;
        seen.words = page.querySelector(".tiles li").textContent;
        """,
    )
    assert seen["images"] == 0 and seen["words"].startswith(name)


def test_without_script_everything_is_there_and_nothing_pretends_to_work(browser: Browser, page: Path) -> None:
    bare = browser.folder / "bare.html"
    text = re.sub(r"<script>.*?</script>", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    bare.write_text(text, encoding="utf-8")
    seen = browser.observe(
        bare,
        """
        seen.rows = page.querySelectorAll("table.data tbody tr").length;
        seen.buttons = [...page.querySelectorAll("button")].filter(e => e.getClientRects().length).length;
        """,
    )
    assert seen == {"rows": 34, "buttons": 0}


@pytest.mark.parametrize("scheme, preferred", [("light", 1), ("dark", 0)])
def test_both_colour_schemes_are_drawn(browser: Browser, page: Path, scheme: str, preferred: int) -> None:
    shot = browser.folder / f"{scheme}.png"
    flags = (f"--blink-settings=preferredColorScheme={preferred}", "--window-size=1200,2400", f"--screenshot={shot}")
    browser.run(*flags, page.as_uri())
    image = Image.open(shot).convert("L")
    counts = image.histogram()
    ground = max(range(256), key=counts.__getitem__)
    assert (ground > 240) if scheme == "light" else (ground < 40)
    # Ink stands against the ground: text and axes follow the scheme, in the figures as well.
    assert image.crop((60, 900, 900, 1500)).getextrema()[0 if scheme == "light" else 1] in (
        range(0, 60) if scheme == "light" else range(200, 256)
    )
