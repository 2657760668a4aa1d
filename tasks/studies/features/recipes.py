"""How sources are trained and sets are made: the first half of the study's settings. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from robustray.tasks.attacks.precision import PRECISIONS, Precision
from robustray.tasks.inputs.settings import Ascent
from robustray.tasks.kit import checks
from robustray.tasks.training.settings import AUGMENTATIONS, Augmentation, TrainSpec

Source = Literal["standard", "robust", "witness", "early"]
"""The two networks that sets are made with; a robust one of another seed that is asked what it sees in them; and one
that has hardly begun to learn, whose errors are a control."""
SOURCES: tuple[Source, ...] = ("standard", "robust", "witness", "early")
SOURCE_SEEDS: dict[Source, int] = {"standard": 0, "robust": 0, "witness": 2_000, "early": 3_000}
STUDENT_SEEDS = 1_000
"""Students' seeds are so far from their sources': no student shares initial weights or order with a source."""
AVOIDED_SEEDS = 4_000
"""First seed of the networks that perturbations must not fool; each kind of them begins 1,000 further."""


@dataclass(frozen=True, kw_only=True)
class Recipes:
    """Settings of sources and sets."""

    model: str
    """Architecture of the sources, without weights: digits:mlp, small:s, or my_pkg.my_mod:function with latents."""
    train_data: str
    """Sets are made from its images, and sources and students train on no others."""
    num_images: int = 0
    """How many of them are used, drawn at random; 0: all."""
    num_chains: int
    """Repetitions of the whole chain (sources, sets, students), with seeds from `seed` up; claims need at least 2."""
    seed: int = 0
    """Seed of the first chain; the next ones have seed + 1, seed + 2, ..."""
    held_out: float = 0.2
    """Share of the training images that no set is made from: students' settings are chosen on them."""

    epochs: int
    """Epochs of the sources' training."""
    early_epochs: int = 2
    """Epochs of the network whose errors are the mislabelled control."""
    batch_size: int
    """Images per training step."""
    lr: float
    """Peak learning rate of the sources."""
    augmentation: Augmentation = "none"
    """Augmentation of the images that sources are trained on."""
    eps_robust: float
    """l2 size at which the robust source is trained."""
    robust_steps: int = 5
    """Gradient steps of the attack that it is trained on."""

    eps_construct: tuple[float, ...]
    """l2 sizes for D_rand and D_det, ascending: the first one at which enough images reach their target is used."""
    least_success: float = 0.95
    """Share of images that the source must see as their new label, in every chain."""
    perturb_steps: int = 15
    """Steps of eps / 5 towards the new label."""
    match_steps: int = 100
    """Steps towards the latent of another image, for D_R and D_NR."""
    match_step: float = 0.5
    """l2 length of the first of them, in pixel units."""
    match_last: float = 0.02
    """l2 length of the last of these steps; in between it falls linearly."""
    num_avoided: int = 0
    """Above 0: one more set like D_det, whose perturbations leave that many further networks alone: a perturbation
    that does not transfer should teach nothing."""
    build: str = ""
    """A folder: write the sets of the first chain there, in the layout that --data reads, and train no students."""
    precision: Precision = "auto"
    """Arithmetic of all gradients but those of weights; verdicts are always fp32."""
    block: int = 256
    """Images per block of work."""

    def __post_init__(self) -> None:
        checks.counts(at_least=1, num_chains=self.num_chains, early_epochs=self.early_epochs, block=self.block)
        checks.counts(seed=self.seed, num_images=self.num_images, num_avoided=self.num_avoided)
        checks.counts(at_least=1, match_steps=self.match_steps, perturb_steps=self.perturb_steps)
        checks.sizes(match_step=self.match_step, match_last=self.match_last)
        checks.counts(at_least=1, robust_steps=self.robust_steps)
        checks.shares(ends="()", held_out=self.held_out)
        checks.shares(ends="(]", least_success=self.least_success)
        checks.ascending(eps_construct=self.eps_construct)
        checks.choices(AUGMENTATIONS, augmentation=self.augmentation)
        checks.choices(PRECISIONS, precision=self.precision)
        checks.positive(eps_robust=self.eps_robust)
        self.matching()
        for eps in self.eps_construct:
            self.perturbing(eps)
        for source in SOURCES:
            self.source(source, 0)

    @property
    def chains(self) -> range:
        """Numbers of the chains; `build` needs one only."""
        return range(1 if self.build else self.num_chains)

    def matching(self) -> Ascent:
        """Towards the latent of another image, without a ball (D_R, D_NR)."""
        return Ascent(
            step_size=self.match_step,
            final_step_size=self.match_last,
            num_steps=self.match_steps,
            precision=self.precision,
        )

    def perturbing(self, eps: float) -> Ascent:
        """Towards a new label within eps (D_rand, D_det)."""
        return Ascent(step_size=eps / 5, num_steps=self.perturb_steps, eps=eps, precision=self.precision)

    def source(self, kind: Source, chain: int, data: object = None) -> TrainSpec:
        """The training of a source of chain `chain` on `data`, a name or a reference."""
        spec = TrainSpec(
            model=self.model,
            data=data or self.train_data,  # type: ignore[arg-type]
            epochs=self.early_epochs if kind == "early" else self.epochs,
            batch_size=self.batch_size,
            lr=self.lr,
            augmentation=self.augmentation,
            seed=self.seed + SOURCE_SEEDS[kind] + chain,
        )
        if kind in ("standard", "early"):
            return spec
        attack = self.precision if self.precision != "auto" else spec.attack_precision
        return replace(
            spec,
            loss="adversarial",
            norm="l2",
            eps=self.eps_robust,
            num_steps=self.robust_steps,
            attack_precision=attack,
        )

    def avoided(self, number: int, chain: int, data: object) -> TrainSpec:
        """The training of a further standard network, from 0, that perturbations are to leave alone."""
        seed = self.seed + AVOIDED_SEEDS + 1_000 * number + chain
        return replace(self.source("standard", chain, data), seed=seed)
