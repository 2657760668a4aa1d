"""Can one classifier make and mend images, and does robust training decide it?  (arXiv:1906.09453)

Every task is the same: from a start, descend the cross-entropy of a class within a ball. From seeds that gives images
of a class, from damaged pictures mended ones, from enlarged pictures sharper ones. Twins of networks that differ in
nothing but robust training do it from the same starts, and networks of another architecture and seed judge what came
out: no network judges itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from robustray.tasks.errors import InputError
from robustray.tasks.kit.draws import chosen
from robustray.tasks.kit.images import NEEDS, settled, trained_modules
from robustray.tasks.lab.seeds import stream
from robustray.tasks.latents.cache import STEP, latent_block, latents, look
from robustray.tasks.studies.synthesis import picture
from robustray.tasks.studies.synthesis.blocks import enlarge_block, generate_block, inpaint_block, picture_block
from robustray.tasks.studies.synthesis.compare import compare
from robustray.tasks.studies.synthesis.damage import bicubic, reduced
from robustray.tasks.studies.synthesis.findings import findings
from robustray.tasks.studies.synthesis.reduce import BASELINES
from robustray.tasks.studies.synthesis.results import Baseline, Edits, Generations, Results
from robustray.tasks.studies.synthesis.settings import EDITS, LABELS, OUTLINE, Edit, Labels, Law, Settings
from robustray.tasks.study import TRAIN, Opened, Study
from robustray.tasks.training.twin_networks import check_twins, follow_twins, gather, twin_modules
from robustray.tasks.training.twins import KINDS, Kind

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from robustray.tasks.data.images import ImageData
    from robustray.tasks.lab import Handle, Lab, Reference
    from robustray.tasks.study import Findings


def door(settings: Settings, lab: Lab) -> Opened:
    """Open data and networks and try them on each other. Raises: InputError."""
    if settings.image:
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


def check_images(settings: Settings, train: ImageData, test: ImageData) -> None:
    """Raises: InputError for images that cannot be damaged as the settings say, and for too few of them."""
    check_sizes(settings, test)
    if settings.num_images > len(test):
        raise InputError(f"num_images {settings.num_images}: {test.name} has {len(test)} images")
    if "generate" in settings.tasks:
        for data, least, why in (
            (train, 2, "seeds are drawn from a Gaussian"),
            (test, settings.per_class, "real images"),
        ):
            sizes = np.bincount(data.labels, minlength=data.num_classes)
            if sizes.min() < least:
                raise InputError(
                    f"{data.name} has {sizes.min()} images of class {data.classes[int(sizes.argmin())]!r}, {least} are "
                    f"needed ({why}): lower per_class, or take other data"
                )


def check_sizes(settings: Settings, data: ImageData) -> None:
    """Raises: InputError for a hole that fills the image and for factors that do not divide its sides."""
    height, width = data.shape[1:]
    if settings.hole >= min(height, width):
        raise InputError(f"hole {settings.hole}: images of {data.name} are {height}x{width}, the hole must be smaller")
    for name in ("factor", "seed_factor"):
        factor = getattr(settings, name)
        if height % factor or width % factor or factor >= min(height, width):
            raise InputError(f"{name} {factor} does not divide the sides of {data.name}'s images, {height}x{width}")


def run(settings: Settings, lab: Lab) -> Findings:
    settings = settled(settings, lab, "precision", "attack_precision")
    if settings.image:
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

    # 3. Edits of the same random test images, asked for three classes each.
    pictures = chosen(range(len(images)), settings.num_images, seed=settings.seed, what="pictures")
    mended: dict[tuple[Edit, Kind, int, Labels], Handle[pd.DataFrame]] = {
        (task, *key, labels): lab.map(
            task,
            inpaint_block if task == "inpaint" else enlarge_block,
            pictures,
            block=settings.block,
            seed=settings.seed,
            settings={
                "ascent": settings.ascent(task),
                "labels": labels,
                **(
                    {"hole": settings.hole, "anchor": settings.anchor}
                    if task == "inpaint"
                    else {"factor": settings.factor}
                ),
            },
            refs={"model": model, "data": test},
            needs=NEEDS,
        )
        for task in EDITS
        if task in settings.tasks
        for key, model in twins.items()
        for labels in LABELS
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
    seen_mended = {key: judged(handle, len(pictures), judges["standard"], "mended") for key, handle in mended.items()}
    rows = {key: handle.result() for key, handle in looked.items()}
    edits: dict[tuple[Edit, Kind, int, Labels], Edits] = {
        key: Edits(rows=mended[key].result(), judged=seen.result()) for key, seen in seen_mended.items()
    }

    return findings(
        Results(
            settings=settings,
            images=images,
            names={key: model.name for key, model in models.items()},
            accuracies={key: float((each.prediction == each.label).mean()) for key, each in rows.items()},
            natural={kind: rows["judge", kind, settings.judge_spec(kind).seed] for kind in KINDS},
            real=real_images(settings, images) if made else [],
            seeds={law: {kind: each.result() for kind, each in seen.items()} for law, seen in seen_seeds.items()},
            generations={
                key: Generations(rows=made[key].result(), judged={kind: each.result() for kind, each in seen.items()})
                for key, seen in seen_made.items()
            },
            edits=edits,
            baselines=baselines(settings, images, pictures, edits, lab.load(judges["standard"])),
        )
    )


def real_images(settings: Settings, test: ImageData) -> list[int]:
    """`per_class` random test images of every class: as many as there are generations of it."""
    found: list[int] = []
    for label in range(test.num_classes):
        members = np.flatnonzero(test.labels == label)
        found += stream(settings.seed, "real images", label).permutation(members)[: settings.per_class].tolist()
    return found


def baselines(
    settings: Settings, images: ImageData, pictures: list[int], edits: dict[Any, Edits], judge: Any
) -> dict[tuple[Any, str], Baseline]:
    """What the judge sees in the pictures as they were, as they were damaged, and enlarged without any network."""
    import torch

    from robustray.tasks.latents.cache import matrix

    originals = images.batch(pictures)[0]
    found = {}
    for task in EDITS:
        if task not in settings.tasks:
            continue
        damaged = torch.from_numpy(matrix(edits[task, "standard", settings.seed, LABELS[0]].rows, "damaged"))
        shown: dict[str, torch.Tensor] = {"original": originals, "damaged": damaged}
        if "bicubic" in BASELINES[task]:
            shown["bicubic"] = bicubic(reduced(originals, settings.factor), settings.factor)
        for what, each in shown.items():
            predictions = look(judge, each)[0].argmax(1).numpy()
            found[task, what] = Baseline(images=each.numpy(), predictions=predictions)
    return found


STUDY = Study(
    outline=OUTLINE,
    door=door,
    run=run,
    steps={
        "train": TRAIN,
        STEP: latent_block,
        "generate": generate_block,
        "inpaint": inpaint_block,
        "super-resolution": enlarge_block,
        "picture": picture_block,
    },
    compare=compare,
)
