"""Does what fools one model fool another? Adversarial examples are made on a source and shown to targets.

On images that both classify correctly; untargeted (Ilyas et al., arXiv:1905.02175, section 3.2) or towards a class.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from robustray.tasks.attacks.blocks import attack_block, load_images, refuse_stochastic
from robustray.tasks.attacks.settings import PGD, Attack
from robustray.tasks.errors import InputError
from robustray.tasks.lab.protocol import Context, Tensor, block_function
from robustray.tasks.statistics.intervals import wilson

if TYPE_CHECKING:
    import torch

    from robustray.tasks.attacks.gradient.verdicts import Model
    from robustray.tasks.attacks.result import AttackResult


@dataclass(frozen=True, kw_only=True)
class Rate:
    """Share of images whose adversarial example fools a model."""

    fooled: int
    n: int
    """Images that count: both models classify them correctly as they are."""

    @property
    def value(self) -> float:
        """Rate in [0, 1]; NaN without images."""
        return self.fooled / self.n if self.n else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval of the share; (0, 1) without images."""
        lo, hi = wilson(self.fooled, self.n)
        return float(lo), float(hi)


@dataclass(frozen=True, kw_only=True, eq=False)
class TransferResult:
    """What `transfer` returns. b = number of images."""

    attack: Attack
    """The attack with its eps and steps; rates at other ones can't be compared."""
    crafted: AttackResult
    """The examples, and the source's own verdict on them."""
    labels: torch.Tensor
    """(b,) int64."""
    clean_predictions: Mapping[str, torch.Tensor]
    """Target -> (b,) int64: its prediction on the images as they are."""
    predictions: Mapping[str, torch.Tensor]
    """Target -> (b,) int64: its prediction on the examples."""

    def rate(self, target: str) -> Rate:
        """Untargeted rate: share of the images that source and target classify correctly on which the target errs."""
        both = self._source_right & (self.clean_predictions[target] == self.labels)
        fooled = both & (self.predictions[target] != self.labels)
        return Rate(fooled=int(fooled.sum()), n=int(both.sum()))

    @property
    def white_box(self) -> Rate:
        """The source's own rate, on the images that it classifies correctly. Say it beside every transfer rate."""
        fooled = self._source_right & (self.crafted.predictions != self.labels)
        return Rate(fooled=int(fooled.sum()), n=int(self._source_right.sum()))

    @property
    def _source_right(self) -> torch.Tensor:
        return self.crafted.clean_predictions == self.labels


def transfer(
    attack: Attack,
    source: Model,
    targets: Mapping[str, Model],
    images: torch.Tensor,
    labels: torch.Tensor,
    *,
    seed: int = 0,
    indices: Sequence[int] | torch.Tensor | None = None,
) -> TransferResult:
    """Make adversarial examples on `source` with `attack`, show them to every target, and count.

        found = transfer(crafting(norm="linf", eps=8 / 255), resnet, {"small": small, "resnet": resnet}, images, labels)
        found.rate("small").value, found.white_box.value

    Take an attack that uses all its steps and returns the iterate of highest loss, as `crafting` does. One that stops
    at its first success returns points just across the source's own decision boundary, which another model, whose
    boundary lies elsewhere, mostly still classifies correctly: the rate would say little about the models. The source
    itself may be a target: that rate is the white-box rate.

    images: (b, ...) float32 in [0, 1]; labels: (b,) int64; seed, indices: as in every attack (`PGD.__call__`).
    Raises: InputError for arguments that do not fit, and for models of different numbers of classes.
    """
    from robustray.tasks.attacks.gradient.verdicts import predict_logits

    crafted = attack(source, images, labels, seed=seed, indices=indices)
    clean = {name: predict_logits(target, images) for name, target in targets.items()}
    seen = {name: predict_logits(target, crafted.images) for name, target in targets.items()}
    classes = {name: logits.shape[1] for name, logits in clean.items()}
    classes["the source"] = predict_logits(source, images[:1]).shape[1]
    if len(set(classes.values())) > 1:
        words = ", ".join(f"{name} {count}" for name, count in classes.items())
        raise InputError(f"transfer: models must share one set of labels; their numbers of classes: {words}")
    return TransferResult(
        attack=attack,
        crafted=crafted,
        labels=labels,
        clean_predictions={name: _classes(logits) for name, logits in clean.items()},
        predictions={name: _classes(logits) for name, logits in seen.items()},
    )


