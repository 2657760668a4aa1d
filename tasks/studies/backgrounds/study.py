"""Noise or signal: how much of a classifier's answer comes from the background?  (arXiv:2006.09994)

Networks are trained on scenes whose backgrounds go together with their class more or less often, and judged on versions
of the same test images: with the object removed, with the background removed, and with the object on the background of
another image of its own, a random or the next class. What a background of another class costs is the BG-gap. Where
class and background are independent, there must be no gap: this checks the experiment itself. With `--data`, versions
of the user's own images are built instead, to judge the user's own models or to be used elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from robustray.tasks.attacks.blocks import predict_block
from robustray.tasks.data.export import ensure_exported
from robustray.tasks.data.views import subset
from robustray.tasks.errors import InputError
from robustray.tasks.kit.compare import Compared, comparison
from robustray.tasks.kit.draws import chosen
from robustray.tasks.kit.images import own_modules, predict, trained_modules, try_models
from robustray.tasks.studies.backgrounds.blocks import NO_OTHER, cuttable, partners, version_block
from robustray.tasks.studies.backgrounds.findings import findings
from robustray.tasks.studies.backgrounds.results import Results, images_words, network_words
from robustray.tasks.studies.backgrounds.settings import ORIGINAL, OUTLINE, WORDS, Network, Settings
from robustray.tasks.study import TRAIN, Findings, Opened, Study
from robustray.tasks.training.doors import check_training

if TYPE_CHECKING:
    from robustray.tasks.data.images import ImageData
    from robustray.tasks.lab.protocol import Handle, Lab, Reference


@dataclass(frozen=True, kw_only=True)
class World:
    """Test images of one kind, in all their versions, with the same foregrounds in the same order."""

    name: str
    """`"rho 0.9"`, or the name of the user's own data."""
    rho: float
    """Correlation of class and background; NaN for the user's own images."""
    base: Reference
    reasons: list[str]
    """Per image of the base why it is in no version; "" for those that are."""
    kept: list[int]
    pairs: Mapping[str, list[list[int]]]
    mapped: Mapping[str, Handle[pd.DataFrame]]


def door(settings: Settings, lab: Lab) -> Opened:
    """Open the images, find out what can be cut, try models or architecture on them. Raises: InputError."""
    if settings.data:
        return own_door(settings, lab)
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


def own_door(settings: Settings, lab: Lab) -> Opened:
    ref = lab.data(settings.data)
    images: ImageData = lab.load(ref)
    if images.images.dtype != np.uint8:
        raise InputError(
            f"--data {settings.data}: pixels are {images.images.dtype}; versions are built of 8-bit images"
        )
    reasons = cuttable(images)
    kept = [image for image, reason in enumerate(reasons) if not reason]
    if not kept:
        raise InputError(f"--data {settings.data}: no image can be cut out ({reasons[0]})")
    if len({int(images.labels[image]) for image in kept}) < 2:
        raise InputError(f"--data {settings.data}: the images that can be cut out are of one class; give at least two")
    for version in settings.versions:
        partners(version, images.labels, kept, settings.seed)  # refuses a class with a single image
    opened = try_models(lab, settings.models, [images], flag="--models")
    return Opened(
        refs={f"data {ref.name}": ref, **{f"model {name}": model for name, model in opened.items()}},
        modules=trained_modules(settings.models),
        warnings=() if images.masks is not None else (BOXES_ONLY,),
        incomplete=not_built(settings),
    )


BOXES_ONLY = (
    "the images have boxes but no masks: foregrounds are whole boxes, which carry what their box holds of their own "
    "background into the mixed versions, so that gaps come out too small; Parquet with a column mask gives exact ones"
)


def run(settings: Settings, lab: Lab) -> Findings:
    # 1. Every version of the test images, for every correlation (or of one's own images).
    if settings.data:
        worlds = [open_world(settings, lab, settings.data, settings.data, float("nan"))]
    else:
        worlds = [
            open_world(settings, lab, images_words(rho), settings.scenes("test", rho, settings.seed), rho)
            for rho in settings.rhos
        ]

    # 2. The networks: trained side by side on their own scenes, or on versions of them.
    if settings.data:
        models = {(model, 0): ref for model, ref in lab.models(settings.models).items()} if settings.models else {}
        judged = {worlds[0].name: models}
    else:
        judged = train_networks(settings, lab)

    # 3. Every network on every version of the images of its own correlation.
    data = {world.name: version_refs(lab, world) for world in worlds}
    handles = {
        (world.name, network, version): predict(lab, model, ref, len(world.kept), block=settings.block)
        for world in worlds
        for network, model in judged[world.name].items()
        for version, ref in data[world.name].items()
    }
    records = [
        record(
            world, network, {version: handles[world.name, network, version].result() for version in data[world.name]}
        )
        for world in worlds
        for network in judged[world.name]
    ]

    # 4. What it says, and what is taken away.
    images: ImageData = lab.load(worlds[-1].base)
    return findings(
        Results(
            settings=settings,
            classes=images.classes,
            records=pd.concat(records, ignore_index=True) if records else pd.DataFrame(),
            pairs=pair_table(worlds),
            rejected=rejected_table(worlds),
            num_kept=len(worlds[-1].kept),
            examples=examples(settings, lab, images, data[worlds[-1].name]),
            built=build(settings, lab, data),
        )
    )


