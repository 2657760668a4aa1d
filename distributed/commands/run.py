"""`robustray run STUDY`."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from robustray.distributed.commands.parsing import Switch, again, as_typed, gather, optional, parse, typed_as
from robustray.distributed.commands.recorded import CONFIG, read_config, recorded_settings, take_config
from robustray.distributed.start import check_workers, one_document
from robustray.tasks.errors import InputError
from robustray.tasks.study import STUDIES, Outline, Size, load_outline, load_study, refuse_idle, scale_of
from robustray.tasks.words import nearest

if TYPE_CHECKING:
    from robustray.tasks.execution import Request, Result
    from robustray.tasks.lab.base import BlockLab
    from robustray.tasks.lab.checkpoints import Interval
    from robustray.tasks.lab.runs import Run
    from robustray.tasks.lab.store import Store

SIZES: tuple[Size, ...] = ("quick", "small", "paper")


@dataclass(frozen=True, kw_only=True)
class Where:
    """Where and how to compute. No result depends on any of these."""

    store: Annotated[str | None, optional("FOLDER")] = None
    """Folder or URL in which everything finished is stored; ./runs if not given. On a cluster: absolute, or a URL."""
    workers: Annotated[int | None, optional("NUMBER")] = None
    """Blocks that run at once, one per CPU (or what the GPUs hold) if not given; 0 computes in this process, without
    Ray."""
    address: Annotated[str | None, optional("ADDRESS")] = None
    """A Ray cluster (auto, HOST:PORT, ray://HOST:PORT); RAY_ADDRESS if set; else a Ray of our own on this machine."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """cuda is a demand: an error where there is none. auto takes GPUs where they are, and says so."""
    data_root: Annotated[str | None, optional("FOLDER")] = None
    """Folder of real data sets and weights; ROBUSTRAY_DATA if not given."""
    checkpoint_every: Annotated[str | None, optional("NUMBER[s]")] = None
    """How often the state of a long job is saved: after a number of steps (200) or seconds (30s); every 60s if not
    given."""
    json: Switch = False
    """Print one JSON document, and everything else on stderr."""


@dataclass(frozen=True, kw_only=True)
class RunFlags(Where):
    """Flags of every study."""

    size: Size = "quick"
    """quick: embedded data, under two minutes of CPU time; small: real data, two CPU cores; paper: the paper's
    protocol, for GPUs."""
    fresh: Annotated[tuple[str, ...], optional("STEP ...")] = ()
    """Steps to compute again, once, whatever is in the store."""
    anyway: Switch = False
    """Go on although another process computes the same run; without it that is an error that names the process."""


def main(argv: list[str]) -> int:
    """Run a study."""
    outline, flags, settings = read_command(argv, "run")
    check_flags(flags, outline.name)
    from robustray.tasks.execution import Request

    request = Request(
        study=load_study(outline.name),
        settings=settings,
        size=scale_of(outline, settings, flags.size),
        command=f"{typed_as()} run {shlex.join(argv)}",
        options={
            "workers": flags.workers,
            "address": flags.address,
            "device": flags.device,
            "checkpoint_every": flags.checkpoint_every,
            # As it was found: `resume` may be typed where ROBUSTRAY_DATA is not set.
            "data_root": data_root(flags.data_root),
        },
        fresh=flags.fresh,
    )
    return carry_out(request, flags, anyway=flags.anyway)


def check_flags(flags: RunFlags, study: str) -> None:
    """Check what can be checked of the flags before a model or data are opened: for `run`, and for `show`, which opens
    none.

    Raises: InputError.
    """
    address = flags.address or os.environ.get("RAY_ADDRESS") or None
    check_workers(flags.workers, address)
    checkpoint_interval(flags.checkpoint_every)
    open_store(flags.store, address)
    if flags.fresh:
        from robustray.tasks.execution import check_steps

        check_steps(load_study(study), flags.fresh)
    if flags.device == "cuda" and not address:
        from robustray.distributed.lab import decide_device

        decide_device(flags.device, address)


def read_command(argv: list[str], command: str) -> tuple[Outline, RunFlags, Any]:
    """Study, flags and settings from the words behind `run` or `show`. Raises: InputError."""
    config, argv = take_config(argv)
    study, recorded = read_config(config) if config else ("", {})
    if config and (not argv or argv[0].startswith("-")):
        argv = [study, *argv]
    if not argv or argv[0].startswith("-"):
        if not argv or argv[0] not in ("-h", "--help"):
            raise InputError(
                f"{command} which study? Name it first ({', '.join(STUDIES)}): "
                f"`{typed_as()} {command} {next(iter(STUDIES))}`"
            )
        print(f"usage: {typed_as()} {command} STUDY [flags]     ({command} STUDY --help lists them)\n\nstudies:")
        for name, (_, about) in STUDIES.items():
            print(f"  {name}  {about}")
        raise SystemExit(0)
    outline = load_outline(argv[0])
    if config and outline.name != study:
        raise InputError(f"{CONFIG} {config} is a run of {study}, not of {outline.name}")
    words = gather(argv[1:], outline.settings, RunFlags)
    size = _size_of(words)
    both = dataclasses.make_dataclass("Command", [("run", RunFlags), ("study", outline.settings)], kw_only=True)
    both.__doc__ = (
        f"{outline.question} ({outline.paper})\n\nDefaults shown are those of --size {size}. A flag that takes several "
        f"values takes them at once, or one at a time in the singular: --model A --model B. {CONFIG} runs/RUN/run.json "
        "starts from the settings of that run instead of a size's."
    )
    prog = f"{typed_as()} {command} {outline.name}"
    if size not in outline.sizes:
        raise InputError(f"--size {size}: {outline.name} has no such size{nearest(size, outline.sizes)}")
    start = outline.sizes[size]
    if config:
        if any(word.partition("=")[0] == "--size" for word in words):
            raise InputError(f"--size and {CONFIG} both say what to start from: give one of them")
        start = recorded_settings(outline.settings, recorded, config)
        known: list[Size] = [name for name in SIZES if outline.sizes.get(name) == start]
        size = known[0] if known else size
    read = parse(both, words, prog=prog, default=both(run=RunFlags(size=size), study=start))
    refuse_idle(read.study, outline.sizes[size], start)
    return outline, read.run, read.study


def _size_of(words: Sequence[str]) -> Size:
    """The size decides the other defaults, so it is read first."""
    given = "quick"
    for word, following in itertools.zip_longest(words, words[1:], fillvalue=given):
        if word == "--size" or word.startswith("--size="):
            given = following if word == "--size" else word.removeprefix("--size=")
    for size in SIZES:
        if size == given:
            return size
    raise InputError(f"--size {given}: there is no such size{nearest(given, SIZES)}")


# -- shared with `resume` and `report` ---------------------------------------------------------------------------------


def carry_out(request: Request, where: Where, **how: Any) -> int:
    """Run a request, show it, and give the exit code."""
    from rich.console import Console

    from robustray.tasks.execution import execute
    from robustray.tasks.report.progress import make_progress
    from robustray.tasks.report.terminal import print_end, print_start

    interval = checkpoint_interval(where.checkpoint_every)
    address = where.address or os.environ.get("RAY_ADDRESS") or None
    store = open_store(where.store, address)
    console = Console(stderr=where.json)
    progress = make_progress()

    def make_lab(store: Store) -> BlockLab:
        from robustray.distributed.lab import open_lab

        return open_lab(
            store=store,
            workers=where.workers,
            address=address,
            device=where.device,
            data_root=data_root(where.data_root),
            progress=progress,
            checkpoint_every=interval,
        )

    def on_start(run: Run, lab: BlockLab) -> None:
        work = request.study.outline.estimate(request.settings)
        progress.expect(work.parts, lab.workers)
        state = "goes on" if run.file.attempts > 1 else "new run"
        print_start(
            study=request.study.outline.name,
            size=request.size,
            store=f"{store.url} ({state} {run.id})",
            workers=lab.workers,
            devices=lab.describe_devices(),
            work=work,
            console=console,
        )

    with one_document(where.json):
        result = execute(request, store=store, make_lab=make_lab, on_start=on_start, **how)
    if where.json:
        print_document(result.document)
    elif result.findings is None or result.facts is None:
        print_again(result, console)
    else:

        def spelt(warnings: Sequence[str]) -> tuple[str, ...]:
            return tuple(as_typed(words, where.store) for words in warnings)

        print_end(
            dataclasses.replace(result.findings, warnings=spelt(result.findings.warnings)),
            dataclasses.replace(result.facts, warnings=spelt(result.facts.warnings), notes=spelt(result.facts.notes)),
            page=result.document["report"],
            tables=result.document["tables"],
            next_command=_next_command(request, where),
            console=console,
        )
    if result.num_failed:
        print(
            f"robustray: failed: {result.num_failed} item(s) were given up and are missing from the tables; "
            f"`{again(f'resume {result.run.id} --failed', store=where.store)}` tries them again",
            file=sys.stderr,
        )
    return 1 if result.num_failed else 0


def data_root(flag: str | None) -> str | None:
    """The folder of real data: that of --data-root, else ROBUSTRAY_DATA, else none; absolute."""
    given = flag or os.environ.get("ROBUSTRAY_DATA")
    return str(Path(given).expanduser().absolute()) if given else None


def checkpoint_interval(words: str | None) -> Interval | None:
    """Read `200` (steps) or `30s`. Raises: InputError."""
    if words is None:
        return None
    from robustray.tasks.lab.checkpoints import Interval

    found = re.fullmatch(r"(?P<steps>\d+)|(?P<seconds>\d+(\.\d+)?)s", words)
    if found is None or not float(found["steps"] or found["seconds"]):
        raise InputError(f"--checkpoint-every {words}: give steps, as in 200, or seconds, as in 30s; more than 0")
    if found["steps"]:
        return Interval(steps=int(found["steps"]), seconds=None)
    return Interval(seconds=float(found["seconds"]))


def open_store(url: str | None, address: str | None) -> Store:
    """Raises: InputError, before anything is connected, when a cluster's nodes could not find the store."""
    from robustray.tasks.lab.store import Store

    if address and (url is None or not ("://" in url or Path(url).is_absolute())):
        given = "no --store" if url is None else f"--store {url}"
        raise InputError(f"{given} with the cluster {address}: give one that every node reaches, absolute or a URL")
    return Store("runs" if url is None else url)


def print_document(document: Mapping[str, Any]) -> None:
    """Print the one document of `--json`."""
    print(json.dumps(document, ensure_ascii=False, allow_nan=False))


def print_again(result: Result, console: Any) -> None:
    """A run that was finished before, from its document."""
    document = result.document
    console.print(f"finished before ({result.run.file.updated}); nothing was computed\n")
    console.print(document["answer"], style="bold", highlight=False, markup=False)
    console.print()
    for claim in document["claims"]:
        console.print(f"{claim['verdict']:>12}  {claim['words']}", highlight=False, markup=False)
    console.print()
    rows: Mapping[str, str] = {"report": document["report"], **{f"table {k}": v for k, v in document["tables"].items()}}
    width = max(map(len, rows))
    for label, path in rows.items():
        console.print(f"{label:<{width}}  {path}", soft_wrap=True, highlight=False, markup=False)


def _next_command(request: Request, where: Where) -> str:
    """The command that the user may want to type next."""
    if request.size == "quick":
        outline, task = request.study.outline, ""
        if outline.task and request.settings != outline.sizes["quick"]:
            task = f" --{outline.task.replace('_', '-')} {shlex.quote(getattr(request.settings, outline.task))}"
        return again(f"show {outline.name}{task} --size small", store=where.store, data_root=where.data_root)
    return again("status", store=where.store)
