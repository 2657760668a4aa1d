"""What holds for every study, on a tiny run of each (`tiny.py`): a study that is added is tested by being listed.

The lighter half runs with `make test`, the heavier one (`acceptance`) kills, counts workers and compares.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from robustray.distributed.cli import main
from robustray.tasks.lab.jobs import BlockJob, Job, Receipt, Worker
from robustray.tasks.lab.protocol import BlockFunction
from robustray.tasks.study import STUDIES, load_study
from tests.chromium import Browser, fetched_for
from tests.contract.tiny import OTHERWISE, TINY

ROUNDED = 0.05
"""Shares of images are rounded in a plan, and how many a class has is not known."""
PATIENCE_S = 240.0
"""For a command in a process of its own, on a busy machine."""


@dataclass(frozen=True)
class Tiny:
    """The tiny run of a study, made once with no workers."""

    name: str
    folder: Path

    @property
    def store(self) -> Path:
        return self.folder / "store"

    def line(self, store: Path, *, workers: int = 0, other: str = "") -> str:
        where = f"--workers {workers} --store {shlex.quote(str(store))}"
        return f"run {self.name} {TINY[self.name]} {other or '--seed 0'} {where} --json"

    @cached_property
    def document(self) -> dict[str, Any]:
        """What `--json` printed."""
        return json.loads(command(self.line(self.store)))

    @cached_property
    def tables(self) -> dict[str, bytes]:
        return tables(self.document)


def command(line: str) -> str:
    """What a command that ends well prints, in this process."""
    code, out, err = ended(line)
    assert code == 0, err[-3000:]
    return out


def ended(line: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command in this process; its signal handlers are put back."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    out, err = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(shlex.split(line))
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    return code, out.getvalue(), err.getvalue()


def shown(tiny: Tiny) -> dict[str, Any]:
    """What `show --json` says of the tiny run."""
    return json.loads(command(f"show {tiny.name} {TINY[tiny.name]} --json"))


def tables(document: dict[str, Any]) -> dict[str, bytes]:
    return {name: Path(path).read_bytes() for name, path in document["tables"].items()}


def blocks(folder: Path) -> list[dict[str, Any]]:
    """What a run computed, block by block."""
    file = folder / "blocks.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Tiny]:
    """Name of a study -> its tiny run, the same one for all tests."""
    made: dict[str, Tiny] = {}

    def keep(name: str) -> Tiny:
        if name not in made:
            made[name] = Tiny(name, tmp_path_factory.mktemp(name))
        return made[name]

    return keep


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in STUDIES])
def tiny(request: pytest.FixtureRequest, kept: Callable[[str], Tiny], monkeypatch: pytest.MonkeyPatch) -> Tiny:
    for name in ("ROBUSTRAY_DATA", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    return kept(request.param)


@pytest.fixture(scope="module")
def one_ray() -> Iterator[None]:
    """One Ray for all studies: a lab joins the one that runs in its process."""
    import ray

    from robustray.distributed.start import start_ray

    start_ray(address=None, workers=2)
    yield
    ray.shutdown()


# -- with `make test` --------------------------------------------------------------------------------------------------


def test_every_study_has_a_tiny_run_and_every_tiny_run_a_study() -> None:
    assert TINY.keys() == STUDIES.keys(), "a line of tests/contract/tiny.py for each study"


def test_it_shows_what_a_run_would_do(tiny: Tiny) -> None:
    work = shown(tiny)["work"]
    assert work["counts"] and all(isinstance(count, int) and count > 0 for count in work["counts"].values())
    assert work["note"]
    printed = command(f"show {tiny.name} --size paper")
    assert printed.splitlines()[-1].startswith("nothing was run")


def test_its_plan_has_the_steps_and_the_counts_of_its_run(tiny: Tiny) -> None:
    """The time that is left is told from the plan: a step that it lacks would make the estimate jump."""
    parts: dict[str, list[dict[str, Any]]] = {}
    for part in shown(tiny)["work"]["parts"]:
        parts.setdefault(part["step"], []).append(part)
    assert set(parts) <= set(load_study(tiny.name).steps)
    computed = Counter[str]()
    for block in blocks(tiny.store / tiny.document["run"]):
        computed[block["step"]] += block["items"]
    assert set(computed) <= set(parts)
    for step, planned in parts.items():
        found, items = computed[step], sum(part["items"] for part in planned)
        assert found <= items * (1 + ROUNDED), (step, found, items)
        assert any(part["times"] > 1 for part in planned) or found >= items * (1 - ROUNDED), (step, found, items)


def test_it_answers_with_n_and_verdicts_by_stated_rules(tiny: Tiny) -> None:
    document = tiny.document
    assert "n = " in document["answer"] and document["claims"] + document["descriptions"], document["answer"]
    for claim in document["claims"]:
        assert claim["verdict"] in ("supported", "contradicted", "undecided")
        assert "interval" in claim["test"] and "supported if" in claim["test"], claim["test"]
    figures = list((tiny.store / document["run"] / "figures").glob("*.svg"))
    assert figures and tiny.tables and all(tiny.tables.values())


def test_its_page_asks_for_nothing_outside_itself(tiny: Tiny) -> None:
    page = Path(tiny.document["report"]).read_text()
    assert 'http-equiv="Content-Security-Policy"' in page and tiny.document["answer"].split()[0] in page
    loaded = re.findall(r'\bsrc="([^"]*)"|<link[^>]*href="([^"]*)"|url\(([^)]*)\)', page)
    outside = [address for found in loaded for address in found if address and not address.startswith(("data:", "#"))]
    assert not outside, outside


def test_it_uses_what_it_declares_and_computes_nothing_twice(tiny: Tiny, tmp_path: Path) -> None:
    first = tiny.store / tiny.document["run"]
    runs = set(tiny.store.glob(f"{tiny.name}-*"))
    assert json.loads(command(tiny.line(tiny.store))) == tiny.document, "a finished run is shown again"
    assert set(tiny.store.glob(f"{tiny.name}-*")) == runs
    assert {block["step"] for block in blocks(first)} <= set(load_study(tiny.name).steps)
    store = tmp_path / "store"
    shutil.copytree(tiny.store, store, ignore=lambda folder, names: {tiny.document["run"]} & set(names))
    again = json.loads(command(tiny.line(store)))
    assert again["answer"] == tiny.document["answer"] and tables(again) == tiny.tables
    assert blocks(store / again["run"]) == [], "every piece was in the store"


# -- acceptance --------------------------------------------------------------------------------------------------------


@pytest.mark.acceptance
def test_tables_are_equal_with_no_and_with_two_workers(tiny: Tiny, one_ray: None, tmp_path: Path) -> None:
    found = json.loads(command(tiny.line(tmp_path / "store", workers=2)))
    assert {block["worker"] for block in blocks(tmp_path / "store" / found["run"])} != {"this process"}
    assert tables(found) == tiny.tables and found["answer"] == tiny.document["answer"]


@pytest.mark.acceptance
def test_a_killed_run_goes_on_where_it_was(tiny: Tiny, tmp_path: Path, repository: Path) -> None:
    store = tmp_path / "store"
    line = [sys.executable, "-m", "robustray", *shlex.split(tiny.line(store))]
    driver = subprocess.Popen(line, cwd=repository, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + PATIENCE_S
    while driver.poll() is None and not any(map(blocks, store.glob(f"{tiny.name}-*"))):
        assert time.monotonic() < until, "no block was finished"
        time.sleep(0.002)
    driver.kill()
    assert driver.wait() == -signal.SIGKILL, "it was through before it could be killed: make the tiny run longer"

    found = json.loads(command(tiny.line(store)))
    done = [block["file"] for block in blocks(store / found["run"])]
    assert len(list(store.glob(f"{tiny.name}-*"))) == 1, "the same run goes on"
    assert len(done) == len(set(done)) == len(blocks(tiny.store / tiny.document["run"])), "every block once"
    assert tables(found) == tiny.tables and found["answer"] == tiny.document["answer"]


def one_item_given_up(step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on the middle item of the first block of a step runs out of memory, alone too."""
    bad: list[tuple[str, int]] = []
    run = Worker.run

    def without_memory(self: Worker, job: Job) -> Receipt:
        if isinstance(job, BlockJob) and job.step == step:
            if not bad:
                bad.append((job.step_key, job.first + job.num_items // 2))
            key, place = bad[0]
            if job.step_key == key and job.first <= place < job.first + job.num_items:
                return Receipt(outcome="out_of_memory", message="as ordered")
        return run(self, job)

    monkeypatch.setattr(Worker, "run", without_memory)


@pytest.mark.acceptance
def test_an_item_that_is_given_up_is_left_out_or_ends_the_run_with_words(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never with a traceback, and never with rows at the places of others."""
    study = load_study(tiny.name)
    mapped = {name for name, each in study.declared.items() if any(isinstance(one, BlockFunction) for one in each)}
    assert study.partial <= mapped
    for step in sorted(mapped & {block["step"] for block in blocks(tiny.store / tiny.document["run"])}):
        store = tmp_path / step
        shutil.copytree(tiny.store, store, ignore=lambda folder, names: {tiny.document["run"]} & set(names))
        with monkeypatch.context() as patch:
            one_item_given_up(step, patch)
            code, out, err = ended(f"{tiny.line(store)} --fresh {step}")
        assert code == 1 and "traceback" not in err.lower(), (step, err[-3000:])
        last = err.splitlines()[-1]
        if step in study.partial:
            assert "item(s) were given up" in last and tables(json.loads(out)), (step, last)
        else:
            assert f"items of {step} were given up" in last, (step, last)
        assert re.search(r"resume \S+ --failed", last), (step, last)
        shutil.rmtree(store)


@pytest.mark.acceptance
def test_two_runs_compare_where_it_compares(tiny: Tiny) -> None:
    if load_study(tiny.name).compare is None:
        pytest.skip(f"{tiny.name} has no comparison")
    other = json.loads(command(tiny.line(tiny.store, other=OTHERWISE.get(tiny.name, "--seed 1"))))
    assert other["run"] != tiny.document["run"], "seed and settings are part of what a run is"
    line = f"compare {tiny.document['run']} {other['run']} --json --store {shlex.quote(str(tiny.store))}"
    compared = json.loads(command(line))
    assert compared["answer"] and Path(compared["report"]).is_file()


@pytest.fixture(scope="module")
def browser(require_chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Browser:
    return Browser(require_chromium, tmp_path_factory.mktemp("browser"))


@pytest.mark.acceptance
@pytest.mark.browser
def test_its_page_opens_without_complaint_or_request_and_fits_a_phone(tiny: Tiny, browser: Browser) -> None:
    page = browser.folder / f"{tiny.name}.html"
    shutil.copy(tiny.document["report"], page)
    assert fetched_for(browser, page) == set()  # `Browser.run` refuses any line on the console
    seen = browser.observe(page, "seen.wide = page.documentElement.scrollWidth - view.innerWidth", width=390)
    assert seen["wide"] <= 0
