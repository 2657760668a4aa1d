"""What a study is, and what it finds."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from robustray.tasks.errors import InputError
from robustray.tasks.words import nearest

if TYPE_CHECKING:
    import pandas as pd

    from robustray.tasks.cost import Work
    from robustray.tasks.lab.optimise import OptimisationFunction
    from robustray.tasks.lab.protocol import BlockFunction, Lab, Reference

Size = Literal["quick", "small", "paper"]
Scale = Literal["quick", "small", "paper", "custom"]
"""What a run is headed with: a size of its study, or "custom" for settings of one's own (`scale_of`)."""
Verdict = Literal["supported", "contradicted", "undecided"]
Unit = Literal["percent", "points", "number"]
ClaimKind = Literal["paper", "check"]
"""Whose claim it is: the paper's; or this study's own, that its experiment can show what it says (a control)."""


@dataclass(frozen=True, kw_only=True)
class PaperFigure:
    """A published number, never shown as if it were ours."""

    figure: str
    """As printed, with unit: "0.00 %"."""
    scale: str
    """What it was obtained with: "ResNet-50, full CIFAR-10 test set, PGD-20"."""
    source: str
    """Where it was published: "robustness 1.2.1, README table"."""
    value: float | None = None
    """The published number for exactly the quantity of the claim, in its unit (0.53 for 53 %); None where it was not
    published as one number."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A direction or an inequality, tested by a rule that was fixed before the run.

    What a model or data set of the user's own is like is no claim: nobody has claimed it. It is a `Description`.
    """

    words: str
    estimate: float | None
    """In `unit`s: 0.37 for 37 % when unit is "percent"; None when nothing could be estimated."""
    interval: tuple[float, float] | None
    """95 % interval of the estimate, same unit."""
    n: int
    """Independent units behind the estimate (images, seeds)."""
    test: str
    """The rule, in words: "supported if the upper end of the 95 % Wilson interval is below 5 %"."""
    verdict: Verdict
    unit: Unit = "percent"
    kind: ClaimKind = "paper"
    paper: PaperFigure | None = None
    paper_verdict: Verdict | None = None
    """What the rule says of the paper's own number, taken as exact; None where there is none."""

    @property
    def agrees(self) -> bool | None:
        """Whether this run and the paper's number are on the same side of the rule; None where either is not known."""
        if self.paper_verdict is None or self.verdict == "undecided":
            return None
        return self.verdict == self.paper_verdict


@dataclass(frozen=True, kw_only=True)
class Description:
    """A property of what was measured (a user's model, a data set): a number with its interval, and no verdict."""

    words: str
    """What the number is, as a phrase: "digits:cnn: share of images that a perturbation within ℓ∞ 0.1 breaks"."""
    estimate: float | None
    """In `unit`s; None when nothing could be estimated."""
    interval: tuple[float, float] | None
    """95 % interval of the estimate, same unit."""
    n: int
    """Independent units behind the estimate."""
    measured: str
    """How, and what the interval is over."""
    unit: Unit = "percent"
    paper: PaperFigure | None = None
    """What was published for comparable models."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A data frame with words. Rendered on the page, and saved as Parquet and CSV."""

    name: str
    """File name stem, lower case with dashes."""
    title: str
    caption: str
    frame: pd.DataFrame
    formats: Mapping[str, str] = field(default_factory=dict)
    """Per column: "percent" (0.37 -> 37.0), "points", "eps" (0.0314 -> 8/255), a format spec such as ".3f"; the
    special key "interval:<column>" names the two columns ("lo", "hi") that hold its interval and are folded into it:
    {"robust_accuracy": "percent", "interval:robust_accuracy": "lo,hi"}."""
    on_page: bool = True
    """False for long tables of records: saved as Parquet only, linked from the page."""
    csv: bool = False
    """Saved as CSV even though it is not on the page: a list for people to go through."""
    lead: bool = False
    """Stands behind the main figure, before the claims: the small table that a reader looks for first."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A drawn figure: SVG with text as text. Made by `robustray.tasks.figures`, never by hand."""

    name: str
    title: str
    caption: str
    """First sentence: what to see. Second: what was measured (n, seeds, interval)."""
    alt: str
    svg: str
    narrow: str = ""
    """The same drawn for the width of a phone; empty where the wide one is shown there, too, and scrolls."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture made of pixels (examples, perturbations), enlarged by a whole factor without smoothing."""

    name: str
    title: str
    caption: str
    alt: str
    png: bytes
    width: int
    height: int
    """Size in CSS pixels at which the page shows it."""
    webp: bytes = b""
    """The same pixels in fewer bytes, for the page; empty where the page holds the PNG."""


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """Single images and what became of each, to be chosen from on the page. Made by `robustray.tasks.figures`."""

    name: str
    title: str
    caption: str
    """Which images these are, of how many."""
    png: bytes
    """All thumbnails, `per_row` beside each other."""
    side: int
    """Width and height of a thumbnail in the PNG."""
    per_row: int
    classes: Sequence[str]
    indices: Sequence[int]
    """For each thumbnail, the image's place in its data set."""
    labels: Sequence[int]
    """For each thumbnail, the class of the image."""
    ways: Sequence[str]
    """What may have happened to an image: names of attacks."""
    cells: Mapping[tuple[str, str], tuple[Sequence[Sequence[int]], Sequence[int]]]
    """(model, size in words) -> of each thumbnail the ways in which it fell (places in `ways`; -1 alone: it was wrong
    from the start), and the class that the model then saw."""
    start: tuple[str, str]
    """The cell that is shown first."""
    webp: bytes = b""
    """As in `Picture`."""


