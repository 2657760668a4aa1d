"""Sources that exist already: how they are opened, and what is said of them.

They are not trained here, so that nothing can be claimed of how sources are trained: gains are described, with
intervals over few-shot draws and images, for these networks alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from robustray.tasks.errors import InputError
from robustray.tasks.kit.claims import describe
from robustray.tasks.kit.frames import estimate_of, one
from robustray.tasks.kit.images import model_to_try, opened_now
from robustray.tasks.kit.words import plural
from robustray.tasks.latents.doors import try_latents
from robustray.tasks.models.registry import model_entry
from robustray.tasks.report.numbers import format_estimate
from robustray.tasks.studies.transfer.results import Results
from robustray.tasks.studies.transfer.settings import FIXED, FULL, Settings
from robustray.tasks.study import Description

if TYPE_CHECKING:
    from robustray.tasks.data.images import ImageData
    from robustray.tasks.lab.protocol import Lab, Reference

IN_WORDS = {FIXED: "as fixed features under a logistic regression", FULL: "with the whole network fine-tuned"}
TRIED_IMAGES = 4


# --- Before the run ---------------------------------------------------------------------------------------------------


def architecture_of(lab: Lab, name: str) -> str:
    """Architecture of a model by name, trained or not: a name of the registry, or the user's own function."""
    spec = lab.training_of(name)
    return spec.model if spec is not None else lab.model(name).architecture  # type: ignore[attr-defined]  # a ModelRef


def target_shape(settings: Settings, lab: Lab) -> tuple[int, int, int]:
    """What the target's images are brought to: channels and sides. Raises: InputError where no source says."""
    first = settings.sources[0]
    entry = model_entry(architecture_of(lab, first))
    if entry is None:
        if not settings.image_side:
            raise InputError(f"--sources {first} does not say for which images it is made: give --image-side")
        return 3, settings.image_side, settings.image_side
    channels, height, width = entry.input_shape
    return channels, settings.image_side or height, settings.image_side or width


def try_sources(settings: Settings, lab: Lab, target: ImageData) -> tuple[dict[str, Reference], tuple[str, ...]]:
    """Open every source and look at a few images through it. Returns: references of those that need no training, and
    remarks for the page. Raises: InputError for one that has no latents or takes no such images.
    """
    opened = opened_now(lab, settings.sources)
    remarks = []
    few, _ = target.batch(range(min(TRIED_IMAGES, len(target))))
    for name in settings.sources:
        try:
            try_latents(model_to_try(lab, name, opened), few)
        except InputError as error:
            raise InputError(
                f"--sources {name} with --target {settings.target} at {few.shape[2]} x {few.shape[3]} pixels: {error}"
            ) from error
        entry = model_entry(architecture_of(lab, name))
        if entry is not None and entry.input_shape[1] != few.shape[2]:
            remarks.append(
                f"{name} is made for images of {entry.input_shape[1]} pixels and sees {few.shape[2]} here: its "
                "features may be worse for that alone"
            )
    return opened, tuple(remarks)


# --- After it ---------------------------------------------------------------------------------------------------------


def answer(results: Results) -> str:
    first, *others = results.names
    base = results.accuracy_of(FIXED, first)
    right = format_estimate(base.value, base.interval, "percent")
    parts = []
    for name in others:
        gain = estimate_of(one(results.accuracy, mode=FIXED, source=name), "gain", "gain_lo", "gain_hi")
        parts.append(f"{name} changes that by {format_estimate(gain.value, gain.interval, 'points')}")
    return (
        f"{IN_WORDS[FIXED].capitalize()} {first} {results.scores(right)} {results.test_name}; {'; '.join(parts)} "
        f"(n = {results.num_test:,} test images, {plural(results.settings.num_seeds, 'few-shot draw')})."
    )


def descriptions(results: Results) -> Iterator[Description]:
    """The gain of every other source, in each mode."""
    first, *others = results.names
    for mode in results.settings.modes:
        for name in others:
            yield describe(
                f"{name} in place of {first}, {IN_WORDS[mode]}",
                estimate_of(one(results.accuracy, mode=mode, source=name), "gain", "gain_lo", "gain_hi"),
                measured=f"{results.measure} on the target minus that of the first source, paired by draw and image; "
                "each interval for its row alone",
                over="few-shot draws and images",
                unit="points",
            )


def warnings(results: Results) -> Iterator[str]:
    yield (
        "the sources are networks that exist, one of each kind: another training of the same recipe would differ, and "
        "no interval here covers that"
    )
    if results.settings.num_seeds == 1:
        yield "one few-shot draw: intervals cover other images, not other draws"
    chance = 1 / results.target.num_classes
    for mode in results.settings.modes:
        row = one(results.accuracy, mode=mode, source=results.names[0])
        if not math.isnan(row.lo) and row.lo <= chance:
            yield f"{row.source} ({mode}) is not shown to be better than chance on the target: gains over it say little"
