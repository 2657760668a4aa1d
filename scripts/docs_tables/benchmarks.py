"""Tables of the benchmarks, from their records."""

from __future__ import annotations

import json
import statistics

from benchmarks import audit as audit_bench
from benchmarks import cheaper as cheaper_bench
from benchmarks.parity import mapping
from benchmarks.parity import records as parity_records
from benchmarks.rllib_speed import records as speed_records
from benchmarks.trainings import records as training_records
from benchmarks.trainings import tables as training_tables
from benchmarks.versus import records as attack_records
from benchmarks.versus import tables as attack_tables
from scripts.docs_tables import ROOT


def engine(path: str) -> str:
    """Rows: what was measured. Columns: cases. Cells: median and range over rounds."""
    document = json.loads((ROOT / path).read_text())
    records = document["records"]
    cases = list(dict.fromkeys(record["case"] for record in records))
    lines = [f"| | {' | '.join(cases)} |", "|---|" + "---|" * len(cases)]
    for what, unit in dict.fromkeys((record["what"], record["unit"]) for record in records):
        cells = []
        for case in cases:
            values = [r["value"] for r in records if (r["what"], r["case"]) == (what, case)]
            middle = statistics.median(values)
            cells.append(f"{show(middle)} ({show(min(values))}–{show(max(values))})")
        lines.append(f"| {what}, {unit} | {' | '.join(cells)} |")
    rounds = len([r for r in records if r["case"] == cases[0]]) // len(dict.fromkeys(r["what"] for r in records))
    loads = [record["foreign_load"] for record in records]
    machine = document["machine"]
    lines.append("")
    lines.append(
        f"Median (range) of {rounds} rounds; {machine['items']:,} items; {machine['cpus']} CPUs, Python "
        f"{machine['python']}; other processes used {statistics.median(loads):.2f} CPUs (at most {max(loads):.2f})."
    )
    return "\n".join(lines) + "\n"


