"""The settings of the study and its three sizes. Imports nothing heavy: the command line reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from robustray.tasks.errors import InputError
from robustray.tasks.kit import checks
from robustray.tasks.kit.estimates import LOOK, training_part
from robustray.tasks.study import NetworkPass, Outline, Part, Size, Work
from robustray.tasks.training.schedules import Schedule
from robustray.tasks.training.settings import Augmentation, TrainSpec

Version = Literal["only_bg_b", "only_bg_t", "no_fg", "only_fg", "mixed_same", "mixed_rand", "mixed_next"]
VERSIONS: tuple[Version, ...] = get_args(Version)
Segment = Literal["grabcut", "box"]
Groups = Literal["", "in9"]
ORIGINAL = "original"
WORDS: Mapping[str, str] = {
    ORIGINAL: "Original",
    "only_bg_b": "Only-BG-B",
    "only_bg_t": "Only-BG-T",
    "no_fg": "No-FG",
    "only_fg": "Only-FG",
    "mixed_same": "Mixed-Same",
    "mixed_rand": "Mixed-Rand",
    "mixed_next": "Mixed-Next",
}
"""Names of the paper's table 1."""
NEEDED: tuple[Version, ...] = ("only_bg_t", "mixed_same", "mixed_rand")
"""Versions without which there is no BG-gap."""


