"""Can an object be designed so that a fixed network recognises it more easily?  (arXiv:2012.12235, sections 2 and 3)

Classifiers (the user's own, or trained as usual here) are frozen. For each class a square patch is moved, by signed
gradient steps at random places on training images, until the class is recognised as well as it can be. On test images,
at places that are drawn anew and are the same for all, it is compared with three that were not designed: no patch, a
patch of noise, and the training image of the class that the classifier is surest of. Then the patched images are
corrupted in ways that the design has not seen. Two more questions are whether the patch is recognised by itself, and
what it does on objects of another class. The patches are left as files to print.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from robustray.tasks.attacks.blocks import predict_block
from robustray.tasks.compose.place import Placement
from robustray.tasks.kit.draws import chosen
from robustray.tasks.kit.images import settled
from robustray.tasks.pad.flights import fly_block, strip_block
from robustray.tasks.pad.regressor import pad_design, regressor
from robustray.tasks.studies.unadversarial import findings, further, landing, objects
from robustray.tasks.studies.unadversarial.bench import Bench, for_all_designs, looked, of_images, shown_images
from robustray.tasks.studies.unadversarial.blocks import Ground, look_block, picture_block, plain_block
from robustray.tasks.studies.unadversarial.design import PatchKind, design, joint_design
from robustray.tasks.studies.unadversarial.doors import classes, door, open_images
from robustray.tasks.studies.unadversarial.making import Maker, best_design, classifiers, training_losses
from robustray.tasks.studies.unadversarial.reduce import CLEAN, NAMES, Cell, Chain, Results
from robustray.tasks.studies.unadversarial.settings import OUTLINE, Settings
from robustray.tasks.studies.unadversarial.textures import seen_block, texture_block, texture_design, view_block
from robustray.tasks.study import TRAIN, Opened, Study

if TYPE_CHECKING:
    import pandas as pd

    from robustray.tasks.data.images import ImageData
    from robustray.tasks.lab.protocol import Handle, Lab
    from robustray.tasks.study import Findings

GROUNDS: tuple[Ground, ...] = ("grey", "noise")


def run(settings: Settings, lab: Lab) -> Findings:
    if settings.doing != "patches":
        return {"objects": objects.run, "landing": landing.run}[settings.doing](settings, lab)
    settings = settled(settings, lab, "precision")
    train, test = open_images(settings, lab)
    images: ImageData = lab.load(test)
    mine = classes(settings, images)
    placement = Placement(rotation=settings.rotation, shift=settings.shift, scale=(settings.smallest, settings.largest))
    kind = PatchKind(classes=mine, side=settings.side, placement=placement)
    chains = [Chain(name, number) for name in settings.names for number in range(settings.num_designs)]

    # 1. Classifiers, frozen from here on.
    models, others = classifiers(settings, lab)
    maker = Maker(settings=settings, lab=lab, train=train, kind=kind, models={**models, **others})
    bench = Bench(settings=settings, lab=lab, test=test, kind=kind, models={**models, **others})

    # 2. Patches: designed (for further questions too), of noise, and the best training image of each class.
    wanted = {chain: maker.spec(chain) for chain in chains}
    besides = further.specs(settings, maker)
    designing = lab.optimise("design", [*wanted.values(), *besides.values()])
    losses = training_losses(settings, lab, train, maker.models)
    patches = maker.plain(chains, losses)
    finished = designing.result()
    designed = dict(zip(wanted, finished[: len(wanted)], strict=True))
    patches |= {(chain, "designed"): found.ref for chain, found in designed.items()}
    extra = dict(zip(besides, finished[len(wanted) :], strict=True))

    # 3. Test images with the patch of their own class, clean and corrupted; each patch alone; each on other objects.
    shown = shown_images(settings, images.labels, mine)
    cells = [Cell(name, severity) for name in settings.corruptions for severity in settings.severities]
    plain = {name: bench.look(name, None, shown.plain) for name in bench.models}
    asked = {
        (chain, name, CLEAN): bench.look(chain.model, patches[chain, name], shown.own)
        for chain, name in looked(chains, NAMES[1:])
    }
    asked |= {
        (chain, name, cell): bench.look(chain.model, patches.get((chain, name)), shown.detailed, cell=cell)
        for chain, name in looked(chains, NAMES)
        for cell in cells
    }
    alone: dict[tuple[Chain, str, Ground], Handle[pd.DataFrame]] = {
        (chain, name, ground): bench.look(chain.model, patches[chain, name], shown.detailed, ground=ground)
        for chain, name in looked(chains, NAMES[1:])
        for ground in GROUNDS
    }
    swapped = {chain: bench.look(chain.model, patches[chain, "designed"], shown.others) for chain in chains}
    more = further.ask(settings, maker, bench, shown, losses, designed, extra, cells)
    printed = best_design(designed, settings.names[0])
    few = chosen(shown.own, settings.num_examples, seed=settings.seed, what="unadversarial-examples")
    pictures = {name: bench.pictures(patches.get((printed, name)), few) for name in (NAMES if few else ())}

    # 4. What it says.
    answers = {name: handle.result() for name, handle in plain.items()}
    return findings.found(
        Results(
            settings=settings,
            classes=images.classes,
            kind=kind,
            chains=tuple(chains),
            seen={(chain, "none", CLEAN): of_images(answers[chain.model], shown.own) for chain in chains}
            | for_all_designs(asked, chains),
            alone=for_all_designs(alone, chains),
            plain=answers,
            swapped={key: handle.result() for key, handle in swapped.items()},
            further=more.result(answers),
            printed=printed,
            patches={name: lab.load(patches[printed, name])["patch"].reshape(-1, *images.shape) for name in NAMES[1:]},
            curves={chain: found.curve for chain, found in designed.items()},
            pictures={name: handle.result() for name, handle in pictures.items()},
        )
    )


def door_of(settings: Settings, lab: Lab) -> Opened:
    """Open and check what the task needs. Raises: InputError."""
    return {"patches": door, "objects": objects.door, "landing": landing.door}[settings.doing](settings, lab)


STUDY = Study(
    outline=OUTLINE,
    door=door_of,
    run=run,
    steps={
        "train": TRAIN,
        "design": (design, joint_design),
        "training-images": predict_block,
        "plain": plain_block,
        "look": look_block,
        "pictures": (picture_block, view_block),
        "texture-design": texture_design,
        "textures": texture_block,
        "views": seen_block,
        "regressor": regressor,
        "pads": landing.pad_block,
        "pad-design": pad_design,
        "flights": fly_block,
        "strips": strip_block,
    },
    compare=findings.COMPARE,
)