@dataclass(frozen=True, kw_only=True)
class Document:
    """A file beside the page, to be taken away: JSON in a form that others read, or bytes as they are (a PDF)."""

    path: str
    """Path in the run's folder, of plain characters: "model_info/cifar10/Linf/resnet20.json"."""
    words: str
    """What it is, as the page says it."""
    content: Mapping[str, Any] | bytes
    """JSON values, or the file itself."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Findings:
    """What a study returns."""

    answer: str
    """One sentence with number, interval and n."""
    claims: tuple[Claim, ...] = ()
    descriptions: tuple[Description, ...] = ()
    tables: tuple[Table, ...] = ()
    figures: tuple[Figure, ...] = ()
    """The first one is the main figure."""
    pictures: tuple[Picture, ...] = ()
    galleries: tuple[Gallery, ...] = ()
    documents: tuple[Document, ...] = ()
    warnings: tuple[str, ...] = ()
    """Stand at the top of the page."""

    def __repr__(self) -> str:
        """The answer and the verdicts: figures and tables are no use as text."""
        from robustray.tasks.report.notebook import as_text

        return as_text(self)

    def _repr_html_(self) -> str:
        """The same with the main figure and the first table, for a notebook."""
        from robustray.tasks.report.notebook import as_html

        return as_html(self)


@dataclass(frozen=True, kw_only=True)
class Opened:
    """What the settings name, opened and checked. Its content is part of the run's identity."""

    refs: Mapping[str, Reference]
    """What it is ("model cifar:resnet20") -> reference."""
    modules: tuple[str, ...] = ()
    """The user's own modules beside those of the references."""
    decided: Mapping[str, str] = field(default_factory=dict)
    """What the settings leave to the machine, as it was decided here: {"precision": "bf16"}."""
    warnings: tuple[str, ...] = ()
    incomplete: bool = False
    """What the run writes outside the store (`--build FOLDER`) is not there: a finished run is walked through again."""


def refuse_idle(settings: Any, *starts: Any) -> None:
    """Refuse settings that the user changed without effect. `starts`: the settings of a size, or of all sizes, before
    the change.

    A study's settings may have a method `idle` that names fields which do nothing beside the others, each with the
    reason: {"eps_l2": "norms leaves l2 out"}. Raises: InputError for such a field that no start has like this.
    """
    for name, why in _idle(settings).items():
        if all(getattr(settings, name) != getattr(start, name) for start in starts):
            raise InputError(f"--{name.replace('_', '-')} does nothing here: {why}")


def _idle(settings: Any) -> Mapping[str, str]:
    """Settings that do nothing beside the others, each with the reason."""
    return settings.idle() if hasattr(settings, "idle") else {}


