"""The tables of the report."""

from __future__ import annotations

from typing import Any

import pandas as pd

from robustray.tasks.attacks.autoattack import AutoAttack
from robustray.tasks.attacks.settings import Norm
from robustray.tasks.report.numbers import NORM_WORDS
from robustray.tasks.studies.robust_training import published, reduce
from robustray.tasks.studies.robust_training.results import Results, interval_words, seeds_words, tested_in, threat
from robustray.tasks.study import Table
from robustray.tasks.sweeps import records as sweeps


def tables(results: Results) -> list[Table]:
    """In the order of the page: the grids, AutoAttack and steps where they were asked for, the networks, records."""
    return [
        *(_grid(results, norm) for norm in results.settings.norms),
        *_autoattack(results),
        *_steps(results),
        _networks(results),
        *_records(results),
    ]


def _grid(results: Results, norm: Norm) -> Table:
    """Rows: sizes tested at. Columns: sizes trained at, ours, then the published (robust_training.md section 1)."""
    settings, table = results.settings, reduce.accuracy_table(results)
    of_norm = table[table.norm == norm]
    frame: dict[str, list[Any]] = {"eps_test": of_norm.eps_test.drop_duplicates().tolist()}
    formats = {"eps_test": "eps"}
    for eps_train in results.eps_trained(norm):
        name, rows = threat(norm, eps_train), of_norm[of_norm.eps_train == eps_train]
        frame |= {name: rows.accuracy.tolist(), f"{name} lo": rows.lo.tolist(), f"{name} hi": rows.hi.tolist()}
        formats |= {name: "percent", f"interval:{name}": f"{name} lo,{name} hi"}
    frame |= {"seeds": [settings.num_seeds] * len(frame["eps_test"])}
    frame |= {"n": of_norm.groupby("eps_test", sort=False).n.min().tolist()}
    beside = ""
    for eps_train in results.eps_trained(norm):
        cells = [published.cell(settings, norm, eps_train, eps) for eps in frame["eps_test"]]
        if any(cells):
            frame[f"published, {threat(norm, eps_train)}"] = cells
            beside = (
                f" Published: {published.SCALE}; percent, PGD-20 / PGD-100; {published.SOURCE}. "
                f"Ours is {settings.model}: only directions compare."
            )
    return Table(
        name=f"grid-{norm}",
        title=f"Accuracy by the size trained at and the size tested at ({NORM_WORDS[norm]})",
        caption=f"Columns: what {settings.model} was trained against; rows: PGD-{settings.test_steps} of this size on "
        f"{settings.test_data} (steps of 2.5 ε / {settings.test_steps}, random start, until it succeeds; an image "
        f"broken at a smaller size counts as broken), 0 is clean. Mean over seeds; {interval_words(settings)}.{beside}",
        frame=pd.DataFrame(frame),
        formats=formats,
    )


def _autoattack(results: Results) -> list[Table]:
    if results.autoattack is None:
        return []
    table = reduce.autoattack_table(results)
    figures = [
        published.AUTOATTACK.get((row.norm, row.eps_test))
        if row.trained != "standard" and results.settings.test_data == published.DATA
        else None
        for row in table.itertuples()
    ]
    caption = (
        f"AutoAttack (APGD-CE, APGD-T, FAB-T, Square) on the first {results.settings.num_autoattack:,} test images, at "
        "the size trained at (standard networks: at the reference size), and PGD on the same images; difference: "
        "AutoAttack minus PGD, paired. "
        f"Mean over seeds; {interval_words(results.settings)}."
    )
    if any(figures):
        table["published"] = [None if each is None else each.figure for each in figures]
        sources = {f"{each.scale}, {each.source}" for each in figures if each}
        caption += f" Published, full test set: {'; '.join(sorted(sources))}."
    return [
        Table(
            name="autoattack",
            title="Accuracy under AutoAttack",
            caption=caption,
            frame=table,
            formats={
                "eps_test": "eps",
                "autoattack": "percent",
                "interval:autoattack": "lo,hi",
                "pgd": "percent",
                "difference": "points",
                "interval:difference": "difference_lo,difference_hi",
            },
        )
    ]


