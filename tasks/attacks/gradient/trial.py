"""The door of attacks: a gradient of a few images, before any work, if there are attacks that follow gradients."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

from robustray.tasks.attacks.gradient.refusals import Model, describe
from robustray.tasks.attacks.gradient.view import GradientView
from robustray.tasks.attacks.objective import CrossEntropy
from robustray.tasks.attacks.precision import Arithmetic, Precision, resolve_precision
from robustray.tasks.attacks.settings import Attack
from robustray.tasks.data.own import describe as describe_error
from robustray.tasks.errors import InputError
from robustray.tasks.inputs.settings import StepRule
from robustray.tasks.models.doors import clamp_remark


def attack_remarks(model: Model, images: Tensor, attacks: Iterable[Attack | StepRule]) -> tuple[str, ...]:
    """What a reader of numbers has to know of `model` before `attacks` (and other settings that optimise its inputs),
    tried on a few images (b, ...), moved to it.

    Attacks of one's own are not asked whether they follow gradients. Raises: InputError as `try_gradient`.
    """
    if isinstance(model, nn.Module) and (parameter := next(model.parameters(), None)) is not None:
        images = images.to(parameter.device)
    found = clamp_remark(model, images)
    following = (attack for attack in attacks if getattr(attack, "uses_gradients", False))
    asked: list[Precision] = [getattr(attack, "precision", "auto") for attack in following]
    where = str(images.device)
    chosen: dict[Arithmetic, None] = {resolve_precision(where) if each == "auto" else each: None for each in asked}
    for precision in chosen:
        found += try_gradient(model, images, precision=precision, finite=False)
    return tuple(dict.fromkeys(found))


def try_gradient(
    model: Model, images: Tensor, *, precision: Arithmetic = "fp32", finite: bool = True
) -> tuple[str, ...]:
    """Take the gradient of `images` (b, ...) in [0, 1] as an attack in `precision` would.

    finite: it has to be (attacks count those that are not). Returns: `GradientView.remarks`.

    Raises: InputError for a model that passes none to its images, or fails on the way.
    """
    with GradientView(model, precision=precision, shape=images.shape[1:]) as view:
        labels = view.evaluate(images).logits.argmax(1)
        try:
            (view.value_and_gradient if finite else view.follow)(images, labels, CrossEntropy())
        except InputError:
            raise
        except Exception as error:  # the model may be the user's own
            raise InputError(
                f"{describe(model)} fails on the way back to its images: {describe_error(error)}"
            ) from error
        return view.remarks
