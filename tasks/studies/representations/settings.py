"""The settings of the study and its three sizes. Imports nothing heavy: the command line reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from robustray.tasks.attacks.precision import Precision
from robustray.tasks.cost import NetworkPass, Part, Work
from robustray.tasks.inputs.settings import Ascent
from robustray.tasks.kit import checks
from robustray.tasks.kit.estimates import LOOK, num_classes, num_images, training_part
from robustray.tasks.studies.representations.kinds import STARTS, STRANGE, Start
from robustray.tasks.study import Outline, Size
from robustray.tasks.training.how import how_of
from robustray.tasks.training.reference import SEEDS, reference_specs
from robustray.tasks.training.twins import KINDS, TwinSettings

BLOCKS = 4
"""About how many blocks a network has, for the estimate: the search of `sense_block` is made for each."""


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
    match_eps: tuple[float, ...]
    """Sizes of balls (l2) within which the latent of another image is matched, ascending."""
    match_steps: int
    num_pairs: int
    """Pairs of test images of which that is asked, drawn at random; all images, where there are fewer."""
    num_interpolated: int
    """Pairs of test images between whose latents is interpolated; as many as images, where there are fewer."""
    path_points: int = 10
    """Images of such a path, both ends included."""
    interpolation_steps: int
    add_starts: int = 2
    """Test images to which each coordinate is added, until it is as large as on one test image of a hundred, or as on
    its `top_images`-th strongest one where that is more (with more than 100 * top_images images)."""
    add_steps: int
    add_step_size: float
    """Length (l2) of a step of feature addition."""
    num_strange: int
    """Targets of each kind from outside all classes (noise, textures, bars), ranked among each other."""
    num_maps: int
    """Test images of which sensitivity maps are drawn; all, where there are fewer."""
    num_sensed: int
    """Test images of which is asked how far each block's output follows them; all, where there are fewer."""
    sense_eps: tuple[float, ...]
    """Sizes of the balls (l2) within which they move, ascending."""
    sense_steps: int = 20
    head_images: int
    """Training images on whose latents a linear head is fitted, and class means are taken, drawn at random."""
    direction_starts: int
    """Images that are made along each class's direction of that head, from noise."""
    direction_steps: int
    neighbours: int = 5
    """Nearest test images in feature space that are looked at."""
    people: str = ""
    """People's answers to the test images: a Parquet table with index, label and count_CLASS (`import cifar10h`)."""
    num_resamples: int = 400
    """Resamples of images for the interval of the agreement with people."""
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
        checks.counts(at_least=1, num_pairs=self.num_pairs, num_interpolated=self.num_interpolated)
        checks.counts(at_least=1, add_starts=self.add_starts, num_maps=self.num_maps, neighbours=self.neighbours)
        checks.counts(at_least=1, direction_starts=self.direction_starts)
        checks.counts(at_least=2, path_points=self.path_points, num_strange=self.num_strange)
        checks.counts(at_least=2, head_images=self.head_images)
        checks.counts(at_least=200, num_resamples=self.num_resamples)
        checks.ascending(match_eps=self.match_eps, sense_eps=self.sense_eps)
        checks.counts(at_least=1, num_sensed=self.num_sensed, sense_steps=self.sense_steps)
        checks.counts(at_least=1, inversion_steps=self.inversion_steps, unit_steps=self.unit_steps)
        checks.counts(at_least=1, match_steps=self.match_steps, interpolation_steps=self.interpolation_steps)
        checks.counts(at_least=1, add_steps=self.add_steps, direction_steps=self.direction_steps)
        checks.sizes(step_size=self.step_size, final_step_size=self.final_step_size)
        checks.sizes(unit_step_size=self.unit_step_size, add_step_size=self.add_step_size)
        for ascent in (self.inversion, self.visualisation, self.matching, self.interpolation, self.addition):
            ascent()  # refuses the rest
        self.direction()

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

    def matching(self) -> Ascent:
        """The same within a ball; the length of its steps is a share of the ball's size."""
        return Ascent(step_size=2.5 / self.match_steps, num_steps=self.match_steps, precision=self.precision)

    def sensing(self) -> Ascent:
        """Away from what a block puts out; the length of its steps is a share of the ball's size, as PGD takes them."""
        return Ascent(step_size=2.5 / self.sense_steps, num_steps=self.sense_steps, precision=self.precision)

    def interpolation(self) -> Ascent:
        """Matching a latent between two; the best iterate, so that the ends stay where they begin."""
        return replace(self.inversion(), num_steps=self.interpolation_steps, keep="best")

    def addition(self) -> Ascent:
        """Exciting one coordinate up to a level, where it stops by itself."""
        return Ascent(step_size=self.add_step_size, num_steps=self.add_steps, keep="best", precision=self.precision)

    def direction(self) -> Ascent:
        """Along a direction of the latent."""
        return replace(self.visualisation(), num_steps=self.direction_steps)


