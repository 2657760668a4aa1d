"""A slow environment."""

from __future__ import annotations

import time
from typing import Any

import gymnasium

PAUSE_S = 0.005


class SlowHopper(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Hopper-v5 that also waits five milliseconds a step, as a simulator elsewhere would."""

    def __init__(self) -> None:
        super().__init__(gymnasium.make("Hopper-v5"))

    def step(self, action: Any) -> Any:
        time.sleep(PAUSE_S)
        return super().step(action)
