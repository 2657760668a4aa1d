"""The settings of the study and its three sizes. Imports nothing heavy: the command line reads it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from robustray.tasks.attacks.precision import PRECISIONS, Precision
from robustray.tasks.corruptions.tables import ALL, SEVERITIES, TABLES, Table
from robustray.tasks.errors import InputError
from robustray.tasks.inputs.settings import GRADIENTS, Gradients, SharedAscent
from robustray.tasks.kit import checks
from robustray.tasks.kit.estimates import LOOK, num_classes, num_images, side_of, training_part
from robustray.tasks.study import NetworkPass, Outline, Part, Work
from robustray.tasks.training.settings import AUGMENTATIONS, Augmentation, TrainSpec


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Patches designed to make objects easier to recognise, against three patches that were not."""

    model: str
    """Architecture of the classifiers, without weights: scenes:cnn, small:s, or my_pkg.my_mod:function."""
    train_data: str
    """Classifiers are trained, and patches designed, on these images only."""
    test_data: str
    """Images on which everything is reported."""
    classes: tuple[str, ...] = ()
    """Classes that get a patch each, by name; every one of them if none is named."""
    num_chains: int
    """Classifiers, each with its own designs, with seeds from `seed` up; claims need at least 2."""
    seed: int = 0
    """Seed of the first chain; the next ones have seed + 1, seed + 2, ..."""

    epochs: int
    """Epochs of each classifier's training."""
    batch_size: int
    """Images per training step."""
    lr: float
    """Peak learning rate."""
    augmentation: Augmentation = "none"
    """Augmentation of the classifiers' training images."""

    side: int
    """Pixels of a side of the square patch."""
    rotation: float = 45.0
    """Degrees by which a patch may be turned, either way."""
    shift: float = 0.3
    """Share of the image's side by which it may be moved along each axis; with 0.3 it is sometimes partly cut off."""
    smallest: float = 0.9
    """Smallest factor by which a patch is scaled."""
    largest: float = 1.1
    """Largest factor by which a patch is scaled."""
    design_steps: int
    """Steps of the design, each on a batch of images at fresh places."""
    design_step: float = 0.01
    """Change of a pixel in the first step."""
    design_last: float = 0.01
    """Change of a pixel in the last step; between them it falls linearly."""
    design_batch: int
    """Images per step of the design."""
    gradients: Gradients = "fresh"
    """fresh: steps follow the gradient of their own batch; cumulative: the sum of all so far, as the released code."""

    corruptions: tuple[str, ...] = ("gaussian-noise", "brightness", "contrast")
    """Common corruptions of the patched image, never seen in design."""
    severities: tuple[int, ...]
    """Severities of each corruption, 1 to 5."""
    table: Table
    """Whose parameters: cifar10-c for images of about 32 pixels, imagenet-c for about 224."""

    num_images: int = 0
    """Test images of all classes, from the first one on; 0 means all."""
    num_examples: int = 5
    """Test images that are shown with each patch, drawn at random."""
    precision: Precision = "auto"
    """Arithmetic of the design's gradients; verdicts are always fp32."""
    block: int = 256
    """Images per block of work."""

    def __post_init__(self) -> None:
        checks.counts(at_least=1, num_chains=self.num_chains, block=self.block, side=self.side)
        checks.counts(seed=self.seed, num_images=self.num_images, num_examples=self.num_examples)
        checks.choices(ALL, corruptions=self.corruptions)
        checks.choices(TABLES, table=self.table)
        checks.choices(GRADIENTS, gradients=self.gradients)
        checks.choices(PRECISIONS, precision=self.precision)
        checks.choices(AUGMENTATIONS, augmentation=self.augmentation)
        checks.several(corruptions=self.corruptions, severities=self.severities)
        if len(set(self.classes)) < len(self.classes):
            raise InputError(f"classes: {', '.join(self.classes)} names one twice")
        wrong = [severity for severity in self.severities if severity not in SEVERITIES]
        if wrong:
            raise InputError(f"severities must be 1 to 5, got {wrong[0]}")
        checks.shares(shift=self.shift)
        if not (0 <= self.rotation <= 180):
            raise InputError(f"rotation must be within 0 and 180 degrees, got {self.rotation:g}")
        if not (0 < self.smallest <= self.largest < math.inf):
            raise InputError(
                f"smallest and largest scale must be above 0 and in order, got {self.smallest:g} and {self.largest:g}"
            )
        self.ascent(0)
        self.training(0)

    def ascent(self, chain: int) -> SharedAscent:
        """How the design moves the patches in each step."""
        return SharedAscent(
            norm="linf",
            step_size=self.design_step,
            final_step_size=self.design_last,
            num_steps=self.design_steps,
            batch_size=self.design_batch,
            gradients=self.gradients,
            seed=self.seed + chain,
            precision=self.precision,
        )

    def training(self, chain: int) -> TrainSpec:
        """The classifier of a chain."""
        return TrainSpec(
            model=self.model,
            data=self.train_data,
            epochs=self.epochs,
            batch_size=self.batch_size,
            lr=self.lr,
            augmentation=self.augmentation,
            seed=self.seed + chain,
        )


