"""What a classifier is asked to do with pictures, and for which class. Imports nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

Edit = Literal["inpaint", "super-resolution", "translate", "sketch"]
EDITS: tuple[Edit, ...] = ("inpaint", "super-resolution", "translate", "sketch")
Task = Literal["generate", "inpaint", "super-resolution", "translate", "sketch", "paint"]
TASKS: tuple[Task, ...] = ("generate", *EDITS, "paint")
TITLES: Mapping[Task, str] = {
    "generate": "Generation",
    "inpaint": "Inpainting",
    "super-resolution": "Super-resolution",
    "translate": "Translation to another class",
    "sketch": "Sketch to image",
    "paint": "Painting with features",
}
Law = Literal["class", "noise"]
LAWS: tuple[Law, ...] = ("class", "noise")
Labels = Literal["true", "predicted", "wrong"]
LABELS: tuple[Labels, ...] = ("predicted", "true", "wrong")
"""Which class an edit asks for: what the network itself sees in the damaged picture, the true one, a random other."""
ASKED: Mapping[Edit, tuple[Labels, ...]] = {
    "inpaint": LABELS,
    "super-resolution": LABELS,
    "translate": ("wrong",),
    "sketch": ("true",),
}
"""A translation is to another class by its nature; a sketch comes with what it is meant to be."""
REPORTED: Mapping[Edit, Labels] = {task: asked[0] for task, asked in ASKED.items()}
"""The rows that claims rest on."""
