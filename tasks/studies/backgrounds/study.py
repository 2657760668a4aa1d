"""Noise or signal: how much of a classifier's answer comes from the background?  (arXiv:2006.09994)

Networks are trained on scenes whose backgrounds go together with their class more or less often, and judged on versions
of the same test images: with the object removed, with the background removed, and with the object on the background of
another image of its own, a random or the next class. What a background of another class costs is the BG-gap. Where
class and background are independent, there must be no gap: this checks the experiment itself. With `--data`, versions
of the user's own images are built instead, to judge the user's own models or to be used elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from robustray.tasks.attacks.blocks import predict_block
from robustray.tasks.kit.compare import Compared, comparison
from robustray.tasks.kit.draws import chosen
from robustray.tasks.kit.images import own_modules, predict
from robustray.tasks.studies.backgrounds import in9
from robustray.tasks.studies.backgrounds.blocks import NO_OTHER, cuttable, partners, version_block
from robustray.tasks.studies.backgrounds.building import build, check_folder, not_built
from robustray.tasks.studies.backgrounds.doors import models_looked_up, own_door
from robustray.tasks.studies.backgrounds.findings import findings
from robustray.tasks.studies.backgrounds.photographs import cut_block, photo_version_block
from robustray.tasks.studies.backgrounds.released import open_released
from robustray.tasks.studies.backgrounds.results import Results, images_words, network_words
from robustray.tasks.studies.backgrounds.settings import ORIGINAL, OUTLINE, WORDS, Network, Settings
from robustray.tasks.studies.backgrounds.worlds import World, build_version, open_photo_world, open_world
from robustray.tasks.study import TRAIN, Findings, Opened, Study
from robustray.tasks.training.doors import check_training

if TYPE_CHECKING:
    from robustray.tasks.data.images import ImageData
    from robustray.tasks.lab.protocol import Handle, Lab, Reference


def door(settings: Settings, lab: Lab) -> Opened:
    """Open the images, find out what can be cut, try models or architecture on them. Raises: InputError."""
    if settings.own:
        return own_door(settings, lab)
    check_folder(settings)
    refs = {
        name: lab.data(name)
        for rho in settings.rhos
        for name in (
            settings.scenes("test", rho, settings.seed),
            *(settings.scenes("train", rho, n.seed) for n in settings.networks() if n.rho == rho),
        )
    }
    first = settings.networks()[0]
    train = settings.scenes("train", first.rho, first.seed)
    check_training(settings.spec(first, train), lab.load(refs[train]))
    return Opened(
        refs={f"data {name}": ref for name, ref in refs.items()},
        modules=own_modules(settings.arch),
        incomplete=not_built(settings),
    )


def run(settings: Settings, lab: Lab) -> Findings:
    # 1. Every version of the test images, for every correlation (or of one's own images).
    if settings.own:
        worlds = [open_own(settings, lab)]
    else:
        worlds = [
            open_world(settings, lab, images_words(rho), settings.scenes("test", rho, settings.seed), rho)
            for rho in settings.rhos
        ]

    # 2. The networks: trained side by side on their own scenes, or on versions of them.
    models = lab.models(settings.models) if settings.models else {}
    if settings.own:
        judged = {worlds[0].name: {(model, 0): ref for model, ref in models.items()}}
    else:
        judged = train_networks(settings, lab)

    # 3. Every network on every version of the images of its own correlation.
    data = {world.name: world.refs(lab) for world in worlds}
    looked_up = models_looked_up(lab, models, lab.load(data[settings.own][ORIGINAL])) if models else ()
    handles = {
        (world.name, network, version): predict(lab, model, ref, len(world.kept), block=settings.block)
        for world in worlds
        for network, model in judged[world.name].items()
        for version, ref in data[world.name].items()
    }
    records = [
        record(
            world,
            network,
            {version: handles[world.name, network, version].result() for version in data[world.name]},
            looked_up=network[0] in looked_up,
        )
        for world in worlds
        for network in judged[world.name]
    ]

    # 4. What it says, and what is taken away.
    last = worlds[-1]
    return findings(
        Results(
            settings=settings,
            classes=last.classes,
            versions=tuple(data[last.name])[1:],
            records=pd.concat(records, ignore_index=True) if records else pd.DataFrame(),
            pairs=pair_table(worlds),
            rejected=rejected_table(worlds),
            num_kept=len(last.kept),
            looked_up=looked_up,
            examples=examples(settings, lab, last.classes, data[last.name]),
            built=build(settings, lab, worlds, data),
        )
    )


def open_own(settings: Settings, lab: Lab) -> World:
    """The user's own images."""
    if settings.released:
        return open_released(settings, lab)[0]
    if settings.boxes:
        return open_photo_world(settings, lab)
    return open_world(settings, lab, settings.data, settings.data, float("nan"))