@dataclass(frozen=True, kw_only=True)
class Outline:
    """What the command line needs to know of a study to explain it. Its module imports nothing heavy."""

    name: str
    question: str
    """The paper's question in one sentence."""
    paper: str
    """"arXiv:1234.56789" or "robustness library"; shown on the page."""
    settings: type
    """Frozen keyword-only dataclass; its docstrings are the help of the command line."""
    sizes: Mapping[Size, Any]
    """The full settings of each size."""
    estimate: Callable[[Any], Work]
    names: Mapping[str, Literal["data", "model"]] = field(default_factory=dict)
    """Settings that name data or models (architectures too), empty where none is named: `show`, which opens neither,
    looks whether the name can be one."""
    task: str = ""
    """The setting that chooses among tasks which a study has beside each other, all of them at every size; empty where
    there is none."""

    def __post_init__(self) -> None:
        known = [each.name for each in fields(self.settings)] if is_dataclass(self.settings) else []
        for name in known:
            if name in RESERVED:
                raise InputError(
                    f"study {self.name}: a setting can't be named {name!r}: --size chooses between the sizes "
                    "of a study; say of what it is the size (side, eps, num_images)"
                )
        if self.task and self.task not in known:
            raise InputError(
                f"study {self.name}: task names {self.task!r}, which is no setting{nearest(self.task, known)}"
            )


RESERVED = ("size", "sizes")
"""Names that settings can't have: `robustray run STUDY --size` has its own meaning."""


def scale_of(outline: Outline, settings: Any, asked: Size | None = None) -> Scale:
    """The size that these are the settings of, "custom" where they are of none. asked: wins where sizes are the same.

    Another task of the study than a size names (`Outline.task`) is of that size if every setting that the task reads is
    as the size has it. Where it reads nothing in which two sizes differ it is of the first, the smaller one: a task
    that "paper" does as "small" does it is shown as small.
    """
    sizes = outline.sizes
    first: tuple[Size, ...] = () if asked is None or asked not in sizes else (asked,)
    for name in (*first, *sizes):
        if settings == sizes[name]:
            return name
    if outline.task:
        unread = {outline.task, *_idle(settings)}
        read = [each.name for each in fields(settings) if each.name not in unread]
        for name, known in sizes.items():
            if all(getattr(settings, each) == getattr(known, each) for each in read):
                return name
    return "custom"


@dataclass(frozen=True, kw_only=True)
class RunTables:
    """A finished run, as the comparison of two reads it."""

    label: str
    """"A" or "B"."""
    settings: Mapping[str, Any]
    """Resolved, as plain values; a run of another version may lack some or have others."""
    hashes: Mapping[str, str]
    """What it depends on ("data cifar10:test") -> SHA-256."""
    read: Callable[[str, Sequence[str]], pd.DataFrame]
    """`read("images", ["index", "success"])`: these columns of a table. Raises: InputError where it has none."""


class Verb(Enum):
    """A verb of the lab that is a step by itself, under a name that the lab gives it: {"train": TRAIN}."""

    TRAIN = "lab.train"
    LEARN = "lab.learn"

    @property
    def root(self) -> str:
        """Where the code of its jobs begins: a root of CODE."""
        return {
            Verb.TRAIN: "robustray.tasks.training.handle:TrainJob",
            Verb.LEARN: "robustray.tasks.policy_gradients.jobs:LearnJob",
        }[self]


TRAIN, LEARN = Verb

Declared: TypeAlias = "BlockFunction | OptimisationFunction"
Step: TypeAlias = "Declared | tuple[Declared, ...] | Verb"


@dataclass(frozen=True, kw_only=True)
class Study:
    """A study: an ordinary program that looks like the method section of its paper."""

    outline: Outline
    door: Callable[[Any, Lab], Opened]
    """Open and check all that the settings name, before any work. Raises: InputError."""
    run: Callable[[Any, Lab], Findings]
    steps: Mapping[str, Step]
    """Step name -> the function, or functions, that its `run` maps (`@block_function`) or optimises (`@optimisation`)
    under it; or the verb of the lab that does the step. The lab refuses what is not declared here; `--fresh` takes
    these names; the functions' versions are part of the run's identity. In the order in which they come first."""
    partial: frozenset[str] = frozenset()
    """Steps that the study can do without some rows of: it finds rows by their items, never by their places, and every
    n counts the rows there are. Under any other step an item that is given up ends the run, with words instead of
    numbers of the wrong images."""
    compare: Callable[[RunTables, RunTables], Findings] | None = None
    """Paired differences of two finished runs, for `robustray compare`. Raises: InputError where none can be paired."""

    @property
    def declared(self) -> Mapping[str, tuple[Declared, ...]]:
        """Step name -> its functions; none for a verb of its own."""
        return {name: _functions(step) for name, step in self.steps.items()}

    @property
    def functions(self) -> tuple[Declared, ...]:
        """All declared functions, each once."""
        return tuple({each.qualified_name: each for step in self.declared.values() for each in step}.values())

    @property
    def roots(self) -> frozenset[str]:
        """Where the code of its steps begins: roots of CODE."""
        verbs = {step.root for step in self.steps.values() if isinstance(step, Verb)}
        return frozenset(verbs | {root for function in self.functions for root in function.roots})