class Network(NamedTuple):
    """One training on scenes."""

    rho: float
    trained_on: str
    """A key of `WORDS`."""
    seed: int
    """Seed of a whole chain: of the training images, of the training, and of the choice of what is pasted on what in
    training images."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Measure how much of a classifier's answer comes from the background."""

    data: str = ""
    """Your own images with boxes or masks, instead of scenes: a folder of class folders with a boxes.csv, or Parquet
    with a column box or mask; all of one size, or of any sizes with --boxes."""
    boxes: str = ""
    """Where the objects are in photographs of any sizes: annotations.json (COCO), a table boxes.csv or boxes.parquet, a
    folder of ImageNet's XML files, own (what comes with the data), or central:0.6 (no annotations: the centre)."""
    segment: Segment = "grabcut"
    """How foregrounds are found in boxes of photographs without masks: grabcut, or box (all of it)."""
    attempts: int = 10
    """Times that GrabCut is tried with another seed before a photograph is given up."""
    photo_side: int = 224
    """Pixels of a side of the versions of photographs."""
    groups: Groups = ""
    """in9: photographs of ImageNet's 1,000 classes become those of the nine groups of ImageNet-9, the rest is left
    out."""
    released: str = ""
    """Versions that are there already, instead of --data: a folder with a folder for each version, as --build writes
    them or as ImageNet-9's authors released them."""
    models: tuple[str, ...] = ()
    """Trained models to judge on your own images; those of ImageNet's 1,000 classes, too, on ImageNet-9's nine. If none
    is given, the versions are only built."""
    build: str = ""
    """Folder into which every version is written, as Parquet that --data reads."""
    versions: tuple[Version, ...] = VERSIONS
    """Versions of each image beside the original; only_bg_t, mixed_same and mixed_rand are needed."""

    rhos: tuple[float, ...] = (0.0, 0.5, 0.9)
    """Correlations of class and background in the scenes, in training and test; claims are about 0 and the largest."""
    side: int = 32
    """Side of a scene in pixels."""
    num_train: int = 2_250
    """Scenes to train on, other ones for every seed."""
    num_test: int = 1_800
    """Scenes on which everything is reported."""
    also_train_on: tuple[Version, ...] = ("mixed_rand",)
    """Versions on which networks are trained too, at the largest correlation."""
    arch: str = "scenes:cnn"
    """Architecture to train, without weights: scenes:cnn, cifar:resnet18-w16, or my_pkg.my_mod:function."""
    epochs: int = 8
    """Passes over the training images."""
    batch_size: int = 64
    """Images per step."""
    lr: float = 0.2
    """Peak learning rate."""
    schedule: Schedule = "triangular"
    """Schedule of the learning rate: triangular, steps (drops to a tenth at lr_drops), cosine or constant."""
    lr_drops: tuple[float, ...] = ()
    """Epochs after which the learning rate drops, for steps."""
    weight_decay: float = 5e-4
    """Weight decay on all parameters."""
    augmentation: Augmentation = "none"
    """crop-flip: a random crop of the padded image, mirrored in half of the cases."""
    num_seeds: int = 3
    """Chains of training images and training, with the seeds seed, seed + 1, ...; claims need at least 2."""
    margin: float = 0.05
    """A BG-gap within this share, both ways, counts as none."""
    num_examples: int = 5
    """Test images shown in all their versions, drawn at random."""
    block: int = 300
    """Test images per block of work."""
    seed: int = 0
    """First seed of the chains; also that of the test images' partners and of the examples."""

    def __post_init__(self) -> None:
        checks.several(rhos=self.rhos, versions=self.versions)
        checks.choices(VERSIONS, versions=self.versions, also_train_on=self.also_train_on)
        if len(set(self.also_train_on)) < len(self.also_train_on):
            raise InputError(f"also_train_on: {', '.join(self.also_train_on)} names one twice")
        missing = [version for version in NEEDED if version not in self.versions]
        if missing:
            raise InputError(f"versions: {missing[0]} is missing; the BG-gap and its claims need {', '.join(NEEDED)}")
        for rho in self.rhos:
            checks.shares(rhos=rho)
        if list(self.rhos) != sorted(self.rhos):
            raise InputError(f"rhos: correlations must ascend, got {', '.join(f'{rho:g}' for rho in self.rhos)}")
        checks.counts(at_least=1, num_seeds=self.num_seeds, block=self.block)
        checks.counts(at_least=18, num_train=self.num_train, num_test=self.num_test)
        checks.counts(at_least=12, side=self.side)
        checks.counts(seed=self.seed, num_examples=self.num_examples)
        checks.shares(ends="()", margin=self.margin)
        checks.counts(at_least=1, attempts=self.attempts)
        checks.counts(at_least=16, photo_side=self.photo_side)
        self._check_own()
        if not self.own:
            for network in self.networks():
                self.spec(network, "scenes:train")  # refuses what no training can use

    def _check_own(self) -> None:
        if self.models and not self.own:
            raise InputError("models are judged on your own images: give --data, or leave --models out to train here")
        if self.data and self.released:
            raise InputError("data and released exclude each other: versions are built here, or are there already")
        if self.released and (self.build or not self.models):
            raise InputError("released: those versions are built; give --models to judge on them, and no --build")
        if self.data and not self.models and not self.build:
            raise InputError("data without models and build: give --models to judge, --build FOLDER to write, or both")
        if self.boxes and not self.data:
            raise InputError("boxes are those of photographs: give --data, a folder or Parquet file of them")

    def idle(self) -> dict[str, str]:
        """Fields that do nothing beside the others."""
        found: dict[str, str] = {}
        if not self.boxes:
            why = "only photographs of any sizes are cut so; give --boxes"
            found |= dict.fromkeys(("segment", "attempts", "photo_side", "groups"), why)
        elif self.segment == "box":
            found["attempts"] = "segment box takes the whole box"
        return found

    @property
    def own(self) -> str:
        """The user's own images: what was given as `data` or `released`; "" where scenes are used."""
        return self.data or self.released

    def scenes(self, split: Literal["train", "test"], rho: float, seed: int) -> str:
        """Name of the scenes. Hard edges (aa=1): masks are exact to the pixel, nothing of an object stays behind."""
        n = self.num_train if split == "train" else self.num_test
        return f"scenes:{split},n={n},size={self.side},rho={rho:g},aa=1,seed={seed}"

    def networks(self) -> list[Network]:
        """All trainings: on the original scenes at every correlation, on other versions at the largest one."""
        seeds = range(self.seed, self.seed + self.num_seeds)
        plain = [Network(rho, ORIGINAL, seed) for rho in self.rhos for seed in seeds]
        return plain + [Network(self.rhos[-1], version, seed) for version in self.also_train_on for seed in seeds]

    def spec(self, network: Network, data: object) -> TrainSpec:
        """How a network is trained on `data`, a name or a reference."""
        return TrainSpec(
            model=self.arch,
            data=data,  # type: ignore[arg-type]
            epochs=self.epochs,
            batch_size=self.batch_size,
            lr=self.lr,
            schedule=self.schedule,
            lr_drops=self.lr_drops,
            weight_decay=self.weight_decay,
            augmentation=self.augmentation,
            seed=network.seed,
        )


