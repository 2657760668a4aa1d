"""The settings of the study and its three sizes. Imports nothing heavy: the command line reads it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Literal, NamedTuple

from robustray.tasks.attacks.precision import PRECISIONS, Precision
from robustray.tasks.attacks.settings import PGD
from robustray.tasks.errors import InputError
from robustray.tasks.kit import checks
from robustray.tasks.kit.estimates import LOOK, num_classes, num_images, side_of, training_part
from robustray.tasks.study import NetworkPass, Outline, Part, Size, Work
from robustray.tasks.sweeps.options import EARLY
from robustray.tasks.training.schedules import Schedule
from robustray.tasks.training.settings import AUGMENTATIONS, Augmentation, TrainSpec

STANDARD, RANDOM = "standard", "random weights"
FIXED, FULL = "fixed features", "fine-tuning"
MODES = (FIXED, FULL)
MetricName = Literal["accuracy", "per-class"]
METRICS: Mapping[MetricName, str] = {"accuracy": "accuracy", "per-class": "mean per-class accuracy"}
"""What a target is judged by, and how the page calls it."""
TRAINED_FIELDS = (
    "train_data", "test_data", "num_source_classes", "arch", "eps_train", "train_steps", "epochs", "batch_size", "lr",
    "probe_eps", "probe_steps", "margin", "precision",
)  # fmt: skip
"""Settings of sources that are trained here, and of what is said of them."""
NULL_SEEDS = 1_000
"""Between the seeds of a chain and those of its further standard sources."""


class Source(NamedTuple):
    """A network that is transferred, in every chain."""

    name: str
    eps: float
    """At which it is trained; 0 for standard training."""
    replica: int = 0
    """0, or the number, from 1 on, of a further standard source, which differs from the first in its seed only."""
    model: str = ""
    """The name of a network that exists; empty for one that is trained here."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Measure whether what a network has learnt on some classes serves other classes better after robust training."""

    sources: tuple[str, ...] = ()
    """Instead of networks that are trained here, ones that exist, for --target: ARCHITECTURE@WEIGHTS (imported by
    `robustray import weights`), a twin, your own. The others are compared with the first, say a standard network."""
    image_side: int = 0
    """Used with --sources: pixels to which each side of the target's images is brought; 0 means the size that the first
    source is made for."""
    fine_tuning: bool = True
    """Also fine-tune whole networks; without it they are fixed features only, which costs one pass over the images."""
    train_data: str = "scenes:train,n=1800,size=16"
    """Images to train on: the sources on the first classes, the transfer on the others."""
    test_data: str = "scenes:test,n=2400,size=16"
    """Images of the same classes, on which everything is reported."""
    num_source_classes: int = 6
    """How many classes the sources are trained on, from the first one on. 0 means all of them and needs --target."""
    target: str = ""
    """Instead of the other classes: a folder of your own, photographs of any sizes in class folders (or any data by
    name). They are resized to the sources' images: the short side first, then the centre is cut out."""
    target_test: str = ""
    """Test images of the target; none: a share of it is held out."""
    test_share: float = 0.3
    """Share of the images of every class that is held out for testing, the same images in all chains."""

    shrink: int = 0
    """Shrink every image of the target to so many pixels a side and enlarge it again, as a test of whether coarser
    targets favour robust sources; 0 leaves them as they are."""
    metric: MetricName = "accuracy"
    """What the target is judged by: accuracy, in which images count alike, or per-class, the mean of the classes'
    recalls, in which classes do. What is chosen on held-out images is chosen by accuracy."""

    arch: str = "scenes:cnn"
    """Architecture, without weights: scenes:cnn, small:s, or my_pkg.my_mod:function with latents."""
    eps_train: tuple[float, ...] = (0.05, 0.15)
    """l2 sizes at which robust sources are trained; which one is transferred is chosen on other chains."""
    train_steps: int = 3
    """Gradient steps of the attack that they are trained on."""
    epochs: int = 10
    """Epochs of the sources' training."""
    batch_size: int = 64
    """Images per step of the sources."""
    lr: float = 0.2
    """Peak learning rate of the sources."""
    schedule: Schedule = "triangular"
    """Schedule of the learning rate, in all trainings."""
    augmentation: Augmentation = "none"
    """Augmentation of all training images."""
    weight_decay: float = 5e-4
    """Weight decay on all parameters."""
    probe_eps: float = 0.1
    """l2 size at which sources are attacked on their own test images."""
    probe_steps: int = 10
    """Steps of the PGD attack on the sources."""
    num_seeds: int = 3
    """Chains of sources, few-shot images and fine-tuning, with the seeds seed, seed + 1, ...; claims need two."""

    per_class: int = 40
    """Training images of each target class, drawn anew in every chain; 0: all."""
    held_out: float = 0.3
    """Share of them on which C, the learning rate and the size of robust training are chosen."""
    tune_epochs: int = 12
    """Epochs of fine-tuning."""
    tune_batch: int = 28
    """Images per step of fine-tuning."""
    tune_lrs: tuple[float, ...] = (0.02, 0.1)
    """Learning rates of fine-tuning to choose from, for each network by itself."""
    margin: float = 0.05
    """A gain within this share, both ways, counts as none."""
    num_examples: int = 6
    """Target images of each class that are shown, drawn at random."""
    precision: Precision = "auto"
    """Arithmetic of the attacks' gradients; everything else is fp32."""
    block: int = 256
    """Images per block of work."""
    seed: int = 0
    """First seed of the chains; also that of the target's test images and of the examples."""

    def __post_init__(self) -> None:
        checks.ascending(eps_train=self.eps_train)
        checks.several(tune_lrs=self.tune_lrs)
        checks.counts(at_least=1, num_seeds=self.num_seeds, block=self.block)
        checks.counts(seed=self.seed, num_examples=self.num_examples, num_source_classes=self.num_source_classes)
        checks.counts(per_class=self.per_class, shrink=self.shrink)
        checks.shares(ends="()", test_share=self.test_share, held_out=self.held_out, margin=self.margin)
        checks.choices(AUGMENTATIONS, augmentation=self.augmentation)
        checks.choices(PRECISIONS, precision=self.precision)
        checks.choices(tuple(METRICS), metric=self.metric)
        checks.positive(probe_eps=self.probe_eps)
        if self.num_seeds > NULL_SEEDS:
            raise InputError(f"num_seeds {self.num_seeds}: at most {NULL_SEEDS:,} chains have seeds of their own")
        if self.per_class == 1:
            raise InputError(
                "per_class 1: a class needs two images, one to learn from and one to choose on; 0 means all"
            )
        checks.counts(image_side=self.image_side)
        if self.sources and not self.target:
            raise InputError("--sources are networks that exist: give --target, the images that they are used for")
        repeated = [name for name in self.sources if self.sources.count(name) > 1]
        if len(self.sources) == 1 or repeated:
            raise InputError(
                f"--sources {' '.join(self.sources)}: give at least two different networks; the others are compared "
                "with the first"
            )
        if not self.target and not self.num_source_classes:
            raise InputError("num_source_classes 0 leaves no class to transfer to: give --target, or fewer classes")
        if self.num_source_classes == 1:
            raise InputError("num_source_classes 1: a source needs two classes to learn anything")
        self.attack()
        for source in self.all_sources() if not self.sources else ():
            self.source_spec(source, 0, self.train_data)
        for lr in self.tune_lrs:
            self.tune_spec("source", 0, self.train_data, lr, self.arch)

    def idle(self) -> Mapping[str, str]:
        """Fields that do nothing beside the others."""
        idle = {} if self.sources else {"image_side": "without --sources images have the size of --train-data"}
        if self.sources:
            idle |= dict.fromkeys(TRAINED_FIELDS, "--sources are trained already")
        if not self.fine_tuning:
            idle |= dict.fromkeys(("tune_epochs", "tune_batch", "tune_lrs"), "nothing is fine-tuned")
        if not self.target:
            names = ("target_test", "test_share")
            return idle | dict.fromkeys(names, "without --target the classes of --test-data are tested")
        return idle | ({"test_share": "--target-test gives the test images"} if self.target_test else {})

    @property
    def modes(self) -> tuple[str, ...]:
        """The ways in which sources are used."""
        return MODES if self.fine_tuning else (FIXED,)

    @property
    def robust(self) -> list[Source]:
        """The robust sources that the claim chooses among."""
        return [Source(f"robust, ε = {eps:g}", eps) for eps in self.eps_train]

    @property
    def null(self) -> list[Source]:
        """Candidates of the null: as many standard sources, which differ from the first one in their seed only."""
        return [Source(f"standard, other seed {number}", 0.0, number) for number in range(1, len(self.eps_train) + 1)]

    def all_sources(self) -> list[Source]:
        """All networks of a chain; the first is the one that the others are compared with."""
        if self.sources:
            return [Source(words, math.nan, model=name) for name, words in short_names(self.sources).items()]
        return [Source(STANDARD, 0.0), *self.robust, *self.null, Source(RANDOM, 0.0)]

    def source_spec(self, source: Source, chain: int, data: object) -> TrainSpec:
        """How a source is trained on `data`, a name or a reference.

        A source without training has learning rate 0: its weights are the initial ones of the chain's standard source.
        """
        untrained = source.name == RANDOM
        spec = TrainSpec(
            model=self.arch,
            data=data,  # type: ignore[arg-type]
            epochs=1 if untrained else self.epochs,
            batch_size=self.batch_size,
            lr=0.0 if untrained else self.lr,
            schedule=self.schedule,
            augmentation=self.augmentation,
            weight_decay=self.weight_decay,
            seed=self.seed + chain + NULL_SEEDS * source.replica,
        )
        if not source.eps:
            return spec
        attack = self.precision if self.precision != "auto" else spec.attack_precision
        return replace(
            spec,
            loss="adversarial",
            norm="l2",
            eps=source.eps,
            num_steps=self.train_steps,
            attack_precision=attack,
        )

    def tune_spec(self, initial: object, chain: int, data: object, lr: float, arch: str) -> TrainSpec:
        """Fine-tuning of the whole network on clean images, with a new head that all sources of a chain and of this
        architecture share."""
        return TrainSpec(
            model=arch,
            data=data,  # type: ignore[arg-type]
            initial=initial,  # type: ignore[arg-type]
            new_head=True,
            epochs=self.tune_epochs,
            batch_size=self.tune_batch,
            lr=lr,
            schedule=self.schedule,
            augmentation=self.augmentation,
            weight_decay=self.weight_decay,
            seed=self.seed + chain,
        )

    def attack(self) -> PGD:
        """The attack under which the sources' accuracy is measured."""
        return PGD(norm="l2", eps=self.probe_eps, num_steps=self.probe_steps, precision=self.precision)


