"""The attacks of a sweep, and what they cost. Imports nothing heavy, since settings of studies read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from robustray.tasks.attacks.precision import PRECISIONS, Precision
from robustray.tasks.attacks.settings import ExitRule
from robustray.tasks.cost import Part
from robustray.tasks.kit import checks


@dataclass(frozen=True, kw_only=True)
class Options:
    """What named attacks take from a study's settings, which may inherit from these; everything else about them is in
    their name."""

    num_steps: int = 20
    """Steps of PGD, each of size 2.5 eps / num_steps."""
    num_restarts: int = 1
    """Random starts of PGD."""
    random_start: bool = True
    """Start PGD at a random point of the ball."""
    exit_rule: ExitRule = "first_success"
    """When PGD leaves an image: at the first success, or after all steps (last iterate, or the one of highest loss)."""
    num_draws: int = 1
    """Draws of the noise attack."""
    sources: tuple[str, ...] = ()
    """Models whose adversarial examples the attack transfer tries on each of the models (never on the one they were
    made with)."""
    precision: Precision = "auto"
    """Arithmetic of the search; auto is bf16 where the hardware multiplies it. Verdicts are always fp32."""
    block: int = 512
    """Images per block of work for PGD with 20 steps: 5 to 30 s on one CPU core with the models of the small size.
    Attacks that cost more get smaller blocks, down to 16 images; pgd, fgsm and noise take it as it is."""

    def __post_init__(self) -> None:
        checks.choices(("first_success", "last", "best_loss"), exit_rule=self.exit_rule)
        checks.choices(PRECISIONS, precision=self.precision)
        checks.counts(at_least=1, num_steps=self.num_steps, num_restarts=self.num_restarts, num_draws=self.num_draws)
        checks.counts(at_least=1, block=self.block)
        if self.sources:
            checks.several(sources=self.sources)


PASSED = "passes of single images"
"""What `Work.counts` counts: an image goes forward through a model once, with or without its gradient."""
PASSES: Mapping[str, int] = {
    "fgsm": 3,
    "rs-fgsm": 3,
    "apgd-ce": 102,
    "apgd-dlr": 102,
    "apgd-margin": 102,
    "apgd-t": 9 * 102,
    "malt": 9 + 3 * 52,
    "fab": 100 * 10,
    "fab-t": 9 * 206,
    "square": 5001,
    "nes": 21 * 51,
    "fast-cascade": 102 + 9 * 102,
    "malt-cascade": 27 + 9 + 3 * 52,
    "autoattack": 102 + 9 * 102 + 9 * 206 + 5001,
    "autoattack-rand": 100 + 2 * 101 * (20 + 32) + 100,
    "adaptive": 102 + 9 * 102 + 5001,
}
"""Passes of an image that survives, with 10 classes. Estimates add them up, and block sizes follow from them. Those of
PGD, noise and transfer depend on the options, those of the user's own attacks are unknown."""

PGD_20 = 22
"""Passes of the attack that `Options.block` is meant for."""
LEAST_BLOCK = 16
"""Smaller batches are filled up to this (`attacks.settings.MIN_BATCH`)."""
LEAST_BLOCKS: Mapping[str, int] = {"autoattack-rand": 64}
"""Of attacks whose single passes take about as long for fewer images."""


def passes(attack: str, options: Options) -> int:
    """Upper bound of the passes through models that `attack` takes for one image of one size."""
    crafted = (options.num_steps + 1) * options.num_restarts + 1
    known = {
        "pgd": crafted,
        "noise": 2 * options.num_draws + 1,
        "transfer": (crafted + 2) * len(options.sources) + 1,
    }
    return known.get(attack) or PASSES.get(attack, options.num_steps)


STAGES: Mapping[str, int] = {"autoattack": 4, "fast-cascade": 2, "malt-cascade": 2}
"""Stages of cascades: how often an image that remains correct is attacked."""
EARLY = 0.5
"""Share of the passes that an attack may take which an image takes on average: many are broken before the last one."""


def sweep_part(swept: Sequence[tuple[str, int]], options: Options) -> Part:
    """The step "attack" of `sweeps.cells`: an attack, and with how many images it starts, for each cell and size."""
    times = sum(STAGES.get(attack, 1) for attack, _ in swept)
    items = sum(STAGES.get(attack, 1) * count for attack, count in swept)
    cost = EARLY * sum(passes(attack, options) * count for attack, count in swept)
    return Part(step="attack", items=items, cost=cost / max(1, items), times=max(1, times))


def block_size(attack: str, options: Options, *, num_restarts: int = 1) -> int:
    """Images per block of an attack, or of a stage of a cascade, so that a block costs about as much as one of PGD-20.

    It depends on nothing but the options: other blocks are other pieces, and would be computed again.
    """
    cost = PASSES.get(attack) if attack != "transfer" else passes(attack, options)
    if cost is None:  # pgd and noise, whatever their options, and one's own
        return options.block
    fitting = options.block * PGD_20 // (cost * num_restarts)
    return min(options.block, max(LEAST_BLOCKS.get(attack, LEAST_BLOCK), fitting - fitting % LEAST_BLOCK))
