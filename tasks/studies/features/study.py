"""Are adversarial perturbations flaws of networks, or features of the data?  (arXiv:1905.02175, sections 2 and 3)

From the images of D, two sources (a standard and a robust network) make four training sets: D_R and D_NR preserve what
the robust or the standard source represents of an image, on top of an unrelated one; D_rand and D_det are images that
were perturbed until the standard source sees a random label, or the next one, and are labelled so. Students that share
no seed with a source are trained on each, and tested on the original test images. Controls: the images themselves, and
images with random perturbations of the same length, both with D_det's labels; D_det made by the robust source; the
errors of an early network; a linear probe of what is robust in a set, and a robust network of another seed that is
asked what it sees in it. Beside that: how useful single units of the sources are, as they are and under attack; and
whether architectures that learn more from D_det fall for more of the source's examples. A chain repeats all with
another seed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from robustray.tasks.attacks.blocks import attack_block, predict_block
from robustray.tasks.attacks.gradient.verdicts import FrozenModel
from robustray.tasks.audit.blocks import AUDIT, audit_block
from robustray.tasks.errors import InputError
from robustray.tasks.kit.images import (
    check_classes,
    check_num_images,
    open_pair,
    own_modules,
    settled,
    try_attacks,
    untrained,
)
from robustray.tasks.latents.cache import latent_block
from robustray.tasks.latents.doors import try_latents
from robustray.tasks.studies.features import building, controls, findings
from robustray.tasks.studies.features.blocks import avoid_block, match_block, noise_block, perturb_block
from robustray.tasks.studies.features.leakage import leak_block
from robustray.tasks.studies.features.recipes import SOURCES, Source
from robustray.tasks.studies.features.results import BUILT, Chain, Results
from robustray.tasks.studies.features.sets import (
    Part,
    Rows,
    match,
    part,
    perturb,
    perturb_controls,
    relabelled,
    split,
)
from robustray.tasks.studies.features.settings import OUTLINE, Settings
from robustray.tasks.studies.features.students import attack, teach
from robustray.tasks.studies.features.transferring import compare
from robustray.tasks.studies.features.usefulness import measure, searches, unit_block
from robustray.tasks.study import TRAIN, Opened, Study
from robustray.tasks.training.doors import check_training

if TYPE_CHECKING:
    from robustray.tasks.data.images import ImageData
    from robustray.tasks.lab.protocol import Lab, Reference
    from robustray.tasks.study import Findings

FEWEST_CLASSES = 3
"""The fewest classes: with two, "the next label" would be "the other label"."""
FEWEST_IMAGES = 16
"""The fewest images that must be held out."""


# --- The door ---------------------------------------------------------------------------------------------------------


def door(settings: Settings, lab: Lab) -> Opened:
    """Open both data sets; try the untrained networks on them. Raises: InputError."""
    folder = Path(settings.build) if settings.build else None
    if folder is not None:
        building.check_folder(folder)
    refs, train, test = open_pair(lab, settings.train_data, settings.test_data)
    exact = settled(settings, lab, "precision")
    if folder is not None:
        building.check_sets(folder, building.recipe_of(exact, lab.data(settings.train_data).content_hash))
    check_images(settings, train, test)
    archs = tuple(dict.fromkeys((settings.model, settings.student, *settings.transfer_archs)))
    check_training(settings.source("robust", 0), train)
    for arch in archs[1:]:
        check_training(settings.pupil(settings.train_data, settings.student_lrs[0], "none", 0, arch=arch), train)
    check_latents(settings, train)
    tried = (settings.matching(), searches(settings).short, settings.attack(settings.eps_robust))
    return Opened(
        refs=refs,
        decided={"precision": exact.precision},
        modules=own_modules(*archs),
        warnings=try_attacks(lab, {name: tried for name in (settings.model, settings.student)}, [train], {}),
        incomplete=folder is not None and not building.complete(folder),
    )


def check_latents(settings: Settings, train: ImageData) -> None:
    """D_R needs latents of the sources; units need gradients past the last ReLU. Raises: InputError."""
    few = train.batch(range(FEWEST_IMAGES))[0]
    try:
        try_latents(untrained(settings.model), few)
    except InputError as error:
        raise InputError(f"{settings.model}: {error}") from error
    if not settings.num_units:
        return
    try:
        with FrozenModel(untrained(settings.model), needs_latent=True, fake_relu=True) as model:
            model.evaluate(few)
    except InputError as error:
        raise InputError(f"{settings.model}: {error}; or leave its units out, with --num-units 0") from error


def check_images(settings: Settings, train: ImageData, test: ImageData) -> None:
    """Raises: InputError for too few images or classes."""
    if train.num_classes < FEWEST_CLASSES:
        raise InputError(f"{train.name} has {train.num_classes} classes: D_det needs at least {FEWEST_CLASSES}")
    if settings.num_images > len(train):
        raise InputError(f"num_images {settings.num_images}: {train.name} has {len(train)}; 0 means all")
    used, held_out = split(settings, 0, len(train))
    if min(len(held_out), len(used)) < FEWEST_IMAGES:
        raise InputError(
            f"{train.name}: {len(held_out)} images held out and {len(used)} to make sets from are too few, both must "
            f"be at least {FEWEST_IMAGES}"
        )
    check_num_images(test, settings.num_attacked, num_fast=settings.num_fast)
    check_num_images(test, settings.num_transferred)
    if settings.num_fast:
        check_classes(settings.fast().stages(), test, remedy="set num_fast to 0")


# --- The run ----------------------------------------------------------------------------------------------------------


def run(settings: Settings, lab: Lab) -> Findings:
    settings = settled(settings, lab, "precision")
    train, test = lab.data(settings.train_data), lab.data(settings.test_data)
    classes = lab.load(train).classes

    # 1. Each chain: which images are held out, and the sources, trained on the others.
    parts = {chain: part(settings, lab, train, chain) for chain in settings.chains}
    sources = train_sources(settings, lab, parts)
    avoided = train_avoided(settings, lab, parts)

    # 2. The sets. The size of D_rand and D_det is fixed before any student is trained.
    made = {chain: match(settings, lab, chain, each.d, sources) for chain, each in parts.items()}
    asked, tried = perturb(settings, lab, parts, sources)
    eps = max(tried)
    for chain, each in parts.items():
        made[chain] |= asked[chain]
        if not settings.build:
            det = tried[eps][chain]["D_det"]
            made[chain] |= perturb_controls(settings, lab, chain, each.d, sources, avoided[chain], det, eps)
    sets = {chain: as_data(lab, rows, chain, classes) for chain, rows in made.items()}
    results = Results(
        settings=settings,
        eps=eps,
        chains={
            chain: Chain(
                d=lab.load(each.d),
                sets={name: one.result() for name, one in made[chain].items()},
                tried={size: found[chain] for size, found in tried.items()},
            )
            for chain, each in parts.items()
        },
    )
    if settings.build:
        loaded = {name: lab.load(sets[0][name]) for name in BUILT}
        rows = results.chains[0].sets
        folder = building.export(
            Path(settings.build),
            loaded,
            rows,
            parts[0].used,
            name=settings.train_data,
            eps=eps,
            recipe=building.recipe_of(settings, train.content_hash),
        )
        return findings.built(results, folder)

    # 3. What is robust in them: a linear probe, and a robust network of another seed.
    leaks = controls.leaks(settings, lab, parts, sets, test)
    answers = controls.answers(settings, lab, parts, sets, sources)

    # 4. Students of every set and control; their settings are chosen on held-out images.
    errors, num_errors = controls.mislabelled(settings, lab, parts, sources)
    for chain, each in parts.items():
        sets[chain] |= {"D": each.d, "unperturbed": relabelled(lab, each.d)}
        sets[chain] |= {"mislabelled": errors[chain]} if chain in errors else {}
    taught = teach(settings, lab, parts, sets, test)
    others = controls.others(settings, lab, parts, sets, taught)

    # 5. The chosen students and the sources under attack, on the original test images.
    attacked = attack(settings, lab, taught, sources, test)

    # 6. Single units of the sources; other architectures.
    units = measure(settings, lab, parts, sources, test)
    transfers = compare(settings, lab, parts, sets, sources, taught, test, eps)

    # 7. What it says.
    return findings.found(
        results.judged(
            answers=answers,
            others=others,
            students=taught.students,
            chosen=taught.chosen,
            tested=attacked.tested,
            attacked=attacked.pgd,
            fast=attacked.fast,
            against=attacked.against,
            leaks=leaks,
            num_mislabelled=num_errors,
            held_out={chain: each.num_held_out for chain, each in parts.items()},
        ),
        units,
        transfers,
    )


def train_sources(settings: Settings, lab: Lab, parts: dict[int, Part]) -> dict[tuple[int, Source], Reference]:
    """(chain, kind) -> network; those that make sets, and, if students are trained, those that controls need."""
    kinds: list[Source] = [kind for kind in SOURCES if not settings.build or kind in ("standard", "robust")]
    order: list[tuple[int, Source]] = [(chain, kind) for chain in parts for kind in kinds]
    trained = lab.train([settings.source(kind, chain, parts[chain].d) for chain, kind in order]).result()
    return dict(zip(order, trained, strict=True))


def train_avoided(settings: Settings, lab: Lab, parts: dict[int, Part]) -> dict[int, list[Reference]]:
    """Chain -> networks that the perturbations of one more set are to leave alone."""
    count = 0 if settings.build else settings.num_avoided
    specs = [settings.avoided(number, chain, parts[chain].d) for chain in parts for number in range(count)]
    trained = lab.train(specs).result() if specs else []
    return {chain: trained[place * count :][:count] for place, chain in enumerate(parts)}


def as_data(lab: Lab, rows: Rows, chain: int, classes: tuple[str, ...]) -> dict[str, Reference]:
    """Sets as data to train on."""
    return {name: lab.dataset(f"{name} of chain {chain}", one, classes=classes) for name, one in rows.items()}


STUDY = Study(
    outline=OUTLINE,
    door=door,
    run=run,
    steps={
        "train": TRAIN,
        "match": match_block,
        "perturb": (perturb_block, avoid_block),
        "noise": noise_block,
        "leakage": leak_block,
        "witness": predict_block,
        "early": predict_block,
        "held-out": predict_block,
        "test": predict_block,
        "attack": attack_block,
        AUDIT: audit_block,
        "latents": latent_block,
        "units": unit_block,
        "transfer": predict_block,
    },
    partial=frozenset({AUDIT}),
    compare=findings.COMPARE,
)
