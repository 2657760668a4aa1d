"""The audit: all checks of one model, in their order."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace

from robustray.tasks.attacks.gradient.refusals import Model
from robustray.tasks.audit.findings import Finding
from robustray.tasks.audit.gradients import check_gradients, check_jumps
from robustray.tasks.audit.layers import cut_at, layer_of
from robustray.tasks.audit.logits import check_saturation
from robustray.tasks.audit.paths import check_paths
from robustray.tasks.audit.stability import check_stability
from robustray.tasks.audit.subject import Subject
from robustray.tasks.audit.tracing import Operation, trace
from robustray.tasks.lab.seeds import torch_seeded
from robustray.tasks.models.watching import watched

NO_GRADIENT = "no gradient arrives at the images: only attacks that need none (square, nes, transfer) can be run"
NO_LOGITS = (
    "the model says classes and no logits: only Square, which then searches blindly, and transfer can be tried, and an "
    "attacker who has the weights does better"
)


def look(subject: Subject) -> tuple[list[Finding], tuple[Operation, ...]]:
    """The checks that cost a few dozen passes: all but those that run attacks, and what was found by tracing."""
    found: list[Finding] = []
    operations = tuple(_traced(subject))
    with _untouched(subject):
        found += check_stability(subject)
    random = any(each.check == "randomness" and each.verdict == "no evidence" for each in found)
    subject = replace(subject, random=random)
    with _untouched(subject):
        if subject.gradients:
            found += check_gradients(subject)
        else:
            found.append(
                Finding(
                    check="gradient",
                    verdict="no evidence",
                    figure=1.0,
                    because=NO_LOGITS if subject.hard else NO_GRADIENT,
                    remedy="square, transfer" if subject.hard else "adaptive, square, nes",
                )
            )
        if not random and not subject.hard:
            found.append(check_jumps(subject))
        if not subject.hard:
            found.append(check_saturation(subject))
    return [_placed(each, subject, operations) for each in found], operations


def attacks(subject: Subject, surrogate: Model | None = None) -> list[Finding]:
    """The checks that run attacks: some thousand passes of the images."""
    with _untouched(subject):
        return list(check_paths(subject, surrogate))


def _traced(subject: Subject) -> Iterator[Operation]:
    """Nothing where the model runs on none of our tensors."""
    with _untouched(subject), contextlib.suppress(NotImplementedError, RuntimeError):
        yield from trace(subject.model, subject.images[:2])


def _placed(finding: Finding, subject: Subject, operations: Sequence[Operation]) -> Finding:
    """With the layer, where it can be known."""
    if finding.verdict != "no evidence" or finding.layer:
        return finding
    layer, name = layer_of(finding.check, operations)
    if not layer and finding.check in ("gradient", "zero gradient"):
        with _untouched(subject), contextlib.suppress(RuntimeError):
            layer = cut_at(subject.model, subject.images)
    if name:
        finding = replace(finding, because=f"{finding.because} ({name})")
    return replace(finding, layer=layer)


@contextlib.contextmanager
def _untouched(subject: Subject) -> Iterator[None]:
    """Inside, the model is in evaluation mode and draws from the subject's seed; on leaving, modes, buffers and torch's
    generators are what they were."""
    with watched(subject.model), torch_seeded(subject.seed):
        yield
