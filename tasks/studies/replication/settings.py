"""The settings of the study and its three sizes. Imports nothing heavy: the command line reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from robustray.tasks.cost import NumpySecond, Part, Work
from robustray.tasks.errors import InputError
from robustray.tasks.kit import checks
from robustray.tasks.report.numbers import format_seconds
from robustray.tasks.study import Outline, Size

SCENARIO_NAMES = ("reference", "residual", "logistic", "root", "piled", "same")
SIMULATED = (
    "scenarios",
    "num_studies",
    "num_images",
    "num_candidates",
    "num_classes",
    "num_matching",
    "num_departed",
    "num_compared",
    "num_chosen",
    "num_mixtures",
    "num_mixture_intervals",
    "num_causes",
    "num_by_class",
)
"""Settings that only simulated studies have."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Measure how much of the accuracy lost on a replicated test set is due to the choice of its images by noisy
    readings: in simulated studies with a known truth or, with --data and --correctness, in your own study."""

    data: str = ""
    """Answers of your own study instead of simulated ones: a Parquet file with the columns image, class, pool (original
    or candidate), phase (selection or remeasure), in_replica, n_shown, n_selected, and optionally worker, hit,
    weight."""
    correctness: str = ""
    """Used with --data: a Parquet file with the column image and one true-or-false column per model (is it right?)."""
    counts: str = ""
    """People's answers with a known truth instead of simulated ones: CIFAR-10H as a Parquet file with the columns
    index, label, count_airplane ... count_truck."""
    predictions: str = ""
    """Used with --counts: a Parquet file with the column index and one column of predicted classes per model."""
    original: str = ""
    """A replicated test set without answers: a Parquet file with image_id, class_id and one column per model, the rank
    of the true class among its predictions (from 1; 0: not among them)."""
    replicas: tuple[str, ...] = ()
    """Used with --original: files of the same form, one for each replica; they may share images."""
    leave_out: tuple[str, ...] = ()
    """Used with --original: models that are left out."""
    annotated: str = ""
    """With --original: a Parquet file with image_id and in_annotated20k (true for those images of the original that
    replicas were matched to), to print the drops from these alone, too."""
    accepted: str = ""
    """With --original: all labels that fit an image, a Parquet file with image, given and accepted (a list, may be
    empty): what images that several labels fit would explain."""
    num_splits: int = 200
    """With --counts: random divisions of images and answers that are averaged."""
    margin: float = 0.01
    """With --data: a bias from the choice smaller than this counts as none (in accuracy: 0.01 is one point)."""
    scenarios: tuple[str, ...] = ("reference", "residual")
    """Simulated worlds: reference (true gap 0), residual (3.6 points), logistic, root, piled (frequencies near 1), same
    (candidates as good as the original)."""
    num_studies: int = 100
    """Simulated studies of each scenario."""
    num_images: int = 10_000
    """Images of the original set, and of the replica."""
    num_candidates: int = 60_000
    """Images that the replica is chosen from."""
    num_classes: int = 10
    """The replica is chosen within each class."""
    num_matching: int = 10
    """Answers per image that choose the replica."""
    num_answers: tuple[int, ...] = (5, 10, 20, 40)
    """Answers per image that are given anew, to correct the gap with."""
    claimed_answers: int = 10
    """The one of them that claims are about. Factorial moments need at least 9."""
    num_departed: int = 20
    """Simulated studies of the first scenario with workers other than estimators assume: more lenient with one set, one
    for all images of a task, one who answers twice. 0: none."""
    num_compared: int = 20
    """Simulated studies of the first scenario in which several samplers choose from the same candidates. 0: none."""
    num_chosen: int = 2_000
    """Images that each of them chooses. Posterior matching needs about 27 candidates for each."""
    num_mixtures: int = 4
    """Simulated studies of each scenario that are corrected by fitted mixtures of betas, too. 0: none."""
    num_mixture_intervals: int = 0
    """How many of these studies have intervals, too: seconds each, since every resample is fitted anew."""
    num_causes: int = 3
    """Simulated studies of each of eight worlds in which the gap has two causes, the choice of images and images with
    several objects. 0: none."""
    num_by_class: int = 3
    """Simulated studies of each of four worlds in which classes differ in accuracy and in how often their images are
    selected. 0: none."""
    num_resamples: int = 1_000
    """Resamples of images behind each interval."""
    seed: int = 0
    """Seed of all simulated studies and resamples."""
    block: int = 10
    """Simulated studies per block of work."""

    def __post_init__(self) -> None:
        checks.several(scenarios=self.scenarios)
        checks.choices(SCENARIO_NAMES, scenarios=self.scenarios)
        checks.counts(
            at_least=1,
            num_studies=self.num_studies,
            num_images=self.num_images,
            num_candidates=self.num_candidates,
            num_classes=self.num_classes,
            block=self.block,
            num_splits=self.num_splits,
        )
        checks.counts(at_least=2, num_matching=self.num_matching)
        checks.counts(at_least=200, num_resamples=self.num_resamples)
        checks.counts(seed=self.seed, num_departed=self.num_departed, num_compared=self.num_compared)
        checks.counts(num_mixture_intervals=self.num_mixture_intervals)
        if self.num_mixture_intervals > self.num_mixtures:
            raise InputError(
                f"num_mixture_intervals {self.num_mixture_intervals}: there are only {self.num_mixtures} studies of "
                "mixtures (--num-mixtures)"
            )
        checks.counts(num_mixtures=self.num_mixtures, num_causes=self.num_causes, num_by_class=self.num_by_class)
        checks.shares(ends="()", margin=self.margin)
        checks.ascending(num_answers=self.num_answers)
        if self.num_answers[0] < 2:
            raise InputError(f"num_answers: a correction needs at least 2 answers per image, got {self.num_answers[0]}")
        if self.claimed_answers not in self.num_answers:
            listed = ", ".join(map(str, self.num_answers))
            raise InputError(f"claimed_answers: {self.claimed_answers} is none of num_answers ({listed})")
        if self.claimed_answers < 9:
            raise InputError(
                f"claimed_answers: factorial moments need at least 9 answers per image, got {self.claimed_answers}"
            )
        if self.num_images % self.num_classes or self.num_images < 10 * self.num_classes:
            raise InputError(
                f"num_images {self.num_images}: must be a multiple of num_classes ({self.num_classes}), 10 each or more"
            )
        if self.num_compared and (self.num_chosen < self.num_classes or self.num_chosen % self.num_classes):
            raise InputError(
                f"num_chosen {self.num_chosen}: must be a multiple of num_classes ({self.num_classes}), and not 0"
            )
        largest = max(self.num_images, self.num_chosen if self.num_compared else 0)
        if self.num_candidates < largest:
            raise InputError(f"num_candidates {self.num_candidates}: a replica of {largest} images needs as many")
        if bool(self.counts) != bool(self.predictions):
            given, lacking = ("counts", "predictions") if self.counts else ("predictions", "counts")
            raise InputError(f"--{given} needs --{lacking}: a gap needs both the answers and the models' predictions")
        if bool(self.original) != bool(self.replicas):
            given, lacking = ("original", "replicas") if self.original else ("replicas", "original")
            raise InputError(f"--{given} needs --{lacking}: a drop needs both sets")
        names = [name.rsplit("/", 1)[-1] for name in self.replicas]
        if len(set(names)) < len(names):
            raise InputError(f"replicas: two files are called {next(n for n in names if names.count(n) > 1)}")
        reserved = [name for name in ("original", "annotated", "accepted") if f"{name}.parquet" in names]
        if reserved:
            raise InputError(f"replicas: {reserved[0]}.parquet: a replica goes by the name of its file, rename it")
        asked = [name for name in ("data", "counts", "original") if getattr(self, name)]
        if len(asked) > 1:
            raise InputError(f"--{asked[0]} and --{asked[1]} are two different analyses: give one of them")
        if bool(self.data) != bool(self.correctness):
            given, lacking = ("data", "correctness") if self.data else ("correctness", "data")
            raise InputError(f"--{given} needs --{lacking}: a gap needs both the answers and the models' verdicts")

    def idle(self) -> dict[str, str]:
        """Fields that do nothing beside the others, and why (`study.refuse_idle`)."""
        unused = {} if self.data else {"margin": "only --data takes it"}
        if not self.counts:
            unused["num_splits"] = "only --counts takes it"
        if not self.original:
            unused |= dict.fromkeys(("leave_out", "annotated", "accepted"), "only --original takes it")
        if self.data or self.counts or self.original:
            unused |= dict.fromkeys(SIMULATED, "it is about simulated studies, and your tables are analysed instead")
        return unused


def quick() -> Settings:
    """robustray run replication      two CPU cores, a minute: two scenarios, 100 studies each."""
    return Settings()


def small() -> Settings:
    """robustray run replication --size small      two CPU cores, half an hour: six scenarios of 1,000."""
    return Settings(
        scenarios=SCENARIO_NAMES,
        num_studies=1_000,
        num_departed=500,
        num_compared=200,
        num_mixtures=200,
        num_mixture_intervals=50,
        num_causes=1_000,
        num_by_class=1_000,
        block=25,
    )


def paper() -> Settings:
    """The size of the original study: 1,000 classes of 10 images, about 195,000 candidates, 40 new answers."""
    return Settings(
        scenarios=SCENARIO_NAMES,
        num_studies=1_000,
        num_departed=1_000,
        num_compared=1_000,
        num_mixtures=200,
        num_mixture_intervals=50,
        num_causes=1_000,
        num_by_class=1_000,
        num_chosen=10_000,
        num_candidates=195_000,
        num_classes=1_000,
        block=10,
    )


SIZES: Mapping[Size, Settings] = {"quick": quick(), "small": small(), "paper": paper()}


def estimate(settings: Settings) -> Work:
    """What `robustray show` says."""
    if settings.data:
        return Work(counts={"resamples": settings.num_resamples}, note="Seconds for 20,000 images and 10 models.")
    if settings.original:
        return Work(counts={"resamples": settings.num_resamples}, note="Ten seconds for 70,000 images and 67 models.")
    if settings.counts:
        splits = settings.num_splits
        return Work(
            counts={"splits": splits},
            note=f"About {format_seconds(0.8 * splits)} of one core.",
            parts=(Part(step="splits", items=splits, cost=0.8),),
            unit=NumpySecond(),
        )
    parts = plan(settings)
    studies = settings.num_studies * len(settings.scenarios)
    images = settings.num_images * 2 + settings.num_candidates
    seconds = sum(part.items * part.cost for part in parts)
    return Work(
        counts={"simulated studies": studies, "simulated images": studies * images},
        note=f"Intervals by bootstrap dominate: about {format_seconds(seconds)} of one core.",
        parts=parts,
        unit=NumpySecond(),
    )


def plan(settings: Settings) -> tuple[Part, ...]:
    """The steps of a run on simulated studies, in seconds of one core."""
    resamples, images = settings.num_resamples / 1_000, settings.num_images * 2 + settings.num_candidates
    return (
        Part(
            step="studies",
            items=settings.num_studies * len(settings.scenarios),
            cost=0.03 * len(settings.num_answers) * resamples + 0.6e-6 * images,
        ),
        Part(step="departures", items=settings.num_departed, cost=0.5 * resamples + 1.5e-6 * images),
        Part(step="samplers", items=settings.num_compared, cost=0.1 * resamples + 2e-6 * images),
        Part(
            step="mixtures",
            items=settings.num_mixtures * len(settings.scenarios),
            cost=0.5 + 8.0 * settings.num_mixture_intervals / max(1, settings.num_mixtures),
        ),
        Part(step="causes", items=8 * settings.num_causes, cost=0.1 * resamples + 0.6e-6 * images),
        Part(step="classes", items=4 * settings.num_by_class, cost=0.12 * resamples + 0.5e-6 * images),
    )


OUTLINE = Outline(
    name="replication",
    question="How much of the accuracy lost on a replicated test set is the choice of its images by noisy readings?",
    paper="arXiv:2005.09619",
    settings=Settings,
    sizes=SIZES,
    estimate=estimate,
)