def _classes(logits: torch.Tensor) -> torch.Tensor:
    """Classes of highest logit; none for no images, whose logits have no classes."""
    return logits.argmax(1) if len(logits) else logits.new_zeros(0).long()


def crafting(**settings: Any) -> PGD:
    """PGD as it should be to transfer: all steps, and of all iterates the one of highest loss. settings: of `PGD`."""
    return PGD(**{**settings, "exit_rule": "best_loss"})


# --- What a lab maps over the images of a data set --------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """Settings of the two block functions below: an attack, and under which names `context.load` finds models."""

    attack: Attack
    models: tuple[str, ...]


@block_function(
    version=1,
    columns={
        "index": pa.int64(),
        "label": pa.int16(),
        "white_box": pa.bool_(),
        "clean_predictions": Tensor("int16"),
        "predictions": Tensor("int16"),
    },
)
def transfer_block(indices: Sequence[int], context: Context) -> Mapping[str, Any]:
    """Examples made on "source" with `context.settings.attack`, seen by all of `context.settings.models`.

    The examples themselves are not kept. white_box: the source errs on its own. Predictions: (models,), in the order
    of the settings. Refs: "data", "source" and the models.
    """
    import numpy as np

    images, labels = load_images(indices, context)
    task: Exchange = context.settings
    targets = {name: context.load(name) for name in task.models}
    found = transfer(
        task.attack, context.load("source"), targets, images, labels, seed=context.seed, indices=list(indices)
    )
    refuse_stochastic(found.crafted)

    def columns(predictions: Mapping[str, torch.Tensor]) -> Any:
        return np.stack([predictions[name].cpu().numpy().astype(np.int16) for name in task.models], axis=1)

    return {
        "index": indices,
        "label": labels,
        "white_box": found.crafted.predictions != labels,
        "clean_predictions": columns(found.clean_predictions),
        "predictions": columns(found.predictions),
    }


@block_function(version=2, columns=attack_block.columns)
def transferred_block(indices: Sequence[int], context: Context) -> Mapping[str, Any]:
    """The other way round: examples from all of `context.settings.models`, tried on "model".

    Of several sources the example that fools the model counts, else the one of largest margin on it; `loss` is that
    margin. An image's passes through all models are counted. Where the model errs without one, nothing is crafted.
    """
    import torch

    from robustray.tasks.attacks.gradient.verdicts import predict_logits
    from robustray.tasks.attacks.objective import Margin, ModelOutput
    from robustray.tasks.attacks.search.cascade import merge_stage

    images, labels = load_images(indices, context)
    task: Exchange = context.settings
    model = context.load("model")

    def seen(points: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        logits = predict_logits(model, points)
        prediction = logits.argmax(1)
        margin = Margin().loss(ModelOutput(logits), points, labels)
        return {"prediction": prediction, "success": prediction != labels, "loss": margin}

    whole = seen(images, labels)
    clean_prediction = whole["prediction"].clone()
    whole |= {"distance": torch.zeros_like(whole["loss"]), "evaluations": torch.ones_like(labels)}
    whole["first_gradient"] = torch.full_like(whole["loss"], torch.nan)
    for name in task.models:
        standing = (~whole["success"]).nonzero()[:, 0]
        if len(standing) == 0:
            break
        crafted = task.attack(
            context.load(name),
            images[standing],
            labels[standing],
            seed=context.seed,
            indices=[indices[position] for position in standing.tolist()],
        )
        refuse_stochastic(crafted)
        found = seen(crafted.images, labels[standing])
        found |= {"distance": crafted.distance, "evaluations": crafted.num_evaluations + 1}
        if crafted.first_gradient is not None:
            found["first_gradient"] = crafted.first_gradient
        merge_stage(whole, found, standing, counted="evaluations")
    return {"index": indices, "label": labels, "clean_prediction": clean_prediction, **whole}
