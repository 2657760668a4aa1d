"""Can one classifier make and mend images, and does robust training decide it?  (arXiv:1906.09453)

Every task is the same: from a start, descend the cross-entropy of a class within a ball. From seeds that gives images
of a class, from damaged pictures mended ones, from enlarged pictures sharper ones. Twins of networks that differ in
nothing but robust training do it from the same starts, and networks of another architecture and seed judge what came
out: no network judges itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from robustray.tasks.kit.draws import chosen
from robustray.tasks.kit.images import NEEDS, settled, trained_modules
from robustray.tasks.lab.seeds import stream
from robustray.tasks.latents.cache import STEP, latent_block, latents, look, matrix
from robustray.tasks.studies.synthesis import picture
from robustray.tasks.studies.synthesis.blocks import EDIT_BLOCKS, generate_block, paint_block
from robustray.tasks.studies.synthesis.compare import compare
from robustray.tasks.studies.synthesis.damage import bicubic, reduced
from robustray.tasks.studies.synthesis.doors import check_images
from robustray.tasks.studies.synthesis.edited import BASELINES
from robustray.tasks.studies.synthesis.fields import Settings
from robustray.tasks.studies.synthesis.findings import findings
from robustray.tasks.studies.synthesis.kinds import ASKED, EDITS, Edit, Labels, Law, Task
from robustray.tasks.studies.synthesis.picture_block import picture_block
from robustray.tasks.studies.synthesis.results import Baseline, Edits, Generations, Paintings, Results
from robustray.tasks.studies.synthesis.settings import OUTLINE
from robustray.tasks.study import TRAIN, Opened, Study
from robustray.tasks.training.twin_networks import check_twins, follow_twins, gather, twin_modules
from robustray.tasks.training.twins import KINDS, Kind

if TYPE_CHECKING:
    import pandas as pd
    import torch
    from numpy.typing import NDArray

    from robustray.tasks.data.images import ImageData
    from robustray.tasks.lab import Handle, Lab, Reference
    from robustray.tasks.lab.protocol import BlockFunction
    from robustray.tasks.study import Findings


def door(settings: Settings, lab: Lab) -> Opened:
    """Open data and networks and try them on each other. Raises: InputError."""
    if settings.one_picture:
        refs, warnings = picture.check(settings, lab)
    else:
        refs = check_twins(settings, lab, judges=KINDS)
        check_images(settings, *(lab.load(lab.data(name)) for name in (settings.train_data, settings.test_data)))
        warnings = follow_twins(settings, lab, [settings.ascent(task) for task in settings.tasks])
    decided = settled(settings, lab, "precision", "attack_precision")
    return Opened(
        refs=refs,
        modules=(*twin_modules(settings), *trained_modules([settings.model])),
        decided={"precision": decided.precision, "attack precision in training": decided.attack_precision},
        warnings=warnings,
    )


def run(settings: Settings, lab: Lab) -> Findings:
    settings = settled(settings, lab, "precision", "attack_precision")
    if settings.one_picture:
        return picture.run(settings, lab)

    # 1. The twins and their two judges, and what all of them make of the test images.
    networks = gather(settings, lab, judges=KINDS)
    twins, judges = networks.twins, networks.judges
    train, test = lab.data(settings.train_data), lab.data(settings.test_data)
    images: ImageData = lab.load(test)
    models: dict[tuple[str, Kind, int], Reference] = {
        ("twin", kind, seed): each for (kind, seed), each in twins.items()
    }
    for kind, each in judges.items():
        models["judge", kind, settings.judge_spec(kind).seed] = each
    looked = {key: latents(lab, model, test, range(len(images))) for key, model in models.items()}

    def judged(
        handle: Handle[pd.DataFrame], count: int, judge: Reference, image: str = "image"
    ) -> Handle[pd.DataFrame]:
        return latents(lab, judge, lab.dataset("made", handle, classes=images.classes, image=image), range(count))

    # 2. Generations: the same seeds for all networks.
    items = [[label, number] for label in range(images.num_classes) for number in range(settings.per_class)]
    made: dict[tuple[Law, Kind, int], Handle[pd.DataFrame]] = {
        (law, *key): lab.map(
            "generate",
            generate_block,
            items,
            block=settings.block,
            seed=settings.seed,
            settings={"ascent": settings.ascent("generate"), "law": law, "factor": settings.seed_factor},
            refs={"model": model, "data": train},
            needs=NEEDS,
        )
        for law in (settings.laws if "generate" in settings.tasks else ())
        for key, model in twins.items()
    }

    # 3. Edits of the same random test images, asked for the classes of each task.
    pictures = chosen(range(len(images)), settings.num_images, seed=settings.seed, what="pictures")

    def edited(task: Task, function: BlockFunction, model: Reference, more: dict[str, Any]) -> Handle[pd.DataFrame]:
        return lab.map(
            task,
            function,
            pictures,
            block=settings.block,
            seed=settings.seed,
            settings={"ascent": settings.ascent(task), **more},
            refs={"model": model, "data": test},
            needs=NEEDS,
        )

    damage: dict[Edit, dict[str, Any]] = {
        "inpaint": {"hole": settings.hole, "anchor": settings.anchor},
        "super-resolution": {"factor": settings.factor},
    }
    mended: dict[tuple[Edit, Kind, int, Labels], Handle[pd.DataFrame]] = {
        (task, *key, labels): edited(task, EDIT_BLOCKS[task], model, {"labels": labels, **damage.get(task, {})})
        for task in EDITS
        if task in settings.tasks
        for key, model in twins.items()
        for labels in ASKED[task]
    }

    # 4. What the judges see, in what was made and in what nothing was done to.
    seen_made: dict[tuple[Law, Kind, int], dict[Kind, Handle[pd.DataFrame]]] = {
        key: {kind: judged(handle, len(items), judge) for kind, judge in judges.items()} for key, handle in made.items()
    }
    seen_seeds: dict[Law, dict[Kind, Handle[pd.DataFrame]]] = {
        law: {
            kind: judged(made[law, "standard", settings.seed], len(items), judge, "start")
            for kind, judge in judges.items()
        }
        for law in (settings.laws if made else ())
    }
    seen_mended: dict[tuple[Edit, Kind, int, Labels], dict[Kind, Handle[pd.DataFrame]]] = {
        key: {kind: judged(handle, len(pictures), judge, "mended") for kind, judge in judges.items()}
        for key, handle in mended.items()
    }
    seen_train = latents(lab, judges["standard"], train, range(len(lab.load(train)))) if made else None
    rows = {key: handle.result() for key, handle in looked.items()}
    edits: dict[tuple[Edit, Kind, int, Labels], Edits] = {
        key: Edits(rows=mended[key].result(), judged={kind: each.result() for kind, each in seen.items()})
        for key, seen in seen_mended.items()
    }

    # 5. Squares of the same pictures painted with random coordinates of each network's own latent.
    active = {key: active_units(matrix(rows["twin", *key])) for key in (twins if "paint" in settings.tasks else ())}
    painted = {
        key: edited(
            "paint",
            paint_block,
            twins[key],
            {"anchor": settings.paint_anchor, "hole": settings.hole, "units": units},
        )
        for key, units in active.items()
        if units
    }

    anchor, reference = real_images(settings, images) if made else ([], [])
    return findings(
        Results(
            settings=settings,
            images=images,
            names={key: model.name for key, model in models.items()},
            accuracies={key: float((each.prediction == each.label).mean()) for key, each in rows.items()},
            natural={kind: rows["judge", kind, settings.judge_spec(kind).seed] for kind in KINDS},
            real=anchor,
            reference=reference,
            train_features=matrix(seen_train.result()) if seen_train else np.zeros((0, 0)),
            seeds={law: {kind: each.result() for kind, each in seen.items()} for law, seen in seen_seeds.items()},
            generations={
                key: Generations(rows=made[key].result(), judged={kind: each.result() for kind, each in seen.items()})
                for key, seen in seen_made.items()
            },
            edits=edits,
            baselines=baselines(
                settings, images, pictures, edits, {kind: lab.load(ref) for kind, ref in judges.items()}
            ),
            paintings={
                key: Paintings(rows=each.result(), high=np.quantile(matrix(rows["twin", *key]), 0.99, axis=0))
                for key, each in painted.items()
            },
        )
    )


def active_units(activations: np.ndarray) -> list[int]:
    """Coordinates that at least one test image of a hundred excites: (n, width) -> their numbers."""
    return np.flatnonzero(np.quantile(activations, 0.99, axis=0) > 0).tolist()


def real_images(settings: Settings, test: ImageData) -> tuple[list[int], list[int]]:
    """Anchor and reference: `per_class` random test images of every class each, no image in both."""
    anchor: list[int] = []
    reference: list[int] = []
    for label in range(test.num_classes):
        drawn = stream(settings.seed, "real images", label).permutation(np.flatnonzero(test.labels == label))
        anchor += drawn[: settings.per_class].tolist()
        reference += drawn[settings.per_class : 2 * settings.per_class].tolist()
    return anchor, reference


def baselines(
    settings: Settings, images: ImageData, pictures: list[int], edits: dict[Any, Edits], judges: dict[Kind, Any]
) -> dict[tuple[Edit, str], Baseline]:
    """What the judges see in the pictures as they were, as they were damaged, and enlarged without any network."""
    import torch

    originals = images.batch(pictures)[0]
    found: dict[tuple[Edit, str], Baseline] = {}
    for task in EDITS:
        if task not in settings.tasks:
            continue
        damaged = matrix(edits[task, "standard", settings.seed, ASKED[task][0]].rows, "damaged")
        shown: dict[str, torch.Tensor] = {"original": originals, "damaged": torch.from_numpy(damaged)}
        if "bicubic" in BASELINES[task]:
            shown["bicubic"] = bicubic(reduced(originals, settings.factor), settings.factor)
        for what in BASELINES[task]:
            seen: dict[Kind, NDArray[Any]] = {
                kind: look(judge, shown[what])[0].argmax(1).numpy() for kind, judge in judges.items()
            }
            found[task, what] = Baseline(images=shown[what].numpy(), predictions=seen)
    return found


STUDY = Study(
    outline=OUTLINE,
    door=door,
    run=run,
    steps={
        "train": TRAIN,
        STEP: latent_block,
        "generate": generate_block,
        **EDIT_BLOCKS,
        "paint": paint_block,
        "picture": picture_block,
    },
    compare=compare,
)
