"""The settings of the study and its three sizes. Imports nothing heavy: the command line reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from robustray.tasks.attacks.precision import Precision
from robustray.tasks.errors import InputError
from robustray.tasks.inputs.settings import Ascent
from robustray.tasks.kit import checks
from robustray.tasks.kit.estimates import LOOK, num_classes, num_images, training_part
from robustray.tasks.study import NetworkPass, Outline, Part, Size, Work
from robustray.tasks.training.how import how_of
from robustray.tasks.training.reference import SEEDS, reference_specs
from robustray.tasks.training.twins import KINDS, Kind, TwinSettings

Task = Literal["generate", "inpaint", "super-resolution"]
Edit = Literal["inpaint", "super-resolution"]
TASKS: tuple[Task, ...] = ("generate", "inpaint", "super-resolution")
EDITS: tuple[Edit, ...] = ("inpaint", "super-resolution")
Law = Literal["class", "noise"]
LAWS: tuple[Law, ...] = ("class", "noise")
Labels = Literal["true", "predicted", "wrong"]
LABELS: tuple[Labels, ...] = ("predicted", "true", "wrong")
"""Which class an edit asks for: what the network itself sees in the damaged picture, the true one, a random other."""


@dataclass(frozen=True, kw_only=True)
class Settings(TwinSettings):
    """Can one classifier, and nothing else, make and mend images? Does robust training decide it?"""

    robust_judge: str = ""
    """A second, robust judge of generations; none: one of the judge's architecture is trained here."""
    task: Literal["all", "generate", "inpaint", "super-resolution"] = "all"
    """Only one of the tasks; with an image, what is done to it."""
    image: str = ""
    """A picture of your own: it is inpainted or enlarged, and no study is run."""
    model: str = ""
    """Network that does it (run:KEY, small:s@weights.safetensors); none: the robust one of the first seed."""
    target: str = ""
    """Class that it is asked for; none: what the network itself sees in the damaged picture."""
    hole_at: tuple[int, ...] = ()
    """Where the picture is damaged: row, column and side of a square, in pixels of the network; none: drawn."""

    laws: tuple[Law, ...] = LAWS
    """Where generations start: at a draw from the Gaussian of the class's training images, or at noise around grey."""
    per_class: int
    """Generations of each class, from each law, by each network; the same seeds for all networks."""
    seed_factor: int = 1
    """Training images are averaged over squares of this side before the Gaussian is fitted."""
    generate_eps: float
    """Ball (l2) around the seed, in pixel units."""
    generate_step: float
    """Length of a step."""
    generate_steps: int
    num_images: int
    """Test images that are inpainted and enlarged, drawn at random."""
    hole: int
    """Side of the square that is lost, in pixels; its place is drawn per image, it is filled with the image's mean."""
    inpaint_eps: float
    """Ball around the damaged picture."""
    inpaint_step: float
    inpaint_steps: int
    anchor: float = 10.0
    """Weight of the mean squared change of known pixels, subtracted from the objective."""
    factor: int
    """By which super-resolution enlarges: squares of this side are averaged first."""
    enlarge_eps: float
    """Ball around the enlarged picture: small, so that what is known stays."""
    enlarge_step: float
    enlarge_steps: int
    num_examples: int = 8
    """Images of each task that are shown: the first ones of those drawn."""
    precision: Precision = "auto"
    """Arithmetic of the optimisations' gradients; judgements are always fp32."""
    block: int = 64
    """Optimised images per block of work."""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.choices(("all", *TASKS), task=self.task)
        checks.choices(LAWS, laws=self.laws)
        checks.several(laws=self.laws)
        checks.counts(at_least=1, per_class=self.per_class, seed_factor=self.seed_factor, num_images=self.num_images)
        checks.counts(at_least=1, hole=self.hole, block=self.block)
        checks.counts(at_least=2, factor=self.factor)
        checks.counts(num_examples=self.num_examples)
        checks.sizes(anchor=self.anchor)
        checks.positive(generate_eps=self.generate_eps, inpaint_eps=self.inpaint_eps, enlarge_eps=self.enlarge_eps)
        for task in TASKS:
            self.ascent(task)  # refuses the rest
        self._check_picture()

    def _check_picture(self) -> None:
        if not self.image:
            given = [name for name in ("model", "target", "hole_at") if getattr(self, name)]
            if given:
                raise InputError(f"{given[0]} goes with a picture of your own: give --image too")
            return
        if self.task not in EDITS:
            raise InputError(
                f"image {self.image}: say what is done to it, --task inpaint or --task super-resolution "
                "(a generation starts at no picture)"
            )
        if self.hole_at and (len(self.hole_at) != 3 or min(self.hole_at) < 0 or self.hole_at[2] < 1):
            raise InputError(
                f"hole_at: {' '.join(map(str, self.hole_at))}: give row, column and side of the square, three numbers"
            )
        if self.hole_at and self.task != "inpaint":
            raise InputError("hole_at goes with --task inpaint")

    def named_judges(self) -> dict[Kind, str]:
        """Both kinds, where they were given."""
        given = super().named_judges()
        if self.robust_judge:
            given["robust"] = self.robust_judge
        return given

    @property
    def tasks(self) -> tuple[Task, ...]:
        """What this run does."""
        return TASKS if self.task == "all" else (self.task,)

    def ascent(self, task: Task) -> Ascent:
        """Steps of a task: best iterate of all, as in the paper's code."""
        eps, size, steps = {
            "generate": (self.generate_eps, self.generate_step, self.generate_steps),
            "inpaint": (self.inpaint_eps, self.inpaint_step, self.inpaint_steps),
            "super-resolution": (self.enlarge_eps, self.enlarge_step, self.enlarge_steps),
        }[task]
        return Ascent(eps=eps, step_size=size, num_steps=steps, keep="best", precision=self.precision)


