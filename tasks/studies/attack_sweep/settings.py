"""The settings of the attack sweep and its three sizes. Imports nothing heavy: the command line reads it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from robustray.tasks.attacks.autoattack_rand import AutoAttackRand
from robustray.tasks.attacks.settings import Norm
from robustray.tasks.corruptions.settings import Corrupting
from robustray.tasks.cost import NetworkPass, Part, Work
from robustray.tasks.errors import InputError
from robustray.tasks.kit import checks
from robustray.tasks.kit.estimates import LOOK, count_of, num_images, training_part
from robustray.tasks.study import Outline, Size
from robustray.tasks.sweeps.options import PASSED, STAGES, Options, passes, sweep_part
from robustray.tasks.training.recipes import RECIPES


@dataclass(frozen=True, kw_only=True)
class Attacked:
    """What is attacked, by which attacks, and how far; what the command line shows first."""

    models: tuple[str, ...]
    """Models: NAME[@WEIGHTS.safetensors], run:KEY or my_pkg.my_mod:function[@WEIGHTS]; digits:mlp and digits:cnn train
    themselves."""
    data: tuple[str, ...]
    """Images: digits:test, cifar10:test, a folder of class folders, Parquet shards, or my_pkg.my_mod:function."""
    num_images: int = 0
    """Images of each data set, from its first one on; 0 means all."""
    attacks: tuple[str, ...] = ("pgd",)
    """pgd, fgsm, rs-fgsm, noise, apgd-ce, apgd-dlr, apgd-margin, apgd-t, malt, fab, fab-t, square, nes; autoattack
    (apgd-ce, apgd-t, fab-t, square, each on what the ones before left: the number to report); fast-cascade (its first
    two: an upper bound of that number for about a fifth of the cost); malt-cascade (apgd-margin, malt: one for a tenth
    of its gradients); adaptive (stages chosen by an audit of the model); autoattack-rand (for models that draw random
    numbers, alone: verdicts are majorities of 100 draws); transfer (needs sources); or my_pkg.my_mod:function (called
    with norm and eps, returns an attack)."""
    norms: tuple[Norm, ...] = ("linf", "l2")
    """Norms that bound the perturbation."""
    eps_linf: tuple[float, ...] = (1 / 255, 2 / 255, 4 / 255, 8 / 255, 16 / 255)
    """Largest change of a pixel, pixels in [0, 1]; fractions such as 8/255 can be written."""
    eps_l2: tuple[float, ...] = (0.1, 0.25, 0.5, 1.0, 2.0)
    """Largest Euclidean length of the perturbation, pixels in [0, 1]."""


@dataclass(frozen=True, kw_only=True)
class Settings(Corrupting, Options, Attacked):
    """How accuracy falls with the size of an adversarial perturbation."""

    num_transfer: int = 0
    """Images of the transfer matrix (does what fools one model fool another?): the first ones that all models classify
    correctly, attacked by PGD with all its steps; 0 or a single model: no matrix."""
    num_seeds: int = 1
    """Every attack is repeated with the seeds seed, seed + 1, ...: this many."""
    seed: int = 0
    """Seed of all random draws."""
    num_examples: int = 6
    """Images shown with their perturbation, drawn at random."""

    def __post_init__(self) -> None:
        Options.__post_init__(self)
        Corrupting.__post_init__(self)
        checks.several(models=self.models, data=self.data, attacks=self.attacks, norms=self.norms)
        checks.choices(("linf", "l2"), norms=self.norms)
        checks.radii(eps_linf=self.eps_linf, eps_l2=self.eps_l2)
        checks.counts(num_images=self.num_images, num_transfer=self.num_transfer, num_examples=self.num_examples)
        checks.counts(at_least=1, num_seeds=self.num_seeds)
        checks.counts(seed=self.seed)
        self._check_sources()
        self._check_votes()

    @property
    def by_votes(self) -> bool:
        """Verdicts are majorities of draws, so that models may be random."""
        return self.attacks == (AutoAttackRand.name,)

    def _check_votes(self) -> None:
        if AutoAttackRand.name not in self.attacks:
            return
        if not self.by_votes:
            raise InputError(f"attacks: {AutoAttackRand.name} decides by votes of a model, others do not: run it alone")
        if self.corruptions:
            raise InputError(f"corruptions: with {AutoAttackRand.name} models may be random: leave them out")
        if self.precision == "bf16":
            raise InputError(f"precision: {AutoAttackRand.name} counts its draws by passes, in fp32: leave it out")
        if self.num_transfer and len(self.models) > 1:
            raise InputError(
                f"num_transfer: with {AutoAttackRand.name} models may be random, and have no transfer matrix: "
                "give 0, or attack one model at a time"
            )

    def _check_sources(self) -> None:
        if "transfer" in self.attacks and not self.sources:
            raise InputError("attacks: transfer needs models to craft on: name them with --sources")
        if self.sources and "transfer" not in self.attacks:
            raise InputError("sources: only the attack transfer uses them: add it to the attacks, or leave them out")
        for model in self.models:
            if self.sources == (model,):
                raise InputError(f"sources: {model} has no source but itself: name another one, or attack it alone")

    def idle(self) -> dict[str, str]:
        """Fields that do nothing beside the others, and why (`study.refuse_idle`)."""
        unused = checks.left_out(self.norms, "eps") | super().idle()
        if len(self.models) < 2:
            unused["num_transfer"] = "the transfer matrix needs two models"
        if "pgd" not in self.attacks:
            unused["exit_rule"] = "only the attack pgd takes it"
            if "transfer" not in self.attacks and (len(self.models) < 2 or not self.num_transfer):
                unused |= dict.fromkeys(
                    ("num_steps", "num_restarts", "random_start"), "only the attacks pgd and transfer take it"
                )
        if "noise" not in self.attacks:
            unused["num_draws"] = "only the attack noise takes it"
        if self.attacks == ("transfer",):
            unused["num_examples"] = "the attack transfer has no examples to show"
        return unused

    def eps(self, norm: Norm) -> tuple[float, ...]:
        """The sizes of a norm, ascending."""
        return self.eps_linf if norm == "linf" else self.eps_l2


def quick() -> Settings:
    """robustray run attack-sweep --size quick      two CPU cores, under a minute; embedded data, proves nothing."""
    return Settings(
        models=("digits:mlp", "digits:cnn"),
        data=("digits:test",),
        attacks=("pgd", "fgsm", "noise"),
        eps_linf=(0.05, 0.1, 0.2, 0.3, 0.4),
        eps_l2=(0.2, 0.4, 0.8, 1.2, 1.6),
        num_transfer=100,
        block=90,
    )


def small() -> Settings:
    """robustray run attack-sweep --size small --data-root DIR      two CPU cores; the docs page has its figures."""
    return Settings(
        models=("cifar:resnet20", "cifar:resnet56", "small:standard", "small:linf8", "small:l2_05"),
        data=("cifar10:test",),
        attacks=("pgd", "fgsm", "noise"),
        num_transfer=1_000,
    )


def paper() -> Settings:
    """The protocol of the library's published table: PGD-100, best iterate by loss, all 10,000 test images."""
    return dataclasses.replace(
        small(),
        eps_linf=(1 / 255, 2 / 255, 4 / 255, 8 / 255, 16 / 255, 32 / 255),
        eps_l2=(0.1, 0.25, 0.5, 1.0, 2.0, 3.0),
        num_steps=100,
        num_restarts=5,
        num_transfer=10_000,
        num_seeds=3,
    )