def estimate(settings: Settings) -> Work:
    """What `robustray show` says."""
    cells = 1 + len(settings.corruptions) * len(settings.severities)
    return Work(
        counts={
            "passes of each training image": settings.epochs * settings.num_chains,
            "images in design steps": settings.design_steps * settings.design_batch * settings.num_chains,
            "looks at each test image": 4 * cells * settings.num_chains,
        },
        note="Training the classifiers dominates; scenes: under a minute of CPU time.",
        parts=plan(settings, cells),
        unit=NetworkPass(models=(settings.model,), side=side_of(settings.train_data)),
    )


def plan(settings: Settings, cells: int) -> tuple[Part, ...]:
    """The steps of a run. cells: clean and corrupted ones."""
    count, _ = num_images([settings.train_data], otherwise=10_000)
    num_train, chains = count[settings.train_data], settings.num_chains
    count, _ = num_images([settings.test_data], otherwise=10_000, given=settings.num_images)
    num_test = count[settings.test_data]
    patched = len(settings.classes) or num_classes(settings.test_data)
    # four kinds of patch on every cell; three of them alone on two grounds; all other classes' patches, twice
    looked = chains * num_test * (4 * cells + 6 + 2 * (patched - 1))
    return (
        training_part([(settings.training(chain), num_train) for chain in range(chains)]),
        Part(step="training-images", items=chains * num_train, cost=LOOK),
        Part(step="design", items=chains, cost=settings.design_steps * settings.design_batch),
        Part(step="plain", items=2 * chains, cost=1),
        Part(step="look", items=looked, cost=LOOK),
        Part(step="pictures", items=4 * settings.num_examples, cost=1),
    )


_QUICK = Settings(
    model="scenes:cnn",
    train_data="scenes:train,rho=0.5",
    test_data="scenes:test",
    num_chains=3,
    num_images=450,
    epochs=6,
    batch_size=128,
    lr=0.1,
    side=10,
    design_steps=100,
    design_step=0.05,
    design_last=0.002,
    design_batch=128,
    severities=(1, 3, 5),
    table="cifar10-c",
)
_SMALL = replace(
    _QUICK,
    model="small:s",
    train_data="cifar10:train",
    test_data="cifar10:test",
    num_images=0,
    epochs=14,
    batch_size=256,
    lr=0.2,
    augmentation="crop-flip",
    design_steps=250,
    design_step=0.01,
    design_last=0.01,
    design_batch=256,
    severities=SEVERITIES,
)

OUTLINE = Outline(
    name="unadversarial",
    question="Can an object be designed so that a fixed network recognises it more easily, also in conditions that the "
    "design has not seen?",
    paper="arXiv:2012.12235",
    settings=Settings,
    sizes={
        "quick": _QUICK,
        "small": _SMALL,
        "paper": replace(
            _SMALL,
            model="cifar:resnet50",
            epochs=150,
            batch_size=128,
            lr=0.1,
            design_steps=11_700,
            design_step=0.001,
            design_last=0.001,
        ),
    },
    estimate=estimate,
    names={"model": "model", "train_data": "data", "test_data": "data"},
)