def short_names(names: Sequence[str]) -> dict[str, str]:
    """Name of a model -> what tables and figures call it: "small:s@weights/small_linf8.safetensors" is "small_linf8";
    all keep their full names where two would be called the same.
    """
    short = {name: PurePath(name.partition("@")[2] or name).name.removesuffix(".safetensors") for name in names}
    return short if len(set(short.values())) == len(short) else {name: name for name in names}


def estimate(settings: Settings) -> Work:
    """What `robustray show` says."""
    robust, sources = len(settings.robust), len(settings.all_sources())
    heads = {
        "fine-tuned networks": settings.num_seeds * sources * len(settings.tune_lrs) * settings.fine_tuning,
        "logistic regressions on latents": settings.num_seeds * sources,
    }
    if settings.sources:
        heads = {name: count for name, count in heads.items() if count}
        # How many images your own target has is not known before it is opened, so that there is no plan.
        return Work(counts={"sources": sources, **heads}, note="The passes over the target's images dominate.")
    passes = settings.epochs * (1 + robust + robust * (1 + settings.train_steps))
    return Work(
        counts={
            "passes of each source image in training": settings.num_seeds * passes,
            "sources": settings.num_seeds * sources,
            **heads,
        },
        note=MEASURED.get(settings.arch, "Training the sources dominates."),
        parts=plan(settings),
        unit=NetworkPass(models=(settings.arch,), side=side_of(settings.train_data)),
    )


