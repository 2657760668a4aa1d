"""The settings of the study and its three sizes. Imports nothing heavy: the command line reads it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from robustray.tasks.attacks.precision import PRECISIONS, Precision
from robustray.tasks.attacks.settings import PGD
from robustray.tasks.errors import InputError
from robustray.tasks.inputs.settings import Ascent
from robustray.tasks.kit import checks
from robustray.tasks.kit.estimates import LOOK, num_images, training_part
from robustray.tasks.study import NetworkPass, Outline, Part, Work
from robustray.tasks.sweeps.options import EARLY
from robustray.tasks.training.settings import AUGMENTATIONS, Augmentation, TrainSpec

Source = Literal["standard", "robust"]
STUDENT_SEEDS = 1_000
"""Students' seeds are so far from their sources': no student shares initial weights or order with a source."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Which features of a data set carry its labels: training sets that keep some of them, and students of each."""

    model: str
    """Architecture of the sources, without weights: digits:mlp, small:s, or my_pkg.my_mod:function with latents."""
    student: str
    """Architecture of the students."""
    train_data: str
    """D: the sets are made from its images, and sources and students train on no others."""
    test_data: str
    """Images on which everything is reported; no set is made from them."""
    num_chains: int
    """Repetitions of the whole chain (sources, sets, students), with seeds from `seed` up; claims need at least 2."""
    seed: int = 0
    """Seed of the first chain; the next ones have seed + 1, seed + 2, ..."""
    held_out: float = 0.2
    """Share of the training images that no set is made from: students' settings are chosen on them."""

    epochs: int
    """Epochs of the sources' training."""
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
    """That of the last one; in between it falls linearly."""
    build: str = ""
    """A folder: write the sets there, in the layout that --data reads, and train no students."""

    student_epochs: int
    """Epochs of each student's training."""
    student_lrs: tuple[float, ...]
    """Peak learning rates to choose from, on held-out images."""
    student_augmentations: tuple[Augmentation, ...]
    """Augmentations to choose from: crops shift a perturbation, and destroy what D_det carries."""
    eps_test: tuple[float, ...]
    """l2 sizes at which PGD attacks sources and students on the test images."""
    eps_reference: float
    """The one of them at which claims are made, fixed before the run."""
    test_steps: int = 20
    """Steps of that PGD, each of 2.5 eps / test_steps."""
    num_examples: int = 6
    """Images of each set that are shown, drawn at random."""
    precision: Precision = "auto"
    """Arithmetic of all gradients but those of weights; verdicts are always fp32."""
    block: int = 256
    """Images per block of work."""

    def __post_init__(self) -> None:
        checks.counts(at_least=1, num_chains=self.num_chains, block=self.block, student_epochs=self.student_epochs)
        checks.counts(seed=self.seed, num_examples=self.num_examples)
        checks.shares(ends="()", held_out=self.held_out)
        checks.shares(ends="(]", least_success=self.least_success)
        checks.ascending(eps_construct=self.eps_construct, eps_test=self.eps_test)
        checks.several(student_lrs=self.student_lrs, student_augmentations=self.student_augmentations)
        checks.choices(AUGMENTATIONS, augmentation=self.augmentation, student_augmentations=self.student_augmentations)
        checks.choices(PRECISIONS, precision=self.precision)
        checks.positive(eps_robust=self.eps_robust)
        if self.eps_reference not in self.eps_test:
            raise InputError(
                f"eps_reference {self.eps_reference:g} is not among eps_test: claims are made at that size"
            )
        self.matching()
        for eps in self.eps_construct:
            self.perturbing(eps)
        for eps in self.eps_test:
            self.attack(eps)
        for source in ("standard", "robust"):
            self.source(source, 0)
        for lr in self.student_lrs:
            self.pupil(self.train_data, lr, self.student_augmentations[0], 0)

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

    def attack(self, eps: float) -> PGD:
        """What sources and students are tested with."""
        return PGD(norm="l2", eps=eps, num_steps=self.test_steps, precision=self.precision)

    def source(self, kind: Source, chain: int, data: object = None) -> TrainSpec:
        """The training of a source of chain `chain` on `data`, a name or a reference."""
        spec = TrainSpec(
            model=self.model,
            data=data or self.train_data,  # type: ignore[arg-type]
            epochs=self.epochs,
            batch_size=self.batch_size,
            lr=self.lr,
            augmentation=self.augmentation,
            seed=self.seed + chain,
        )
        if kind == "standard":
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

    def pupil(self, data: object, lr: float, augmentation: Augmentation, chain: int) -> TrainSpec:
        """The training of a student of chain `chain` on a set."""
        return TrainSpec(
            model=self.student,
            data=data,  # type: ignore[arg-type]
            epochs=self.student_epochs,
            batch_size=self.batch_size,
            lr=lr,
            augmentation=augmentation,
            seed=self.seed + STUDENT_SEEDS + chain,
        )


