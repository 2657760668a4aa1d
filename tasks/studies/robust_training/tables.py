"""The tables of the report."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from robustray.tasks.attacks.autoattack import AutoAttack
from robustray.tasks.attacks.settings import Norm
from robustray.tasks.kit.frames import shown, side_by_side
from robustray.tasks.kit.words import over_words, plural
from robustray.tasks.published import engstrom
from robustray.tasks.report.numbers import NORM_WORDS
from robustray.tasks.studies.robust_training.results import STANDARD, Results, threat
from robustray.tasks.study import Table
from robustray.tasks.sweeps import records as sweeps
from robustray.tasks.sweeps.traced import steps_table
from robustray.tasks.training.learnt import curve_table, flags


def tables(results: Results) -> list[Table]:
    """In the order of the page: the grids, AutoAttack and steps where they were asked for, the networks, records."""
    found = [_grid(results, norm) for norm in results.settings.norms]
    found += [_autoattack(results)] if results.autoattack is not None else []
    where = "at the size trained at (standard networks: at the reference size)"
    found += [steps_table(results.followed, at=where)] if results.followed else []
    return [*found, _networks(results), *_records(results)]


def _grid(results: Results, norm: Norm) -> Table:
    """One row for each size tested at; one column for each size trained at, first ours and then the published."""
    settings, kinds = results.settings, results.by_kind(norm)
    frame, formats = side_by_side(kinds, "accuracy", by="eps_test")
    frame = frame.assign(seeds=settings.num_seeds, n=np.min([rows.n for rows in kinds.values()], axis=0))
    beside = ""
    for eps_train in results.eps_trained(norm):
        cells = [engstrom.cell(settings.test_data, norm, eps_train, eps) for eps in frame["eps_test"]]
        if any(cells):
            frame[f"published, {threat(norm, eps_train)}"] = cells
            beside = (
                f" Published: {engstrom.TABLE.scale}; percent, PGD-20 / PGD-100; {engstrom.SOURCE}. "
                f"Ours is {settings.model}: only directions compare."
            )
    return Table(
        name=f"grid-{norm}",
        title=f"Accuracy by the size trained at and the size tested at ({NORM_WORDS[norm]})",
        caption=f"Columns: what {settings.model} was trained against; rows: PGD-{settings.test_steps} of this size on "
        f"{settings.test_data} (steps of 2.5 ε / {settings.test_steps}, random start, until it succeeds; an image "
        "broken at a smaller size counts as broken), 0 is clean. Mean over seeds; "
        f"{over_words(settings.num_seeds)}.{beside}",
        frame=frame,
        formats={"eps_test": "eps", **formats},
        lead=True,
    )


def _autoattack(results: Results) -> Table:
    settings, table = results.settings, results.under_autoattack
    figures = [
        None if row.trained == STANDARD else engstrom.autoattack(settings.test_data, row.norm, row.eps_test)
        for row in table.itertuples()
    ]
    beside = ""
    if any(figures):
        table = table.assign(published=[None if each is None else each.figure for each in figures])
        sources = {f"{each.scale}, {each.source}" for each in figures if each}
        beside = f" Published, full test set: {'; '.join(sorted(sources))}."
    return Table(
        name="autoattack",
        title="Accuracy under AutoAttack",
        caption=f"AutoAttack (APGD-CE, APGD-T, FAB-T, Square) on the first {settings.num_autoattack:,} test images, at "
        "the size trained at (standard networks: at the reference size), and PGD on the same images; difference: "
        f"AutoAttack minus PGD, paired. Mean over seeds; {over_words(settings.num_seeds)}.{beside}",
        frame=table,
        formats={"eps_test": "eps", **shown("autoattack", "percent"), "pgd": "percent"}
        | shown("difference", "points", "difference_lo", "difference_hi"),
    )


def _networks(results: Results) -> Table:
    rows: list[dict[str, Any]] = []
    for network, name in results.models.items():
        last = results.curves[network][-1]
        for norm in results.settings.tested_in(network):
            eps_test = results.settings.size_of(norm, network.eps)
            clean = results.standing(norm, network.eps, 0.0)[network.seed]
            robust = results.standing(norm, network.eps, eps_test)[network.seed]
            rows.append(
                {"trained": threat(network.norm, network.eps), "seed": network.seed, "weights": name}
                | {"clean": float(clean.mean()), "norm": norm, "eps_test": eps_test, "robust": float(robust.mean())}
                | {"held_out_clean": last.get("clean_accuracy"), "held_out_robust": last.get("robust_accuracy")}
                | {"train_loss": last["loss"], "flags": ", ".join(flags(results.curves[network])) or "none"}
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


def _records(results: Results) -> Iterator[Table]:
    """The tables of records behind those above, which are saved and not shown on the page."""
    curves = [
        ({"trained": threat(network.norm, network.eps), "seed": network.seed}, curve)
        for network, curve in results.curves.items()
    ]
    yield Table(
        name="accuracy",
        title="Accuracy by size, in long form",
        caption=f"One row per norm, size trained at and size tested at; {plural(results.settings.num_seeds, 'seed')}.",
        frame=results.accuracies.drop(columns="runs"),
        on_page=False,
    )
    yield Table(
        name="curves",
        title="Learning curves",
        caption="One row per network and epoch.",
        frame=curve_table(curves),
        on_page=False,
    )
    yield Table(
        name="images",
        title="Every test image under every attack",
        caption="One row per network, norm, attack, size and image.",
        frame=results.records,
        on_page=False,
    )
    if results.autoattack is not None:
        yield Table(
            name="stages",
            title="Who fell to what: the stages of AutoAttack",
            caption="One row per network, norm, size and stage.",
            frame=sweeps.stage_table(results.autoattack, stages()),
            on_page=False,
        )


def stages() -> dict[str, list[str]]:
    """AutoAttack's stages by name, as the sweep's reductions want them."""
    return {"autoattack": [stage.name for stage in AutoAttack(norm="linf", eps=0.0).stages()]}
