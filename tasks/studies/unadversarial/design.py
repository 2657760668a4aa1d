"""Patches by design: one canvas per class of which the central square shows, moved by signed steps on training images.

A canvas is (channels, height, width) of the images' size; `PatchKind` says what its square shows and where it may land.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from robustray.tasks.compose.place import Placement
from robustray.tasks.inputs.settings import SharedAscent, WeightSteps
from robustray.tasks.lab.optimise import optimisation
from robustray.tasks.lab.protocol import Context
from robustray.tasks.lab.seeds import stream

if TYPE_CHECKING:
    import torch

    from robustray.tasks.data.images import ImageData
    from robustray.tasks.inputs.joint import JointParameter
    from robustray.tasks.inputs.shared import Project, SharedParameter

START_MEAN, START_DEVIATION = 0.5, 0.1
"""Canvases begin as normal noise of these (arXiv:2012.12235, released code); clipped to [0, 1]."""


@dataclass(frozen=True, kw_only=True)
class PatchKind:
    """Whose patches these are, how large, and where they may land."""

    classes: tuple[int, ...]
    """Canvas k is that of class classes[k]."""
    side: int
    placement: Placement


@dataclass(frozen=True, kw_only=True)
class DesignSettings:
    """How patches are designed."""

    kind: PatchKind
    ascent: SharedAscent
    one_class: bool = False
    """Each patch on images of all classes, to be answered with its own; else on those of its class."""
    in_gamut: bool = False
    """Within the colours of the reference "gamut"."""
    weights: WeightSteps | None = None
    """How the weights of the classifier learn along (`joint_design`)."""


@optimisation(version=3)
def design(context: Context) -> SharedParameter:
    """Patches (k, channels, height, width) that lower the cross-entropy with their class.

    settings: `DesignSettings`. The reference "data" is the training set.
    """
    from robustray.tasks.inputs.shared import SharedParameter

    return SharedParameter(**_parts(context))


@optimisation(version=2)
def joint_design(context: Context) -> JointParameter:
    """Patches as those of `design`, and the weights of a copy of the classifier, which learn along: both lower the
    cross-entropy on the same patched images (the released code's joint mode)."""
    from robustray.tasks.inputs.joint import JointParameter

    settings: DesignSettings = context.settings
    assert settings.weights is not None, "asked for by the study, with its steps"
    return JointParameter(**_parts(context), weights=settings.weights)


def _parts(context: Context) -> dict[str, Any]:
    """Arguments of `SharedParameter`."""
    import torch

    from robustray.tasks.attacks.objective import CrossEntropy
    from robustray.tasks.inputs.shared import Design, box
    from robustray.tasks.studies.unadversarial.gamut import printable
    from robustray.tasks.studies.unadversarial.stamping import central, stamped

    settings: DesignSettings = context.settings
    data: ImageData = context.load("data")
    kind, seed, device = settings.kind, context.seed, context.device
    channels, height, width = data.shape
    indices, slots = carriers(settings, data.labels, seed)
    slot_of = torch.full((len(data),), -1, device=device)
    slot_of[torch.from_numpy(indices).to(device)] = torch.from_numpy(slots).to(device)

    def place(step: int, indices: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"maps": kind.placement.maps(seed, step, indices, device), "slot": slot_of[indices]}

    project: Project = partial(printable, table=context.load("gamut")) if settings.in_gamut else box

    def apply(parameter: torch.Tensor, images: torch.Tensor, placements: Any) -> torch.Tensor:
        return stamped(images, central(parameter, kind.side), placements["slot"], placements["maps"])

    return {
        "name": "patch",
        "ascent": settings.ascent,
        "model": context.load("model"),
        "design": Design(apply=apply, place=place, project=project, objective=CrossEntropy(targeted=True)),
        "data": data,
        "indices": indices.tolist(),
        "targets": torch.tensor(kind.classes)[torch.from_numpy(slots)],
        "parameter": noise_canvas(seed, "unadversarial-start", len(kind.classes), (channels, height, width), device),
    }


def carriers(settings: DesignSettings, labels: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Training images of a design and the canvas that each carries, two arrays of one length.

    For patches of one class each, all images are dealt out at random to the patches, to each the same number (or one
    more).
    """
    classes = np.array(settings.kind.classes)
    if settings.one_class:
        dealt = stream(seed, "unadversarial-carriers").permutation(len(labels)) % len(classes)
        return np.arange(len(labels)), dealt.astype(np.int64)
    indices = np.flatnonzero(np.isin(labels, classes))
    slot_of = np.zeros(max(int(labels.max()), int(classes.max())) + 1, dtype=np.int64)
    slot_of[classes] = np.arange(len(classes))
    return indices, slot_of[labels[indices]]


def noise_canvas(seed: int, what: str, count: int, shape: Sequence[int], device: str) -> torch.Tensor:
    """(count, *shape) float32 in [0, 1]: what a design begins with. Each depends on (seed, what, its number)."""
    import torch

    from robustray.tasks.attacks.search import noise

    drawn = noise.normal(seed, what, 0, torch.arange(count, device=device), shape, device)
    return (START_MEAN + START_DEVIATION * drawn).clamp(0, 1)
