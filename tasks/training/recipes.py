"""Trainings that take seconds, for models that a run trains itself instead of asking for weights."""

from __future__ import annotations

from collections.abc import Mapping

from robustray.tasks.training.settings import TrainSpec

RECIPES: Mapping[str, TrainSpec] = {
    "digits:mlp": TrainSpec(model="digits:mlp", data="digits:train", epochs=30, batch_size=64, lr=0.1, gpus=0.25),
    "digits:cnn": TrainSpec(model="digits:cnn", data="digits:train", epochs=20, batch_size=64, lr=0.1, gpus=0.25),
    "scenes:cnn": TrainSpec(model="scenes:cnn", data="scenes:train", epochs=8, batch_size=64, lr=0.2, gpus=0.25),
}
"""Model name without weights -> how it is trained."""
