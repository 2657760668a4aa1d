"""The settings of the study and its three sizes. Imports nothing heavy: the command line reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from robustray.tasks.cost import NetworkPass, Part, Work
from robustray.tasks.errors import InputError
from robustray.tasks.kit import checks
from robustray.tasks.kit.estimates import LOOK, side_of, training_part
from robustray.tasks.study import Outline, Size
from robustray.tasks.training.settings import TrainSpec

TABLES = ("votes", "predictions", "contains", "images", "accepted", "ratings", "classes")
"""Settings that are the user's own files."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Measure how far labels that people only confirmed are from what they would have called the main object: with a
    simulated crowd on scenes, or, with --votes or --contains (and --predictions), with answers about your own
    images."""

    votes: str = ""
    """Answers about your own images instead of simulated ones: a Parquet file with the columns image, given (its label,
    a class number), main (the label a worker calls main), selected (list: a label for each object he sees), and
    optionally worker."""
    predictions: str = ""
    """Used with --votes or --contains: a Parquet file with the column image and one column per model: a predicted class
    number, or a list of them, the best first."""
    images: str = ""
    """Used with --votes: all images of the data set, with the columns image, given, and split: classified (those in
    --votes), only-given (no other label was plausible), never-ticked (nobody ticked the given label) or too-few."""
    accepted: str = ""
    """Used with --predictions: all labels that fit an image, with the columns image, given, and accepted (a list, may
    be empty), as ReaL has them."""
    ratings: str = ""
    """Used with --predictions: answers about single labels, with the columns image, given, label, rater, and answer (0
    no, 1 maybe, 2 yes)."""
    classes: str = ""
    """Used with --votes: names of the classes, with the columns class, name and superclass."""
    margin: float = 0.03
    """Margin of equivalence: smaller differences in the share of accepted labels count as none."""
    contains: str = ""
    """Answers to "does the image contain an object of this class?", alone or beside --votes: the columns image, given,
    label, n_shown (how many workers were asked), n_selected (how many ticked it), and optionally worker (one row per
    answer then)."""
    worker_model: Literal["none", "one-coin", "dawid-skene"] = "none"
    """Used with --votes and a column worker that names the same person in all images: weigh the main answers by what
    they show about each worker's errors, with one accuracy for each worker or a whole confusion matrix."""
    test_data: str = "scenes:test,n=4000,classes=18,multi=0.3"
    """Scenes that the crowd labels, and on which networks are judged; needs 18 classes."""
    train_data: str = "scenes:train,n=3600,classes=18,multi=0.3"
    """Scenes that networks are trained on, with labels that the same crowd collected."""
    precisions: tuple[float, ...] = (0.4, 0.6, 0.8, 1.0)
    """Precisions of the search: the chance that the query behind an image is about its main object."""
    claimed_precision: float = 0.6
    """The one of them that answer, networks and examples are about."""
    num_workers: tuple[int, ...] = (3, 9)
    """Numbers of answers by which it is decided whether an image is kept."""
    claimed_workers: int = 9
    """The one of them that claims are about."""
    thresholds: tuple[float, ...] = (0.5, 0.8)
    """An image is kept if at least this share of its workers tick the label."""
    claimed_threshold: float = 0.5
    """The one of them that claims are about."""
    num_classify: int = 9
    """Workers who say what is in an image."""
    epochs: int = 8
    """Epochs of training of the two networks; 0 trains none."""
    num_resamples: int = 2_000
    """Resamples of images behind a bootstrap interval."""
    num_examples: int = 8
    """Images shown, drawn at random from those whose given label is not the main one."""
    seed: int = 0
    """Seed of the crowd and of the trainings."""
    block: int = 1_000
    """Scenes per block of work."""

    def __post_init__(self) -> None:
        checks.ascending(precisions=self.precisions, largest=1.0)
        checks.ascending(thresholds=self.thresholds, largest=1.0)
        checks.ascending(num_workers=self.num_workers)
        for name, claimed, known in (
            ("claimed_precision", self.claimed_precision, self.precisions),
            ("claimed_workers", self.claimed_workers, self.num_workers),
            ("claimed_threshold", self.claimed_threshold, self.thresholds),
        ):
            if claimed not in known:
                listed = ", ".join(f"{value:g}" for value in known)
                raise InputError(f"{name}: {claimed:g} is none of {listed}")
        checks.counts(at_least=1, num_classify=self.num_classify, block=self.block)
        checks.counts(at_least=200, num_resamples=self.num_resamples)
        checks.counts(epochs=self.epochs, num_examples=self.num_examples, seed=self.seed)
        for name in ("test_data", "train_data"):
            if not getattr(self, name).startswith("scenes:"):
                raise InputError(
                    f"{name}: the simulated crowd needs the truth about each image, which only scenes have, got "
                    f"{getattr(self, name)!r}; people's answers about other images go into --votes"
                )
        if self.predictions and not (self.votes or self.contains):
            raise InputError("--predictions needs --votes or --contains: predictions are judged by what people see")
        for name, needed in (
            ("images", "votes"),
            ("classes", "votes"),
            ("accepted", "votes"),
            ("accepted", "predictions"),
            ("ratings", "votes"),
            ("ratings", "predictions"),
        ):
            if getattr(self, name) and not getattr(self, needed):
                raise InputError(f"--{name} needs --{needed}")
        checks.shares(ends="()", margin=self.margin)
        checks.choices(("none", "one-coin", "dawid-skene"), worker_model=self.worker_model)
        if self.worker_model != "none" and not self.votes:
            raise InputError("--worker-model needs --votes: the simulated workers are all alike")