def show(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def training(path: str, part: str) -> str:
    """part: "speed", ours against the loops of others; "quality", low precision against fp32."""
    document = training_records.load(ROOT / path)
    if part == "speed":
        return training_tables.speed(document.speed)
    return training_tables.quality(document.quality)


def attacks(path: str, what: str) -> str:
    """Our attacks beside those of other libraries: "speed" or "strength"."""
    return {"speed": attack_tables.speeds, "strength": attack_tables.strength}[what](
        attack_records.load(ROOT / path)[1]
    )


def memory(path: str) -> str:
    """Peaks of each run, and of the last one against the first."""
    document = json.loads((ROOT / path).read_text())
    runs = [{"sets": run["sets"], "driver": run["driver"], "actor": max(run["actors"])} for run in document["runs"]]
    lines = ["| peak of memory of its own (USS), MiB | the driver | the largest actor |", "|---|---|---|"]
    lines += [f"| {run['sets']} data sets | {run['driver']:.0f} | {run['actor']:.0f} |" for run in runs]
    first, last = runs[0], runs[-1]
    ratios = [f"{last[who] / first[who]:.2f}" for who in ("driver", "actor")]
    lines.append(f"| **{last['sets']} against {first['sets']}** | {' | '.join(ratios)} |")
    machine = document["machine"]
    actors = len(document["runs"][0]["actors"])
    lines += [
        "",
        f"One run each; {document['megabytes']:g} MB a data set, {actors} actors, Python {machine['python']}.",
    ]
    return "\n".join(lines) + "\n"


def stale(path: str) -> str:
    """Pairs of an edit and a step by what the lab said and what was true."""
    record = json.loads((ROOT / path).read_text())
    pairs, total = record["pairs"], sum(record["pairs"].values())
    words = {
        "stale": "**served as current, other rows now: stale**",
        "current, but nothing can be computed": "served as current, the edited code fails",
        "current, rightly": "served as current, the same rows",
        "old, rightly": "not served as current, other rows or none",
        "needlessly old": "not served as current, the same rows: needless",
        "nothing served": "the lab itself failed",
    }
    lines = ["| the lab, after an edit | pairs | share |", "|---|---|---|"]
    lines += [f"| {text} | {pairs.get(kind, 0):,} | {pairs.get(kind, 0) / total:.1%} |" for kind, text in words.items()]
    made = [record[f"edits that {what}"] for what in ("changed some rows", "made something needlessly old")]
    lines.append("")
    lines.append(
        f"{record['edits']} edits (seed {record['seed']}) and {record['steps']} steps; {made[0]} edits changed rows, "
        f"{made[1]} made something needlessly old. Python {record['python']}, torch {record['torch']}."
    )
    return "\n".join(lines) + "\n"


def trainspeed(path: str) -> str:
    """Steps per second of policy-gradient trainings, one table per environment."""
    return speed_records.render(speed_records.load(ROOT / path))


def trainsection(path: str, name: str) -> str:
    """Another measurement of the same contenders: "shares" of a step, "trials", "runners" or "memory"."""
    return speed_records.render_section(speed_records.load(ROOT / path), name)


def parity(path: str) -> str:
    """Learning curves' late returns against those of stable-baselines3."""
    return parity_records.render(parity_records.load(ROOT / path))


def peernames(path: str) -> str:
    """Which of our fields is which argument there, from the module at `path`."""
    if path != "benchmarks/parity/mapping.py":
        raise ValueError(f"{path} holds no table of names")
    return mapping.render()


def replication(path: str) -> str:
    """Table of what estimators of the replication study cost."""
    found = json.loads((ROOT / path).read_text())
    deletions = f"{found['replicates']} random deletions ({found['replicates_timed']} timed)"
    rows = [
        (
            f"{found['images']:,} images × {found['models']} models × {found['resamples']:,} resamples, 3 estimators",
            f"{found['bootstrap_seconds']:.1f} s, {found['peak_gigabytes']:.2f} GB",
        ),
        (
            f"exact jackknife, d = 1, 2 × {found['jackknife_images']:,} images, {found['answers']} answers, 6 models",
            f"{1e3 * found['exact_seconds']:.1f} ms",
        ),
        (f"{deletions}, pandas", f"{found['pandas_seconds']:.1f} s ({found['times_pandas']:,.0f} ×)"),
        (f"{deletions}, NumPy, answers shuffled", f"{found['numpy_seconds']:.1f} s ({found['times_numpy']:,.0f} ×)"),
        (f"{deletions}, NumPy, one index each", f"{found['index_seconds']:.2f} s ({found['times_index']:,.0f} ×)"),
    ]
    return "\n".join(["| what | cost |", "|---|---|", *(f"| {what} | {cost} |" for what, cost in rows)]) + "\n"


def corruptions(path: str) -> str:
    """Milliseconds of an image per corruption and size, ours and the peer's, and images per second over all."""
    found = json.loads((ROOT / path).read_text())
    sizes = [key for key in found if key.isdecimal()]
    heads = [f"{side} px: {words}" for side in sizes for words in ("ours, ms", "peer, ms", "ratio")]
    lines = [f"| an image | {' | '.join(heads)} |", "|---|" + "---|" * len(heads)]
    for name in found[sizes[0]]["corruptions"]:
        cells = [found[side]["corruptions"][name] for side in sizes]
        shown = [f"{c['ours_ms']:.3f} | {c['peer_ms']:.3f} | {c['ratio']:.1f}" for c in cells]
        lines.append(f"| {name} | {' | '.join(shown)} |")
    for words in ("all 14", "without glass blur and elastic transform"):
        cells = [found[side][words] for side in sizes]
        shown = [f"{c['ours_per_s']:,.0f}/s | {c['peer_per_s']:,.0f}/s | **{c['ratio']:.1f}**" for c in cells]
        lines.append(f"| {words} | {' | '.join(shown)} |")
    return "\n".join(lines) + "\n"


def cheaper(path: str) -> str:
    """How nearly a cheaper cascade gives AutoAttack's verdicts, and for how many gradients."""
    return cheaper_bench.report(cheaper_bench.read(ROOT / path)) + "\n"


def audit(path: str) -> str:
    """What the audit found of planted masks and honest networks, and how far the attack that it chose closed gaps."""
    return audit_bench.report(audit_bench.read(ROOT / path)) + "\n"


TABLES = {
    "audit": audit,
    "cheaper": cheaper,
    "corruptions": corruptions,
    "replication": replication,
    "engine": engine,
    "memory": memory,
    "stale": stale,
    "training": training,
    "attacks": attacks,
    "trainspeed": trainspeed,
    "trainsection": trainsection,
    "parity": parity,
    "peernames": peernames,
}
