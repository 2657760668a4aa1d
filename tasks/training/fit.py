"""Any module fitted by any optimizer of torch, as `lab.optimise` runs it: a regressor, a probe, a generator.

    @optimisation(version=1)
    def regression(context):
        rows = context.load("points")
        x, y = (torch.from_numpy(np.array(rows[name])) for name in ("x", "y"))
        module = nn.Linear(2, 1)

        def loss(step):
            batch = torch.from_numpy(stream(context.seed, "batch", step).integers(len(x), size=32))
            return (module(x[batch])[:, 0] - y[batch]).square().mean()

        return Fit(module=module, optimizer=torch.optim.Adam(module.parameters()), loss=loss, num_steps=500)

Classifiers of images have `lab.train`, with held-out checks, adversaries and several processes.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from robustray.tasks.checks import check_count
from robustray.tasks.lab import seeds
from robustray.tasks.lab.resumable import below
from robustray.tasks.training.state import TrainingDiverged

_MODULE, _OPTIMIZER = "module/", "optimizer/"


@dataclass(kw_only=True, eq=False)
class Fit:
    """A fit on its way: a `robustray.tasks.lab.resumable.Optimisation`.

    Its result are the module's tensors, by their names in the state dict. Where the module draws (dropout), it draws by
    `seed` and the number of the step. How the module begins is up to the caller: give it the seed of the context.

    Raises: InputError for a number of steps below 1; TrainingDiverged, naming the step, for a loss that is not finite.
    """

    module: nn.Module
    optimizer: torch.optim.Optimizer
    """An optimizer over parameters of `module`. Its whole state is saved; its rates may be set by `loss`, from the
    step."""
    loss: Callable[[int], Tensor]
    """A function from the number of a step to its loss, a scalar. The batch is drawn by that number, see
    `lab.seeds.stream`."""
    num_steps: int
    seed: int = 0
    step: int = field(init=False, default=0)
    """Number of the next step."""

    def __post_init__(self) -> None:
        check_count("num_steps", self.num_steps, at_least=1)

    def steps(self) -> Generator[dict[str, float], None, None]:
        """Take the steps that are left. Rows: loss, before the step."""
        while self.step < self.num_steps:
            with seeds.torch_seeded(seeds.integer(self.seed, "fit", self.step)), torch.enable_grad():
                loss = self.loss(self.step)
                if not torch.isfinite(loss):
                    raise TrainingDiverged(f"the loss is not finite in step {self.step}; lower the learning rate")
                self.optimizer.zero_grad(set_to_none=True)
                loss.backward()
                self.optimizer.step()
            self.step += 1
            yield {"loss": float(loss.detach())}

    def result(self) -> dict[str, Tensor]:
        return dict(self.module.state_dict())

    # --- Written down -------------------------------------------------------------------------------------------------

    def tensors(self) -> dict[str, Tensor]:
        """See `Resumable`."""
        remembered = {
            f"{_OPTIMIZER}{number}/{name}": value
            for number, memory in self.optimizer.state_dict()["state"].items()
            for name, value in memory.items()
            if isinstance(value, Tensor)
        }
        own = {f"{_MODULE}{name}": value for name, value in self.module.state_dict().items()}
        return {name: value.detach().cpu().contiguous() for name, value in (own | remembered).items()}

    def record(self) -> dict[str, Any]:
        """See `Resumable`. What the optimizer remembers beside tensors, counts for one."""
        remembered = {
            str(number): {name: value for name, value in memory.items() if not isinstance(value, Tensor)}
            for number, memory in self.optimizer.state_dict()["state"].items()
        }
        return {"step": self.step, "remembered": remembered}

    def load(self, tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> None:
        """See `Resumable`."""
        self.module.load_state_dict(below(_MODULE, tensors))
        memory: dict[int, dict[str, Any]] = {int(number): dict(each) for number, each in record["remembered"].items()}
        for name, value in tensors.items():
            if name.startswith(_OPTIMIZER):
                _, number, what = name.split("/", 2)
                memory[int(number)][what] = value
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": memory})
        self.step = record["step"]