def quick() -> Settings:
    """robustray run labels      two CPU cores, under a minute: 4,000 scenes, four searches, two small networks."""
    return Settings()


def small() -> Settings:
    """robustray run labels --size small      two CPU cores, minutes: 10,000 scenes, more searches and workers."""
    return Settings(
        test_data="scenes:test,n=10000,classes=18,multi=0.22",
        train_data="scenes:train,n=10000,classes=18,multi=0.22",
        precisions=(0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
        num_workers=(3, 5, 9, 21),
        thresholds=(0.5, 0.7, 0.9),
        epochs=16,
    )


def paper() -> Settings:
    """The paper's number of images and workers; its own answers are read with --votes."""
    return Settings(
        test_data="scenes:test,n=50000,classes=18,multi=0.22",
        train_data="scenes:train,n=50000,classes=18,multi=0.22",
        precisions=(0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
        num_workers=(3, 5, 9, 21),
        thresholds=(0.5, 0.7, 0.9),
        epochs=16,
        num_resamples=10_000,
    )


SIZES: Mapping[Size, Settings] = {"quick": quick(), "small": small(), "paper": paper()}


def estimate(settings: Settings) -> Work:
    """What `robustray show` says."""
    if settings.votes or settings.contains:
        given = [getattr(settings, name) for name in TABLES]
        note = "Seconds for 60,000 answers and 67 models; a minute for 25,000 images with ratings."
        return Work(counts={"tables of one's own": sum(map(bool, given))}, note=note)
    scenes = [int(dict(_options(text)).get("n", "3600")) for text in (settings.test_data, settings.train_data)]
    asked = len(settings.precisions) * scenes[0] + scenes[1]
    return Work(
        counts={"scenes shown to a crowd": asked, "training images": 2 * settings.epochs * scenes[1]},
        note="Drawing scenes and two small trainings dominate: about half a minute of one core at quick size.",
        parts=plan(settings, scenes),
        unit=NetworkPass(models=("scenes:cnn",), side=side_of(settings.train_data)),
    )


SEARCH = 0.3
"""Passes that a scene costs which is drawn and shown to a crowd; measured at quick size."""


def plan(settings: Settings, scenes: Sequence[int]) -> tuple[Part, ...]:
    """The steps of a run on simulated crowds. scenes: to test and to train on; about half of the latter are kept."""
    tested, trained = scenes
    trains = settings.epochs > 0
    trainings = [_training(settings)] * 2 if trains else []
    return (
        Part(step="crowd", items=len(settings.precisions) * tested + trains * trained, cost=SEARCH),
        training_part([(spec, trained // 2) for spec in trainings]),
        Part(step="predict", items=2 * tested * trains, cost=LOOK),
    )


def _training(settings: Settings) -> TrainSpec:
    return TrainSpec(model="scenes:cnn", data="scenes:train", epochs=settings.epochs, batch_size=64, lr=0.2)


def _options(text: str) -> list[tuple[str, str]]:
    return [(name, value) for name, _, value in (option.partition("=") for option in text.split(",")[1:])]


OUTLINE = Outline(
    name="labels",
    question="How far are labels that people only confirmed from what they would have called the main object?",
    paper="arXiv:2005.11295",
    settings=Settings,
    sizes=SIZES,
    estimate=estimate,
    names={"train_data": "data", "test_data": "data"},
)