# --- 1. Versions ------------------------------------------------------------------------------------------------------


def open_world(settings: Settings, lab: Lab, name: str, data: str, rho: float) -> World:
    """Ask for all versions of the images `data`."""
    base = lab.data(data)
    images: ImageData = lab.load(base)
    reasons = cuttable(images)
    kept = [image for image, reason in enumerate(reasons) if not reason]
    versions: tuple[str, ...] = settings.versions
    pairs = {version: partners(version, images.labels, kept, settings.seed) for version in versions}
    mapped = {version: build_version(settings, lab, version, pairs[version], base) for version in versions}
    return World(name=name, rho=rho, base=base, reasons=reasons, kept=kept, pairs=pairs, mapped=mapped)


def build_version(
    settings: Settings, lab: Lab, version: str, pairs: list[list[int]], base: Reference
) -> Handle[pd.DataFrame]:
    return lab.map("versions", version_block, pairs, block=settings.block, settings=version, refs={"data": base})


def version_refs(lab: Lab, world: World) -> dict[str, Reference]:
    """Original and versions as data sets of the same foregrounds."""
    images: ImageData = lab.load(world.base)
    whole = len(world.kept) == len(images)
    found: dict[str, Reference] = {ORIGINAL: world.base if whole else subset(world.base, world.kept)}
    for version, mapped in world.mapped.items():
        name = f"{WORDS[version]} of {world.base.name}"
        found[version] = lab.dataset(name, mapped, classes=images.classes, mask="mask", box="box")
    return found


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


def record(world: World, network: tuple[str, int], predictions: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Rows of `reduce`: one per foreground."""
    first = predictions[ORIGINAL]
    backgrounds = world.mapped["mixed_rand"].result()["background_label"].to_numpy()
    return pd.DataFrame(
        {
            "images": world.name,
            "rho": world.rho,
            "network": network[0],
            "seed": network[1],
            "index": world.kept,
            "label": first["label"].to_numpy(),
            "background_rand": backgrounds,
            **{version: frame["prediction"].to_numpy() for version, frame in predictions.items()},
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
    rows = [(world.name, image, reason) for world in worlds for image, reason in enumerate(world.reasons) if reason]
    return pd.DataFrame(rows, columns=["images", "index", "reason"])


# --- 4. What is shown and taken away ----------------------------------------------------------------------------------


def examples(
    settings: Settings, lab: Lab, images: ImageData, data: Mapping[str, Reference]
) -> tuple[list[str], list[str], np.ndarray] | None:
    """A few images in all their versions."""
    if not settings.num_examples:
        return None
    loaded: dict[str, ImageData] = {version: lab.load(ref) for version, ref in data.items()}
    rows = chosen(range(len(loaded[ORIGINAL])), settings.num_examples, seed=settings.seed)
    heads = [WORDS[version].replace("-", "-\n", 1) for version in loaded]
    pictures = np.stack([loaded[version].images[row] for row in rows for version in loaded])
    return [images.classes[int(loaded[ORIGINAL].labels[row])] for row in rows], heads, pictures


def build(settings: Settings, lab: Lab, data: Mapping[str, Mapping[str, Reference]]) -> pd.DataFrame:
    """Write every version of every kind of images. Returns: what is where."""
    rows = []
    for (name, version), folder in folders(settings).items():
        images: ImageData = lab.load(data[name][version])
        ensure_exported(images, folder, "test")
        rows.append((name, WORDS[version], str(folder), len(images)))
    return pd.DataFrame(rows, columns=["images", "version", "folder", "n"])


def folders(settings: Settings) -> dict[tuple[str, str], Path]:
    """(images, version) -> `build/VERSION` for the user's own images, `build/rho-0.9/VERSION` for scenes; {} where
    nothing is built."""
    if not settings.build:
        return {}
    root = Path(settings.build).expanduser()
    names = [settings.data] if settings.data else [images_words(rho) for rho in settings.rhos]
    return {
        (name, version): (root if settings.data else root / name.replace(" ", "-")) / version
        for name in names
        for version in (ORIGINAL, *settings.versions)
    }


def not_built(settings: Settings) -> bool:
    """Whether a version that was asked for is not on disk."""
    return any(not any(folder.glob("test-*.parquet")) for folder in folders(settings).values())


STUDY = Study(
    outline=OUTLINE,
    door=door,
    run=run,
    steps={"versions": version_block, "train": TRAIN, "clean": predict_block},
    compare=comparison(Compared(table="gaps", keys=("images", "network"), value="gap", unit="points")),
)
