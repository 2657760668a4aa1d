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
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from robustray.tasks.attacks import PGD
from robustray.tasks.attacks.blocks import attack_block, predict_block
from robustray.tasks.audit import blocks as audits_of
from robustray.tasks.kit.compare import Compared, comparison
from robustray.tasks.kit.draws import chosen
from robustray.tasks.kit.frames import at
from robustray.tasks.kit.images import NEEDS, own_modules, predict, settled
from robustray.tasks.lab.protocol import Reference
from robustray.tasks.studies.backgrounds import adversarial, in9, reduce, saliency
from robustray.tasks.studies.backgrounds.blocks import NO_OTHER, cuttable, partners, version_block
from robustray.tasks.studies.backgrounds.building import build, check_folder, not_built
from robustray.tasks.studies.backgrounds.doors import models_looked_up, own_door
from robustray.tasks.studies.backgrounds.findings import findings
from robustray.tasks.studies.backgrounds.photographs import cut_block, photo_version_block
from robustray.tasks.studies.backgrounds.reduce import FIXED, OWN_RHO
from robustray.tasks.studies.backgrounds.released import open_released
from robustray.tasks.studies.backgrounds.results import Results, images_words
from robustray.tasks.studies.backgrounds.settings import (
    ORIGINAL,
    OUTLINE,
    WORDS,
    Network,
    Settings,
    has_own_scenes,
)
from robustray.tasks.studies.backgrounds.sweeping import challenge_block, sweep_block
from robustray.tasks.studies.backgrounds.worlds import World, build_version, open_photo_world, open_world
from robustray.tasks.study import TRAIN, Findings, Opened, Study
from robustray.tasks.training.doors import check_training

if TYPE_CHECKING:
    from robustray.tasks.data.images import ImageData
    from robustray.tasks.lab.protocol import Handle, Lab


def door(settings: Settings, lab: Lab) -> Opened:
    """Open the images, find out what can be cut, try models or architecture on them. Raises: InputError."""
    if settings.own:
        return own_door(settings, lab)
    check_folder(settings)
    names = [settings.fixed_scenes(), *map(settings.test_scenes, settings.rhos)]
    refs = {name: lab.data(name) for name in [*names, *map(settings.train_scenes, settings.networks())]}
    tried: set[Network] = set()
    for network in settings.networks():
        train = settings.train_scenes(network)
        spec = settings.spec(network, train)
        kind = network._replace(seed=0, rho=0.0, trained_on=ORIGINAL)
        if kind not in tried:
            check_training(spec, lab.load(refs[train]))
        tried.add(kind)
    archs = dict.fromkeys([settings.arch, *settings.curve_archs])
    return Opened(
        refs={f"data {name}": ref for name, ref in refs.items()},
        decided={"precision": settled(settings, lab, "precision").precision},
        modules=own_modules(*archs),
        incomplete=not_built(settings),
    )


