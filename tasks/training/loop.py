"""The training loop: plain PyTorch, resumable at every step, deterministic to the bit on a CPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import nn

from robustray.tasks.data.images import ImageData
from robustray.tasks.training.batches import Batches
from robustray.tasks.training.doors import check_fit
from robustray.tasks.training.evaluate import count_correct, flag
from robustray.tasks.training.parts import normalisation
from robustray.tasks.training.ranks import Alone, Ranks
from robustray.tasks.training.settings import TrainSpec
from robustray.tasks.training.state import EMA, WEIGHTS, Row, Snapshot, TrainState, initial_model
from robustray.tasks.training.step import TrainStep

_LOOK_EVERY = 50
"""Steps between two looks at whether losses are finite, where a look waits for a GPU. The step named is exact."""


class Keeper(Protocol):
    """Who keeps states while a training runs."""

    def restore(self, state: TrainState) -> None:
        """Bring a fresh state to where an earlier attempt got; leave it alone if there was none."""
        ...

    def due(self, step: int) -> bool:
        """Is it time to keep a state? Asked after every step, and after every epoch's check."""
        ...

    def save(self, state: TrainState) -> None: ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Trained:
    """What a training leaves."""

    weights: Mapping[str, Snapshot]
    """"last"; "best" if images were held out; "ema" if there is an average: its best or last, as `spec.select` says."""
    curve: tuple[Row, ...]
    why_not_folded: str
    """Why attacks ran on the model itself; empty if they ran on a folded copy, or there were none."""
    normalisation: Mapping[str, list[float]]
    """{"mean", "std"} that came with the model that it started from; {}: those of the architecture."""


def train_model(
    spec: TrainSpec,
    data: ImageData,
    device: str,
    *,
    keeper: Keeper | None = None,
    report: Callable[[Sequence[Row]], None] | None = None,
    ranks: Ranks | None = None,
    initial: nn.Module | None = None,
) -> Trained:
    """Train `spec.model` from its seed on `data` without the held-out images.

    device: "cpu", "cuda". keeper: where it keeps states, and finds those of an earlier attempt. report: called after
    each epoch with the curve so far. Both are asked on rank 0 only; the others get what it restored. initial: the model
    behind `spec.initial`, if it has one.

    Columns of the curve: epoch (from 1), loss and accuracy (on the training batches as they came, perturbed), lr and
    eps (of the epoch's last step); where checked, clean_accuracy and robust_accuracy of the held-out images, the same
    with the prefix ema_, and flag ("", "robust overfitting", "catastrophic overfitting").

    Raises: TrainingDiverged, naming the first step whose loss was not finite; on all ranks at once, unless rank 0 finds
    weights that are not finite when it keeps a state. InputError for data that do not fit.
    """
    spec = spec.settled(device)
    check_fit(spec, data)
    devices = [] if device == "cpu" else [torch.cuda.current_device()]
    with torch.random.fork_rng(devices=devices):  # leave the worker's generators alone
        return _train(spec, data, device, keeper, report, ranks or Alone(), initial)


def _train(
    spec: TrainSpec,
    data: ImageData,
    device: str,
    keeper: Keeper | None,
    report: Callable[[Sequence[Row]], None] | None,
    ranks: Ranks,
    initial: nn.Module | None,
) -> Trained:
    batches = Batches(spec, data, device, rank=ranks.rank, num_ranks=ranks.num_ranks)
    steps_per_epoch = batches.steps_per_epoch
    state = TrainState.start(spec, initial_model(spec, data.num_classes, initial), device)
    if keeper is not None and ranks.rank == 0:
        keeper.restore(state)
    ranks.share(state)
    step = TrainStep(state, shape=torch.Size(data.shape), steps_per_epoch=steps_per_epoch, ranks=ranks)
    while len(state.curve) < spec.epochs:
        if state.step < (len(state.curve) + 1) * steps_per_epoch:
            step(batches[state.step])
            if device == "cpu" or state.step % _LOOK_EVERY == 0:
                state.refuse_non_finite()
        else:
            _close_epoch(state, batches, data, device, ranks)
            if report is not None and ranks.rank == 0:
                report(state.curve)
        if keeper is not None and ranks.rank == 0 and keeper.due(state.step):
            state.refuse_non_finite(weights=True)
            keeper.save(state)
    return Trained(
        weights=_weights(state),
        curve=tuple(state.curve),
        why_not_folded=step.adversary.why_not_folded,
        normalisation=normalisation(state.model) if initial is not None else {},
    )


def _close_epoch(state: TrainState, batches: Batches, data: ImageData, device: str, ranks: Ranks) -> None:
    """Write the epoch's row, check the weights on the held-out images, and keep them if they are the best."""
    spec, epoch = state.spec, len(state.curve) + 1
    state.refuse_non_finite(weights=True)
    row: Row = {
        "epoch": epoch,
        "loss": float(state.loss_sum) / batches.steps_per_epoch,
        "accuracy": float(state.num_correct) / (batches.steps_per_epoch * spec.batch_size),
        "lr": spec.learning_rate(state.step - 1, batches.num_steps),
        "eps": spec.train_eps((state.step - 1) / batches.steps_per_epoch),
    }
    held_out = batches.held_out
    if len(held_out) and (epoch % spec.check_every == 0 or epoch == spec.epochs):
        for name, network in state.networks.items():
            counts = torch.zeros(2, dtype=torch.float64)
            if ranks.rank == 0:
                counts += torch.tensor(count_correct(spec, network, data, held_out, device))
            clean, robust = (ranks.total(counts.to(device)) / len(held_out)).tolist()
            prefix = "" if name == WEIGHTS else f"{name}_"
            row |= {f"{prefix}clean_accuracy": clean} | ({f"{prefix}robust_accuracy": robust} if spec.eps else {})
            if name not in state.best or robust > state.best[name].score:
                state.best[name] = state.snapshot(name, epoch=epoch, score=robust)
        row["flag"] = flag(row, state.curve, len(held_out), data.num_classes)
    state.loss_sum.zero_()
    state.num_correct.zero_()
    state.curve.append(row)


def _weights(state: TrainState) -> dict[str, Snapshot]:
    spec, last = state.spec, state.curve[-1]
    score = _score(last, "")
    found = {"last": state.snapshot(WEIGHTS, epoch=spec.epochs, score=score)}
    if WEIGHTS in state.best:
        found["best"] = state.best[WEIGHTS]
    if state.ema is not None:
        last_ema = state.snapshot(EMA, epoch=spec.epochs, score=_score(last, "ema_"))
        found[EMA] = state.best[EMA] if spec.select == "best" else last_ema
    return found


def _score(row: Row, prefix: str) -> float:
    for name in ("robust_accuracy", "clean_accuracy"):
        if prefix + name in row:
            return row[prefix + name]
    return 0.0
