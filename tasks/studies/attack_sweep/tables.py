"""The tables of the report."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from robustray.tasks.corruptions.drawn import accuracy_table
from robustray.tasks.kit.frames import at, shown
from robustray.tasks.kit.words import listed
from robustray.tasks.report.numbers import size_words
from robustray.tasks.studies.attack_sweep.results import Results
from robustray.tasks.study import Table
from robustray.tasks.sweeps import records as sweeps
from robustray.tasks.sweeps import votes
from robustray.tasks.sweeps.drawn import overview

INTERVAL = "intervals are 95 % Wilson intervals over images"
VOTED = ("data", "model", "norm", "eps", "seed")
ACCURACY = {"eps": "eps", **shown("robust_accuracy", "percent")}


def tables(results: Results) -> Iterator[Table | None]:
    """In the order of the page. The stage table stands where a cascade ran, the transfer table where models were
    compared."""
    for part in (_worst_case, _by_attack, _votes, _corrupted, _stages, _transfer, _by_class, _cost, _overview, _images):
        yield part(results)


def _overview(results: Results) -> Table | None:
    settings = results.settings
    if len(settings.models) < 2:
        return None
    return overview(at(results.accuracy, data=settings.data[0], norm=settings.norms[0]), settings.norms[0])


def _worst_case(results: Results) -> Table:
    return Table(
        name="worst-case",
        title="Robust accuracy, worst case over attacks",
        caption="An image counts only if it survives every attack with every seed at this size or a smaller one; "
        f"size 0 is accuracy on clean images; {INTERVAL}, n up to {int(results.accuracy.n.max()):,}.",
        frame=results.accuracy,
        formats=ACCURACY,
    )


def _by_attack(results: Results) -> Table:
    return Table(
        name="by-attack",
        title="Robust accuracy by attack",
        caption=f"What each attack alone leaves standing, per seed; {INTERVAL}. Sizes are nested: an image broken "
        "at a smaller size counts as broken.",
        frame=results.per_attack,
        formats=ACCURACY,
    )


def _votes(results: Results) -> Table | None:
    """How many images their draws decide, where verdicts are votes."""
    if results.votes is None:
        return None
    rows = [
        dict(zip(VOTED, key, strict=True)) | vars(votes.counted(cell))
        for key, cell in results.votes.groupby([*VOTED], sort=False, observed=True)
    ]
    return Table(
        name="votes",
        title="How many images their draws decide",
        caption="An image counts as robust if the model is right in more than half of its draws, at the point that the "
        "attack found. Robust and broken are those of which the 95 % Clopper-Pearson interval of the share of right "
        "draws lies on one side of a half. All images meet the same draws.",
        frame=pd.DataFrame(rows),
        formats={"eps": "eps", **dict.fromkeys(("robust", "broken", "undecided", "num_draws"), "number")},
    )


def _corrupted(results: Results) -> Table | None:
    return accuracy_table(results.corrupted, ("data", "model")) if results.corrupted else None


def _stages(results: Results) -> Table | None:
    cascades = {attack: names for attack, names in results.stages.items() if names != [attack]}
    if not cascades:
        return None
    return Table(
        name="stages",
        title="Who fell to what: the stages of " + listed(cascades),
        caption="Each stage attacks the images that stood before it and were not broken at a smaller size; "
        f"robust accuracy is the share of all n images that still stand after it; {INTERVAL}.",
        frame=sweeps.stage_table(results.records, cascades),
        formats={**ACCURACY, "attacked": "number", "broken": "number", "standing": "number"},
    )


def _transfer(results: Results) -> Table | None:
    if results.transfer is None:
        return None
    return Table(
        name="transfer",
        title="Transfer between models",
        caption="Share of images on which the target errs when it sees the examples made on the source by PGD with "
        f"{results.settings.num_steps} steps on cross-entropy (the iterate of highest loss), seed "
        f"{results.settings.seed}; of the first {results.settings.num_transfer:,} images that all models classify "
        f"correctly; {INTERVAL}. White box: the source's own rate, without which a transfer rate says little.",
        frame=results.transfer,
        formats={"eps": "eps", **shown("rate", "percent"), "white_box": "percent"},
    )


def _by_class(results: Results) -> Table:
    rows = pd.concat([at(results.worst, norm=norm, eps=eps) for norm, eps in results.reference.items()])
    table = sweeps.worst_case_accuracy(rows, by=["label"])
    table = table.sort_values(["data", "model", "norm", "label"], kind="stable", ignore_index=True)
    names = {name: loaded.classes for name, loaded in results.images.items()}
    table = table.assign(label=[names[d][i] for d, i in zip(table.data, table.label, strict=True)])
    sizes = listed([size_words(norm, eps) for norm, eps in results.reference.items()])
    return Table(
        name="by-class",
        title="Robust accuracy by class",
        caption=f"Worst case over attacks at {sizes}; {INTERVAL}.",
        frame=table,
        formats=ACCURACY,
    )


def _cost(results: Results) -> Table:
    return Table(
        name="cost",
        title="What it cost",
        caption="Evaluations are forward passes, or forward and gradient passes, of single images, counted where "
        "they happen. Images that fell at a smaller size are not attacked again. A cascade's are those of all its "
        "stages.",
        frame=sweeps.cost(results.records),
        formats={"eps": "eps", "per_image": ".1f"},
    )


def _images(results: Results) -> Table:
    return Table(
        name="images",
        title="Every image under every attack",
        caption="One row per data set, model, norm, attack, seed, size and image: the records behind the above.",
        frame=results.records if results.votes is None else results.votes,
        on_page=False,
    )