def run(settings: Settings, lab: Lab) -> Findings:
    settings = settled(settings, lab, "precision")
    # 1. Every version of the test images: of those that all networks share, of each correlation's own, of one's own.
    if settings.own:
        worlds = [open_own(settings, lab)]
    else:
        worlds = [open_world(settings, lab, images_words(rho), settings.test_scenes(rho), rho) for rho in settings.rhos]
        worlds.append(open_world(settings, lab, FIXED, settings.fixed_scenes(), 1.0))
    shared = worlds[-1]

    # 2. The networks: trained side by side on their own scenes, or on versions of them.
    models: dict[str, Reference] = {}
    networks: dict[Network, Reference] = {}
    if settings.own:
        models = lab.models(settings.models) if settings.models else {}
        judged = [Judged(world=shared, network=name, ref=ref) for name, ref in models.items()]
    else:
        networks = train_networks(settings, lab)
        judged = scenes_judged(settings, networks, worlds)

    # 3. Every network on every version.
    data = {world.name: world.refs(lab) for world in worlds}
    looked_up = models_looked_up(lab, models, lab.load(data[shared.name][ORIGINAL])) if models else ()
    records: dict[int, pd.DataFrame] = {}
    # A network's own scenes come second: objects alone are the same pictures as on the shared ones, and then found.
    for first in (True, False):
        handles = {
            place: {
                version: predict(lab, each.ref, ref, len(each.world.kept), block=settings.block)
                for version, ref in data[each.world.name].items()
            }
            for place, each in enumerate(judged)
            if (each.world is shared) == first
        }
        for place, found in handles.items():
            answers = {version: handle.result() for version, handle in found.items()}
            records[place] = record(judged[place], answers, judged[place].network in looked_up)
    frame = pd.concat([records[place] for place in sorted(records)], ignore_index=True) if records else pd.DataFrame()

    # 4. Some of them on adversarial backgrounds, and under attack.
    met, places = meet(settings, lab, judged, frame, data[shared.name], looked_up)
    maps = look(settings, lab, judged, data[shared.name][ORIGINAL])
    robust, against = attack(settings, lab, networks, data[shared.name][ORIGINAL])

    # 5. What it says, and what is taken away.
    return findings(
        Results(
            settings=settings,
            classes=shared.classes,
            versions=tuple(data[shared.name])[1:],
            records=frame,
            pairs=pair_table(worlds),
            rejected=rejected_table(worlds),
            num_kept=len(shared.kept),
            looked_up=looked_up,
            met=met,
            met_places=places,
            met_rooms=pixels(lab, data[shared.name]["only_bg_t"], places) if met else None,
            saliency=maps,
            saliency_images=pixels(lab, data[shared.name][ORIGINAL], mapped_places(maps)) if maps else None,
            robust=robust,
            against=against,
            examples=examples(settings, lab, shared.classes, data[worlds[-2 if len(worlds) > 1 else 0].name]),
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


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A network on the images of a world."""

    world: World
    network: str
    """How it was trained, or a model's name."""
    ref: Reference
    images: str = ""
    """Of the records, where it isn't the world's name."""
    rho: float = float("nan")
    seed: int = 0
    swept: bool = True
    """Whether it meets adversarial backgrounds there."""


def scenes_judged(settings: Settings, networks: Mapping[Network, Reference], worlds: list[World]) -> list[Judged]:
    """All networks on the scenes that they share, and those at the correlations on their own."""
    swept = settings.swept()
    found = []
    for network, ref in networks.items():
        facts = {"network": network.words, "ref": ref, "rho": network.rho, "seed": network.seed}
        found.append(Judged(world=worlds[-1], images=FIXED, swept=network in swept, **facts))  # type: ignore[arg-type]
        if has_own_scenes(settings, network):
            own = worlds[settings.rhos.index(network.rho)]
            found.append(Judged(world=own, images=OWN_RHO, swept=False, **facts))  # type: ignore[arg-type]
    return found


def train_networks(settings: Settings, lab: Lab) -> dict[Network, Reference]:
    """Versions to train on are cut from their own training images."""
    networks = settings.networks()
    base = {network: lab.data(settings.train_scenes(network)) for network in networks}
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
    return dict(zip(networks, lab.train(specs).result(), strict=True))


# --- 3. Records -------------------------------------------------------------------------------------------------------


def record(each: Judged, predictions: Mapping[str, pd.DataFrame], looked_up: bool) -> pd.DataFrame:
    """Rows of `reduce`: one per foreground. looked_up: predictions are ImageNet's classes, to be read as nine."""
    answers = {version: frame["prediction"].to_numpy() for version, frame in predictions.items()}
    if looked_up:
        answers = {version: in9.table()[found] for version, found in answers.items()}
    return pd.DataFrame(
        {
            "images": each.images or each.world.name,
            "rho": each.rho,
            "network": each.network,
            "seed": each.seed,
            "index": each.world.kept,
            "label": predictions[ORIGINAL]["label"].to_numpy(),
            "background_rand": each.world.rand_backgrounds(),
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


# --- 4. Adversarial backgrounds, and attacks --------------------------------------------------------------------------


def meet(
    settings: Settings,
    lab: Lab,
    judged: list[Judged],
    records: pd.DataFrame,
    data: Mapping[str, Reference],
    looked_up: tuple[str, ...],
) -> tuple[list[adversarial.Met], list[int]]:
    """Networks on adversarial backgrounds, and the places of those; nothing where masks are missing."""
    chosen = {(each.network, each.seed): each for each in judged if each.swept}
    original: ImageData = lab.load(data[ORIGINAL])
    if not chosen or original.masks is None or not (settings.num_swept or settings.num_challenged):
        return [], []
    right = {}
    for (name, seed), each in chosen.items():
        rows = at(records, images=each.images or each.world.name, network=name, seed=seed)
        right[name, seed] = pd.Series(reduce.correct(rows, ORIGINAL))
    met = adversarial.ask(
        settings,
        lab,
        {network: each.ref for network, each in chosen.items()},
        data,
        labels=original.labels,
        right=right,
        precision="bf16" if settings.precision == "bf16" else "fp32",
        looked_up=looked_up,
    )
    return met, adversarial.drawn(settings, len(original)).backgrounds


def look(settings: Settings, lab: Lab, judged: list[Judged], original: Reference) -> saliency.Maps:
    """Which pixels the answers of those networks hang on; nothing where masks are missing."""
    networks = {(each.network, each.seed): each.ref for each in judged if each.swept}
    images: ImageData = lab.load(original)
    if not networks or images.masks is None or not settings.num_saliency:
        return {}
    return saliency.ask(settings, lab, networks, original)


def mapped_places(maps: saliency.Maps) -> list[int]:
    """Of the images of saliency maps among the test images."""
    places: list[int] = next(iter(maps.values()))["index"].to_list()
    return places


def pixels(lab: Lab, ref: Reference, places: list[int]) -> np.ndarray:
    """Some images of a version, (n, channels, height, width), as they are stored."""
    images: ImageData = lab.load(ref)
    return images.images[places]


def attack(
    settings: Settings, lab: Lab, networks: Mapping[Network, Reference], original: Reference
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """PGD on the fixed scenes against networks trained adversarially and against their standard twins, each at the size
    of that training: rows of `attack_block` with `network`, `seed` and `eps`; and why they are no evidence
    (`audit.blocks.told`)."""
    handles, audits = {}, {}
    for network in networks:
        for eps in settings.eps_train:
            twin = network._replace(eps=0.0)
            if twin == Network(settings.rhos[-1], ORIGINAL, network.seed) and network.eps in (0.0, eps):
                pgd = PGD(norm="l2", eps=eps, num_steps=settings.test_steps, precision=settings.precision)
                handles[network, eps] = lab.map(
                    "attack",
                    attack_block,
                    range(settings.num_robust),
                    block=settings.block,
                    seed=settings.seed,
                    settings=pgd,
                    refs={"model": networks[network], "data": original},
                    needs=NEEDS,
                )
                audits[network, eps] = audits_of.ask(lab, networks[network], original, pgd, seed=settings.seed)
    against = audits_of.told(
        (f"{network.words}, seed {network.seed}", handle.result()) for (network, _), handle in audits.items()
    )
    parts = [
        handle.result().assign(network=network.words, seed=network.seed, eps=eps)
        for (network, eps), handle in handles.items()
    ]
    return (pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()), against


# --- 5. What is shown and taken away ----------------------------------------------------------------------------------


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
        "sweep": sweep_block,
        "challenge": challenge_block,
        "saliency": saliency.saliency_block,
        "attack": attack_block,
        audits_of.AUDIT: audits_of.audit_block,
    },
    partial=frozenset({audits_of.AUDIT}),
    compare=comparison(Compared(table="gaps", keys=("images", "network"), value="gap", unit="points")),
)
