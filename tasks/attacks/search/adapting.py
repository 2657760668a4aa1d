"""Runs the stages that an audit chose, each on the images that still stand (`attacks.adaptive`)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from robustray.tasks.attacks.adaptive import Adaptive
from robustray.tasks.attacks.doors import check_arguments, check_class_range
from robustray.tasks.attacks.family import ApgdCE, ApgdDLR, ApgdT, Square
from robustray.tasks.attacks.gradient.refusals import Model
from robustray.tasks.attacks.gradient.stand_ins import averaged, guided, rescaled, smoothed, votes
from robustray.tasks.attacks.gradient.unmasking import unmasked
from robustray.tasks.attacks.gradient.verdicts import predict_logits
from robustray.tasks.attacks.nes import NES
from robustray.tasks.attacks.objective import Margin, ModelOutput
from robustray.tasks.attacks.search.cascade import STANDS, WRONG_BEFORE, CascadeResult, merge_stage
from robustray.tasks.attacks.search.norms import GEOMETRIES
from robustray.tasks.attacks.settings import PGD, Attack
from robustray.tasks.audit.audit import look
from robustray.tasks.audit.findings import Finding
from robustray.tasks.audit.logits import temperature
from robustray.tasks.audit.subject import Subject
from robustray.tasks.models.watching import watched

LOOKED_AT = 16
"""Images of a call that are audited."""
SMOOTHED = 0.5
"""Radius of the smoothed copy, in units of eps."""
MASKS = frozenset({"gradient", "zero gradient", "slope along the gradient", "slope in random directions", "jumps"})
"""Findings against which gradients are passed straight through."""


@dataclass(frozen=True)
class AdaptiveStage:
    """An attack, and what it follows in the model's place."""

    name: str
    attack: Attack
    model: Model


@dataclass(frozen=True, kw_only=True, eq=False)
class Diagnosis:
    """What an audit's cheap checks said of a model."""

    findings: tuple[Finding, ...]
    gradients: bool
    warmth: float
    """By what logits are divided."""
    guide: Model | None
    """The model with its masks passed straight through; None where nothing is masked or no gradient can be had."""

    def has(self, *checks: str) -> bool:
        return any(each.check in checks and each.verdict == "no evidence" for each in self.findings)

    @property
    def found(self) -> bool:
        """Whether anything speaks against gradients."""
        return any(each.verdict == "no evidence" for each in self.findings)

    @property
    def random(self) -> bool:
        return self.has("randomness")


def diagnose(model: Model, images: Tensor, attack: Adaptive, seed: int) -> Diagnosis:
    """The checks of an audit that run no attacks, on the first images."""
    few = images[:LOOKED_AT]
    subject = Subject.of(model, few, norm=attack.norm, eps=attack.eps, seed=seed)
    findings, operations = look(subject)
    masked = any(each.check in MASKS and each.verdict == "no evidence" for each in findings)
    layers = [each.layer for each in operations if each.kind in ("step", "rank", "mask", "leaves") and each.layer]
    layers += [each.layer for each in findings if each.layer and each.check != "randomness"]
    with watched(model):
        guide = unmasked(model, few[:2], tuple(dict.fromkeys(layers))) if masked else None
        with torch.random.fork_rng(devices=[]):
            warmth = temperature(predict_logits(model, few))
    return Diagnosis(findings=tuple(findings), gradients=subject.gradients, warmth=warmth, guide=guide)


def stages_for(
    attack: Adaptive, model: Model, diagnosis: Diagnosis, seed: int, num_classes: int, pixels: int
) -> Iterator[AdaptiveStage]:
    """What helps, the cheapest first. pixels: numbers in one image."""
    common = {"norm": attack.norm, "eps": attack.eps, "batch_size": attack.batch_size, "precision": attack.precision}
    entropy: Attack = ApgdCE(**common, num_steps=attack.num_steps)  # type: ignore[arg-type]
    margin = _margin_attack(attack, common, num_classes)
    followed = model
    if diagnosis.random:
        followed = averaged(diagnosis.guide or model, samples=attack.eot_samples, seed=seed)
    prefix = "eot " if diagnosis.random else ""
    if diagnosis.gradients:
        yield AdaptiveStage(f"{prefix}apgd-ce", entropy, followed)
        if diagnosis.has("saturation", "zero gradient") and diagnosis.warmth > 1:
            yield AdaptiveStage(f"{prefix}rescaled apgd-ce", entropy, rescaled(followed, diagnosis.warmth))
        yield AdaptiveStage(f"{prefix}{_name(margin)}", margin, followed)
    if diagnosis.guide is not None and not diagnosis.random:
        straight = guided(model, diagnosis.guide)
        warm = rescaled(straight, diagnosis.warmth)
        yield AdaptiveStage("straight-through apgd-ce", entropy, warm)
        yield AdaptiveStage(f"straight-through {_name(margin)}", margin, warm)
    ripples = diagnosis.has("smoothed gradient", "jumps", "slope in random directions")
    if not diagnosis.random and (ripples or diagnosis.guide is not None) and (diagnosis.guide or diagnosis.gradients):
        scale = attack.eps if attack.norm == "linf" else attack.eps / math.sqrt(pixels)
        soft = smoothed(diagnosis.guide or model, SMOOTHED * scale, samples=attack.eot_samples, seed=seed)
        soft = rescaled(soft, diagnosis.warmth)
        yield AdaptiveStage("smoothed apgd-ce", entropy, guided(rescaled(model, diagnosis.warmth), soft))
        crafting = PGD(**common, num_steps=attack.num_steps, exit_rule="best_loss", attack_misclassified=True)  # type: ignore[arg-type]
        yield AdaptiveStage("transfer from the smoothed copy", crafting, soft)
    if not diagnosis.gradients and diagnosis.guide is None:
        yield AdaptiveStage("nes", NES(norm=attack.norm, eps=attack.eps, batch_size=attack.batch_size), model)
    queries = attack.num_queries * (2 if diagnosis.found else 1)
    yield AdaptiveStage(f"{prefix}square", Square(**common, num_queries=queries), followed)  # type: ignore[arg-type]