def _steps(results: Results) -> list[Table]:
    if not results.traces:
        return []
    few, many = results.settings.test_steps, results.settings.trace_steps
    return [
        Table(
            name="steps",
            title=f"What {many} steps of PGD find beyond {few}",
            caption="Steps of 2.5 ε / steps from the image itself, in fp32, on the first "
            f"{results.settings.num_traced:,} test images, at the size trained at (standard networks: at the reference "
            "size). Accuracy: no iterate is misclassified; loss: cross-entropy at the last iterate; difference: few "
            f"minus many steps, paired. Mean over seeds; {interval_words(results.settings)}.",
            frame=reduce.steps_table(results),
            formats={
                "eps_test": "eps",
                f"accuracy_{few}": "percent",
                f"accuracy_{many}": "percent",
                "difference": "points",
                "interval:difference": "lo,hi",
                f"loss_{few}": ".3f",
                f"loss_{many}": ".3f",
            },
        )
    ]


def _networks(results: Results) -> Table:
    rows: list[dict[str, Any]] = []
    for network, name in results.models.items():
        last = results.curves[network][-1]
        for norm in tested_in(results.settings, network):
            eps_test = network.eps or results.settings.reference_eps(norm)
            clean = results.standing(norm, network.eps, 0.0)[network.seed]
            robust = results.standing(norm, network.eps, eps_test)[network.seed]
            rows.append(
                {"trained": threat(network.norm, network.eps), "seed": network.seed, "weights": name}
                | {"clean": float(clean.mean()), "norm": norm, "eps_test": eps_test, "robust": float(robust.mean())}
                | {"held_out_clean": last.get("clean_accuracy"), "held_out_robust": last.get("robust_accuracy")}
                | {"train_loss": last["loss"], "flags": _flags(results, network)}
            )
    percent = ("clean", "robust", "held_out_clean", "held_out_robust")
    return Table(
        name="networks",
        title="The networks",
        caption="One row per training and norm it was tested in. Weights: the name under which any study takes them. "
        f"Clean, and robust under PGD-{results.settings.test_steps} at the size shown: on {results.num_images:,} "
        f"images of {results.settings.test_data}. Held out: of the training set, after the last epoch, under the "
        "check's own PGD at the size trained at.",
        frame=pd.DataFrame(rows),
        formats={"eps_test": "eps", "train_loss": ".3f", **dict.fromkeys(percent, "percent")},
    )


def _flags(results: Results, network: Any) -> str:
    return ", ".join(dict.fromkeys(row["flag"] for row in results.curves[network] if row.get("flag"))) or "none"


def _records(results: Results) -> list[Table]:
    """Everything behind the above; not on the page."""
    attacks = [results.pgd] + ([] if results.autoattack is None else [results.autoattack])
    found = [
        Table(
            name="accuracy",
            title="Accuracy by size, in long form",
            caption=f"One row per norm, size trained at and size tested at; {seeds_words(results.settings)}.",
            frame=reduce.accuracy_table(results).drop(columns="runs"),
            on_page=False,
        ),
        Table(
            name="curves",
            title="Learning curves",
            caption="One row per network and epoch.",
            frame=reduce.curve_table(results),
            on_page=False,
        ),
        Table(
            name="images",
            title="Every test image under every attack",
            caption="One row per network, norm, attack, size and image.",
            frame=pd.concat([rows.astype({"attack": str, "fell_to": str}) for rows in attacks], ignore_index=True),
            on_page=False,
        ),
    ]
    if results.autoattack is not None:
        found.append(
            Table(
                name="stages",
                title="Who fell to what: the stages of AutoAttack",
                caption="One row per network, norm, size and stage.",
                frame=sweeps.stage_table(results.autoattack, stages()),
                on_page=False,
            )
        )
    return found


def stages() -> dict[str, list[str]]:
    """AutoAttack's stages by name, as the sweep's reductions want them."""
    return {"autoattack": [stage.name for stage in AutoAttack(norm="linf", eps=0.0).stages()]}
