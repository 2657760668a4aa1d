"""With what a sweep attacks, and what that costs. Imports nothing heavy: settings of studies read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from robustray.tasks.attacks.precision import Precision
from robustray.tasks.attacks.settings import ExitRule


@dataclass(frozen=True, kw_only=True)
class Options:
    """What named attacks take from a study's settings; everything else about them is in their name."""

    num_steps: int = 20
    """Gradient steps of PGD, each of size 2.5 eps / num_steps."""
    num_restarts: int = 1
    """How often PGD starts on an image that has not fallen yet."""
    random_start: bool = True
    """Whether PGD starts at a random point within eps, and not at the image itself."""
    exit_rule: ExitRule = "first_success"
    """When PGD stops on an image."""
    num_draws: int = 1
    """Random perturbations per image of the attack noise."""
    sources: tuple[str, ...] = ()
    """Models that the attack transfer crafts on."""
    precision: Precision = "auto"
    """Arithmetic of the search for adversarial images; every success is confirmed in fp32."""
    block: int = 512
    """Images per block of work for PGD with 20 steps."""


PASSED = "passes of single images"
"""In `Work.counts`: forward, or forward and gradient."""
PASSES: Mapping[str, int] = {
    "fgsm": 3,
    "rs-fgsm": 3,
    "apgd-ce": 102,
    "apgd-dlr": 102,
    "apgd-t": 9 * 102,
    "fab": 100 * 10,
    "fab-t": 9 * 206,
    "square": 5001,
    "nes": 21 * 51,
    "fast-cascade": 102 + 9 * 102,
    "autoattack": 102 + 9 * 102 + 9 * 206 + 5001,
}
"""Of an image that survives, with 10 classes: what estimates add up and what block sizes follow from. Those of PGD,
noise and transfer depend on the options, those of one's own attacks are unknown."""

PGD_20 = 22
"""Passes of the attack that `Options.block` is meant for."""
LEAST_BLOCK = 16
"""Smaller batches are filled up to this (`attacks.settings.MIN_BATCH`)."""


def passes(attack: str, options: Options) -> int:
    """Upper bound of the passes through models that `attack` takes for one image of one size."""
    crafted = (options.num_steps + 1) * options.num_restarts + 1
    known = {
        "pgd": crafted,
        "noise": 2 * options.num_draws + 1,
        "transfer": (crafted + 2) * len(options.sources) + 1,
    }
    return known.get(attack) or PASSES.get(attack, options.num_steps)


def block_size(attack: str, options: Options, *, num_restarts: int = 1) -> int:
    """Images per block of an attack, or of a stage of a cascade, so that a block costs about as much as one of PGD-20.

    It depends on nothing but the options: other blocks are other pieces, and would be computed again.
    """
    cost = PASSES.get(attack) if attack != "transfer" else passes(attack, options)
    if cost is None:  # pgd and noise, whatever their options, and one's own
        return options.block
    fitting = options.block * PGD_20 // (cost * num_restarts)
    return min(options.block, max(LEAST_BLOCK, fitting - fitting % LEAST_BLOCK))
