"""Does the audit find what was planted, and leave honest networks alone? And does the attack it chooses close the gap?

    python benchmarks/audit.py [--data-root DIR] [--only planted honest] [--match WORDS]   runs what is not on file yet
    python benchmarks/audit.py --show                                                     prints what is on file

Planted: masks (`planted.defects`) on networks whose worst case is known from AutoAttack without the mask. Honest:
networks without one (`planted.networks`). All are held against the checks that run no attacks, honest ones of digits
against the others as well. A record holds every check's figure, so that rules can be changed
without running anything: set them on the development half (every other case) and read the other half. How separate the
halves were so far: docs/audit.md. No time is measured: other work may run beside it. Lines go to
benchmarks/records/audit.jsonl.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent)]

RECORDS = HERE / "records" / "audit.jsonl"
GAP = 0.05
"""Difference between PGD's figure and the truth from which on there is a gap to be closed."""
CLOSED = 0.9
"""Share of a gap that has to be closed."""
STEPS, QUERIES = 20, 200
"""Of the attack that the audit chooses: as many steps as PGD's, and few queries."""


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data-root", default=os.environ.get("ROBUSTRAY_DATA"))
    parser.add_argument("--store", default="runs", help="where networks that train themselves are kept")
    parser.add_argument("--only", nargs="+", choices=("planted", "honest"), default=("planted", "honest"))
    parser.add_argument("--steps", nargs="+", choices=("figures", "accuracies"), default=("figures", "accuracies"))
    parser.add_argument("--match", default="", help="only cases whose names contain this")
    parser.add_argument("--output", type=Path, default=RECORDS)
    parser.add_argument("--show", action="store_true")
    arguments = parser.parse_args(argv)
    if arguments.show:
        print(report(read(arguments.output)))
        return
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")  # before torch is there
    import torch

    from benchmarks.planted import networks

    torch.set_num_threads(1)
    lab = networks.open_lab(arguments.store, arguments.data_root)
    measures = {"figures": figures, "accuracies": accuracies}
    for step in arguments.steps:
        for kind in arguments.only if step == "figures" else {"planted"} & {*arguments.only}:
            for name in (each for each in networks.names(kind) if arguments.match in each):
                if not any(line["case"] == name and step in line for line in read(arguments.output)):
                    found = measures[step](networks.case(lab, kind, name))
                    append(arguments.output, {"kind": kind, "case": name, **found})
                    print(step, name, flush=True)


def read(path: Path) -> list[dict[str, Any]]:
    """One entry per case, of all its lines."""
    merged: dict[str, dict[str, Any]] = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        found = json.loads(line)
        merged.setdefault(found["case"], {}).update(found)
    return list(merged.values())


def append(path: Path, line: Mapping[str, Any]) -> None:
    with open(path, "a") as file:
        file.write(json.dumps(line) + "\n")


def figures(case: Any) -> dict[str, Any]:
    """Of the checks."""
    from robustray.tasks.audit.audit import attacks, look
    from robustray.tasks.audit.subject import Subject

    subject = Subject.of(case.net, case.images, eps=case.eps)
    findings, _ = look(subject)
    if case.attacked:
        findings += attacks(subject)
    return {
        "defect": case.defect.kind if case.defect else "",
        "n": len(case.images),
        "eps": case.eps,
        "figures": {each.check: _plain(each.figure) for each in findings},
        "layers": {each.check: each.layer for each in findings if each.layer},
    }


def _plain(figure: float) -> float | str | None:
    return None if math.isnan(figure) else "inf" if math.isinf(figure) else round(figure, 6)


