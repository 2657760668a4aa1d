"""How far are labels that people only confirmed from what they would have called the main object?  (arXiv:2005.11295)

Labels of large data sets were not given by people who say what they see: a search proposes an image for a class, and
workers confirm that it contains it. A simulated crowd on scenes, whose truth is known, makes labels that way, sees the
kept images again with all plausible labels, and judges networks that were trained on the labels it made. With --votes
or --contains the same aggregation and evaluation run on people's answers about the user's own images.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

import numpy as np

from robustray.tasks.attacks.blocks import predict_block
from robustray.tasks.crowds.classify import aggregate
from robustray.tasks.data.scenes import ConfusableScenes, SceneSettings, parse_scenes
from robustray.tasks.data.views import relabel, subset
from robustray.tasks.errors import InputError
from robustray.tasks.kit.compare import Compared, comparison
from robustray.tasks.kit.images import check_apart, predict
from robustray.tasks.studies.labels import (
    evaluation,
    findings,
    own,
    own_contains,
    own_ratings,
    own_tables,
    own_workers,
    reduce,
)
from robustray.tasks.studies.labels.blocks import crowd_block
from robustray.tasks.studies.labels.crowd import Crowd
from robustray.tasks.studies.labels.reduce import Collected
from robustray.tasks.studies.labels.settings import OUTLINE, Settings
from robustray.tasks.study import TRAIN, Opened, Study
from robustray.tasks.training.settings import TrainSpec

if TYPE_CHECKING:
    import pandas as pd

    from robustray.tasks.crowds.contains import Contains
    from robustray.tasks.data.images import ImageData
    from robustray.tasks.lab import Lab
    from robustray.tasks.lab.protocol import Handle, Reference
    from robustray.tasks.study import Findings, RunTables

NETWORK, GIVEN, MAIN = "scenes:cnn", "trained on given labels", "trained on main labels"


def door(settings: Settings, lab: Lab) -> Opened:
    """Read the user's own tables, or open both sets of scenes. Raises: InputError."""
    if settings.contains and not settings.votes:
        own_tables.load_contains(settings, lab)
        return Opened(refs={f"table {ref.name}": ref for ref in own_tables.references(settings).values()})
    if settings.votes:
        own = own_tables.load(settings, lab)
        try:
            aggregate(own.votes)
        except InputError as error:
            raise InputError(f"{settings.votes}: {error}") from error
        if settings.worker_model != "none":
            own_workers.check(own.table, own.votes)
        return Opened(refs={f"table {ref.name}": ref for ref in own_tables.references(settings).values()})
    for name in ("test_data", "train_data"):
        if _scenes(settings, name).classes != 18:
            raise InputError(f"{name}: the crowd mixes up siblings, which 18 classes have: add ,classes=18")
    test, train = lab.data(settings.test_data), lab.data(settings.train_data)
    check_apart(train, test)
    return Opened(refs={f"data {settings.test_data}": test, f"data {settings.train_data}": train})


def run(settings: Settings, lab: Lab) -> Findings:
    if settings.votes:
        return _own(settings, lab)
    return _contains(settings, lab) if settings.contains else _simulated(settings, lab)


def _simulated(settings: Settings, lab: Lab) -> Findings:
    # 1. Every search proposes the same scenes; the crowd confirms, and later says what is in them.
    handles = {precision: _ask(settings, lab, "test_data", precision) for precision in settings.precisions}
    collected = {precision: Collected.of(handle.result()) for precision, handle in handles.items()}
    people = {
        precision: reduce.people(found, found.kept(settings.claimed_workers, settings.claimed_threshold))
        for precision, found in collected.items()
    }

    # 2. Networks trained on the labels that this made of other scenes, and on the true main ones, judged by people.
    judged = people[settings.claimed_precision]
    index = collected[settings.claimed_precision].index[judged.images]
    predictions = {
        name: rows.prediction.to_numpy(np.int64)[index]
        for name, rows in (_predictions(settings, lab) if settings.epochs else {}).items()
    }
    return findings.findings(
        findings.Results(
            settings=settings,
            collected=collected,
            people=people,
            collection=reduce.collection(collected, settings.num_workers, settings.thresholds),
            accuracy=evaluation.accuracies(judged.votes, judged.found, predictions) if predictions else None,
            images=cast("ImageData", lab.load(lab.data(settings.test_data))),
        )
    )


