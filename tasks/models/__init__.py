"""Classifiers by name: `open_model("cifar:resnet20@weights.safetensors", ...)` gives a reference the lab can ship.

Importing this loads no torch. The wrapper every model comes in is `robustray.tasks.models.normalised.Normalised`.
"""

from robustray.tasks.models.doors import check_model
from robustray.tasks.models.reference import ModelRef, open_model
from robustray.tasks.models.registry import MODELS, ModelEntry, build_model

__all__ = ["MODELS", "ModelEntry", "ModelRef", "build_model", "check_model", "open_model"]
