"""The rules of an audit: what speaks against a robust accuracy, each in one place. Imports no torch.

How often they flag what is planted, and what is not: `benchmarks/audit.py`, docs/audit.md.
"""

from __future__ import annotations

from collections.abc import Mapping

from robustray.tasks.audit.findings import Rule

RULES: Mapping[str, Rule] = {
    "gradient": Rule(
        asks="does a gradient arrive at the images?", figure="images without a gradient", limit=0.0, fmt="percent"
    ),
    "zero gradient": Rule(
        asks="is the gradient of the loss exactly zero, or not finite?",
        figure="images whose gradient is so",
        limit=0.05,
    ),
    "slope along the gradient": Rule(
        asks="does the loss change along the gradient as the gradient says?",
        figure="median relative error, to central differences",
        limit=0.25,
        fmt="number",
    ),
    "slope in random directions": Rule(
        asks="does the loss change in random directions as the gradient says?",
        figure="correlation with central differences",
        limit=0.8,
        above=False,
        fmt="number",
    ),
    "smoothed gradient": Rule(
        asks="does the gradient point where that of a smoothed copy points?",
        figure="median cosine with the mean gradient around",
        limit=0.03,
        above=False,
        fmt="number",
    ),
    "jumps": Rule(
        asks="do logits jump, however small the step?",
        figure="exponent of slopes as steps shrink (0.5: jumps alone)",
        limit=0.1,
        fmt="number",
    ),
    "saturation": Rule(
        asks="are logits so far apart that cross-entropy is flat?",
        figure="images whose other classes have less than 1e-6",
        limit=0.5,
    ),
    "randomness": Rule(
        asks="do the same images get the same logits again?",
        figure="largest difference, relative to the largest logit",
        limit=1e-6,
        fmt="number",
    ),
    "batch company": Rule(
        asks="do an image's logits depend on the rest of its batch?",
        figure="largest difference, relative to the largest logit",
        limit=1e-4,
        fmt="number",
    ),
    "loss along the path": Rule(
        asks="does the loss rise along the steps of PGD?", figure="images whose loss PGD-20 does not raise", limit=0.1
    ),
    "more steps": Rule(
        asks="do 100 steps and restarts break what 20 steps leave?",
        figure="images that only PGD-100 with restarts breaks",
        limit=0.15,
    ),
    "one step": Rule(
        asks="does one step break what 20 steps leave?", figure="images that only one step breaks", limit=0.1
    ),
    "larger sizes": Rule(
        asks="does a larger size break at least what a smaller one does?",
        figure="largest fall of the broken images",
        limit=0.06,
    ),
    "any size": Rule(
        asks="does a perturbation that may be anything break all images?",
        figure="images that PGD-20 breaks where all may become grey",
        limit=0.9,
        above=False,
    ),
    "square": Rule(
        asks="does Square, which sees no gradients, break what gradients leave?",
        figure="images that only Square breaks",
        limit=0.06,
    ),
    "transfer": Rule(
        asks="do examples made on another model break what gradients leave?",
        figure="images that only examples of the other model break",
        limit=0.06,
    ),
}
"""Check -> its rule, in the order in which checks are made."""