def quick() -> Settings:
    """robustray run synthesis --size quick      48 s of CPU time; embedded data, proves nothing."""
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
        per_class=20,
        seed_factor=2,
        generate_eps=0.8,
        generate_step=0.04,
        generate_steps=60,
        num_images=150,
        hole=4,
        inpaint_eps=1.0,
        inpaint_step=0.05,
        inpaint_steps=60,
        factor=2,
        enlarge_eps=0.6,
        enlarge_step=0.06,
        enlarge_steps=40,
        precision="fp32",
    )


def small() -> Settings:
    """The reference twins on CIFAR-10 (l2 0.5), three seeds:
    robustray run synthesis --size small --data-root DIR      two CPU cores; hours where no twins are found.

    Sizes of balls: the paper's at 224 x 224 have the same mean change of a pixel here when they are divided by 7.
    """
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
        per_class=200,
        seed_factor=2,
        generate_eps=6.0,
        generate_step=0.3,
        generate_steps=60,
        num_images=500,
        hole=8,
        inpaint_eps=3.1,
        inpaint_step=0.15,
        inpaint_steps=120,
        factor=4,
        enlarge_eps=1.5,
        enlarge_step=0.15,
        enlarge_steps=40,
    )


def paper() -> Settings:
    """ResNet-50 on CIFAR-10 with the published settings of generation. One GPU: days, nearly all of them training."""
    return Settings(
        architecture="cifar:resnet50",
        judge_architecture="cifar:wrn-28-10",
        train_data="cifar10:train",
        test_data="cifar10:test",
        eps=0.5,
        num_seeds=3,
        epochs=350,
        batch_size=256,
        lr=0.01,
        schedule="cosine",
        augmentation="crop-flip",
        train_steps=7,
        step_share=0.2,
        validation=1_000,
        per_class=500,
        generate_eps=30.0,
        generate_step=0.5,
        generate_steps=60,
        num_images=2_000,
        hole=8,
        inpaint_eps=3.1,
        inpaint_step=0.014,
        inpaint_steps=720,
        factor=4,
        enlarge_eps=1.5,
        enlarge_step=0.15,
        enlarge_steps=40,
    )


SIZES: Mapping[Size, Settings] = {"quick": quick(), "small": small(), "paper": paper()}


def estimate(settings: Settings) -> Work:
    """Gradient steps of all optimisations; trainings beside them."""
    if settings.image:
        steps = settings.ascent(settings.tasks[0]).num_steps
        counts = {"gradient steps of single images": steps}
        return Work(
            counts=counts,
            note="One picture: seconds, once there is a network.",
            parts=(Part(step="picture", items=1, cost=steps),),
            unit=NetworkPass(models=(settings.architecture,)),
        )
    networks = len(KINDS) * settings.num_seeds
    generations = settings.per_class * num_classes(settings.train_data) * len(settings.laws)
    items = {task: generations if task == "generate" else settings.num_images * len(LABELS) for task in settings.tasks}
    steps = sum(networks * items[task] * settings.ascent(task).num_steps for task in settings.tasks)
    trainings = len(settings.wanted()) + len(KINDS) - len(settings.named_judges())
    times = {
        "digits:cnn": "The quick size takes 48 s of CPU time over all processes.",
        "small:s": "Each robust network S takes 12 to 15 min on two slow cores, each standard one 4 to 5.",
    }
    note = "Judges are all that is trained." if trainings else "Nothing is trained."
    if settings.wanted():
        note = times.get(settings.architecture, "Training takes most of it.")
    return Work(
        counts={
            "gradient steps of single images": steps,
            "trainings": trainings,
        },
        note=note,
        parts=plan(settings, items),
        unit=NetworkPass(models=(settings.architecture,)),
    )


def plan(settings: Settings, items: Mapping[Task, int]) -> tuple[Part, ...]:
    """The steps of a run. items: images that each network makes, by task."""
    count, _ = num_images([settings.train_data, settings.test_data], otherwise=10_000)
    networks, num_train = len(KINDS) * settings.num_seeds, count[settings.train_data]
    judges = [settings.judge_spec(kind) for kind in KINDS if kind not in settings.named_judges()]
    seeds = sum(items[task] for task in settings.tasks if task == "generate") * len(KINDS)
    seen = networks * sum(items[task] * (len(KINDS) if task == "generate" else 1) for task in settings.tasks) + seeds
    return (
        training_part([(spec, num_train) for spec in [*settings.wanted().values(), *judges]]),
        Part(step="latents", items=count[settings.test_data] * (networks + len(KINDS)) + seen, cost=LOOK),
        *(
            Part(step=task, items=networks * items[task], cost=settings.ascent(task).num_steps)
            for task in settings.tasks
        ),
    )


OUTLINE = Outline(
    name="synthesis",
    question="Can a single classifier make and mend images, and does robust training decide it?",
    paper="arXiv:1906.09453",
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
