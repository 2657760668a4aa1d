"""The processes that train one model together, as the loop sees them. Alone, there is one.

Each gets an equal part of every batch, so that one step is the step that one device would take on the whole batch, but
for rounding (sums in another order) and for what a network draws itself (dropout: by rank). That includes batch norm:
its statistics are those of the whole batch, on all ranks. With statistics of each rank's part the training would be
another one for every number of ranks, and `ranks=(2, 4)` would depend on what else runs in the cluster.
How close several ranks stay to one device is measured: docs/design/training.md.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm

if TYPE_CHECKING:
    from robustray.tasks.training.state import TrainState


_SYNC_BUFFERS = next(  # renamed in torch 2.14
    name
    for name in ("forward_sync_buffers", "broadcast_buffers")
    if name in inspect.signature(nn.parallel.DistributedDataParallel).parameters
)


class Ranks(Protocol):
    """What the loop asks of them. Every rank makes the same calls in the same order."""

    @property
    def rank(self) -> int:
        """0 .. num_ranks - 1. Rank 0 checks, keeps and reports."""
        ...

    @property
    def num_ranks(self) -> int: ...

    def wrap(self, model: nn.Module) -> Callable[[Tensor], Tensor]:
        """The forward pass whose backward pass averages gradients over all ranks."""
        ...

    def total(self, numbers: Tensor) -> Tensor:
        """The sum over all ranks, on all of them: a new tensor. Nothing waits for the device."""
        ...

    def share(self, state: TrainState) -> None:
        """Bring every rank to the state of rank 0."""
        ...


class Alone:
    """One process."""

    rank = 0
    num_ranks = 1

    def wrap(self, model: nn.Module) -> Callable[[Tensor], Tensor]:
        return model

    def total(self, numbers: Tensor) -> Tensor:
        return numbers

    def share(self, state: TrainState) -> None:
        del state


class ProcessGroup:
    """The processes of torch.distributed's default group, which must be there: gloo on CPUs, NCCL on GPUs.

    Batch norm layers of torch's own classes have the statistics of the whole batch; layers that were frozen on purpose
    stay frozen. Classes derived from them are left as they are: each rank has the statistics of its part, and those of
    rank 0 are kept.
    """

    def __init__(self) -> None:
        self.rank, self.num_ranks = distributed.get_rank(), distributed.get_world_size()

    def wrap(self, model: nn.Module) -> Callable[[Tensor], Tensor]:
        """A copy of `model` around the same parameters and buffers: attacks go on seeing the plain layers."""
        tensors = [*model.parameters(), *model.buffers()]
        view = copy.deepcopy(model, memo={id(tensor): tensor for tensor in tensors})
        for module in view.modules():
            if type(module) in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d):
                module.__class__ = _WholeBatchNorm
        # Buffers change by the same numbers on all ranks. Broadcasting them would also write into what the first of two
        # forward passes (TRADES) keeps for its backward pass.
        options: dict[str, Any] = {_SYNC_BUFFERS: False}
        return nn.parallel.DistributedDataParallel(view, **options)

    def total(self, numbers: Tensor) -> Tensor:
        return _summed(numbers)

    def share(self, state: TrainState) -> None:
        shared: list[Any] = [(state.tensors(), state.record()) if self.rank == 0 else None]
        distributed.broadcast_object_list(shared)
        if self.rank != 0:
            state.load(*shared[0])


class _WholeBatchNorm(_BatchNorm):
    """Batch norm over all ranks' equal parts of a batch.

    torch's SyncBatchNorm does the same on GPUs and refuses CPUs. This one, on both, is what the tests see.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        """The layer that this was has checked it, or nobody can: any (batch, channels, ...) will do."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training and self.running_mean is not None:  # frozen
            return super().forward(input)
        num_ranks = distributed.get_world_size()
        dims, shape = [0, *range(2, input.ndim)], [1, -1, *[1] * (input.ndim - 2)]
        values = input.float()
        mean: Tensor = _Sum.apply(values.mean(dims)) / num_ranks
        centred = values - mean.view(shape)
        variance: Tensor = _Sum.apply(centred.square().mean(dims)) / num_ranks
        self._follow(mean.detach(), variance.detach(), num_ranks * input.numel() // input.shape[1])
        result = centred * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            result = result * self.weight.view(shape) + self.bias.view(shape)
        return result.to(input.dtype)

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor, count: int) -> None:
        """Move the running statistics as torch does: with the unbiased variance."""
        if not self.training or self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance * (count / (count - 1)), share)


class _Sum(torch.autograd.Function):
    """The sum over all ranks; so is its gradient."""

    @staticmethod
    def forward(ctx: Any, numbers: Tensor) -> Tensor:
        return _summed(numbers)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return _summed(gradients[0])


def _summed(numbers: Tensor) -> Tensor:
    result = numbers.detach().clone(memory_format=torch.contiguous_format)
    distributed.all_reduce(result)
    return result
