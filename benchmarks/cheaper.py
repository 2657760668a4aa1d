"""How nearly does a cheaper cascade give AutoAttack's verdicts, and for how many gradients?

    python benchmarks/cheaper.py --data-root DIR [--half development report]   runs what is not on file yet
    python benchmarks/cheaper.py --show                                        prints what is on file

The two robust networks of the shared data, both norms. AutoAttack's (standard) verdicts, image by image, are those of
a published run, docs/results/attack-sweep-autoattack, of the first 1,000 test images, in two halves; a cell is written
once per cascade and half. malt-cascade was fixed before it was run for the first time; whoever tries others chooses on
the half "development" and reads the other. Gradients are counted where they are taken
(gradients of single images; passes without one are not counted). AutoAttack's are a lower bound: those of the images
that it leaves standing, each of which costs the same number, counted here on a few. Lines go to
benchmarks/records/cheaper.jsonl. No time is measured: other work may run beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent)]

RECORDS = HERE / "records" / "cheaper.jsonl"
PUBLISHED = HERE.parent / "docs/results/attack-sweep-autoattack/tables/images.parquet"
CELLS = [(model, norm) for model in ("small:linf8", "small:l2_05") for norm in ("linf", "l2")]
EPS = {"linf": 8 / 255, "l2": 0.5}
HALVES = {"development": range(500), "report": range(500, 1000)}
COUNTED = 4
"""Images on which AutoAttack's gradients are counted."""


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data-root", default=os.environ.get("ROBUSTRAY_DATA"))
    parser.add_argument("--store", default="runs")
    parser.add_argument("--half", nargs="+", choices=tuple(HALVES), default=tuple(HALVES))
    parser.add_argument("--attack", default="malt-cascade")
    parser.add_argument("--output", type=Path, default=RECORDS)
    parser.add_argument("--show", action="store_true")
    arguments = parser.parse_args(argv)
    if arguments.show:
        print(report(read(arguments.output)))
        return
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")  # before torch is there
    import torch

    from robustray.tasks.lab.serial import SerialLab
    from robustray.tasks.lab.store import Store

    torch.set_num_threads(1)
    lab = SerialLab(store=Store(arguments.store), data_root=arguments.data_root)
    for half, (model, norm) in ((half, cell) for half in arguments.half for cell in CELLS):
        place = {"attack": arguments.attack, "half": half, "model": model, "norm": norm}
        if not any(place.items() <= line.items() for line in read(arguments.output)):
            line = {**place, **measure(lab, arguments.attack, half, model, norm)}
            with open(arguments.output, "a") as file:
                file.write(json.dumps(line) + "\n")
            print(json.dumps(line), flush=True)


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def measure(lab: Any, attack: str, half: str, model: str, norm: str) -> dict[str, Any]:
    """The cascade on one half, image by image beside the published verdicts."""
    import pandas as pd
    import torch

    from robustray.tasks.attacks import ATTACKS, AutoAttack
    from robustray.tasks.attacks.family import Square

    rows = pd.read_parquet(PUBLISHED)
    rows = rows[(rows.model == model) & (rows.norm == norm) & (rows.attack == "autoattack")].set_index("index")
    indices = list(HALVES[half])
    theirs = torch.from_numpy(rows.success.reindex(indices).to_numpy(dtype=bool, copy=True))
    net = lab.load(lab.model(model)).eval()
    images, labels = lab.load(lab.data("cifar10:test")).batch(indices)
    size: Any = {"norm": norm, "eps": EPS[norm], "precision": "fp32"}
    with counting() as taken:
        ours = ATTACKS[attack](**size)(net, images, labels, seed=0, indices=indices)
    gradients = taken[0]
    standing = (~theirs).nonzero()[:COUNTED, 0]
    with counting() as taken:
        for stage in AutoAttack(**size).stages():
            if not isinstance(stage, Square):  # which takes none
                stage(net, images[standing], labels[standing], seed=0, indices=standing + indices[0])
    each = taken[0] / len(standing)
    stages = {stage.name: stage.broken for stage in ours.table()}  # type: ignore[attr-defined]
    return {
        "eps": EPS[norm],
        "n": len(indices),
        "both stand": int((~ours.success & ~theirs).sum()),
        "both fall": int((ours.success & theirs).sum()),
        "only ours falls": int((ours.success & ~theirs).sum()),
        "only autoattack's falls": int((~ours.success & theirs).sum()),
        "gradients": gradients,
        "gradients of autoattack": round(each * int((~theirs).sum())),
        "gradients of a standing image": each,
        "stages": stages,
    }


class counting:
    """A context: inside, the first entry of its list counts gradients of single images."""

    def __enter__(self) -> list[int]:
        from robustray.tasks.attacks.gradient.view import GradientView

        self._view, self._follow = GradientView, GradientView.follow
        taken, follow = [0], GradientView.follow

        def counted(view: Any, images: Any, *args: Any) -> Any:
            taken[0] += len(images)
            return follow(view, images, *args)

        GradientView.follow = counted  # type: ignore[method-assign,assignment]
        return taken

    def __exit__(self, *_: object) -> None:
        self._view.follow = self._follow  # type: ignore[method-assign]


# -- what it says ------------------------------------------------------------------------------------------------------


def report(lines: Sequence[Mapping[str, Any]]) -> str:
    """A Markdown table of what is on file, with sums over the cells of each half."""
    rows = [
        "| attack | images | network | size | n | AutoAttack leaves | it leaves | verdicts that agree | "
        "only it breaks | only AutoAttack breaks | gradients | of AutoAttack's |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for attack in dict.fromkeys(line["attack"] for line in lines):
        for half in HALVES:
            some = [line for line in lines if (line["attack"], line["half"]) == (attack, half)]
            rows += [_row(attack, half, line["model"], _size(line), [line]) for line in some]
            if len(some) == len(CELLS):
                rows.append(_row(attack, half, "**all**", "", some))
    return "\n".join(rows)


def _row(attack: str, half: str, model: str, size: str, lines: Sequence[Mapping[str, Any]]) -> str:
    from robustray.tasks.statistics.intervals import wilson

    def total(*names: str) -> int:
        return sum(int(line[name]) for line in lines for name in names)

    n, agree = total("n"), total("both stand", "both fall")
    lo, hi = (100 * float(end) for end in wilson(agree, n))
    cells = [
        attack,
        "0–499" if half == "development" else "500–999",
        model,
        size,
        f"{n:,}",
        f"{100 * total('both stand', 'only ours falls') / n:.1f} %",
        f"{100 * total('both stand', '''only autoattack's falls''') / n:.1f} %",
        f"{100 * agree / n:.2f} % [{lo:.2f}, {hi:.2f}]",
        str(total("only ours falls")),
        str(total("only autoattack's falls")),
        f"{total('gradients'):,}",
        f"1/{total('gradients of autoattack') / total('gradients'):.1f}",
    ]
    return f"| {' | '.join(cells)} |"


def _size(line: Mapping[str, Any]) -> str:
    return "ℓ∞ 8/255" if line["norm"] == "linf" else "ℓ2 0.5"


if __name__ == "__main__":
    main()
