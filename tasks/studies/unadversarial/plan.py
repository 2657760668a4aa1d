"""What a run will do, as far as it follows from the settings. Imports nothing heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robustray.tasks.cost import NetworkPass, Part, Work
from robustray.tasks.kit.estimates import LOOK, num_classes, num_images, side_of, training_part
from robustray.tasks.studies.unadversarial.rendered_plan import landing_estimate, object_estimate

if TYPE_CHECKING:
    from robustray.tasks.studies.unadversarial.settings import Settings


def estimate(settings: Settings) -> Work:
    """What `robustray show` says."""
    if settings.doing == "objects":
        return object_estimate(settings)
    if settings.doing == "landing":
        return landing_estimate(settings)
    parts = {part.step: part for part in plan(settings)}
    designs = parts["design"].items
    counts = {
        "looks at single images": parts["look"].items,
        "images in design steps": settings.design_steps * settings.design_batch * designs,
    }
    if settings.models:
        note = "Designs and corrupted images dominate."
    else:
        counts = {"passes of each training image": settings.epochs * settings.num_classifiers} | counts
        note = "Training the classifiers dominates; scenes: under a minute of CPU time."
    images = (settings.data,) if settings.data else (settings.train_data, settings.test_data)
    return Work(
        counts=counts,
        note=num_images(images, otherwise=10_000)[1] + note,
        parts=tuple(parts.values()),
        unit=NetworkPass(
            models=settings.models or (settings.arch,), side=side_of(settings.data or settings.train_data)
        ),
    )


def plan(settings: Settings) -> tuple[Part, ...]:
    """The steps of a run."""
    classifiers, designs = len(settings.names), settings.num_designs
    num_train, tested, share, known = _counts(settings)
    detailed = min(tested, settings.num_detailed or tested)
    cells = len(settings.corruptions) * len(settings.severities)
    carried = 1 + 2 * designs  # the training image once for a classifier, noise and the designed patch for each design
    looked = tested + share * tested * carried  # clean: without a patch, and with
    looked += share * detailed * ((1 + carried) * cells + 2 * carried)  # corrupted, and alone on two grounds
    looked += share * detailed * (known - 1) * designs  # on objects of the other classes
    looked += len(settings.other_sides) * 3 * share * tested + settings.joint * 4 * share * detailed * (1 + cells)
    looked *= classifiers
    every, others = classifiers + len(settings.other_models), len(settings.other_models)
    looked += tested * others + 3 * (every * every - classifiers) * share * detailed  # each patch on other networks
    designed = classifiers * (designs + len(settings.other_sides) + settings.joint) + others
    parts = [
        Part(step="training-images", items=every * num_train, cost=LOOK),
        Part(step="design", items=designed, cost=settings.design_steps * settings.design_batch),
        Part(step="plain", items=classifiers * (1 + designs + 2 * len(settings.other_sides)) + 2 * others, cost=1),
        Part(step="look", items=round(looked), cost=LOOK),
        Part(step="pictures", items=4 * settings.num_examples, cost=1),
    ]
    if not settings.models:
        trainings = [(settings.training(number), num_train) for number in range(classifiers)]
        parts = [training_part(trainings), *parts]
    return tuple(parts)


def _counts(settings: Settings) -> tuple[int, int, float, int]:
    """Training images, test images, the share of them whose class has a patch, and the number of classes."""
    train, test = settings.data or settings.train_data, settings.data or settings.test_data
    parts = 2 if settings.data else 1
    (num_train,) = num_images([train], otherwise=10_000)[0].values()
    (num_test,) = num_images([test], otherwise=10_000)[0].values()
    known = num_classes(test)
    tested = min(num_test // parts, settings.num_images or num_test)
    return num_train // parts, tested, (len(settings.classes) or known) / known, known