def _functions(step: Step) -> tuple[Declared, ...]:
    if isinstance(step, Verb):
        return ()
    return step if isinstance(step, tuple) else (step,)


STUDIES: Mapping[str, tuple[str, str]] = {
    "attack-sweep": (
        "robustray.tasks.studies.attack_sweep",
        "how accuracy falls with the size of an adversarial perturbation, for any model and data",
    ),
    "robust-training": (
        "robustray.tasks.studies.robust_training",
        "what training on adversarial images costs in accuracy and buys in robustness, by the size trained at",
    ),
    "representations": (
        "robustray.tasks.studies.representations",
        "whether images with the same representation are the same image, for standard and robust networks",
    ),
    "features": (
        "robustray.tasks.studies.features",
        "whether adversarial perturbations are features: training sets of robust and of non-robust features only",
    ),
    "gaussian-features": (
        "robustray.tasks.studies.gaussian_features",
        "why robust training aligns gradients with classes: two Gaussians, in closed form and by training",
    ),
    "replication": (
        "robustray.tasks.studies.replication",
        "how much of the accuracy lost on a replicated test set is the choice of its images by noisy readings",
    ),
    "backgrounds": (
        "robustray.tasks.studies.backgrounds",
        "how much of a classifier's answer comes from the background, with versions of images cut and pasted",
    ),
    "synthesis": (
        "robustray.tasks.studies.synthesis",
        "whether a single classifier can make and mend images, and whether robust training decides it",
    ),
    "labels": (
        "robustray.tasks.studies.labels",
        "how far labels that people only confirmed are from what they would have called the main object",
    ),
    "unadversarial": (
        "robustray.tasks.studies.unadversarial",
        "whether patches, textures and a landing pad can be designed to be recognised, also under corruptions",
    ),
    "transfer": (
        "robustray.tasks.studies.transfer",
        "whether robust networks serve other tasks better than standard ones, as fixed features or fine-tuned",
    ),
    "implementation-matters": (
        "robustray.tasks.studies.implementation_matters",
        "whether PPO's advantage over TRPO is its clipped step, or what its implementation does besides",
    ),
    "closer-look": (
        "robustray.tasks.studies.closer_look",
        "whether deep policy gradient methods follow the gradient, use the value function, and climb the reward",
    ),
}
"""Name -> (package with `settings.OUTLINE` and `study.STUDY`, one line for `robustray list`). Listing imports none."""


def load_outline(name: str) -> Outline:
    """Outline of a study in `STUDIES`, or of the user's own. Raises: InputError as `load_study`."""
    if name not in STUDIES:
        return _own_study(name).outline
    return importlib.import_module(f"{STUDIES[name][0]}.settings").OUTLINE


def load_study(name: str) -> Study:
    """A study in `STUDIES`, or the user's own: `my_pkg.my_mod:function`, called without arguments.

    One's own is known by the name under which it is loaded, so that its runs find it again.

    Raises: InputError for an unknown name, with the nearest known one, and for a function that makes no study.
    """
    if name not in STUDIES:
        return _own_study(name)
    return importlib.import_module(f"{STUDIES[name][0]}.study").STUDY


def _own_study(name: str) -> Study:
    from robustray.tasks.data.own import describe, load_function, looks_like_own

    if not looks_like_own(name):
        raise InputError(f"there is no study {name!r}{nearest(name, STUDIES)}, or my_pkg.my_mod:function")
    try:
        study = load_function(name)()
    except InputError:
        raise
    except Exception as error:  # the function is the user's: whatever it raises is theirs to read
        raise InputError(f"study {name}: {describe(error)}") from error
    if not isinstance(study, Study):
        raise InputError(f"study {name}: the function must return a robustray.tasks.study.Study, got {study!r}")
    return replace(study, outline=replace(study.outline, name=name))
