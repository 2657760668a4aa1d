"""The settings of the study and its three sizes. Imports nothing heavy: the command line reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from robustray.tasks.attacks.precision import Precision
from robustray.tasks.inputs.settings import Ascent
from robustray.tasks.kit import checks
from robustray.tasks.kit.estimates import LOOK, num_images, training_part
from robustray.tasks.study import NetworkPass, Outline, Part, Size, Work
from robustray.tasks.training.how import how_of
from robustray.tasks.training.reference import SEEDS, reference_specs
from robustray.tasks.training.twins import KINDS, TwinSettings

Start = Literal["noise", "image"]
STARTS: tuple[Start, ...] = ("noise", "image")


@dataclass(frozen=True, kw_only=True)
class Settings(TwinSettings):
    """Is an image that has the same representation also the same image, and is it so for robust networks only?"""

    starts: tuple[Start, ...] = STARTS
    """Where an inversion starts: noise around grey, or a random test image of another class."""
    num_targets: int
    """Test images to be inverted, drawn at random; the same for all networks."""
    num_candidates: int = 100
    """How many test images of a target's class it is ranked among, itself included; all of them where there are
    fewer."""
    inversion_steps: int
    """Gradient steps of an inversion."""
    step_size: float
    """Length (l2) of its first step, in pixel units; it falls linearly to final_step_size."""
    final_step_size: float
    """Length of its last step; a constant length would leave the end that far from the optimum."""
    num_units: int
    """Coordinates of the latent that are visualised, drawn at random among those that are ever active."""
    unit_starts: int = 4
    """Starts of each: noise and random test images in turn."""
    unit_steps: int
    """Gradient steps of a visualisation."""
    unit_step_size: float
    """Length (l2) of such a step."""
    top_images: int = 10
    """Test images that excite a unit most, with whose mean its visualisations are compared."""
    num_examples: int = 8
    """Targets, and units, that are shown: the first ones of those drawn."""
    precision: Precision = "auto"
    """Arithmetic of the optimisations' gradients; latents, distances and ranks are always fp32."""
    block: int = 64
    """Optimised images per block of work."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.choices(STARTS, starts=self.starts)
        checks.several(starts=self.starts)
        checks.counts(at_least=1, num_targets=self.num_targets, top_images=self.top_images, block=self.block)
        checks.counts(at_least=2, num_candidates=self.num_candidates, unit_starts=self.unit_starts)
        checks.counts(at_least=2, num_units=self.num_units)
        checks.counts(num_examples=self.num_examples)
        for ascent in (self.inversion, self.visualisation):
            ascent()  # refuses the rest

    def inversion(self) -> Ascent:
        """Matching a latent (arXiv:1906.00945, with a falling step instead of 10,000 constant ones)."""
        return Ascent(
            step_size=self.step_size,
            final_step_size=self.final_step_size,
            num_steps=self.inversion_steps,
            precision=self.precision,
        )

    def visualisation(self) -> Ascent:
        """Exciting one coordinate of the latent."""
        return Ascent(step_size=self.unit_step_size, num_steps=self.unit_steps, precision=self.precision)


def quick() -> Settings:
    """robustray run representations --size quick      37 s of CPU time; embedded data, proves nothing."""
    return Settings(
        architecture="digits:cnn",
        judge_architecture="digits:mlp",
        train_data="digits:train",
        test_data="digits:test",
        eps=0.8,
        num_seeds=3,
        epochs=10,
        batch_size=64,
        lr=0.1,
        train_steps=4,
        attack_precision="fp32",
        num_targets=120,
        inversion_steps=200,
        step_size=0.3,
        final_step_size=0.01,
        num_units=16,
        unit_steps=100,
        unit_step_size=0.1,
        precision="fp32",
    )


def small() -> Settings:
    """The reference twins on CIFAR-10 (l2 0.5), three seeds:
    robustray run representations --size small --data-root DIR      two CPU cores; hours where no twins are found."""
    twin = reference_specs(SEEDS[0])["l2_05"]
    return Settings(
        architecture=twin.model,
        judge_architecture="cifar:resnet18-w16",
        train_data=twin.data_name,
        test_data="cifar10:test",
        norm=twin.norm,
        eps=twin.eps,
        num_seeds=len(SEEDS),
        seed=SEEDS[0],
        train_steps=twin.num_steps,
        **how_of(twin),
        num_targets=500,
        inversion_steps=400,
        step_size=0.5,
        final_step_size=0.02,
        num_units=40,
        unit_steps=200,
        unit_step_size=0.14,
    )


def paper() -> Settings:
    """ResNet-50 on CIFAR-10 and the published numbers of steps. One GPU: days, nearly all of them training."""
    return Settings(
        architecture="cifar:resnet50",
        judge_architecture="cifar:wrn-28-10",
        train_data="cifar10:train",
        test_data="cifar10:test",
        eps=0.5,
        num_seeds=3,
        epochs=150,
        batch_size=128,
        lr=0.1,
        schedule="cosine",
        augmentation="crop-flip",
        train_steps=7,
        step_share=0.2,
        validation=1_000,
        num_targets=1_000,
        inversion_steps=10_000,
        step_size=1.0,
        final_step_size=0.02,
        num_units=100,
        unit_steps=200,
        unit_step_size=1.0,
    )


SIZES: Mapping[Size, Settings] = {"quick": quick(), "small": small(), "paper": paper()}


def estimate(settings: Settings) -> Work:
    """Gradient steps of all optimisations; trainings beside them."""
    networks = len(KINDS) * settings.num_seeds
    inversions = (
        settings.num_targets * settings.inversion_steps * (networks * len(settings.starts) + settings.num_seeds)
    )
    units = networks * settings.num_units * settings.unit_starts * settings.unit_steps
    trainings = len(settings.wanted()) + (not settings.judge)
    times = {
        "digits:cnn": "The quick size takes 37 s of CPU time over all processes.",
        "small:s": "Each robust network S takes 12 to 15 min on two slow cores, each standard one 4 to 5.",
    }
    note = "Judges are all that is trained." if trainings else "Nothing is trained."
    if settings.wanted():
        note = times.get(settings.architecture, "Training takes most of it.")
    return Work(
        counts={"gradient steps of single images": inversions + units, "trainings": trainings},
        note=note,
        parts=plan(settings),
        unit=NetworkPass(models=(settings.architecture,)),
    )


def plan(settings: Settings) -> tuple[Part, ...]:
    """The steps of a run."""
    count, _ = num_images([settings.train_data, settings.test_data], otherwise=10_000)
    networks, targets = len(KINDS) * settings.num_seeds, settings.num_targets
    excited = networks * settings.num_units * settings.unit_starts
    made = targets * (networks * len(settings.starts) + settings.num_seeds) + excited
    trainings = [*settings.wanted().values(), *[settings.judge_spec()] * (not settings.judge)]
    return (
        training_part([(spec, count[settings.train_data]) for spec in trainings]),
        Part(step="latents", items=count[settings.test_data] * (networks + 1) + made, cost=LOOK),
        Part(step="invert", items=targets * networks * len(settings.starts), cost=settings.inversion_steps),
        Part(step="class", items=targets * settings.num_seeds, cost=settings.inversion_steps),
        Part(step="visualise", items=excited, cost=settings.unit_steps),
    )


OUTLINE = Outline(
    name="representations",
    question="Are images with the same representation the same image, and is that so for robust networks only?",
    paper="arXiv:1906.00945",
    settings=Settings,
    sizes=SIZES,
    estimate=estimate,
    names={
        "standard": "model",
        "robust": "model",
        "judge": "model",
        "architecture": "model",
        "judge_architecture": "model",
        "train_data": "data",
        "test_data": "data",
    },
)
