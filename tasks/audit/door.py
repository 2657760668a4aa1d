"""An audit in one call: `robustray.audit`, and what it opens."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from robustray.tasks.attacks.settings import Norm, check_budget
from robustray.tasks.audit.results import Audit
from robustray.tasks.audit.rules import RULES
from robustray.tasks.checks import check_count
from robustray.tasks.data.images import ImageData, checked
from robustray.tasks.data.own import describe
from robustray.tasks.errors import InputError
from robustray.tasks.lab.seeds import torch_left_alone

if TYPE_CHECKING:
    import torch

    from robustray.tasks.attacks.gradient.refusals import Model

NUM_IMAGES = 32
"""Images of an audit, the first ones, if nothing else is asked for."""


def audit(
    model: Model | str,
    data: tuple[Any, Any] | ImageData | str,
    *,
    norm: Norm = "linf",
    eps: float = 8 / 255,
    seed: int = 0,
    num_images: int = NUM_IMAGES,
    surrogate: Model | str | None = None,
    device: str = "auto",
    data_root: str | Path | None = None,
    store: str | Path = "runs",
) -> Audit:
    """What an attacker would check before believing a robust accuracy of `model`: gradients, logits, attacks.

    model, data: as for `evaluate`. The labels are not needed: attacks go against the model's own answers. A model that
        says classes and no logits, (b,) whole numbers, is taken as well; then of the attacks only `surrogate` is tried.
    norm, eps: the threat model, of which multiples are tried as well. num_images: the first ones, 2 or more.
    surrogate: another model (or its name) of the same classes, whose adversarial examples are tried on this one.
    device, data_root, store: of names, as for `evaluate`.

    The model is left as it was: parameters, buffers, modes and torch's generators. Results depend on the model, the
    images and the seed alone. Rules: `audit.rules`; how to read them: docs/audit.md.

    Raises: InputError for a model that does not take these images, or returns neither finite logits nor classes; for a
    surrogate that has fewer classes than the model, or no gradient.
    """
    from robustray.tasks.audit.audit import attacks, look
    from robustray.tasks.audit.subject import Subject
    from robustray.tasks.evaluation import doors
    from robustray.tasks.lab.jobs import fix_kernels
    from robustray.tasks.models.doors import check_model

    check_budget(norm, eps)
    check_count("num_images", num_images, at_least=2)
    fix_kernels()
    lab = doors.open_lab(store, data_root, device)
    data_name, found = doors.open_data(data, lab)
    model_name, network = doors.open_model(model, lab)
    images = _images(found, num_images, known=isinstance(data, str | ImageData))
    images = images.to(doors.device_of(network, lab))
    network, hard = _with_logits(network, images, max(2, found.num_classes, int(found.labels.max(initial=0)) + 1))
    check_model(network, images, None, company=False)
    other = None if surrogate is None else doors.open_model(surrogate, lab)[1]
    if other is not None:
        _check_surrogate(other, network, images)
    subject = Subject.of(network, images, norm=norm, eps=eps, seed=seed, hard=hard)
    findings, operations = look(subject)
    findings += attacks(subject, other)
    places = list(RULES)
    return Audit(
        model=model_name,
        data=data_name,
        n=len(images),
        norm=norm,
        eps=eps,
        seed=seed,
        findings=tuple(sorted(findings, key=lambda finding: places.index(finding.check))),
        operations=operations,
    )


def _images(data: ImageData, count: int, *, known: bool) -> torch.Tensor:
    from robustray.tasks.evaluation.doors import with_classes

    if not known:
        checked(with_classes(data, max(1, int(data.labels.max(initial=0)) + 1)))
    if len(data) < 2:
        raise InputError(f"{data.name}: an audit needs two images or more, there are {len(data)}")
    return data.batch(range(min(count, len(data))))[0]


def _check_surrogate(surrogate: Model, model: Model, images: torch.Tensor) -> None:
    """Raises: InputError unless examples against the answers of `model` can be made on `surrogate`."""
    from robustray.tasks.attacks.gradient.verdicts import predict_logits
    from robustray.tasks.audit.subject import passes_gradient
    from robustray.tasks.models.doors import check_model
    from robustray.tasks.models.watching import watched

    check_model(surrogate, images, None, company=False)
    few = images[:2]
    with watched(surrogate), watched(model), torch_left_alone():
        found, wanted = (predict_logits(each, few).shape[1] for each in (surrogate, model))
        if found < wanted:
            raise InputError(f"surrogate: it has {found} classes, the model {wanted}: give one of the same classes")
        if not passes_gradient(surrogate, few):
            raise InputError("surrogate: no gradient arrives at its images, so that no examples can be made on it")


def _with_logits(model: Model, images: torch.Tensor, num_classes: int) -> tuple[Model, bool]:
    """The model, and False; or a function that gives the class it says 1 and the others -1, and True."""
    import torch

    from robustray.tasks.attacks.gradient.verdicts import own_copy
    from robustray.tasks.models.watching import watched

    with watched(model), torch.no_grad(), torch_left_alone():
        try:
            said: Any = model(own_copy(images[:2]))
        except Exception as error:  # the model may be the user's own
            raise InputError(
                f"the model ({getattr(model, '__name__', type(model).__name__)}) fails on images of shape "
                f"{tuple(images[:2].shape)}: {describe(error)}"
            ) from error
    if not isinstance(said, torch.Tensor) or said.is_floating_point() or said.shape != (2,):
        return model, False

    def labelled(batch: torch.Tensor) -> torch.Tensor:
        chosen = model(batch).long().clamp(0, num_classes - 1)
        return 2.0 * torch.nn.functional.one_hot(chosen, num_classes).to(batch.dtype) - 1.0

    labelled.__name__ = getattr(model, "__name__", type(model).__name__)
    return labelled, True
