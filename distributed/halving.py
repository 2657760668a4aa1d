"""`robustray tune --asha`: Ray Tune's ASHA among trainings that differ in what one chooses, and in nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ray.tune.schedulers import ASHAScheduler, FIFOScheduler

from robustray.tasks.grids.settings import Grid


class HalvingScheduler(FIFOScheduler):
    """One `ASHAScheduler` for each combination of the factors that nobody chooses: a training against large
    perturbations is never stopped because those against small ones look better."""

    def __init__(
        self, grid: Grid, place_of: Callable[[Mapping[str, Any]], int], stopped: Callable[[str, int, int], None]
    ) -> None:
        """place_of: a trial's configuration -> place of its cell in the grid. stopped: called with a trial's cell (as
        in its results), the epoch after which it is stopped, and its epochs in all."""
        super().__init__()
        assert grid.halving is not None
        self._grid, self._place_of, self._stopped = grid, place_of, stopped
        self._groups: dict[tuple[Any, ...], ASHAScheduler] = {}

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Whether a training goes on, after each of its epochs but the last."""
        cell = self._grid.cells[self._place_of(trial.config)]
        epoch, epochs = int(result.get("curve/epoch", 0)), cell.settings.epochs
        if not 0 < epoch < epochs:
            return self.CONTINUE
        group = self._group(tuple(v for name, v in cell.levels.items() if name not in self._grid.choose), epochs)
        if trial.trial_id not in group._trial_info:
            group.on_trial_add(tune_controller, trial)
        decision = group.on_trial_result(tune_controller, trial, result)
        if decision == self.STOP:
            self._stopped(result["cell"], epoch, epochs)
        return decision

    def _group(self, levels: tuple[Any, ...], epochs: int) -> ASHAScheduler:
        halving, outcome = self._grid.halving, self._grid.outcomes[0]
        assert halving is not None
        if levels not in self._groups:
            self._groups[levels] = ASHAScheduler(
                time_attr="curve/epoch",
                metric=f"curve/{outcome.name}",
                mode="max" if outcome.better == "higher" else "min",
                max_t=max(epochs, halving.first),
                grace_period=halving.first,
                reduction_factor=halving.factor,
                stop_last_trials=False,
            )
        return self._groups[levels]