SIZES: Mapping[Size, Settings] = {"quick": quick(), "small": small(), "paper": paper()}


def estimate(settings: Settings) -> Work:
    """An upper bound: every image survives everything."""
    per_size = sum(passes(name, settings) for name in settings.attacks) * settings.num_seeds
    images, remark = num_images(settings.data, otherwise=10_000, given=settings.num_images)
    attacked = sum(images.values()) * len(settings.models)
    corrupted = attacked * settings.num_cells
    transfer = transfer_passes(settings, images)
    stages = "; a cascade's stages are counted as if nothing fell before them" * (
        not STAGES.keys().isdisjoint(settings.attacks)
    )
    return Work(
        counts={
            PASSED: attacked * per_size * sum(len(settings.eps(norm)) for norm in settings.norms)
            + corrupted
            + transfer,
            "images": attacked,
        },
        note=f"{remark}Images that fall early cost less: standard models about a tenth of this, robust ones about "
        f"half{stages}." + (f" The transfer matrix, {transfer:,} of it, has no early exit." if transfer else ""),
        parts=plan(settings, images),
        unit=NetworkPass(models=settings.models),
    )


def plan(settings: Settings, images: Mapping[str, int]) -> tuple[Part, ...]:
    """The steps of a run. images: by data set."""
    models, norms = len(settings.models), len(settings.norms)
    named = (*settings.models, *settings.sources)
    trainings = [(spec, count_of(spec.data_name) or 0) for name, spec in RECIPES.items() if name in named]
    swept = [
        (attack, count)
        for norm in settings.norms
        for attack in settings.attacks
        for count in images.values()
        for _ in range(len(settings.eps(norm)) * settings.num_seeds * models)
    ]
    chosen, per_source = _transfers(settings, images)
    shown = settings.num_examples * len(images) * models * norms
    return (
        training_part(trainings),
        Part(step="clean", items=sum(images.values()) * models, cost=LOOK),
        Part(step="corrupted", items=sum(images.values()) * models * settings.num_cells, cost=LOOK),
        sweep_part(swept, settings),
        Part(step="transfer", items=chosen, cost=per_source),
        Part(step="examples", items=shown, cost=settings.num_steps + 2),
    )


def transfer_passes(settings: Settings, images: Mapping[str, int]) -> int:
    """Upper bound of the passes of the transfer matrix: each model crafts, all models look. images: by data set."""
    chosen, per_source = _transfers(settings, images)
    return chosen * per_source


def _transfers(settings: Settings, images: Mapping[str, int]) -> tuple[int, int]:
    """Images that are attacked for the transfer matrix, over norms and sources, none with a single model; and the
    passes of each: PGD with all its steps, two looks of the source, one of every model."""
    models = len(settings.models) if len(settings.models) > 1 else 0
    chosen = sum(min(settings.num_transfer, count) for count in images.values()) * models * len(settings.norms)
    return chosen, (settings.num_steps + 1) * settings.num_restarts + 2 + models


OUTLINE = Outline(
    name="attack-sweep",
    question="How does a model's accuracy fall with the size of an adversarial perturbation?",
    paper="arXiv:1706.06083",
    settings=Settings,
    sizes=SIZES,
    estimate=estimate,
    names={"models": "model", "sources": "model", "data": "data"},
)