def quick() -> Settings:
    """robustray run representations --size quick      50 s of CPU time; embedded data, proves nothing."""
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
        match_eps=(0.1, 0.2, 0.4, 0.8),
        match_steps=30,
        num_pairs=60,
        num_interpolated=20,
        path_points=6,
        interpolation_steps=60,
        add_steps=40,
        add_step_size=0.05,
        num_strange=30,
        num_maps=120,
        num_sensed=40,
        sense_eps=(0.2, 0.4),
        sense_steps=10,
        head_images=600,
        direction_starts=3,
        direction_steps=60,
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
        match_eps=(0.125, 0.25, 0.5, 1.0, 2.0),
        match_steps=50,
        num_pairs=200,
        num_interpolated=50,
        interpolation_steps=300,
        add_steps=200,
        add_step_size=0.02,
        num_strange=100,
        num_maps=500,
        num_sensed=200,
        sense_eps=(0.25, 0.5),
        head_images=5_000,
        direction_starts=20,
        direction_steps=200,
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
        match_eps=(0.125, 0.25, 0.5, 1.0, 2.0),
        match_steps=200,
        num_pairs=200,
        num_interpolated=100,
        interpolation_steps=10_000,
        add_steps=800,
        add_step_size=0.1,
        num_strange=100,
        num_maps=1_000,
        num_sensed=1_000,
        sense_eps=(0.25, 0.5),
        head_images=50_000,
        direction_starts=50,
        direction_steps=200,
    )


SIZES: Mapping[Size, Settings] = {"quick": quick(), "small": small(), "paper": paper()}


def estimate(settings: Settings) -> Work:
    """Gradient steps of all optimisations; trainings beside them."""
    steps = sum(round(part.items * part.cost) for part in plan(settings)[2:])  # without trainings and looks
    trainings = len(settings.wanted()) + (not settings.judge)
    times = {
        "digits:cnn": "The quick size takes 50 s of CPU time in one process.",
        "small:s": "Each robust network S takes 12 to 15 min on two slow cores, each standard one 4 to 5.",
    }
    note = "Judges are all that is trained." if trainings else "Nothing is trained."
    if settings.wanted():
        note = times.get(settings.architecture, "Training takes most of it.")
    return Work(
        counts={"gradient steps of single images": steps, "trainings": trainings},
        note=note,
        parts=plan(settings),
        unit=NetworkPass(models=(settings.architecture,)),
    )


def plan(settings: Settings) -> tuple[Part, ...]:
    """The steps of a run."""
    count, _ = num_images([settings.train_data, settings.test_data], otherwise=10_000)
    networks, targets = len(KINDS) * settings.num_seeds, settings.num_targets
    classes, num_test = num_classes(settings.train_data), count[settings.test_data]
    paths = min(settings.num_interpolated, num_test) * settings.path_points
    made = {  # images that a judge looks at
        "invert": targets * networks * len(settings.starts),
        "class": targets * settings.num_seeds,
        "visualise": networks * settings.num_units * settings.unit_starts,
        "interpolate": networks * paths,
        "add": networks * settings.num_units * settings.add_starts,
        "direct": networks * classes * settings.direction_starts,
        "strange": networks * len(STRANGE) * settings.num_strange,
    }
    shown = paths + len(STRANGE) * settings.num_strange  # blends, targets
    fitted = min(settings.head_images, count[settings.train_data])
    natural = num_test * (networks + 1) + networks * fitted
    cost = {
        "invert": settings.inversion_steps,
        "class": settings.inversion_steps,
        "visualise": settings.unit_steps,
        "interpolate": settings.interpolation_steps,
        "add": settings.add_steps,
        "direct": settings.direction_steps,
        "strange": settings.inversion_steps,
    }
    trainings = [*settings.wanted().values(), *[settings.judge_spec()] * (not settings.judge)]
    return (
        training_part([(spec, count[settings.train_data]) for spec in trainings], unit=settings.architecture),
        Part(step="latents", items=natural + sum(made.values()) + shown, cost=LOOK),
        *(Part(step=step, items=items, cost=cost[step]) for step, items in made.items()),
        Part(
            step="match",
            items=networks * min(settings.num_pairs, num_test),
            cost=settings.match_steps * len(settings.match_eps),
        ),
        Part(step="maps", items=networks * min(settings.num_maps, num_test), cost=2),
        Part(
            step="sense",
            items=networks * min(settings.num_sensed, num_test),
            cost=BLOCKS * len(settings.sense_eps) * settings.sense_steps,
        ),
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
