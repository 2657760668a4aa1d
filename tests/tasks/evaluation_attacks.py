"""An attack of one's own that counts its calls in a file, and ends its process in one of them."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from robustray.tasks.attacks import FGSM
from robustray.tasks.attacks.result import AttackResult
from robustray.tasks.attacks.settings import Norm


@dataclass(frozen=True)
class Counted:
    """FGSM. `file` gets a line for each call; the call `dies_in` is killed from within."""

    norm: Norm
    eps: float
    file: str

    def __call__(
        self, model: Any, images: Tensor, labels: Tensor, *, seed: int, indices: Sequence[int]
    ) -> AttackResult:
        file = Path(self.file)
        with file.open("a") as lines:
            print(len(indices), file=lines)
        if len(file.read_text().splitlines()) == int(os.environ.get("DIES_IN", "0")):
            os.kill(os.getpid(), signal.SIGKILL)
        return FGSM(norm=self.norm, eps=self.eps)(model, images, labels, seed=seed, indices=indices)
