"""`robustray tune --wandb PROJECT` and `--mlflow URI`: the trials of a grid in Weights & Biases or MLflow, by Ray's own
callbacks. Neither package is a dependency: `pip install "robustray[track]"` brings both."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from robustray.tasks.errors import InputError

if TYPE_CHECKING:
    from ray.tune import Callback

SECRETS = ("WANDB_API_KEY",)
"""Left out of the environment of the processes that Ray's callback starts: its dashboard shows it, and offline files
need no key."""


@dataclass(frozen=True, kw_only=True)
class Tracking:
    """Where trials are shown besides the grid's own page."""

    wandb: str = ""
    """Project. Written as offline files on this machine, without network and without a key; `wandb sync` sends them."""
    mlflow: str = ""
    """Tracking URI: sqlite:///FILE, or http(s)://HOST of a server."""

    def check(self) -> None:
        """Raises: InputError for a package that is not installed, or a URI that would put a password into logs."""
        if urlsplit(self.mlflow).password is not None:
            raise InputError(
                "--mlflow: the URI holds a password, and command lines are kept with what they computed: put it into "
                "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
            )
        for flag, value, package in (("--wandb", self.wandb, "wandb"), ("--mlflow", self.mlflow, "mlflow")):
            if value and importlib.util.find_spec(package) is None:
                raise InputError(
                    f'{flag} {value}: {package} is not installed: pip install {package} (or "robustray[track]")'
                )

    def callbacks(self, grid: str, folder: Path) -> list[Callback]:
        """grid: name of the grid, under which its trials are grouped. folder: for the offline files."""
        found: list[Callback] = []
        if self.wandb:
            from ray.air.integrations.wandb import WandbLoggerCallback

            for name in SECRETS:
                os.environ.pop(name, None)
            os.environ["WANDB_MODE"] = "offline"  # Ray's callback asks for a key otherwise
            folder.mkdir(parents=True, exist_ok=True)
            options: dict[str, Any] = {"mode": "offline", "dir": str(folder), "save_code": False}
            found.append(WandbLoggerCallback(project=self.wandb, group=grid, **options))
        if self.mlflow:
            from ray.air.integrations.mlflow import MLflowLoggerCallback

            found.append(MLflowLoggerCallback(tracking_uri=self.mlflow, experiment_name=grid))
        return found

    def where(self, folder: Path) -> Sequence[str]:
        """What the command says about it, a line each."""
        lines = [f"W&B: wandb sync {folder}/wandb/offline-run-*"] if self.wandb else []
        return [*lines, *([f"MLflow: {self.mlflow}"] if self.mlflow else [])]