def _margin_attack(attack: Adaptive, common: dict[str, Any], num_classes: int) -> Attack:
    """On a margin, which has no scale, as far as there are classes enough for one."""
    if num_classes >= ApgdT.min_classes:
        return ApgdT(**common, num_steps=attack.num_steps)
    if num_classes >= ApgdDLR.min_classes:
        return ApgdDLR(**common, num_steps=attack.num_steps)
    return PGD(**common, num_steps=attack.num_steps, num_restarts=5)


def _name(attack: Attack) -> str:
    return str(getattr(attack, "name", type(attack).__name__))


def run_adaptive(
    attack: Adaptive,
    model: Model,
    images: Tensor,
    labels: Tensor,
    *,
    seed: int,
    indices: Sequence[int] | Tensor | None,
) -> CascadeResult:
    """The call of `Adaptive`."""
    plan = PGD(norm=attack.norm, eps=attack.eps).plan()
    problem = check_arguments(plan, model, images, labels, indices=indices, objective=None, mask=None, targets=None)
    if len(images) == 0:
        return _nothing(problem.images, problem.labels)
    with watched(model):
        check_class_range("labels", problem.labels, predict_logits(model, problem.images[:1]).shape[1], model)
        diagnosis = diagnose(model, problem.images, attack, seed)
        judge = votes(model, draws=attack.num_draws, seed=seed) if diagnosis.random else model
        logits = predict_logits(judge, problem.images)
        whole: dict[str, Any] = _scored(problem.images, problem.images, logits, problem.labels, attack)
        fell_to = torch.where(whole["success"], WRONG_BEFORE, STANDS)
        names, last = [], None
        pixels = problem.images[0].numel()
        for position, stage in enumerate(stages_for(attack, model, diagnosis, seed, logits.shape[1], pixels)):
            names.append(stage.name)
            standing = (~whole["success"]).nonzero()[:, 0]
            if not len(standing):
                continue
            centres, wanted = problem.images[standing], problem.labels[standing]
            last = stage.attack(stage.model, centres, wanted, seed=seed, indices=problem.indices[standing])
            found = _scored(last.images, centres, predict_logits(judge, last.images), wanted, attack)
            found["num_evaluations"] = last.num_evaluations + 1
            if last.first_gradient is not None:
                found["first_gradient"] = last.first_gradient
            merge_stage(whole, found, standing, counted="num_evaluations")
            fell_to[standing[found["success"]]] = position
    return CascadeResult(
        **whole,
        clean_predictions=logits.argmax(1),
        warnings=tuple(_warnings(attack, diagnosis)),
        precision="fp32" if last is None else last.precision,
        stages=tuple(names),
        fell_to=fell_to,
    )


def _warnings(attack: Adaptive, diagnosis: Diagnosis) -> Iterator[str]:
    if diagnosis.random:
        yield (
            f"the model is random: an image counts as robust if the majority of {attack.num_draws} draws stays right, "
            f"gradients are means over {attack.eot_samples} other draws"
        )


def _scored(points: Tensor, centres: Tensor, logits: Tensor, labels: Tensor, attack: Adaptive) -> dict[str, Tensor]:
    """What the model's own verdict on some points is."""
    predictions = logits.argmax(1)
    return {
        "images": points.clone(),
        "success": predictions != labels,
        "loss": Margin().loss(ModelOutput(logits), points, labels),
        "distance": GEOMETRIES[attack.norm].size(points - centres),
        "predictions": predictions,
        "num_evaluations": torch.ones_like(labels),
        "first_gradient": torch.full_like(logits[:, 0], torch.nan),
    }


def _nothing(images: Tensor, labels: Tensor) -> CascadeResult:
    empty = images.new_zeros(0)
    return CascadeResult(
        images=images,
        success=labels.bool(),
        loss=empty,
        distance=empty,
        predictions=labels,
        clean_predictions=labels,
        num_evaluations=labels,
        first_gradient=empty,
        stages=(),
        fell_to=labels,
    )
