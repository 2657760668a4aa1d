"""The settings of the study and its three sizes. Imports nothing heavy: the command line reads it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args

from robustray.tasks.attacks.precision import PRECISIONS, Precision
from robustray.tasks.corruptions.tables import ALL, CORRUPTIONS, SEVERITIES, TABLES, Table
from robustray.tasks.errors import InputError
from robustray.tasks.inputs.settings import GRADIENTS, Gradients, SharedAscent, WeightSteps
from robustray.tasks.kit import checks
from robustray.tasks.kit.words import listed
from robustray.tasks.studies.unadversarial.plan import estimate
from robustray.tasks.studies.unadversarial.rendered import Rendered
from robustray.tasks.study import Outline
from robustray.tasks.training.settings import AUGMENTATIONS, Augmentation, TrainSpec

Booster = Literal["own-class", "one-class"]
BOOSTERS: tuple[Booster, ...] = get_args(Booster)
MOST_MM, MOST_DPI = 2_000.0, 2_400
"""A poster, and what printers resolve."""


@dataclass(frozen=True, kw_only=True)
class Settings(Rendered):
    """Patches designed to make objects easier to recognise, against three patches that were not."""

    models: tuple[str, ...] = ()
    """Your own classifiers, frozen: NAME[@WEIGHTS.safetensors], run:KEY, twin:standard:0 or
    my_pkg.my_mod:function[@WEIGHTS]; several count as repetitions of one kind. If none is given, classifiers are
    trained here."""
    data: str = ""
    """Your own images: a random half of each class designs, the other half judges. Instead of train_data and
    test_data."""
    train_data: str
    """Images on which classifiers are trained and patches designed, and no other ones."""
    test_data: str
    """Images on which everything is reported."""
    classes: tuple[str, ...] = ()
    """Classes that get a patch each, by name; every one of them if none is named."""
    num_designs: int = 1
    """Designs for each classifier, with seeds from `seed` up."""
    seed: int = 0
    """Seed of the first classifier and of its first design; the next ones count up from it."""

    arch: str
    """Architecture of the classifiers that are trained here: scenes:cnn, small:s, or my_pkg.my_mod:function."""
    num_classifiers: int
    """Classifiers that are trained here, with seeds from `seed` up; claims need at least 2."""
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
    booster: Booster = "own-class"
    """own-class: each patch is designed on images of its own class; one-class: on images of all classes, to be answered
    with its class whatever it lies on."""
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

    other_sides: tuple[int, ...] = ()
    """Other sides of patches, in pixels, designed once more for each classifier."""
    other_models: tuple[str, ...] = ()
    """Other frozen classifiers, by name: a patch is designed for each, and first patches of all judged by all."""
    joint: bool = False
    """Patches too along with which the weights of a copy of the classifier learn."""
    joint_lr: float = 0.01
    """Learning rate of these weights (SGD with momentum), falling to 0 in the last step."""

    print_mm: float = 50.0
    """Millimetres of a side of the patch on paper, in the PNG and PDF that the run leaves; 0 for no files."""
    print_dpi: int = 300
    """Dots per inch of these files."""
    bleed_mm: float = 3.0
    """Millimetres by which the patch is printed beyond its edges, to be cut off."""
    gamut: str = ""
    """ICC profile (.icc) of a printer: the design stays within the colours that it can print."""

    corruptions: tuple[str, ...] = CORRUPTIONS
    """Common corruptions of the patched image, never seen in design; procedural-frost is in no mean."""
    severities: tuple[int, ...]
    """Severities of each corruption, 1 to 5."""
    table: Table
    """Whose parameters: cifar10-c for images of about 32 pixels, imagenet-c for about 224."""

    num_images: int = 0
    """Test images of all classes, from the first one on; 0 means all."""
    num_detailed: int = 0
    """The first of them, for what takes many looks: corruptions, patches by themselves, and patches on objects of other
    classes; 0 means all."""
    num_examples: int = 5
    """Test images that are shown with each patch, drawn at random."""
    precision: Precision = "auto"
    """Arithmetic of the design's gradients; verdicts are always fp32."""
    block: int = 256
    """Images per block of work."""

    def __post_init__(self) -> None:
        checks.counts(at_least=1, num_classifiers=self.num_classifiers, num_designs=self.num_designs)
        checks.counts(at_least=1, block=self.block, side=self.side)
        checks.counts(
            seed=self.seed, num_images=self.num_images, num_detailed=self.num_detailed, num_examples=self.num_examples
        )
        checks.choices(ALL, corruptions=self.corruptions)
        checks.choices(TABLES, table=self.table)
        checks.choices(GRADIENTS, gradients=self.gradients)
        checks.choices(BOOSTERS, booster=self.booster)
        checks.choices(PRECISIONS, precision=self.precision)
        checks.choices(AUGMENTATIONS, augmentation=self.augmentation)
        checks.several(corruptions=self.corruptions, severities=self.severities)
        for field in ("classes", "models", "other_models", "other_sides"):
            names = getattr(self, field)
            if len(set(names)) < len(names):
                raise InputError(f"{field}: {', '.join(map(str, names))} names one twice")
        if not set(self.corruptions) & set(CORRUPTIONS):
            raise InputError(f"corruptions: {listed(self.corruptions)} is in no mean: name one of the benchmarks' too")
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
        checks.counts(at_least=1, **{f"other_sides[{place}]": side for place, side in enumerate(self.other_sides)})
        checks.positive(joint_lr=self.joint_lr)
        if self.side in self.other_sides:
            raise InputError(f"other_sides: {self.side} is the side itself, which needs no other design")
        if both := set(self.models) & set(self.other_models):
            raise InputError(f"other_models: {both.pop()} is among the models already")
        self._check_print()
        self.check_rendered()
        self.ascent(0)
        if not self.models:
            self.training(0)

    def _check_print(self) -> None:
        checks.sizes(print_mm=self.print_mm, bleed_mm=self.bleed_mm)
        checks.counts(at_least=36, print_dpi=self.print_dpi)
        if self.print_mm > MOST_MM or self.print_dpi > MOST_DPI:
            raise InputError(
                f"print_mm {self.print_mm:g} at print_dpi {self.print_dpi}: at most {MOST_MM:g} mm and {MOST_DPI} dpi"
            )
        if self.bleed_mm > 0.5 * self.print_mm > 0:
            raise InputError(f"bleed_mm {self.bleed_mm:g}: more than half of the patch, {self.print_mm:g} mm")

    def idle(self) -> Mapping[str, str]:
        """Settings that do nothing beside the others (`study.refuse_idle`)."""
        unused = self.rendered_idle(field.name for field in fields(self))
        if self.models:
            why = "--models are frozen: nothing is trained"
            unused |= dict.fromkeys(("arch", "num_classifiers", "epochs", "batch_size", "lr", "augmentation"), why)
        if self.data:
            unused |= dict.fromkeys(("train_data", "test_data"), "--data gives the images")
        if self.mesh:
            unused["solid_classes"] = "--mesh is the only solid; its class is --mesh-class"
        if not self.joint:
            unused["joint_lr"] = "no --joint"
        if not self.print_mm:
            unused |= dict.fromkeys(("print_dpi", "bleed_mm"), "--print-mm 0 leaves no files")
        return unused

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the classifiers: as they were given, or by the seed of their training."""
        return self.models or tuple(f"seed {self.seed + number}" for number in range(self.num_classifiers))

    def design_seed(self, name: str, design: int) -> int:
        """Seed of a design, another one for each design of each classifier."""
        return self.seed + (*self.names, *self.other_models).index(name) * self.num_designs + design

    def ascent(self, seed: int) -> SharedAscent:
        """How the design of this seed moves the patches in each step."""
        return SharedAscent(
            norm="linf",
            step_size=self.design_step,
            final_step_size=self.design_last,
            num_steps=self.design_steps,
            batch_size=self.design_batch,
            gradients=self.gradients,
            seed=seed,
            precision=self.precision,
        )

    def weight_steps(self) -> WeightSteps:
        """How weights learn along with a design."""
        return WeightSteps(lr=self.joint_lr, final_lr=0.0)

    def training(self, number: int) -> TrainSpec:
        """Training of the classifier of this number."""
        return TrainSpec(
            model=self.arch,
            data=self.train_data,
            epochs=self.epochs,
            batch_size=self.batch_size,
            lr=self.lr,
            augmentation=self.augmentation,
            seed=self.seed + number,
        )


_QUICK = Settings(
    arch="scenes:cnn",
    train_data="scenes:train,rho=0.5",
    test_data="scenes:test",
    num_classifiers=3,
    num_images=450,
    epochs=6,
    batch_size=128,
    lr=0.1,
    side=10,
    design_steps=100,
    design_step=0.05,
    design_last=0.002,
    design_batch=128,
    corruptions=("gaussian-noise", "brightness", "contrast"),
    severities=(1, 3, 5),
    table="cifar10-c",
    solid_classes=("disc", "star", "bar"),
    texture_side=64,
    num_design_views=40,
    texture_steps=60,
    texture_step=0.03,
    num_views=60,
    num_weather_views=10,
    regressor_steps=60,
    num_pads=2,
    num_random_pads=2,
    pad_steps=10,
    num_episodes=4,
)
_RENDERED_WHOLE: Mapping[str, Any] = {field.name: field.default for field in fields(Rendered)}
"""What is rendered, as the defaults have it: the small size; at the quick size it only shows that it runs."""
_SMALL = replace(
    _QUICK,
    models=("twin:standard:0", "twin:standard:1", "twin:standard:2"),
    train_data="cifar10:train",
    test_data="cifar10:test",
    num_designs=3,
    other_sides=(6, 14),
    joint=True,
    other_models=("twin:linf8:0", "twin:linf8:1", "twin:linf8:2"),
    num_images=0,
    num_detailed=500,
    design_steps=250,
    design_step=0.01,
    design_last=0.01,
    design_batch=256,
    corruptions=CORRUPTIONS,
    severities=SEVERITIES,
    **_RENDERED_WHOLE,
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
            models=(),
            other_models=(),
            arch="cifar:resnet50",
            epochs=150,
            batch_size=128,
            lr=0.1,
            augmentation="crop-flip",
            num_detailed=0,
            design_steps=11_700,
            design_step=0.001,
            design_last=0.001,
        ),
    },
    estimate=estimate,
    task="task",
    names={
        "models": "model",
        "other_models": "model",
        "arch": "model",
        "data": "data",
        "train_data": "data",
        "test_data": "data",
    },
)
