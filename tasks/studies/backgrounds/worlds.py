"""Test images of one kind in all their versions: of scenes, of data with boxes or masks, of photographs that are cut
here, or of versions that somebody has built before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robustray.tasks.compose.photographs import UNLABELLED, Photographs, open_photographs
from robustray.tasks.data.views import subset
from robustray.tasks.errors import InputError
from robustray.tasks.studies.backgrounds import in9
from robustray.tasks.studies.backgrounds.blocks import NO_OTHER, cuttable, partners, version_block
from robustray.tasks.studies.backgrounds.photographs import BLOCK, Cutting, Putting, cut_block, photo_version_block
from robustray.tasks.studies.backgrounds.settings import ORIGINAL, WORDS, Settings

if TYPE_CHECKING:
    from robustray.tasks.data.images import ImageData
    from robustray.tasks.lab.protocol import Handle, Lab, Reference

Pairs = list[list[int]]


class Refusal(NamedTuple):
    """An image that is in no version."""

    image: int
    name: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class World:
    """Test images of one kind, in all their versions, with the same foregrounds in the same order."""

    name: str
    """`"rho 0.9"`, or the name of the user's own data."""
    rho: float
    """Correlation of class and background; NaN for the user's own images."""
    classes: tuple[str, ...]
    kept: list[int]
    """The place of each foreground among the images."""
    given: Mapping[str, Reference]
    """Versions that are there; the original is."""
    pairs: Mapping[str, Pairs] = field(default_factory=dict)
    """Of the versions that are built here."""
    mapped: Mapping[str, Handle[pd.DataFrame]] = field(default_factory=dict)
    backgrounds: NDArray[np.int64] | None = None
    """The class of the background of each foreground in Mixed-Rand, where that is not built here; `NO_OTHER` where it
    is not known."""
    refused: Sequence[Refusal] = ()
    details: pd.DataFrame | None = None
    """Of photographs: a row for each foreground, how it was cut."""

    def refs(self, lab: Lab) -> dict[str, Reference]:
        """Original and versions as data sets of the same foregrounds; waits for those that are being built."""
        found = dict(self.given)
        for version, mapped in self.mapped.items():
            name = f"{WORDS[version]} of {self.name}"
            found[version] = lab.dataset(name, mapped, classes=self.classes, mask="mask", box="box")
        return found

    def rand_backgrounds(self) -> NDArray[np.int64]:
        """The class of each foreground's background in Mixed-Rand."""
        if "mixed_rand" in self.mapped:
            labels: NDArray[np.int64] = self.mapped["mixed_rand"].result()["background_label"].to_numpy()
            return labels
        return np.full(len(self.kept), NO_OTHER) if self.backgrounds is None else self.backgrounds


def open_world(settings: Settings, lab: Lab, name: str, data: str, rho: float) -> World:
    """Ask for all versions of images with boxes or masks. data: name of scenes or of the user's own images."""
    base = lab.data(data)
    images: ImageData = lab.load(base)
    reasons = cuttable(images)
    kept = [image for image, reason in enumerate(reasons) if not reason]
    versions: tuple[str, ...] = settings.versions
    pairs = {version: partners(version, images.labels, kept, settings.seed) for version in versions}
    return World(
        name=name,
        rho=rho,
        classes=images.classes,
        kept=kept,
        given={ORIGINAL: base if len(kept) == len(images) else subset(base, kept)},
        pairs=pairs,
        mapped={version: build_version(settings, lab, version, pairs[version], base) for version in versions},
        refused=[Refusal(image, str(image), reason) for image, reason in enumerate(reasons) if reason],
    )


def build_version(settings: Settings, lab: Lab, version: str, pairs: Pairs, base: Reference) -> Handle[pd.DataFrame]:
    return lab.map("versions", version_block, pairs, block=settings.block, settings=version, refs={"data": base})


# --- Photographs ------------------------------------------------------------------------------------------------------


def grouped(settings: Settings, photographs: Photographs) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Labels, `UNLABELLED` for photographs of no class that is looked at, and the names of the classes.

    Raises: InputError for `groups` of another number of classes.
    """
    if not settings.groups:
        return photographs.labels, photographs.classes
    if len(photographs.classes) != in9.NUM_IMAGENET:
        raise InputError(
            f"--groups in9: {photographs.name} has {len(photographs.classes)} classes, ImageNet has "
            f"{in9.NUM_IMAGENET:,}; leave --groups out"
        )
    known = photographs.labels >= 0
    return np.where(known, in9.table()[photographs.labels], UNLABELLED), in9.CLASSES


def cutting(settings: Settings) -> Cutting:
    return Cutting(side=settings.photo_side, segment=settings.segment, attempts=settings.attempts)


def open_photo_world(settings: Settings, lab: Lab) -> World:
    """Cut photographs, wait for that, and ask for all versions of those that could be. Raises: InputError where none
    or one class is left."""
    ref = open_photographs(settings.data, settings.boxes)
    photographs: Photographs = lab.load(ref)
    labels, classes = grouped(settings, photographs)
    asked = np.flatnonzero(labels != UNLABELLED).tolist()
    cut = lab.map(
        "cut",
        cut_block,
        asked,
        block=BLOCK,
        seed=settings.seed,
        settings=cutting(settings),
        refs={"photographs": ref},
    )
    rows = cut.result()
    rows = rows.drop(columns=["image", "mask", "box", "tiled"]).assign(label=labels[asked])
    reasons = dict(zip(rows["index"].tolist(), rows["reason"].tolist(), strict=True))
    whole = [place for place, image in enumerate(asked) if not reasons[image]]
    counts = Counter(int(labels[asked[place]]) for place in whole)
    for place in whole:
        if counts[int(labels[asked[place]])] == 1:
            reasons[asked[place]] = (
                "the only one of its class that could be cut out: no other one has a background for it"
            )
    whole = [place for place in whole if not reasons[asked[place]]]
    refused = [Refusal(image, photographs.names[image], reason) for image, reason in reasons.items() if reason]
    refused += [
        Refusal(image, photographs.names[image], "nothing says of which class it is")
        for image in np.flatnonzero(photographs.labels == UNLABELLED).tolist()
    ]
    if len({int(labels[asked[place]]) for place in whole}) < 2:
        first = f" ({refused[0].name}: {refused[0].reason})" if refused else ""
        raise InputError(
            f"--data {settings.data}: {len(whole)} of {len(asked)} photographs could be cut out, and they are not of "
            f"two classes{first}"
        )
    parts = lab.rows(f"parts of {settings.data}", cut, ["image", "mask", "box", "tiled"])
    row_labels = tuple(int(label) for label in labels[asked])
    pairs = {
        version: partners(version, np.array(row_labels), whole, settings.seed)
        for version in (ORIGINAL, *settings.versions)
    }
    mapped = {
        version: lab.map(
            "versions",
            photo_version_block,
            pairs[version],
            block=settings.block,
            settings=Putting(version=version, labels=row_labels),
            refs={"parts": parts},
        )
        for version in pairs
    }
    named = {
        version: [[asked[a], b if b == NO_OTHER else asked[b]] for a, b in each] for version, each in pairs.items()
    }
    details = rows.iloc[whole].assign(name=[photographs.names[asked[place]] for place in whole])
    return World(
        name=settings.data,
        rho=float("nan"),
        classes=classes,
        kept=[asked[place] for place in whole],
        given={},
        pairs=named,
        mapped=mapped,
        refused=sorted(refused),
        details=details.drop(columns=["reason"]).reset_index(drop=True),
    )
