"""The settings of the study and its three sizes. Imports nothing heavy: the command line reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from robustray.tasks.attacks.autoattack import FastCascade
from robustray.tasks.attacks.settings import PGD
from robustray.tasks.errors import InputError
from robustray.tasks.kit import checks
from robustray.tasks.studies.features.costs import estimate
from robustray.tasks.studies.features.recipes import STUDENT_SEEDS, Recipes
from robustray.tasks.study import Outline, Size
from robustray.tasks.training.settings import AUGMENTATIONS, Augmentation, TrainSpec

FEWEST_ARCHITECTURES = 5
"""The fewest architectures for the figure of transfer: a rank correlation of fewer points says nothing."""


@dataclass(frozen=True, kw_only=True)
class Settings(Recipes):
    """Measure which features of a data set carry its labels: training sets that preserve some of them, and students of
    each set."""

    student: str
    """Architecture of the students."""
    test_data: str
    """Images on which everything is reported; no set is made from them."""
    student_epochs: int
    """Epochs of each student's training."""
    student_lrs: tuple[float, ...]
    """Peak learning rates to choose from, on held-out images."""
    student_augmentations: tuple[Augmentation, ...]
    """Augmentations to choose from: crops shift a perturbation, and destroy what D_det carries."""
    grid_chains: int = 1
    """Chains, from the first on, in which every rate and augmentation is tried for every set and control; the others
    take what these have chosen."""

    eps_test: tuple[float, ...]
    """l2 sizes at which PGD attacks sources and students on the test images."""
    eps_reference: float
    """The one of them at which claims are made, fixed before the run."""
    test_steps: int = 20
    """Steps of that PGD, each of 2.5 eps / test_steps."""
    num_attacked: int = 0
    """Test images under attack, the first ones; 0: all."""
    num_fast: int = 0
    """How many of them, from the first on, are also attacked by the first two stages of AutoAttack where PGD has not
    broken them; 0: none."""

    num_units: int = 16
    """Penultimate units of both sources whose usefulness is measured, drawn at random; 0: none."""
    unit_images: int = 20
    """Test images for each of them, half of them of its class."""
    eps_units: float
    """l2 size at which their robust usefulness is measured."""
    unit_steps: int = 20
    """Steps of the short search for the least useful perturbation, from the image itself."""
    long_unit_steps: int = 100
    """Steps of the long one, from the image and two random starts."""

    transfer_archs: tuple[str, ...] = ()
    """Architectures of the figure of transfer, at least five, the students' among them; none: no figure."""
    num_transferred: int = 0
    """Test images for it, the first ones; 0: all."""

    num_examples: int = 6
    """Images of each set that are shown, drawn at random."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.counts(at_least=1, student_epochs=self.student_epochs, grid_chains=self.grid_chains)
        checks.counts(at_least=2, unit_images=self.unit_images)
        checks.counts(at_least=1, unit_steps=self.unit_steps, long_unit_steps=self.long_unit_steps)
        checks.counts(at_least=1, test_steps=self.test_steps)
        checks.counts(
            num_examples=self.num_examples,
            num_attacked=self.num_attacked,
            num_fast=self.num_fast,
            num_units=self.num_units,
            num_transferred=self.num_transferred,
        )
        checks.ascending(eps_test=self.eps_test)
        checks.positive(eps_units=self.eps_units)
        checks.several(student_lrs=self.student_lrs, student_augmentations=self.student_augmentations)
        checks.choices(AUGMENTATIONS, student_augmentations=self.student_augmentations)
        if self.num_chains >= STUDENT_SEEDS:
            raise InputError(f"num_chains {self.num_chains}: from {STUDENT_SEEDS} on, students would share seeds")
        if self.eps_reference not in self.eps_test:
            raise InputError(
                f"eps_reference {self.eps_reference:g} is not among eps_test: claims are made at that size"
            )
        if self.transfer_archs:
            checks.several(transfer_archs=self.transfer_archs)
            if len(self.transfer_archs) < FEWEST_ARCHITECTURES or self.student not in self.transfer_archs:
                raise InputError(
                    f"transfer_archs: a figure of transfer takes at least {FEWEST_ARCHITECTURES} architectures, the "
                    f"students' {self.student} among them"
                )
        for eps in self.eps_test:
            self.attack(eps)
        for lr in self.student_lrs:
            self.pupil(self.train_data, lr, self.student_augmentations[0], 0)

    def idle(self) -> Mapping[str, str]:
        """Settings that do nothing beside the others (`study.refuse_idle`)."""
        unused: dict[str, str] = {}
        if self.build:
            why = "--build trains no students"
            unused |= dict.fromkeys(("student_lrs", "student_augmentations", "student_epochs", "grid_chains"), why)
            unused |= dict.fromkeys(("eps_test", "eps_reference", "test_steps", "num_attacked", "num_fast"), why)
            unused["transfer_archs"] = why
            unused |= dict.fromkeys(("early_epochs", "num_avoided"), "--build writes no controls")
            unused["num_units"] = "--build measures no units"
            unused["num_chains"] = "--build writes the sets of the first chain"
        if self.build or not self.num_units:
            why = "--build measures no units" if self.build else "--num-units is 0"
            unused |= dict.fromkeys(("unit_images", "unit_steps", "long_unit_steps", "eps_units"), why)
        if not self.transfer_archs:
            unused["num_transferred"] = "no --transfer-archs"
        return unused

    @property
    def in_grid(self) -> range:
        """Chains in which all settings of students are tried."""
        return range(min(self.grid_chains, self.num_chains))

    def attack(self, eps: float) -> PGD:
        """The attack with which sources and students are tested."""
        return PGD(norm="l2", eps=eps, num_steps=self.test_steps, precision=self.precision)

    def fast(self) -> FastCascade:
        """The stronger attack, at the reference size."""
        return FastCascade(norm="l2", eps=self.eps_reference, precision=self.precision)

    def pupil(
        self, data: object, lr: float, augmentation: Augmentation, chain: int, *, arch: str = "", most: int = 0
    ) -> TrainSpec:
        """The training of a student of chain `chain` on a set. arch: none for the students'. most: images of the set,
        where they may be fewer than a batch."""
        return TrainSpec(
            model=arch or self.student,
            data=data,  # type: ignore[arg-type]
            epochs=self.student_epochs,
            batch_size=min(self.batch_size, most or self.batch_size),
            lr=lr,
            augmentation=augmentation,
            seed=self.seed + STUDENT_SEEDS + chain,
        )


# --- Sizes ------------------------------------------------------------------------------------------------------------


def quick() -> Settings:
    """robustray run features      embedded data, a minute of CPU time: shows how the study works."""
    return Settings(
        model="digits:mlp",
        student="digits:mlp",
        train_data="digits:train",
        test_data="digits:test",
        num_chains=3,
        epochs=12,
        early_epochs=1,
        batch_size=64,
        lr=0.1,
        eps_robust=0.8,
        eps_construct=(0.5, 1.0, 1.5),
        match_steps=60,
        student_epochs=12,
        student_lrs=(0.1,),
        student_augmentations=("none",),
        eps_test=(0.4, 0.8),
        eps_reference=0.4,
        eps_units=0.4,
        block=2_048,
    )


def small() -> Settings:
    """robustray run features --size small --data-root DIR      CIFAR-10, network S: hours on two cores."""
    return Settings(
        model="small:s",
        student="small:s",
        train_data="cifar10:train",
        test_data="cifar10:test",
        num_images=8_500,
        num_chains=3,
        epochs=8,
        batch_size=128,
        lr=0.2,
        augmentation="crop-flip",
        eps_robust=0.5,
        robust_steps=3,
        eps_construct=(0.5, 1.0, 1.5),
        match_steps=60,
        match_step=0.6,
        student_epochs=10,
        student_lrs=(0.01, 0.03, 0.1),
        student_augmentations=("none", "crop-flip"),
        eps_test=(0.1, 0.25, 0.5),
        eps_reference=0.25,
        num_attacked=1_000,
        num_fast=500,
        num_units=32,
        unit_images=50,
        eps_units=0.25,
        transfer_archs=("small:s", "small:fine", "small:wide", "small:plain", "small:depthwise"),
        num_transferred=2_000,
    )


def paper() -> Settings:
    """The paper's settings as far as they are known: ResNet-50 on all of CIFAR-10, sets at 0.5 in 100 or 1,000 steps.
    GPUs: weeks."""
    return replace(
        small(),
        model="cifar:resnet50",
        student="cifar:resnet50",
        num_images=0,
        epochs=150,
        lr=0.1,
        robust_steps=7,
        eps_construct=(0.5, 1.0),
        perturb_steps=100,
        match_steps=1_000,
        match_step=0.1,
        match_last=0.1,
        student_epochs=150,
        num_attacked=0,
        num_units=64,
        transfer_archs=("cifar:resnet50", "cifar:resnet18", "cifar:resnet18-w16", "cifar:wrn-16-4", "small:plain"),
        num_transferred=0,
    )


SIZES: Mapping[Size, Settings] = {"quick": quick(), "small": small(), "paper": paper()}

OUTLINE = Outline(
    name="features",
    question="Are adversarial perturbations flaws of networks, or features of the data that predict the label?",
    paper="arXiv:1905.02175",
    settings=Settings,
    sizes=SIZES,
    estimate=estimate,
    names={
        "model": "model",
        "student": "model",
        "transfer_archs": "model",
        "train_data": "data",
        "test_data": "data",
    },
)