def estimate(settings: Settings) -> Work:
    """What `robustray show` says."""
    versions = len(settings.versions) + 1
    if settings.own:
        slow = "GrabCut takes 0.1 to 1 s of a core for a photograph." if settings.boxes else ""
        return Work(
            counts={"versions of each image": versions - 1}
            | ({"models that see all of them": len(settings.models)} if settings.models else {}),
            note=slow or "Building takes about 0.1 ms per version of a small image.",
        )
    networks = settings.networks()
    trained = len(networks) * settings.epochs * settings.num_train
    tested = len(networks) * versions * settings.num_test
    return Work(
        counts={"training passes of single images": trained, "predictions": tested, "trainings": len(networks)},
        note=MEASURED.get((settings.arch, settings.side), "Trainings dominate."),
        parts=plan(settings),
        unit=NetworkPass(models=(settings.arch,), side=settings.side),
    )


def plan(settings: Settings) -> tuple[Part, ...]:
    """The steps of a run on scenes."""
    networks, num_train = settings.networks(), settings.num_train
    cut = sum(network.trained_on != ORIGINAL for network in networks)
    built = len(settings.versions) * len(settings.rhos) * settings.num_test + cut * num_train
    looked = len(networks) * (len(settings.versions) + 1) * settings.num_test
    return (
        Part(step="versions", items=built, cost=BUILD),
        training_part([(settings.spec(network, "scenes:train"), num_train) for network in networks]),
        Part(step="clean", items=looked, cost=LOOK),
    )


BUILD = 0.6
"""Passes that a version costs to cut and paste; measured at quick size."""


MEASURED: Mapping[tuple[str, int], str] = {
    ("scenes:cnn", 32): "Trainings dominate; the quick size takes 66 s of CPU time over all processes.",
}
"""By architecture and side; source: docs/studies/backgrounds.md."""


def small() -> Settings:
    """All versions to train on, five chains, as the paper's table 5: robustray run backgrounds --size small.

    4.2 million training passes, sixteen times the quick size: ten minutes of CPU time by its pace, not yet measured.
    """
    return Settings(
        rhos=(0.0, 0.2, 0.35, 0.5, 0.7, 0.9),
        num_train=5_400,
        num_test=4_050,
        also_train_on=VERSIONS,
        epochs=12,
        num_seeds=5,
    )


def paper() -> Settings:
    """The paper's recipe (appendix C; without its colour jitter) and its number of images, on scenes. GPUs: days.

    ImageNet-9 itself can't be had in full: its authors released test images only. `--data` takes them, or any others.
    """
    return Settings(
        rhos=(0.0, 0.35, 0.9),
        side=224,
        num_train=45_405,
        num_test=4_050,
        also_train_on=VERSIONS,
        arch="torchvision:resnet50",
        epochs=200,
        batch_size=256,
        lr=0.1,
        schedule="steps",
        lr_drops=(50, 100, 150),
        weight_decay=1e-4,
        augmentation="crop-flip",
        num_seeds=2,
    )


SIZES: Mapping[Size, Settings] = {"quick": Settings(), "small": small(), "paper": paper()}


OUTLINE = Outline(
    name="backgrounds",
    question="How much of an image classifier's answer comes from the background?",
    paper="arXiv:2006.09994",
    settings=Settings,
    sizes=SIZES,
    estimate=estimate,
    names={"models": "model", "arch": "model", "data": "data"},
)
