"""Is an image with the same representation the same image?  (arXiv:1906.00945, sections 4 and 5)

The networks are twins that differ in nothing but robust training. Images are optimised until their latent is that of a
target, from noise and from another image, and coordinates of the latent are excited. The results are compared with what
needs no inversion: is the target found among other images of its own class, where a class mean, an image made for the
class alone and any other image of the class find it only by chance?
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from robustray.tasks.errors import InputError
from robustray.tasks.kit.draws import chosen
from robustray.tasks.kit.images import settled
from robustray.tasks.kit.likeness import LEAST_SIDE
from robustray.tasks.lab.seeds import stream
from robustray.tasks.latents.cache import STEP, latent_block, latents, look, matrix
from robustray.tasks.studies.representations.blocks import class_block, invert_block, unit_block
from robustray.tasks.studies.representations.compare import compare
from robustray.tasks.studies.representations.findings import findings
from robustray.tasks.studies.representations.kinds import Start
from robustray.tasks.studies.representations.layers import sense_block
from robustray.tasks.studies.representations.people import people_table
from robustray.tasks.studies.representations.probes import (
    add_block,
    direct_block,
    interpolate_block,
    map_block,
    match_block,
    strange_block,
)
from robustray.tasks.studies.representations.probing import answers, asking, probe
from robustray.tasks.studies.representations.results import Baselines, Results, Units
from robustray.tasks.studies.representations.settings import OUTLINE, Settings
from robustray.tasks.study import TRAIN, Opened, Study
from robustray.tasks.training.twin_networks import check_twins, follow_twins, gather, twin_modules
from robustray.tasks.training.twins import Kind

if TYPE_CHECKING:
    import pandas as pd

    from robustray.tasks.data.images import ImageData
    from robustray.tasks.lab import Handle, Lab, Reference
    from robustray.tasks.study import Findings


def door(settings: Settings, lab: Lab) -> Opened:
    """Open data and networks and try them on each other. Raises: InputError."""
    refs = check_twins(settings, lab)
    train, test = (lab.load(lab.data(name)) for name in (settings.train_data, settings.test_data))
    check_images(settings, train, test)
    if settings.people:
        answers(settings, lab, test)
        refs |= {f"table {settings.people}": people_table(settings.people, test)}
    decided = settled(settings, lab, "precision", "attack_precision")
    return Opened(
        refs=refs,
        modules=twin_modules(settings),
        decided={"precision": decided.precision, "attack precision in training": decided.attack_precision},
        warnings=follow_twins(settings, lab, [settings.inversion(), settings.visualisation()]),
    )


def check_images(settings: Settings, train: ImageData, test: ImageData) -> None:
    """Raises: InputError for tiny or too few images, a class in which no target can be ranked, or one without a mean
    image."""
    if min(test.shape[1:]) < LEAST_SIDE:
        height, width = test.shape[1:]
        raise InputError(
            f"{test.name} has images of {height}x{width}: structural similarity needs sides of {LEAST_SIDE}"
        )
    if settings.num_targets > len(test):
        raise InputError(f"num_targets {settings.num_targets}: {test.name} has {len(test)} images")
    if settings.top_images > len(test):
        raise InputError(f"top_images {settings.top_images}: {test.name} has {len(test)} images")
    sizes = np.bincount(test.labels, minlength=test.num_classes)
    lonely = np.flatnonzero(sizes == 1)
    if lonely.size:
        raise InputError(
            f"{test.name} has a single image of class {test.classes[lonely[0]]!r}: a target is ranked among others of "
            "its class"
        )
    unseen = np.flatnonzero((sizes > 0) & (np.bincount(train.labels, minlength=train.num_classes) == 0))
    if unseen.size:
        raise InputError(f"{train.name} has no image of class {train.classes[unseen[0]]!r}: it has no mean image")
    single = np.flatnonzero(np.bincount(train.labels, minlength=train.num_classes) == 1)
    if single.size:
        raise InputError(f"{train.name} has a single image of class {train.classes[single[0]]!r}: a head needs two")
    if (sizes > 0).sum() < 2:
        raise InputError(f"{test.name} has images of one class only: inversions start at images of another one")
    if settings.neighbours >= len(test):
        raise InputError(f"neighbours {settings.neighbours}: {test.name} has {len(test)} images")


def run(settings: Settings, lab: Lab) -> Findings:
    settings = settled(settings, lab, "precision", "attack_precision")

    # 1. The twins and their judge, and what all of them make of the test images.
    networks = gather(settings, lab)
    twins, judge = networks.twins, networks.judges["standard"]
    test = lab.data(settings.test_data)
    images: ImageData = lab.load(test)
    everything, ask = range(len(images)), asking(settings, lab)
    handles = {key: latents(lab, model, test, everything) for key, model in twins.items()}
    natural = latents(lab, judge, test, everything)

    # 2. Inversions of the same random targets by every network, and images made for the targets' classes alone.
    targets = chosen(everything, settings.num_targets, seed=settings.seed, what="targets")
    ascent, start = settings.inversion(), settings.starts[0]
    inverted: dict[tuple[Kind, int, Start], Handle[pd.DataFrame]] = {
        (*key, start): ask("invert", invert_block, targets, model, {"ascent": ascent, "start": start})
        for key, model in twins.items()
        for start in settings.starts
    }
    for_class = {
        seed: ask("class", class_block, targets, twins["robust", seed], {"ascent": ascent, "start": start})
        for seed in settings.seeds()
    }

    # 3. Units that are ever active, drawn at random, excited from the same starts.
    looked = {key: handle.result() for key, handle in handles.items()}
    own = {key: matrix(rows) for key, rows in looked.items()}
    alive = {key: choose_units(settings, rows, key[1]) for key, rows in own.items()}
    units = {key: drawn for key, drawn in alive.items() if len(drawn) > 1}  # one alone compares with nothing
    excited = {
        key: ask(
            "visualise",
            unit_block,
            [[unit, number] for unit in units[key] for number in range(settings.unit_starts)],
            twins[key],
            {"ascent": settings.visualisation()},
        )
        for key in units
    }

    # 4. What the judge makes of that, and everything else that is asked of the networks.
    def judged(name: str, handle: Handle[pd.DataFrame], count: int) -> Handle[pd.DataFrame]:
        return latents(lab, judge, lab.dataset(name, handle, classes=images.classes), range(count))

    judged_inversions = {key: judged("inversions", each, len(targets)) for key, each in inverted.items()}
    judged_classes = {seed: judged("syntheses", each, len(targets)) for seed, each in for_class.items()}
    judged_units = {key: judged("units", each, len(units[key]) * settings.unit_starts) for key, each in excited.items()}
    judge_rows = natural.result()
    probes = probe(settings, lab, twins, judge, own, units)

    return findings(
        Results(
            settings=settings,
            images=images,
            targets=targets,
            names={key: model.name for key, model in twins.items()} | {("judge", settings.seed): judge.name},
            accuracies={key: float((rows.prediction == rows.label).mean()) for key, rows in looked.items()}
            | {("judge", settings.seed): float((judge_rows.prediction == judge_rows.label).mean())},
            inversions={key: (each.result(), judged_inversions[key].result()) for key, each in inverted.items()},
            syntheses={seed: (each.result(), judged_classes[seed].result()) for seed, each in for_class.items()},
            baselines=baselines(lab, judge, lab.load(lab.data(settings.train_data))),
            natural=matrix(judge_rows),
            units={
                key: Units(
                    rows=each.result(),
                    judged=judged_units[key].result(),
                    latents=own[key],
                    chosen=units[key],
                )
                for key, each in excited.items()
            },
            probes=probes,
        )
    )


def choose_units(settings: Settings, activations: np.ndarray, seed: int) -> list[int]:
    """Coordinates that are active on at least `top_images` images (n, width), drawn at random by (settings.seed, seed).

    All of these where they are fewer than `num_units`.
    """
    alive = np.flatnonzero((activations > 0).sum(0) >= settings.top_images)
    return stream(settings.seed, "units", seed).permutation(alive)[: settings.num_units].tolist()


def baselines(lab: Lab, judge: Reference, train: ImageData) -> Baselines:
    """Mean images of the training set, and what the judge makes of them."""
    import torch

    pixels = train.batch(range(len(train)))[0].double()
    means = torch.stack(
        [pixels[torch.from_numpy(train.labels == label)].mean(0) for label in range(train.num_classes)]
        + [pixels.mean(0)]
    ).float()
    logits, found = look(lab.load(judge), means)
    return Baselines(means=means.numpy(), latents=found.numpy(), predictions=logits.argmax(1).numpy())


STUDY = Study(
    outline=OUTLINE,
    door=door,
    run=run,
    steps={
        "train": TRAIN,
        STEP: latent_block,
        "invert": invert_block,
        "class": class_block,
        "visualise": unit_block,
        "match": match_block,
        "interpolate": interpolate_block,
        "strange": strange_block,
        "maps": map_block,
        "sense": sense_block,
        "add": add_block,
        "direct": direct_block,
    },
    compare=compare,
)
