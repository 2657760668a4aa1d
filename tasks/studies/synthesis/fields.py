"""The settings of the study and what they refuse. Imports nothing heavy: the command line reads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from robustray.tasks.attacks.precision import Precision
from robustray.tasks.errors import InputError
from robustray.tasks.inputs.settings import Ascent
from robustray.tasks.kit import checks
from robustray.tasks.studies.synthesis.kinds import EDITS, LAWS, TASKS, Law, Task
from robustray.tasks.training.twins import Kind, TwinSettings


@dataclass(frozen=True, kw_only=True)
class Settings(TwinSettings):
    """Can one classifier, and nothing else, make and mend images? Does robust training decide it?"""

    robust_judge: str = ""
    """A second, robust judge; none: one of the judge's architecture is trained here."""
    task: Literal["all", "generate", "inpaint", "super-resolution", "translate", "sketch", "paint"] = "all"
    """Only one of the tasks; with an image, what is done to it."""
    image: str = ""
    """A picture of your own: the task is done to it, and no study is run. A generation needs none, but a target."""
    model: str = ""
    """Network that does it (run:KEY, small:s@weights.safetensors); none: the robust one of the first seed."""
    target: str = ""
    """Class that it is asked for; none: what the network itself sees in the damaged or enlarged picture."""
    hole_at: tuple[int, ...] = ()
    """Square that is lost, or painted in: row, column and side, in pixels of the network; none: drawn."""
    mask: str = ""
    """Instead of a square, a picture of the image's own size: white where it is lost, or may be painted."""
    unit: int = -1
    """Coordinate of the latent that is painted with; none: the one that the picture excites most."""
    side: int = 0
    """Side of the network's images, for networks of other images than test_data (224; classes then have numbers)."""

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
    """Test images that every edit and painting is made of, drawn at random."""
    hole: int
    """Side of the square that is lost, or painted in, in pixels; its place is drawn for each image. What is lost is
    filled with the image's mean."""
    inpaint_eps: float
    """Ball around the damaged picture."""
    inpaint_step: float
    inpaint_steps: int
    anchor: float = 10.0
    """Weight of the mean squared change of known pixels, subtracted from the objective."""
    factor: int
    """Factor by which super-resolution enlarges; squares of this side are averaged first."""
    enlarge_eps: float
    """Ball around the enlarged picture: small, so that what is known stays."""
    enlarge_step: float
    enlarge_steps: int
    translate_eps: float
    """Ball around the picture that is to become one of another class."""
    translate_step: float
    translate_steps: int
    sketch_eps: float
    """Ball around the drawing: outlines of a test image, black on white."""
    sketch_step: float
    sketch_steps: int
    paint_eps: float
    """Ball around the picture in which a square is painted with a random coordinate of the latent."""
    paint_step: float
    paint_steps: int
    paint_anchor: float = 0.0
    """Weight of the mean squared change outside the square, against a tenth of the coordinate; 0: nothing changes."""
    neighbours: int = 3
    """k of precision and recall: the distance to the k-th nearest neighbour is the radius of a ball around an image."""
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
        checks.counts(at_least=1, hole=self.hole, block=self.block, neighbours=self.neighbours)
        checks.counts(at_least=2, factor=self.factor)
        checks.counts(num_examples=self.num_examples, side=self.side)
        checks.counts(at_least=-1, unit=self.unit)
        checks.sizes(anchor=self.anchor, paint_anchor=self.paint_anchor)
        for task in TASKS:
            eps, step, steps = (f"{_PREFIX[task]}_{what}" for what in ("eps", "step", "steps"))
            checks.positive(**{eps: getattr(self, eps)})
            checks.sizes(**{step: getattr(self, step)})
            checks.counts(at_least=1, **{steps: getattr(self, steps)})
            self.ascent(task)  # refuses the rest
        self._check_picture()

    def _check_picture(self) -> None:
        own = ("image", "model", "target", "hole_at", "mask", "side")
        given = [name for name in own if getattr(self, name)] + ["unit"] * (self.unit >= 0)
        if not self.one_picture:
            if given and self.task == "generate":
                raise InputError(f"{given[0]}: to generate one picture, give --target CLASS too")
            if given and given[0] == "image":
                raise InputError(f"image {self.image}: say what is done to it, --task {', '.join(EDITS)} or paint")
            if given:
                raise InputError(f"{given[0]} goes with a picture of your own: give --image too")
            return
        if self.image and self.task == "generate":
            raise InputError(
                f"image {self.image}: a generation starts at no picture: leave it out, or take --task translate"
            )
        if self.hole_at and (len(self.hole_at) != 3 or min(self.hole_at) < 0 or self.hole_at[2] < 1):
            raise InputError(
                f"hole_at: {' '.join(map(str, self.hole_at))}: give row, column and side of the square, three numbers: "
                "row and column are at least 0, the side at least 1"
            )
        for name in ("hole_at", "mask"):
            if getattr(self, name) and self.task not in ("inpaint", "paint"):
                raise InputError(f"{name} goes with --task inpaint or --task paint")
        if self.hole_at and self.mask:
            raise InputError("hole_at and mask both say where the picture is changed: give one")
        if self.unit >= 0 and self.task != "paint":
            raise InputError("unit goes with --task paint")
        if self.target and self.task == "paint":
            raise InputError("target: painting asks for a coordinate of the latent and not for a class: give --unit")
        if not self.target and self.task in ("generate", "translate", "sketch"):
            raise InputError(f"--task {self.task}: give the class that it is asked for, --target CLASS")
        if self.side and not self.model:
            raise InputError(f"side {self.side} is that of a network of yours: give --model too")

    def named_judges(self) -> dict[Kind, str]:
        """Names of both kinds of judge, where they were given."""
        given = super().named_judges()
        if self.robust_judge:
            given["robust"] = self.robust_judge
        return given

    @property
    def one_picture(self) -> bool:
        """Whether this is no study: the user's own picture is changed, or a single one is made."""
        return (bool(self.image) and self.task != "all") or (self.task == "generate" and bool(self.target))

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks of this run."""
        return TASKS if self.task == "all" else (self.task,)

    @staticmethod
    def flag(task: Task, what: str) -> str:
        """The flag behind "eps", "step" or "steps" of a task."""
        return f"--{_PREFIX[task]}-{what}"

    def ascent(self, task: Task) -> Ascent:
        """Steps of a task: best iterate of all, as in the paper's code."""
        eps, size, steps = (getattr(self, f"{_PREFIX[task]}_{what}") for what in ("eps", "step", "steps"))
        return Ascent(eps=eps, step_size=size, num_steps=steps, keep="best", precision=self.precision)


_PREFIX = {task: "enlarge" if task == "super-resolution" else task for task in TASKS}
