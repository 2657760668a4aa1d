"""How fast patches are designed, solids drawn and small networks trained, from the records of three benchmarks."""

from __future__ import annotations

import json

import pandas as pd

from scripts.docs_tables import ROOT

STEPS = {"loop": "plain autograd loop", "ours": "`design`", "floor": "floor: the network's pass"}
RENDERERS = {"rasteriser": "ours", "mujoco": "MuJoCo (no anti-aliasing, no shadows)"}


def patchsteps(path: str) -> str:
    """Milliseconds of a step: a plain loop, ours, and the floor; how often ours fits into the loop, and the floor."""
    record = json.loads((ROOT / path).read_text())
    found = record["milliseconds"]
    heads = ["CPU time of a step, ms", *STEPS.values(), "loop / `design`", "loop / floor"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for how, named in found.items():
        times = [named[name] for name in STEPS]
        cells = [f"{each['step']:.0f} ({each['fastest']:.0f}–{each['slowest']:.0f})" for each in times]
        lines.append(f"| {how} | {' | '.join(cells)} | {_ratios(*(each['step'] for each in times))} |")
    if "bf16" in found:
        steps = [found["fp32" if name == "loop" else "bf16"][name]["step"] for name in STEPS]
        cells = [f"{each:.0f}" for each in steps]
        lines.append(f"| as each runs by default (fp32; bf16) | {' | '.join(cells)} | {_ratios(*steps)} |")
    once = ", ".join(f"{how} {named['ours']['first']:,.0f} ms" for how, named in found.items())
    lines += [
        "",
        f"Medians (and range) of {record['rounds']} rounds of {record['steps']} steps; the first step of a design, in "
        f"which the network is folded and compared, is apart: {once}.",
    ]
    return "\n".join(lines) + "\n"


def _ratios(loop: float, ours: float, floor: float) -> str:
    return f"**{loop / ours:.2f}** | {loop / floor:.2f}"


def views(path: str) -> str:
    """Views a second of CPU time of each worker, for each renderer, size and solid, by number of workers."""
    record = json.loads((ROOT / path).read_text())
    rows = pd.DataFrame(record["rows"])
    solids, workers = list(dict.fromkeys(rows.solid)), sorted(set(rows.workers))
    heads = [f"{solid}, {'1 worker' if count == 1 else f'{count} workers'}" for solid in solids for count in workers]
    lines = [f"| views per second of CPU time | {' | '.join(heads)} |", "|---" * (1 + len(heads)) + "|"]
    for (renderer, side), part in rows.groupby(["renderer", "side"], sort=False):
        rates = part.set_index(["solid", "workers"]).views_per_cpu_second
        cells = [f"{rates[solid, count]:,.0f}" for solid in solids for count in workers]
        lines.append(f"| {RENDERERS[str(renderer)]}, {side} px | {' | '.join(cells)} |")
    lines += [
        "",
        f"{record['views']} views in each process, on {record['cpus']} CPUs for which up to "
        f"{max(record['load_before'], record['load_after']):.0f} processes waited.",
    ]
    return "\n".join(lines) + "\n"


def busy(path: str) -> str:
    """Share of the workers' time that is in training steps, for trainings of both sizes, without and with workers."""
    document = json.loads((ROOT / path).read_text())
    rows = pd.DataFrame(document["records"])
    lines = ["| fine-tunings | workers | wall time, s | **in training steps** |", "|---|---|---|---|"]
    for (form, workers), part in rows.groupby(["form", "workers"], sort=False):
        shares, walls = 100 * part.share_in_steps, part.wall_seconds
        lines.append(
            f"| {part.trainings.iloc[0]} of the {form} size | {workers or 'in process'} | {walls.median():.0f} | "
            f"**{shares.median():.0f} %** |"
        )
    loads, machine, rounds = rows.foreign_load, document["machine"], rows["round"].nunique()
    lines += [
        "",
        f"Medians; number of rounds: {rounds}; {machine['cpus']} CPUs, torch {machine['torch']}; other processes used "
        f"{loads.median():.2f} CPUs (at most {loads.max():.2f}).",
    ]
    return "\n".join(lines) + "\n"


TABLES = {"busy": busy, "patchsteps": patchsteps, "views": views}