def plan(settings: Settings) -> tuple[Part, ...]:
    """The steps of a run. The estimate takes classes to be equally large and your own target to have --per-class images
    of each."""
    count, _ = num_images([settings.train_data, settings.test_data], otherwise=10_000)
    classes = max(settings.num_source_classes, num_classes(settings.train_data))
    share = (settings.num_source_classes or classes) / classes
    num_train, num_probed = (round(share * count[name]) for name in (settings.train_data, settings.test_data))
    others = (classes - settings.num_source_classes) or classes
    few = others * (settings.per_class or round(count[settings.train_data] / classes))
    num_test, held = count[settings.test_data] - num_probed, round(settings.held_out * few)
    sources, chains = settings.all_sources(), settings.num_seeds
    tune_lrs = settings.tune_lrs if settings.fine_tuning else ()
    trainings = [(settings.source_spec(source, 0, settings.train_data), num_train) for source in sources]
    tunings = [(settings.tune_spec("source", 0, settings.train_data, lr, settings.arch), few - held) for lr in tune_lrs]
    number = len(sources) * chains
    return (
        training_part((trainings + tunings * len(sources)) * chains),
        Part(step="clean", items=number * num_probed, cost=LOOK),
        Part(step="probe", items=number * num_probed, cost=EARLY * (settings.probe_steps + 2)),
        Part(step="latents", items=number * (few + num_test), cost=LOOK),
        Part(step="head", items=number, cost=HEAD * few),
        Part(step="held-out", items=number * len(tune_lrs) * held, cost=LOOK),
        Part(step="test", items=number * num_test * settings.fine_tuning, cost=LOOK),
    )