def estimate(settings: Settings) -> Work:
    """What `robustray show` says, per image of D."""
    cells = len(settings.student_lrs) * len(settings.student_augmentations)
    training = settings.epochs * (2 + settings.robust_steps) + 7 * cells * settings.student_epochs
    making = 2 * settings.match_steps + 2 * len(settings.eps_construct) * settings.perturb_steps
    chains = settings.num_chains
    return Work(
        counts={
            "passes of each image of D in training": training * chains,
            "passes of each image of D in making the sets": making * chains,
            "students": 7 * cells * chains,
        },
        note="Students dominate; digits: under a minute of CPU time; network S on CIFAR-10: hours on two cores.",
        parts=plan(settings),
        unit=NetworkPass(models=(settings.model, settings.student)),
    )


SETS = 7
"""Training sets of students: D, four that are made of it, and two controls."""


def plan(settings: Settings) -> tuple[Part, ...]:
    """The steps of a run; the sets for D_rand and D_det at every size, of which the first may be enough."""
    count, _ = num_images([settings.train_data, settings.test_data], otherwise=50_000)
    held = round(settings.held_out * count[settings.train_data])
    used, num_test, chains = count[settings.train_data] - held, count[settings.test_data], settings.num_chains
    sizes = len(settings.eps_construct)
    sources = [settings.source(kind, 0) for kind in ("standard", "robust")]
    making = (
        Part(step="match", items=2 * used * chains, cost=settings.match_steps),
        Part(step="perturb", items=2 * used * chains * sizes, cost=settings.perturb_steps, times=2 * chains * sizes),
        Part(step="noise", items=used * chains, cost=LOOK),
    )
    if settings.build:
        return training_part([(spec, used) for spec in sources * chains]), *making
    pupils = [
        settings.pupil(settings.train_data, lr, augmentation, 0)
        for lr in settings.student_lrs
        for augmentation in settings.student_augmentations
    ] * SETS
    attacked = (SETS + len(sources)) * chains * len(settings.eps_test)
    return (
        training_part([(spec, used) for spec in [*sources, *pupils] * chains]),
        *making,
        Part(step="held-out", items=len(pupils) * held * chains, cost=LOOK),
        Part(step="test", items=(len(pupils) + len(sources)) * num_test * chains, cost=LOOK),
        Part(step="attack", items=attacked * num_test, cost=EARLY * (settings.test_steps + 2), times=attacked),
    )


_QUICK = Settings(
    model="digits:mlp",
    student="digits:mlp",
    train_data="digits:train",
    test_data="digits:test",
    num_chains=3,
    epochs=20,
    batch_size=64,
    lr=0.1,
    eps_robust=0.8,
    eps_construct=(0.5, 1.0, 1.5, 2.0),
    student_epochs=20,
    student_lrs=(0.1,),
    student_augmentations=("none",),
    eps_test=(0.2, 0.4, 0.8),
    eps_reference=0.4,
)
_SMALL = replace(
    _QUICK,
    model="small:s",
    student="small:s",
    train_data="cifar10:train",
    test_data="cifar10:test",
    num_chains=3,
    epochs=14,
    batch_size=256,
    lr=0.2,
    augmentation="crop-flip",
    eps_robust=0.5,
    robust_steps=3,
    eps_construct=(0.5, 1.0, 1.5),
    match_steps=60,
    match_step=0.6,
    student_epochs=14,
    student_lrs=(0.03, 0.1),
    student_augmentations=("none", "crop-flip"),
    eps_test=(0.1, 0.25, 0.5),
    eps_reference=0.25,
)

OUTLINE = Outline(
    name="features",
    question="Are adversarial perturbations flaws of networks, or features of the data that predict the label?",
    paper="arXiv:1905.02175",
    settings=Settings,
    sizes={
        "quick": _QUICK,
        "small": _SMALL,
        "paper": replace(
            _SMALL,
            model="cifar:resnet50",
            student="cifar:resnet50",
            epochs=150,
            batch_size=128,
            lr=0.1,
            robust_steps=7,
            eps_construct=(0.5, 1.0),
            perturb_steps=100,
            match_steps=1000,
            match_step=0.1,
            match_last=0.1,
            student_epochs=150,
            student_lrs=(0.01, 0.03, 0.1),
        ),
    },
    estimate=estimate,
    names={"model": "model", "student": "model", "train_data": "data", "test_data": "data"},
)
