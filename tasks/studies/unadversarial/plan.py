"""What a run will do, as far as it follows from the settings. Imports nothing heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robustray.tasks.kit.estimates import LOOK, num_classes, num_images, side_of, training_part
from robustray.tasks.study import NetworkPass, Part, Work

if TYPE_CHECKING:
    from robustray.tasks.studies.unadversarial.settings import Settings


def estimate(settings: Settings) -> Work:
    """What `robustray show` says."""
    parts = {part.step: part for part in plan(settings)}
    designs = len(settings.names) * settings.num_designs
    counts = {
        "looks at single images": parts["look"].items,
        "images in design steps": settings.design_steps * settings.design_batch * designs,
    }
    if settings.models:
        note = "Corrupted images dominate; CIFAR-10 at small size: about 40 minutes on two cores."
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
    num_train, num_test, patched = _counts(settings)
    detailed = min(num_test, settings.num_detailed or num_test)
    cells = len(settings.corruptions) * len(settings.severities)
    kinds = 2 + 2 * designs  # none and the training image once for a classifier; noise and the design for each design
    looked = num_test * kinds + detailed * (kinds * cells + 2 * (1 + 2 * designs) + 1 + (patched - 1) * designs)
    parts = [
        Part(step="training-images", items=classifiers * num_train, cost=LOOK),
        Part(step="design", items=classifiers * designs, cost=settings.design_steps * settings.design_batch),
        Part(step="plain", items=classifiers * (1 + designs), cost=1),
        Part(step="look", items=classifiers * looked, cost=LOOK),
        Part(step="pictures", items=4 * settings.num_examples, cost=1),
    ]
    if not settings.models:
        trainings = [(settings.training(number), num_train) for number in range(classifiers)]
        parts = [training_part(trainings), *parts]
    return tuple(parts)


def _counts(settings: Settings) -> tuple[int, int, int]:
    """Training images, test images with a patch, and classes with a patch."""
    train, test = settings.data or settings.train_data, settings.data or settings.test_data
    share = 2 if settings.data else 1
    (num_train,) = num_images([train], otherwise=10_000)[0].values()
    (num_test,) = num_images([test], otherwise=10_000)[0].values()
    tested = min(num_test // share, settings.num_images or num_test)
    known = num_classes(test)
    patched = len(settings.classes) or known
    return num_train // share, tested * patched // known, patched