def _ask(settings: Settings, lab: Lab, data: str, precision: float) -> Handle[pd.DataFrame]:
    scenes = _scenes(settings, data)
    return lab.map(
        "crowd",
        crowd_block,
        range(scenes.n),
        block=settings.block,
        seed=settings.seed,
        settings=Crowd(
            scenes=replace(scenes, n=1),  # how many there are is no matter to each
            precision=precision,
            num_workers=settings.num_workers[-1],
            num_classify=settings.num_classify,
        ),
    )


def _predictions(settings: Settings, lab: Lab) -> dict[str, pd.DataFrame]:
    """Predictions on all test scenes of networks trained on kept scenes, under given and under main labels."""
    train, test = lab.data(settings.train_data), lab.data(settings.test_data)
    names = cast("ImageData", lab.load(train)).classes
    found = Collected.of(_ask(settings, lab, "train_data", settings.claimed_precision).result())
    kept = np.flatnonzero(found.kept(settings.claimed_workers, settings.claimed_threshold))
    main: Reference = subset(train, kept, name="kept scenes, main labels")
    given = relabel(main, found.query[kept], names, name="kept scenes, given labels")
    specs = [
        TrainSpec(model=NETWORK, data=data, epochs=settings.epochs, batch_size=64, lr=0.2, seed=settings.seed)
        for data in (given, main)
    ]
    models = lab.train(specs).result()
    count = _scenes(settings, "test_data").n
    handles = [predict(lab, model, test, count, block=settings.block, step="predict") for model in models]
    return {name: handle.result() for name, handle in zip((GIVEN, MAIN), handles, strict=True)}


def _own(settings: Settings, lab: Lab) -> Findings:
    opened = own_tables.load(settings, lab)
    found = aggregate(opened.votes)
    predictions = own_tables.top(opened.ranked)
    return own.findings(
        own.Results(
            settings=settings,
            own=opened,
            found=found,
            predictions=predictions,
            accuracy=evaluation.accuracies(opened.votes, found, predictions) if predictions else None,
            weighed=own_workers.weigh(opened.table, opened.votes, settings)
            if settings.worker_model != "none"
            else None,
            asked=_asked(settings, *opened.contains) if opened.contains else None,
            rated=own_ratings.rate(opened.ratings[0], own_tables.top(opened.ratings[1]), settings)
            if opened.ratings
            else None,
        )
    )


def _contains(settings: Settings, lab: Lab) -> Findings:
    opened = own_tables.load_contains(settings, lab)
    return own_contains.findings(_asked(settings, opened.contains, opened.ranked, opened.notes))


def _asked(
    settings: Settings, contains: Contains, ranked: own_tables.Ranked, notes: tuple[str, ...] = ()
) -> own_contains.Asked:
    predicted = own_tables.top(ranked)
    rated = own_ratings.rate(contains.ratings, predicted, settings, "contains") if predicted else None
    return own_contains.Asked(settings=settings, contains=contains, rated=rated, notes=notes)


def _scenes(settings: Settings, name: str) -> SceneSettings:
    try:
        scenes = parse_scenes(getattr(settings, name))
    except InputError as error:
        raise InputError(f"{name}: {error}") from error
    if isinstance(scenes, ConfusableScenes):
        raise InputError(f"{name}: the simulated crowd sees every texture; leave out confusable=")
    return scenes


def _compare(a: RunTables, b: RunTables) -> Findings:
    """Headlines of two runs: with the search's precision where both crowds are simulated."""
    kinds = [
        "what is in images" if run.settings.get("votes") else "labels" if run.settings.get("contains") else "scenes"
        for run in (a, b)
    ]
    if kinds[0] != kinds[1]:
        raise InputError(
            f"one run is of answers about {kinds[0]}, the other of answers about {kinds[1]}: nothing to compare"
        )
    keys = ("precision", "share") if kinds[0] == "scenes" else ("share",)
    table = "contains" if kinds[0] == "labels" else "headline"
    return comparison(Compared(table=table, keys=keys, value="value"))(a, b)


STUDY = Study(
    outline=OUTLINE,
    door=door,
    run=run,
    steps={"crowd": crowd_block, "train": TRAIN, "predict": predict_block},
    compare=_compare,
)
