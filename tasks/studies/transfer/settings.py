"""The settings of the study. Imports nothing heavy: the command line reads it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from robustray.tasks.attacks.precision import PRECISIONS, Arithmetic, Precision
from robustray.tasks.attacks.settings import PGD
from robustray.tasks.errors import InputError
from robustray.tasks.kit import checks
from robustray.tasks.studies.transfer.costs import estimate
from robustray.tasks.studies.transfer.kinds import (
    DRIFTING,
    FIXED,
    FULL,
    METRICS,
    OTHERS,
    RANDOM,
    STANDARD,
    MetricName,
    Source,
    Target,
    short_data,
    short_models,
)
from robustray.tasks.studies.transfer.presets import PRESETS
from robustray.tasks.study import Outline, Size
from robustray.tasks.training.schedules import Schedule
from robustray.tasks.training.settings import ALL_BUT_HEAD, AUGMENTATIONS, Augmentation, TrainSpec

TRAINED_FIELDS = (
    "train_data", "test_data", "num_source_classes", "arch", "eps_train", "train_steps", "epochs", "batch_size", "lr",
    "probe_eps", "num_probed", "margin", "num_draws", "tune_eps",
)  # fmt: skip
"""Settings of sources that are trained here, and of what is said of them."""
NULL_SEEDS = 1_000
"""Between the seeds of a chain and those of its further standard sources."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Measure whether what a network has learnt on some classes serves other classes better after robust training."""

    sources: tuple[str, ...] = ()
    """Instead of networks that are trained here, ones that exist, for --target: ARCHITECTURE@WEIGHTS (imported by
    `robustray import weights`), a twin, your own. The others are compared with the first, say a standard network."""
    image_side: int = 0
    """Used with --sources: pixels to which each side of the target's images is brought; 0 means the size that the first
    source is made for."""
    attack_eps: float = 0.0
    """Used with --sources: l2 size at which what is made of them is attacked on the target, in pixel units at the size
    of its images. 0 means no attack; robust sources for 224 pixels are often trained at 3."""
    fine_tuning: bool = True
    """Also fine-tune whole networks; without it they are fixed features only, which costs one pass over the images."""
    drifting_features: bool = False
    """Also what the reference implementation calls fixed features: a new head trained by SGD, as in fine-tuning, on a
    network whose weights stay but whose batch norm follows the target's batches."""
    train_data: str = "scenes:train,n=1800,size=16"
    """Images to train on: the sources on the first classes, the transfer on the others."""
    test_data: str = "scenes:test,n=2400,size=16"
    """Images of the same classes, on which everything is reported."""
    num_source_classes: int = 6
    """How many classes the sources of a chain are trained on; every chain draws its own. 0 means all of them and needs
    a --target."""
    target: tuple[str, ...] = ()
    """What the sources are transferred to. Without it `others`, the classes that they have not learnt. Else one or more
    of `others`, the paper's targets (aircraft, birdsnap, caltech101, caltech256, cars, cifar10, cifar100, dtd, flowers,
    food, pets, sun397), folders of your own with photographs of any sizes in class folders, and data by name. They are
    resized to the sources' images: the short side first, then the centre is cut out."""
    target_test: tuple[str, ...] = ()
    """Test images of each --target but `others` and the paper's, in their order; without it a share of each is held
    out."""
    test_share: float = 0.3
    """Share of the images of every class that is held out for testing, the same images in all chains."""
    shrink: int = 0
    """Beside each target, use its images also shrunk to so many pixels a side and enlarged again, as fixed features: do
    coarser targets favour robust sources? 0 leaves that out."""
    metric: Literal["auto", "accuracy", "per-class"] = "auto"
    """What targets are judged by: accuracy, in which images count alike, or per-class, the mean of the classes'
    recalls, in which classes do; auto: what the paper judges the target by, accuracy for one that is not the paper's.
    What is chosen on held-out images is chosen by accuracy."""

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
    train_precision: Precision = "fp32"
    """Arithmetic of all trainings, of sources and on the target; weights, logits and losses are fp32 in any case. auto:
    bf16 where the hardware has it, about twice as fast."""
    feature_precision: Arithmetic = "fp32"
    """Arithmetic of features under a logistic regression; bf16 is faster on processors that have it, and near."""
    probe_eps: float = 0.1
    """l2 size at which sources that are trained here are attacked on their own test images, and on the target after
    transfer."""
    num_probed: int = 0
    """Test images of its own classes on which each source that is trained here is attacked, drawn at random; 0: all."""
    num_attacked: int = 100
    """Test images of a target on which what was made of a source is attacked, drawn at random; 0: no attack."""
    probe_steps: int = 10
    """Steps of the PGD attack on the sources, and on what is made of them."""
    num_seeds: int = 3
    """Chains of sources, few-shot images and fine-tuning, with the seeds seed, seed + 1, ...; claims need two."""

    per_class: int = 40
    """Training images of each target class, drawn anew in every chain; 0: all."""
    more_per_class: tuple[int, ...] = ()
    """Further numbers of them, for fixed features only."""
    num_draws: int = 3
    """Draws of these images within a chain, for fixed features; fine-tuning takes the first."""
    held_out: float = 0.3
    """Share of them on which C, the learning rate and the size of robust training are chosen."""
    tune_epochs: int = 12
    """Epochs of fine-tuning."""
    tune_batch: int = 28
    """Images per step of fine-tuning; all that are fitted on, where there are fewer."""
    tune_lrs: tuple[float, ...] = (0.02, 0.1)
    """Learning rates of fine-tuning to choose from, for each network by itself."""
    tune_eps: tuple[float, ...] = ()
    """Those of --eps-train whose sources are fine-tuned; none: all."""
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
        checks.counts(per_class=self.per_class, shrink=self.shrink, num_attacked=self.num_attacked)
        checks.counts(num_probed=self.num_probed)
        for count in self.more_per_class:
            checks.counts(at_least=2, more_per_class=count)
        checks.counts(at_least=1, num_draws=self.num_draws)
        checks.shares(ends="()", test_share=self.test_share, held_out=self.held_out, margin=self.margin)
        checks.choices(AUGMENTATIONS, augmentation=self.augmentation)
        checks.choices(PRECISIONS, precision=self.precision, train_precision=self.train_precision)
        checks.choices(("fp32", "bf16"), feature_precision=self.feature_precision)
        checks.choices(("auto", *METRICS), metric=self.metric)
        checks.positive(probe_eps=self.probe_eps)
        checks.sizes(attack_eps=self.attack_eps)
        if self.num_seeds > NULL_SEEDS:
            raise InputError(f"num_seeds {self.num_seeds}: at most {NULL_SEEDS:,} chains have seeds of their own")
        if self.per_class == 1:
            raise InputError(
                "per_class 1: a class needs two images, one to learn from and one to choose on; 0 means all"
            )
        checks.counts(image_side=self.image_side)
        if self.sources and not self.own_targets:
            raise InputError("--sources are networks that exist: give --target, the images that they are used for")
        if self.sources and OTHERS in self.target:
            raise InputError(
                f"--target {OTHERS}: --sources are networks that exist, and what they have not learnt is not known"
            )
        self._check_targets()
        repeated = [name for name in self.sources if self.sources.count(name) > 1]
        if len(self.sources) == 1 or repeated:
            raise InputError(
                f"--sources {' '.join(self.sources)}: give at least two different networks; the others are compared "
                "with the first"
            )
        if OTHERS in self.data and not self.num_source_classes:
            raise InputError("num_source_classes 0 leaves no class to transfer to: give --target, or fewer classes")
        if self.num_source_classes == 1:
            raise InputError("num_source_classes 1: a source needs two classes to learn anything")
        self.attack()
        for source in self.all_sources() if not self.sources else ():
            self.source_spec(source, 0, self.train_data)
        for lr in self.tune_lrs:
            self.tune_spec(FULL, "source", 0, self.train_data, lr, self.arch, self.tune_batch)

    def _check_targets(self) -> None:
        """Raises: InputError."""
        checks.several(target=self.data)
        counts = (self.per_class, *self.more_per_class)
        if len(set(counts)) < len(counts):
            raise InputError(f"per_class {self.per_class} and more_per_class: one number is named twice")
        split = [name for name in self.own_targets if name not in PRESETS]
        if self.target_test and len(self.target_test) != len(split):
            raise InputError(f"--target-test: give one for each of --target {' '.join(split)}, in their order, or none")
        strange = [eps for eps in self.tune_eps if eps not in self.eps_train]
        if strange:
            raise InputError(f"tune_eps {strange[0]:g} is none of --eps-train")
        if self.tune_eps:
            checks.ascending(tune_eps=self.tune_eps)

    def idle(self) -> Mapping[str, str]:
        """Fields that do nothing beside the others."""
        idle: dict[str, str] = {}
        if self.sources:
            idle |= dict.fromkeys(TRAINED_FIELDS, "--sources are trained already")
        if self.sources and not self.attack_eps:
            idle |= dict.fromkeys(("num_attacked", "probe_steps", "precision"), "give --attack-eps for an attack")
        if not self.sources:
            idle["image_side"] = "without --sources images have the size of --train-data"
            idle["attack_eps"] = "without --sources the size is --probe-eps"
        if not self.tuned_modes:
            idle |= dict.fromkeys(("tune_epochs", "tune_batch", "tune_lrs", "tune_eps"), "nothing is fine-tuned")
        if self.sources and not self.tuned_modes:
            nothing = ("schedule", "augmentation", "weight_decay", "train_precision")
            idle |= dict.fromkeys(nothing, "nothing is trained")
        if not self.own_targets:
            names = ("target_test", "test_share")
            return idle | dict.fromkeys(names, "without --target the classes of --test-data are tested")
        given = all(map(self.test_of, self.own_targets))
        return idle | ({"test_share": "all targets have test images of their own"} if given else {})

    @property
    def data(self) -> tuple[str, ...]:
        """`OTHERS` or the name of each target's images."""
        return self.target or (OTHERS,)

    @property
    def own_targets(self) -> tuple[str, ...]:
        """The names of all targets but `OTHERS`."""
        return tuple(name for name in self.data if name != OTHERS)

    def test_of(self, name: str) -> str:
        """The name of the test images of one of `own_targets`; empty where a share of its images is held out."""
        if name in PRESETS:
            return PRESETS[name].test
        split = [each for each in self.own_targets if each not in PRESETS]
        return self.target_test[split.index(name)] if self.target_test else ""

    def metric_of(self, name: str) -> MetricName:
        """What one of `data` is judged by."""
        if self.metric != "auto":
            return self.metric
        return PRESETS[name].metric if name in PRESETS else "accuracy"

    @property
    def draws(self) -> range:
        """Draws of few images within a chain. Networks that exist are the same in all chains, which are their draws."""
        return range(1 if self.sources else self.num_draws)

    @property
    def targets(self) -> list[Target]:
        """Everything that sources are transferred to; those of the same images one after the other."""
        short = short_data(self.own_targets) | {OTHERS: "the other classes"}
        found = []
        for data in self.data:
            for count in sorted({self.per_class, *self.more_per_class}, key=lambda count: count or math.inf):
                main, metric = count == self.per_class, self.metric_of(data)
                name = short[data]
                if self.more_per_class:
                    name += f", {count:,} a class" if count else ", all images"
                found.append(Target(name, short[data], data, count, 0, main, metric))
                if main and self.shrink:
                    found.append(
                        Target(f"{name}, {self.shrink} pixels", short[data], data, count, self.shrink, False, metric)
                    )
        return found

    @property
    def modes(self) -> tuple[str, ...]:
        """The ways in which sources are used."""
        return (FIXED, *self.tuned_modes)

    @property
    def tuned_modes(self) -> tuple[str, ...]:
        """Those in which networks are trained on the target."""
        return (FULL,) * self.fine_tuning + (DRIFTING,) * self.drifting_features

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
            return [Source(words, math.nan, model=name) for name, words in short_models(self.sources).items()]
        return [Source(STANDARD, 0.0), *self.robust, *self.null, Source(RANDOM, 0.0)]

    def sources_of(self, mode: str) -> list[Source]:
        """Those that are used in this way."""
        if self.sources or mode == FIXED or not self.tune_eps:
            return self.all_sources()
        robust = [source for source in self.robust if source.eps in self.tune_eps]
        return [Source(STANDARD, 0.0), *robust, *self.null[: len(robust)], Source(RANDOM, 0.0)]

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
            precision=self.train_precision,
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

    def tune_spec(
        self, mode: str, initial: object, chain: int, data: object, lr: float, arch: str, most: int
    ) -> TrainSpec:
        """Training on clean images of the target in one of `tuned_modes`, with a new head that all sources of a chain
        and of this architecture share. most: how many images `data` has."""
        return TrainSpec(
            model=arch,
            data=data,  # type: ignore[arg-type]
            initial=initial,  # type: ignore[arg-type]
            new_head=True,
            frozen=(ALL_BUT_HEAD,) if mode == DRIFTING else (),
            frozen_mode="training" if mode == DRIFTING else "evaluation",
            epochs=self.tune_epochs,
            batch_size=min(self.tune_batch, most),
            lr=lr,
            schedule=self.schedule,
            augmentation=self.augmentation,
            weight_decay=self.weight_decay,
            seed=self.seed + chain,
            precision=self.train_precision,
        )

    def attack(self) -> PGD:
        """The attack on sources, and on what is made of them."""
        eps = self.attack_eps if self.sources else self.probe_eps
        return PGD(norm="l2", eps=eps, num_steps=self.probe_steps, precision=self.precision)

    @property
    def on_target(self) -> int:
        """Test images of a target that are attacked, if it has so many."""
        return self.num_attacked if self.attack_eps or not self.sources else 0


