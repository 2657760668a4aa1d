"""Every claim of every published run, as its manifest holds it: what docs/claims.md shows."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from robustray.tasks.report.claims import MARKS
from robustray.tasks.report.numbers import format_estimate, format_seconds
from robustray.tasks.study import STUDIES, load_outline
from scripts.docs_tables import ROOT

_SIZES = ("paper", "small", "custom", "quick")
"""The largest run of a study comes first."""
_ARXIV = re.compile(r"arXiv:(\d{4}\.\d{5})")

Run = tuple[str, Mapping[str, Any]]
"""Folder under docs/results, and its manifest."""


def overview(folder: str) -> str:
    """One row for each study: its runs in a folder, and their verdicts, apart for the paper's claims and for checks."""
    verdicts = [f"{mark} {verdict}" for verdict, mark in MARKS.items()]
    heads = ["paper", "study", "published runs", *verdicts, "checks that hold"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for study, runs in _runs(folder).items():
        papers, checks = (_of_kind(kind, runs) for kind in ("paper", "check"))
        counts = [str(sum(each["verdict"] == verdict for each in papers)) for verdict in MARKS]
        held = f"{sum(each['verdict'] == 'supported' for each in checks)} of {len(checks)}" if checks else ""
        link = f"[{study}](#{study})" if runs else f"[{study}](studies/{study}.md)"
        cells = [_paper_link(load_outline(study).paper), link, str(len(runs)) if runs else "none yet"]
        lines.append(f"| {' | '.join([*cells, *(counts if runs else [''] * len(counts)), held])} |")
    return "\n".join(lines) + "\n"


def paper_claims(folder: str) -> dict[str, list[Mapping[str, Any]]]:
    """Every study that has published runs -> the claims of its paper that these tested."""
    return {study: _of_kind("paper", runs) for study, runs in _runs(folder).items() if runs}


def claims(folder: str) -> str:
    """A section for each study that has published runs; in it, for each run, its command and its claims."""
    parts = []
    for study, runs in _runs(folder).items():
        if runs:
            outline = load_outline(study)
            parts.append(
                f"## {study}\n\n{outline.question} ({_paper_link(outline.paper)}; [page](studies/{study}.md))\n"
            )
            parts += [_run(name, manifest) for name, manifest in runs]
    return "\n" + "\n".join(parts) + "\n"


def verdicts(path: str) -> str:
    """The claims of one run, from its manifest, without their rules."""
    lines = [_line(("claim", "verdict", "here, with 95 % interval", "n")), "|---" * 4 + "|"]
    for claim in json.loads((ROOT / path).read_text())["claims"]:
        lines.append(_line((claim["words"], _verdict(claim), _number(claim), f"{claim['n']:,}")))
    return "\n".join(lines) + "\n"


def _runs(folder: str) -> dict[str, list[Run]]:
    """The published runs of every study, the largest first."""
    found: dict[str, list[Run]] = {study: [] for study in STUDIES}
    for path in sorted((ROOT / folder).glob("*/manifest.json")):
        manifest = json.loads(path.read_text())
        found[manifest["identity"]["study"]].append((path.parent.name, manifest))
    return {
        study: sorted(runs, key=lambda run: (_SIZES.index(run[1]["identity"]["size"]), run[0]))
        for study, runs in found.items()
    }


def _of_kind(kind: str, runs: Iterable[Run]) -> list[Mapping[str, Any]]:
    return [claim for _, manifest in runs for claim in manifest["claims"] if _kind(claim) == kind]


def _run(name: str, manifest: Mapping[str, Any]) -> str:
    """A published run: what was typed, how long it took where, and its claims."""
    hardware, size = manifest["environment"]["hardware"], manifest["identity"]["size"]
    took = f"{format_seconds(manifest['wall_seconds'])} on {hardware['cpus']} CPUs ({hardware['cpu']})"
    about = f"{manifest['created'][:10]}, size {size}, {took}, seed {manifest['identity']['seed']}"
    head = f"### {name}\n\n{about}; [page and tables](results/{name}).\n\n```text\n{manifest['command']}\n```\n\n"
    if not manifest["claims"]:
        return f"{head}No claims are tested: {manifest['answer']}\n"
    lines = ["| verdict | claim, and its rule | here, with 95 % interval | published |", "|---|---|---|---|"]
    return head + "\n".join([*lines, *_rows(manifest["claims"])]) + "\n"


def _rows(told: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    """One row for each claim. The rule of several in a row is written once, and so is where a figure comes from."""
    above, seen = "", list[Mapping[str, str] | None]()
    for claim in told:
        rule = "The same rule." if claim["test"] == above else claim["test"]
        cells = [
            _verdict(claim),
            f"{claim['words']}<br><sub>{rule}</sub>",
            f"{_number(claim)}, n = {claim['n']:,}",
            _published(claim, again=claim["paper"] in seen),
        ]
        yield _line(cells)
        above, seen = claim["test"], [*seen, claim["paper"]]


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _verdict(claim: Mapping[str, Any]) -> str:
    check = " (check)" if _kind(claim) == "check" else ""
    return f"{MARKS[claim['verdict']]} {claim['verdict']}{check}"


def _number(claim: Mapping[str, Any]) -> str:
    interval = None if claim["interval"] is None else tuple(claim["interval"])
    return format_estimate(claim["estimate"], interval, claim["unit"])


def _published(claim: Mapping[str, Any], *, again: bool) -> str:
    """The paper's own figure, whether it is on this side of the rule, and what it was obtained with."""
    paper = claim["paper"]
    if paper is None:
        return ""
    agrees = claim.get("agrees")
    side = "" if agrees is None else f"; on the {'same' if agrees else 'other'} side of the rule"
    return f"{paper['figure']}{side}<br><sub>{'as above' if again else paper['scale'] + '; ' + paper['source']}</sub>"


def _kind(claim: Mapping[str, Any]) -> str:
    """Runs of earlier versions name no kinds: all their claims were shown as the paper's."""
    return claim.get("kind", "paper")


def _paper_link(paper: str) -> str:
    return _ARXIV.sub(r"[\1](https://arxiv.org/abs/\1)", paper)


TABLES = {"overview": overview, "claims": claims, "verdicts": verdicts}
