"""`--build FOLDER`: every version as files that anybody can read, with a record of every image."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from robustray.tasks.data.export import ensure_exported
from robustray.tasks.errors import InputError
from robustray.tasks.studies.backgrounds import in9
from robustray.tasks.studies.backgrounds.blocks import NO_OTHER
from robustray.tasks.studies.backgrounds.results import images_words
from robustray.tasks.studies.backgrounds.settings import ORIGINAL, WORDS, Settings

if TYPE_CHECKING:
    from robustray.tasks.data.images import ImageData
    from robustray.tasks.lab.protocol import Lab, Reference
    from robustray.tasks.studies.backgrounds.worlds import World

RECORDS = "records"
REJECTED = "rejected.csv"
NOTE = """# Versions of images: objects and backgrounds apart

Made from {name} by robustray, after Xiao et al., arXiv:2006.09994: {count:,} foregrounds of {classes} classes in
{versions} versions. They are under the licence of the images that they were made from, of which these are changed
copies.

{how}

Every folder of a version holds Parquet files with PNGs (no loss) in the columns `image` and `mask`, with `label` and
`box` (x0, y0, x1, y1, half open). `records/VERSION.parquet` has a row for each image, in the same order: which image
its foreground and its background come from, their classes, and of photographs the size, the box and how it was cut.
`rejected.csv` lists the images that are in no version, with the reason.

    robustray run backgrounds --released FOLDER --models MODEL    # judge models on them
    robustray run attack-sweep --data FOLDER/mixed_rand           # any other study on one of them
"""


def build(
    settings: Settings, lab: Lab, worlds: list[World], refs: Mapping[str, Mapping[str, Reference]]
) -> pd.DataFrame:
    """Write every version of every kind of images. Returns: what is where."""
    rows = []
    for world in worlds:
        places = {version: place for (name, version), place in folders(settings).items() if name == world.name}
        for version, folder in places.items():
            images: ImageData = lab.load(refs[world.name][version])
            ensure_exported(images, folder, "test")
            rows.append((world.name, WORDS[version], str(folder), len(images)))
        if places:
            _write_records(settings, world, next(iter(places.values())).parent)
    return pd.DataFrame(rows, columns=["images", "version", "folder", "n"])


def _write_records(settings: Settings, world: World, root: Path) -> None:
    try:
        (root / RECORDS).mkdir(exist_ok=True)
        for version in (ORIGINAL, *settings.versions):
            records(world, version).to_parquet(record_file(root, version), index=False)
        refused = pd.DataFrame(world.refused, columns=["index", "name", "reason"])
        refused.to_csv(root / REJECTED, index=False)
        note = NOTE.format(
            name=world.name,
            count=len(world.kept),
            classes=len(world.classes),
            versions=1 + len(settings.versions),
            how=how_cut(settings),
        )
        (root / "README.md").write_text(note, encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot write to {root}: {error.strerror or error}") from error


def record_file(root: Path, version: str) -> Path:
    return root / RECORDS / f"{version}.parquet"


def records(world: World, version: str) -> pd.DataFrame:
    """Where the images of a version come from."""
    if version in world.mapped:
        rows = world.mapped[version].result()
        pairs = world.pairs[version]
        frame = pd.DataFrame(
            {
                "image": [foreground for foreground, _ in pairs],
                "background": [background for _, background in pairs],
                "label": rows["label"].to_numpy(),
                "background_label": rows["background_label"].to_numpy(),
            }
        )
    else:
        frame = pd.DataFrame({"image": world.kept, "background": NO_OTHER})
    if world.details is None:
        return frame
    details = world.details
    names = dict(zip(details["index"], details["name"], strict=True))
    frame.insert(1, "image_name", [names[image] for image in frame["image"]])
    frame.insert(3, "background_name", [names.get(image, "") for image in frame["background"]])
    for column in ("height", "width", "native_box", "mask_share", "attempts"):
        frame[column] = details[column].to_numpy()
    return frame


def how_cut(settings: Settings) -> str:
    """How foregrounds were found, as a sentence."""
    if not settings.boxes:
        return "Foregrounds are the masks of the data, or the boxes where there are none."
    where = (
        f"Boxes are the central part of each photograph ({settings.boxes}), not annotations of its object"
        if settings.boxes.startswith("central:")
        else f"Boxes come from {'the data' if settings.boxes == 'own' else settings.boxes}"
    )
    how = (
        f"foregrounds were found in them by GrabCut at native size (seed {settings.seed}, up to {settings.attempts} "
        "attempts), unless the data bring masks"
        if settings.segment == "grabcut"
        else "foregrounds are the whole boxes"
    )
    groups = f" Classes: ImageNet's, in {len(in9.CLASSES)} groups." if settings.groups else ""
    return (
        f"{where}; {how}. All was brought to {settings.photo_side} x {settings.photo_side} pixels by taking the "
        f"nearest ones: the short side first, then the centre.{groups}"
    )


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


def check_folder(settings: Settings) -> None:
    """Look, without a trace, whether versions could be written. Raises: InputError, which would come at the end."""
    if not settings.build:
        return
    folder = Path(settings.build).expanduser().absolute()
    there = next(place for place in (folder, *folder.parents) if place.exists())
    if not there.is_dir():
        raise InputError(f"--build {settings.build}: {there} is a file; give a folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise InputError(f"--build {settings.build}: cannot write to {there}; give another folder")