HEAD = 3.0
"""Passes that a logistic regression on a latent costs, for every image that it is fitted on; measured at quick size."""


MEASURED: Mapping[str, str] = {
    "scenes:cnn": "Training the sources dominates; the quick size takes 69 s of CPU time over all processes.",
}
"""By architecture; source: docs/studies/transfer.md."""


def small() -> Settings:
    """Five classes of CIFAR-10 to the other five: robustray run transfer --size small. Hours on two cores; resumes."""
    return Settings(
        train_data="cifar10:train",
        test_data="cifar10:test",
        num_source_classes=5,
        arch="small:s",
        eps_train=(0.1, 0.25, 0.5),
        epochs=10,
        batch_size=128,
        augmentation="crop-flip",
        probe_eps=0.25,
        num_seeds=5,
        per_class=100,
        tune_epochs=20,
        tune_batch=64,
        tune_lrs=(0.01, 0.05),
    )


def paper() -> Settings:
    """The paper's sizes of robust training, scaled to 32 pixels (divided by 7); 1,000 images per class. GPUs: days."""
    return Settings(
        train_data="cifar10:train",
        test_data="cifar10:test",
        num_source_classes=5,
        arch="cifar:resnet50",
        eps_train=(0.01, 0.05, 0.1, 0.25, 0.5, 1.0),
        epochs=90,
        batch_size=256,
        augmentation="crop-flip",
        probe_eps=0.5,
        num_seeds=5,
        per_class=1_000,
        tune_epochs=150,
        tune_batch=64,
        tune_lrs=(0.001, 0.01),
    )


SIZES: Mapping[Size, Settings] = {"quick": Settings(), "small": small(), "paper": paper()}


OUTLINE = Outline(
    name="transfer",
    question="Does what a network has learnt serve other tasks better if the network was trained to be robust?",
    paper="arXiv:2007.08489",
    settings=Settings,
    sizes=SIZES,
    estimate=estimate,
    names={"sources": "model", "arch": "model", "train_data": "data", "test_data": "data"},
)