def quick() -> Settings:
    """Scenes of 16 pixels: six classes to the other three. A minute of CPU time."""
    return Settings(train_steps=2, batch_size=128, lr=0.4, num_probed=200)


def small() -> Settings:
    """CIFAR-10: five classes to the other five, to digits and to textures. Resumes.

    robustray run transfer --size small --data-root DIR
    """
    return Settings(
        train_data="cifar10:train",
        test_data="cifar10:test",
        num_source_classes=5,
        target=(OTHERS, "digits:train", "textures:train,n=2000"),
        target_test=("digits:test", "textures:test,n=1000"),
        shrink=8,
        arch="small:s",
        eps_train=(0.1, 0.25, 0.5),
        epochs=10,
        batch_size=128,
        augmentation="crop-flip",
        train_precision="auto",
        probe_eps=0.25,
        num_attacked=1_000,
        num_seeds=5,
        per_class=100,
        more_per_class=(20, 1_000),
        tune_epochs=40,
        tune_batch=64,
        tune_lrs=(0.01, 0.05),
        tune_eps=(0.1, 0.5),
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
        train_precision="auto",
        probe_eps=0.5,
        num_attacked=1_000,
        num_seeds=5,
        per_class=1_000,
        tune_epochs=150,
        tune_batch=64,
        tune_lrs=(0.001, 0.01),
    )


SIZES: Mapping[Size, Settings] = {"quick": quick(), "small": small(), "paper": paper()}


OUTLINE = Outline(
    name="transfer",
    question="Does what a network has learnt serve other tasks better if the network was trained to be robust?",
    paper="arXiv:2007.08489",
    settings=Settings,
    sizes=SIZES,
    estimate=estimate,
    names={"sources": "model", "arch": "model", "train_data": "data", "test_data": "data"},
)