def accuracies(case: Any) -> dict[str, Any]:
    """Shares of the images that are right and stay so: under PGD, under the attack that the audit chooses, in truth."""
    import torch

    from robustray.tasks.attacks import PGD, AutoAttack
    from robustray.tasks.attacks.adaptive import Adaptive
    from robustray.tasks.errors import InputError

    size: Any = {"norm": "linf", "eps": case.eps, "precision": "fp32"}

    def left(attack: Any, net: Any) -> float:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return 1 - float(attack(net, case.images, case.labels).success.float().mean())

    chosen = Adaptive(**size, num_steps=STEPS, num_queries=QUERIES)
    result = chosen(case.net, case.images, case.labels)
    clean = float((result.clean_predictions == case.labels).float().mean())
    try:
        pgd = left(PGD(**size), case.net)
    except InputError:  # no gradient arrives: nothing is broken
        pgd = clean
    key = (case.base, len(case.images))
    if key not in TRUTHS:
        TRUTHS[key] = left(AutoAttack(**size), case.twin)
    return {
        "accuracies": {
            "clean": clean,
            "pgd": pgd,
            "adaptive": 1 - float(result.success.float().mean()),
            "truth": TRUTHS[key],
        },
        "stages": {stage.name: stage.broken for stage in result.table()},
    }


TRUTHS: dict[tuple[str, int], float] = {}


# -- what it says ------------------------------------------------------------------------------------------------------


def against(line: Mapping[str, Any]) -> list[str]:
    """The checks whose rule the recorded figures break."""
    from robustray.tasks.audit.rules import RULES

    figures = {check: math.inf if x == "inf" else x for check, x in line["figures"].items() if x is not None}
    return [check for check, figure in figures.items() if RULES[check].is_broken(figure)]


def halves(lines: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, list[Mapping[str, Any]]]]:
    """Every other case by name, of each kind; then all."""
    ordered = sorted(lines, key=lambda line: str(line["case"]))
    yield "development", ordered[::2]
    yield "report", ordered[1::2]
    yield "**all**", ordered


def report(lines: Sequence[Mapping[str, Any]]) -> str:
    """Markdown tables of what is on file."""
    planted = [line for line in lines if line["kind"] == "planted"]
    honest = [line for line in lines if line["kind"] == "honest"]
    rows = ["| half | planted | flagged | honest | false alarms | gaps | closed |", "|---|---|---|---|---|---|---|"]
    for (half, some), (_, others) in zip(halves(planted), halves(honest), strict=True):
        gaps = [line for line in some if "accuracies" in line and gap(line) >= GAP]
        rows.append(
            f"| {half} | {len(some)} | {_share(map(bool, map(against, some)))} | {len(others)} | "
            f"{_share(map(bool, map(against, others)))} | {len(gaps)} | "
            f"{_share(closed(line) >= CLOSED for line in gaps)} |"
        )
    rows += ["", "| planted | flagged by | PGD-20 | adaptive | truth | gap closed |", "|---|---|---|---|---|---|"]
    for line in sorted(planted, key=lambda line: str(line["case"])):
        if "accuracies" not in line:
            rows.append(f"| {line['case']} | {', '.join(against(line)) or '**missed**'} |  |  |  | not measured |")
            continue
        share = f"{100 * closed(line):.0f} %" if gap(line) >= GAP else "no gap"
        rows.append(
            f"| {line['case']} | {', '.join(against(line)) or '**missed**'} | "
            + " | ".join(f"{100 * line['accuracies'][name]:.0f}" for name in ("pgd", "adaptive", "truth"))
            + f" | {share} |"
        )
    alarms = [f"{line['case']} ({', '.join(against(line))})" for line in honest if against(line)]
    rows += ["", f"False alarms: {'; '.join(alarms) or 'none'}."]
    return "\n".join(rows)


def gap(line: Mapping[str, Any]) -> float:
    return float(line["accuracies"]["pgd"] - line["accuracies"]["truth"])


def closed(line: Mapping[str, Any]) -> float:
    """Share of the gap that the chosen attack closed; at most 1."""
    return min(1.0, float((line["accuracies"]["pgd"] - line["accuracies"]["adaptive"]) / gap(line)))


def _share(values: Iterable[bool]) -> str:
    """Counted, with Wilson's 95 % interval."""
    from robustray.tasks.statistics.intervals import wilson

    counted = list(values)
    lo, hi = (100 * float(end) for end in wilson(sum(counted), len(counted)))
    return f"{sum(counted)} of {len(counted)} [{lo:.0f} %, {hi:.0f} %]"


if __name__ == "__main__":
    main()