# --- 2. Networks ------------------------------------------------------------------------------------------------------


def train_networks(settings: Settings, lab: Lab) -> dict[str, dict[tuple[str, int], Reference]]:
    """Images' name -> (trained on what, seed) -> model. Versions to train on are cut from their own training images."""
    networks = settings.networks()
    base = {network: lab.data(settings.scenes("train", network.rho, network.seed)) for network in networks}
    versions: dict[Network, Handle[pd.DataFrame]] = {}
    classes: tuple[str, ...] = ()
    for network, ref in base.items():
        if network.trained_on != ORIGINAL:
            images: ImageData = lab.load(ref)
            kept = [image for image, reason in enumerate(cuttable(images)) if not reason]
            pairs = partners(network.trained_on, images.labels, kept, network.seed)
            versions[network] = build_version(settings, lab, network.trained_on, pairs, ref)
            classes = images.classes
    specs = []
    for network, ref in base.items():
        if network in versions:
            name = f"{WORDS[network.trained_on]} of {ref.name}"
            specs.append(settings.spec(network, lab.dataset(name, versions[network], classes=classes)))
        else:
            specs.append(settings.spec(network, ref))
    found: dict[str, dict[tuple[str, int], Reference]] = {images_words(rho): {} for rho in settings.rhos}
    for network, model in zip(networks, lab.train(specs).result(), strict=True):
        found[images_words(network.rho)][network_words(network.trained_on), network.seed] = model
    return found


# --- 3. Records -------------------------------------------------------------------------------------------------------


def record(
    world: World, network: tuple[str, int], predictions: Mapping[str, pd.DataFrame], *, looked_up: bool
) -> pd.DataFrame:
    """Rows of `reduce`: one per foreground. looked_up: predictions are ImageNet's classes, to be read as nine."""
    first = predictions[ORIGINAL]
    answers = {version: frame["prediction"].to_numpy() for version, frame in predictions.items()}
    if looked_up:
        answers = {version: in9.table()[each] for version, each in answers.items()}
    return pd.DataFrame(
        {
            "images": world.name,
            "rho": world.rho,
            "network": network[0],
            "seed": network[1],
            "index": world.kept,
            "label": first["label"].to_numpy(),
            "background_rand": world.rand_backgrounds(),
            **answers,
        }
    )


def pair_table(worlds: list[World]) -> pd.DataFrame:
    """Foreground and background of all mixed versions."""
    rows = [
        (world.name, version, foreground, background)
        for world in worlds
        for version, pairs in world.pairs.items()
        for foreground, background in pairs
        if background != NO_OTHER
    ]
    return pd.DataFrame(rows, columns=["images", "version", "foreground", "background"])


def rejected_table(worlds: list[World]) -> pd.DataFrame:
    rows = [(world.name, *each) for world in worlds for each in world.refused]
    return pd.DataFrame(rows, columns=["images", "index", "name", "reason"])


# --- 4. What is shown and taken away ----------------------------------------------------------------------------------


def examples(
    settings: Settings, lab: Lab, classes: tuple[str, ...], data: Mapping[str, Reference]
) -> tuple[list[str], list[str], np.ndarray] | None:
    """A few images in all their versions."""
    if not settings.num_examples:
        return None
    loaded: dict[str, ImageData] = {version: lab.load(ref) for version, ref in data.items()}
    rows = chosen(range(len(loaded[ORIGINAL])), settings.num_examples, seed=settings.seed)
    heads = [WORDS[version].replace("-", "-\n", 1) for version in loaded]
    pictures = np.stack([loaded[version].images[row] for row in rows for version in loaded])
    return [classes[int(loaded[ORIGINAL].labels[row])] for row in rows], heads, pictures


STUDY = Study(
    outline=OUTLINE,
    door=door,
    run=run,
    steps={
        "cut": cut_block,
        "versions": (version_block, photo_version_block),
        "train": TRAIN,
        "clean": predict_block,
    },
    compare=comparison(Compared(table="gaps", keys=("images", "network"), value="gap", unit="points")),
)
