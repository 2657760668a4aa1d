"""The settings of the study and its three sizes. Imports nothing heavy: the command line reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, get_args

from robustray.tasks.attacks.precision import PRECISIONS, Precision
from robustray.tasks.cost import NetworkPass, Part, Work
from robustray.tasks.errors import InputError
from robustray.tasks.kit import checks
from robustray.tasks.kit.estimates import AUDITED, LOOK, training_part
from robustray.tasks.study import Outline, Size
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
    arch: str = ""
    """Where it is another one than the settings'."""
    share: float = 1.0
    """Of the training scenes."""
    eps: float = 0.0
    """Size of the l2 perturbations that it is trained on."""

    @property
    def words(self) -> str:
        """Without the seed: `"trained on Mixed-Rand, rho 0.9"`, `"trained on Original, small:s, rho 0.35"`."""
        more = [self.arch] if self.arch else []
        more += [f"{self.share:g} of the scenes"] if self.share != 1 else []
        more += [f"adversarially (l2 {self.eps:g})"] if self.eps else []
        return ", ".join([f"trained on {WORDS[self.trained_on]}", *more, f"rho {self.rho:g}"])


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
    """Correlations of class and background in training scenes; claims are about 0 and the largest."""
    side: int = 32
    """Side of a scene in pixels."""
    num_train: int = 2_250
    """Scenes to train on, other ones for every seed."""
    num_fixed: int = 1_200
    """Test scenes that all networks share, every one on its class's background: on versions of these claims are
    judged."""
    num_test: int = 600
    """Test scenes of each network's own correlation, besides."""
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
    margin: float = 0.04
    """A BG-gap within this share, both ways, counts as none, and so does a distance from chance."""

    curve_rho: float = 0.35
    """Correlation at which networks of growing capacity and data are trained."""
    curve_archs: tuple[str, ...] = ()
    """Architectures of that curve, besides arch."""
    curve_shares: tuple[float, ...] = ()
    """Shares of num_train on which arch is trained for that curve, besides all of them. Without archs and shares there
    is no curve."""
    eps_train: tuple[float, ...] = ()
    """Sizes of l2 perturbations that networks are trained against at the largest correlation; in units of pixels in
    [0, 1]."""
    train_steps: int = 3
    """Gradient steps of the attack in that training."""
    test_steps: int = 20
    """Steps of PGD that tests those networks, and the standard one, at the same size."""
    num_robust: int = 300
    """Fixed scenes that are attacked."""

    num_swept: int = 36
    """Foregrounds that are put on every background: for the success of single backgrounds. 0 for none."""
    num_challenged: int = 90
    """Foregrounds that are put on backgrounds until one makes the answer wrong: the challenge. 0 for none."""
    num_backgrounds: int = 90
    """Backgrounds that foregrounds are put on."""
    compose_batch: int = 128
    """Compositions of a foreground and a background per step."""
    precision: Precision = "auto"
    """Arithmetic in which answers to compositions, and attacks, are searched; verdicts are fp32. auto: bf16 where the
    hardware multiplies it."""

    num_saliency: int = 60
    """Test images on which is measured how much of an answer hangs on the object's pixels. 0 for none."""
    num_examples: int = 5
    """Test images shown in all their versions, drawn at random."""
    block: int = 300
    """Test images per block of work."""
    seed: int = 0
    """First seed of the chains; also that of the test images' partners and of the examples."""

    def __post_init__(self) -> None:
        checks.several(rhos=self.rhos, versions=self.versions)
        checks.choices(PRECISIONS, precision=self.precision)
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
        checks.counts(at_least=1, num_seeds=self.num_seeds, block=self.block, compose_batch=self.compose_batch)
        checks.counts(at_least=18, num_train=self.num_train, num_test=self.num_test, num_fixed=self.num_fixed)
        checks.counts(at_least=1, train_steps=self.train_steps, test_steps=self.test_steps, num_robust=self.num_robust)
        checks.counts(num_swept=self.num_swept, num_challenged=self.num_challenged)
        checks.counts(at_least=1, num_backgrounds=self.num_backgrounds)
        checks.shares(curve_rho=self.curve_rho)
        for share in self.curve_shares:
            checks.shares(ends="()", curve_shares=share)
        if self.eps_train:
            checks.radii(eps_train=self.eps_train)
        checks.counts(at_least=12, side=self.side)
        checks.counts(seed=self.seed, num_examples=self.num_examples, num_saliency=self.num_saliency)
        checks.shares(ends="()", margin=self.margin)
        checks.counts(at_least=1, attempts=self.attempts)
        checks.counts(at_least=16, photo_side=self.photo_side)
        self._check_own()
        if not self.own:
            self._check_scenes()

    def _check_scenes(self) -> None:
        robust = ["num_robust"] if self.eps_train else []
        for name in ["num_swept", "num_challenged", "num_backgrounds", *robust]:
            wanted = getattr(self, name)
            if wanted > self.num_fixed:
                raise InputError(f"{name} {wanted}: there are num_fixed = {self.num_fixed} test scenes")
        if self.arch in self.curve_archs:
            raise InputError(f"curve_archs: {self.arch} is arch itself, which is on the curve already; leave it out")
        for network in self.networks():
            self.spec(network, "scenes:train")  # refuses what no training can use
            if round(network.share * self.num_train) < 18:
                raise InputError(f"curve_shares {network.share:g}: fewer than 18 of {self.num_train} training scenes")

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
        """Fields that do nothing beside the others, and why (`study.refuse_idle`)."""
        if self.own:
            why = "it is about scenes and networks that are trained on them; your own images are taken instead"
            return self._idle_cutting() | dict.fromkeys(ON_SCENES, why)
        found: dict[str, str] = {}
        if not self.eps_train:
            found |= dict.fromkeys(("train_steps", "test_steps", "num_robust"), "no --eps-train: nothing is attacked")
        if not self.curve():
            found["curve_rho"] = "there is no curve without --curve-archs and --curve-shares"
        return found | self._idle_cutting()

    def _idle_cutting(self) -> dict[str, str]:
        """What does nothing of how photographs are cut."""
        if not self.boxes:
            why = "only photographs of any sizes are cut so; give --boxes"
            return dict.fromkeys(("segment", "attempts", "photo_side", "groups"), why)
        return {"attempts": "segment box takes the whole box"} if self.segment == "box" else {}

    @property
    def own(self) -> str:
        """The user's own images: what was given as `data` or `released`; "" where scenes are used."""
        return self.data or self.released

    def train_scenes(self, network: Network) -> str:
        """Name of the scenes that a network is trained on, or of those that its versions are cut from."""
        return self._scenes("train", round(network.share * self.num_train), network.rho, network.seed)

    def test_scenes(self, rho: float) -> str:
        """Name of the test scenes of a correlation."""
        return self._scenes("test", self.num_test, rho, self.seed)

    def fixed_scenes(self) -> str:
        """Name of the test scenes that all networks share: every one has the background of its own class."""
        return self._scenes("test", self.num_fixed, 1.0, self.seed)

    def _scenes(self, split: Literal["train", "test"], n: int, rho: float, seed: int) -> str:
        """Hard edges (aa=1): masks are exact to the pixel, nothing of an object stays behind."""
        return f"scenes:{split},n={n},size={self.side},rho={rho:g},aa=1,seed={seed}"

    def networks(self) -> list[Network]:
        """All trainings: on the original scenes at every correlation, on other versions and adversarially at the
        largest one, and those of the curve."""
        seeds = range(self.seed, self.seed + self.num_seeds)
        kinds = [Network(rho, ORIGINAL, 0) for rho in self.rhos]
        kinds += [Network(self.rhos[-1], version, 0) for version in self.also_train_on]
        kinds += [Network(self.rhos[-1], ORIGINAL, 0, eps=eps) for eps in self.eps_train]
        kinds += self.curve()
        return [kind._replace(seed=seed) for kind in dict.fromkeys(kinds) for seed in seeds]

    def curve(self) -> list[Network]:
        """The kinds of networks of growing capacity and data (seed 0); [] where there is no curve."""
        archs = [Network(self.curve_rho, ORIGINAL, 0, arch=arch) for arch in self.curve_archs]
        shares = [Network(self.curve_rho, ORIGINAL, 0, share=share) for share in self.curve_shares]
        return [*shares, Network(self.curve_rho, ORIGINAL, 0), *archs] if archs or shares else []

    def swept(self) -> list[Network]:
        """Networks that meet adversarial backgrounds, and whose saliency is measured: trained on the original and on
        Mixed-Rand at the largest correlation."""
        versions = (ORIGINAL, "mixed_rand")
        top = [n for n in self.networks() if n.rho == self.rhos[-1] and not n.eps and n.share == 1 and not n.arch]
        return [network for network in top if network.trained_on in versions]

    def spec(self, network: Network, data: object) -> TrainSpec:
        """How a network is trained on `data`, a name or a reference."""
        spec = TrainSpec(
            model=network.arch or self.arch,
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
        if not network.eps:
            return spec
        return replace(spec, loss="adversarial", norm="l2", eps=network.eps, num_steps=self.train_steps)


ON_SCENES = (
    *("rhos", "side", "num_train", "num_fixed", "num_test", "also_train_on", "arch", "epochs", "batch_size", "lr"),
    *("schedule", "lr_drops", "weight_decay", "augmentation", "num_seeds", "margin", "curve_archs", "curve_shares"),
    *("curve_rho", "eps_train", "train_steps", "test_steps", "num_robust"),
)
"""Settings that are read where there are no images of one's own."""
COMPOSITIONS = "compositions of foregrounds and backgrounds"


def estimate(settings: Settings) -> Work:
    """What `robustray show` says."""
    versions = len(settings.versions) + 1
    if settings.own:
        if settings.released:
            note = "The versions are there; predictions take most of it."
        elif settings.boxes and settings.segment == "grabcut":
            note = "GrabCut takes 0.1 to 1 s of a core for a photograph."
        else:
            note = "Building takes about 0.1 ms per version of a small image."
        full = len(settings.models) * settings.num_swept * settings.num_backgrounds
        at_most = len(settings.models) * settings.num_challenged * settings.num_backgrounds
        return Work(
            counts={"versions of each image": versions - 1}
            | ({"models that see all of them": len(settings.models)} if settings.models else {})
            | ({COMPOSITIONS: full + at_most} if full + at_most else {}),
            note=note,
        )
    networks = settings.networks()
    trained = sum(settings.epochs * round(network.share * settings.num_train) for network in networks)
    full, at_most = compositions(settings)
    return Work(
        counts={
            "training passes of single images": trained,
            "predictions": looked(settings),
            "trainings": len(networks),
            **({COMPOSITIONS: full + at_most} if full + at_most else {}),
        },
        note=MEASURED.get((settings.arch, settings.side), "Trainings dominate."),
        parts=plan(settings),
        unit=NetworkPass(models=(settings.arch,), side=settings.side),
    )


def looked(settings: Settings) -> int:
    """Predictions on versions: of every network on the fixed scenes, of those at the correlations on their own."""
    versions = len(settings.versions) + 1
    own = [network for network in settings.networks() if has_own_scenes(settings, network)]
    return versions * (len(settings.networks()) * settings.num_fixed + len(own) * settings.num_test)


def has_own_scenes(settings: Settings, network: Network) -> bool:
    """Whether a network is also tested at its own correlation: not those of the curve and of adversarial training."""
    return network.rho in settings.rhos and not network.eps and not network.arch and network.share == 1


def compositions(settings: Settings) -> tuple[int, int]:
    """Of foregrounds and backgrounds: in full sweeps, and in challenges that no background would end early."""
    count = len(settings.swept()) * settings.num_backgrounds
    return count * settings.num_swept, count * settings.num_challenged


def plan(settings: Settings) -> tuple[Part, ...]:
    """The steps of a run on scenes."""
    networks, num_train = settings.networks(), settings.num_train
    cut = sum(network.trained_on != ORIGINAL for network in networks)
    tested = len(settings.rhos) * settings.num_test + settings.num_fixed
    sizes = [(settings.spec(network, "scenes:train"), round(network.share * num_train)) for network in networks]
    swept = len(settings.swept())
    attacked = sum(bool(network.eps) for network in networks) + settings.num_seeds * len(settings.eps_train)
    parts = [
        Part(step="versions", items=len(settings.versions) * tested + cut * num_train, cost=BUILD),
        training_part(sizes),
        Part(step="clean", items=looked(settings), cost=LOOK),
        Part(step="sweep", items=swept * settings.num_swept, cost=COMPOSE * settings.num_backgrounds),
        Part(step="challenge", items=swept * settings.num_challenged, cost=EARLY * settings.num_backgrounds),
        Part(step="saliency", items=swept * settings.num_saliency, cost=1),
        Part(step="attack", items=attacked * settings.num_robust, cost=settings.test_steps),
        Part(step="audit", items=attacked, cost=AUDITED),
    ]
    return tuple(part for part in parts if part.items)


COMPOSE = 0.2
"""Passes that a composition costs: forward, with batch norm folded."""
EARLY = 0.1
"""The same where a foreground is done with the first background that fools the network: half of them, say."""
BUILD = 0.6
"""Passes that a version costs to cut and paste; measured at quick size."""


MEASURED: Mapping[tuple[str, int], str] = {
    ("scenes:cnn", 32): "Trainings dominate; the quick size takes 62 s of CPU time in one process.",
}
"""By architecture and side; source: docs/studies/backgrounds.md."""


def small() -> Settings:
    """All versions to train on, as the paper's table 5; capacity and data; adversarial training and backgrounds.

    robustray run backgrounds --size small
    """
    return Settings(
        rhos=(0.0, 0.35, 0.7, 0.9),
        num_train=2_700,
        num_fixed=4_050,
        num_test=900,
        also_train_on=VERSIONS,
        epochs=12,
        curve_archs=("small:plain", "small:s"),
        curve_shares=(0.25, 0.5),
        eps_train=(0.5,),
        num_swept=900,
        num_challenged=900,
        num_backgrounds=900,
        num_saliency=300,
    )


def paper() -> Settings:
    """The paper's recipe (appendix C; without its colour jitter) and its number of images, on scenes; and the challenge
    in full, 4,050 foregrounds on 4,050 backgrounds. GPUs: days.

    ImageNet-9 itself can't be had in full: its authors released test images only. `--released` takes them.
    """
    return Settings(
        rhos=(0.0, 0.35, 0.9),
        side=224,
        num_train=45_405,
        num_fixed=4_050,
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
        curve_archs=("torchvision:resnet18", "torchvision:wide_resnet50_2"),
        curve_shares=(0.25, 0.5),
        eps_train=(3.0,),
        num_swept=4_050,
        num_challenged=4_050,
        num_backgrounds=4_050,
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
