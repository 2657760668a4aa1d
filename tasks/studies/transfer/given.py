"""Sources that exist already: how they are opened, and what is said of them.

They are not trained here, so that nothing can be claimed of how sources are trained: gains are described, with
intervals over few-shot draws and images, for these networks alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from robustray.tasks.errors import InputError
from robustray.tasks.kit.claims import describe
from robustray.tasks.kit.frames import at, estimate_of, one
from robustray.tasks.kit.images import model_to_try, opened_now
from robustray.tasks.kit.words import plural
from robustray.tasks.latents.cache import quick_look
from robustray.tasks.latents.doors import try_latents
from robustray.tasks.models.registry import model_entry
from robustray.tasks.report.numbers import format_estimate
from robustray.tasks.studies.transfer.kinds import DRIFTING, FIXED, FULL
from robustray.tasks.studies.transfer.results import Results
from robustray.tasks.studies.transfer.settings import Settings
from robustray.tasks.study import Description

if TYPE_CHECKING:
    from robustray.tasks.data.images import ImageData
    from robustray.tasks.lab.protocol import Lab, Reference

IN_WORDS = {
    FIXED: "as fixed features under a logistic regression",
    FULL: "with the whole network fine-tuned",
    DRIFTING: "as features whose batch norm follows the target",
}
TRIED_IMAGES = 4
"""Images of each target that every source is tried on."""


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


def try_sources(
    settings: Settings, lab: Lab, targets: Mapping[str, ImageData]
) -> tuple[dict[str, Reference], tuple[str, ...]]:
    """Open every source and look at a few images of each target through it. Returns: references of those that need no
    training, and remarks for the page. Raises: InputError for one that has no latents or takes no such images.
    """
    opened = opened_now(lab, settings.sources)
    few_of = {target: images.batch(range(min(TRIED_IMAGES, len(images))))[0] for target, images in targets.items()}
    side = next(iter(targets.values())).shape[1]
    remarks = []
    for name in settings.sources:
        for target, few in few_of.items():
            try:
                try_latents(model_to_try(lab, name, opened), few)
                if settings.feature_precision == "bf16":
                    quick_look(model_to_try(lab, name, opened), few)
            except InputError as error:
                raise InputError(
                    f"--sources {name} with --target {target} at {few.shape[2]} x {few.shape[3]} pixels: {error}"
                ) from error
        entry = model_entry(architecture_of(lab, name))
        if entry is not None and entry.input_shape[1] != side:
            remarks.append(
                f"{name} is made for images of {entry.input_shape[1]} pixels and sees {side} here: its "
                "features may be worse for that alone"
            )
    return opened, tuple(remarks)


# --- After it ---------------------------------------------------------------------------------------------------------


def answer(results: Results) -> str:
    first, *others = results.names
    parts = []
    for target in results.main:
        base = results.accuracy_of(FIXED, target.name, first)
        right = format_estimate(base.value, base.interval, "percent")
        changes = []
        for name in others:
            row = one(results.accuracy, mode=FIXED, target=target.name, source=name)
            gain = estimate_of(row, "gain", "gain_lo", "gain_hi")
            changes.append(f"{name} changes that by {format_estimate(gain.value, gain.interval, 'points')}")
        parts.append(
            f"{first} has {article(target.measure)} of {right} on {target.name} ({results.num_test(target.name):,} "
            f"test images); {'; '.join(changes)}"
        )
    return f"{IN_WORDS[FIXED].capitalize()} {'. '.join(parts)} ({plural(results.settings.num_seeds, 'few-shot draw')})."


def article(measure: str) -> str:
    """`"an accuracy"`, `"a mean per-class accuracy"`."""
    return f"{'an' if measure[0] in 'aeiou' else 'a'} {measure}"


def descriptions(results: Results) -> Iterator[Description]:
    """The gain of every other source, then the accuracy of all under attack, in each mode and on each target."""
    first = results.names[0]
    several = len(results.targets) > 1
    rows = [(row, f"{IN_WORDS[row.mode]}{f', on {row.target}' * several}") for row in results.accuracy.itertuples()]
    for row, where in rows:
        if row.source != first:
            yield describe(
                f"{row.source} in place of {first}, {where}",
                estimate_of(row, "gain", "gain_lo", "gain_hi"),
                measured=f"{row.metric} on the target minus that of the first source, paired by draw and image; "
                "each interval for its row alone",
                over="few-shot draws and images",
                unit="points",
            )
    attack = results.settings.attack()
    for row, where in rows:
        if row.attacked:
            yield describe(
                f"{row.source} under PGD-{attack.num_steps} at ℓ2 {attack.eps:g}, {where}",
                estimate_of(row, "robust", "robust_lo", "robust_hi", "attacked"),
                measured="accuracy on the attacked test images of the target, features and head as one network",
                over="few-shot draws and images",
                unit="percent",
            )


def warnings(results: Results) -> Iterator[str]:
    yield (
        "the sources are networks that exist, one of each kind: another training of the same recipe would differ, and "
        "no interval here covers that"
    )
    if results.settings.num_seeds == 1:
        yield "one few-shot draw: intervals cover other images, not other draws"
    for row in at(results.accuracy, source=results.names[0]).itertuples():
        if not math.isnan(row.lo) and row.lo <= 1 / len(results.classes[row.target]):
            yield (
                f"{row.source} ({row.mode}, {row.target}) is not shown to be better than chance on the target: gains "
                "over it say little"
            )
