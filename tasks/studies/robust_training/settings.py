"""The settings of the study and its three sizes. Imports nothing heavy: the command line reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from robustray.tasks.attacks.precision import Precision
from robustray.tasks.attacks.settings import PGD, Norm
from robustray.tasks.cost import NetworkPass, Part, Work
from robustray.tasks.errors import InputError
from robustray.tasks.kit import checks
from robustray.tasks.kit.estimates import AUDITED, LOOK, num_images, training_part
from robustray.tasks.kit.sizes import reference_size
from robustray.tasks.study import Outline, Size
from robustray.tasks.sweeps.options import PASSED, PASSES, Options, sweep_part
from robustray.tasks.training.how import HowTrained, how_of
from robustray.tasks.training.reference import SEEDS, reference_specs
from robustray.tasks.training.settings import Select, TrainSpec
from robustray.tasks.training.work import training_passes

Threat = Norm | Literal["none"]


class Network(NamedTuple):
    """One network of the grid."""

    norm: Threat
    """"none" for the standard network, which both norms share."""
    eps: float
    """Size of the perturbations that it was trained against; 0 for the standard network."""
    seed: int


@dataclass(frozen=True, kw_only=True)
class Settings(HowTrained):
    """What adversarial training costs and what it buys, by the size it trains at."""

    model: str
    """Architecture, without weights: small:s, cifar:resnet18, digits:cnn, or my_pkg.my_mod:function."""
    train_data: str
    """Images to train on; those held out for the learning curves are taken from them."""
    test_data: str
    """Images on which everything else is reported."""
    norms: tuple[Norm, ...] = ("linf", "l2")
    """Norms to train and test in. A network is tested in the norm it was trained in, the standard one in all."""
    eps_train_linf: tuple[float, ...]
    """Sizes at which networks are trained (8/255); a standard network, size 0, is always trained too."""
    eps_train_l2: tuple[float, ...]
    """Sizes at which networks are trained in l2 (0.5)."""
    eps_test_linf: tuple[float, ...]
    """Sizes at which PGD tests them, those they are trained at among them."""
    eps_test_l2: tuple[float, ...]
    """Sizes at which PGD tests them in l2, those they are trained at among them."""
    num_seeds: int
    """Trainings of each kind, with the seeds seed, seed + 1, ...; claims about training need at least 2."""
    seed: int = 0
    """First seed of the trainings; also that of all attacks and draws."""

    num_steps: int = 7
    """Gradient steps of the attack that networks are trained on."""
    random_start: bool = False
    """Start that attack at a random point."""
    use_best: bool = False
    """Train on its iterate of highest loss; else on the last one."""
    select: Select = "last"
    """Which weights are tested: those of the last epoch, or the best ones on held-out images under attack."""
    threads: int = 1
    """CPU threads of one training."""

    num_images: int = 0
    """Test images, from the first one on; 0 means all."""
    test_steps: int = 20
    """Steps of the PGD that tests, each of size 2.5 eps / test_steps, from a random start, until it succeeds."""
    num_autoattack: int
    """Test images for AutoAttack, from the first one on; 0: none."""
    autoattack_at: Literal["trained", "reference"] = "trained"
    """Sizes at which AutoAttack tests robust networks: all that are trained at, or 8/255 and 0.5 (else the largest)."""
    num_traced: int
    """Test images whose loss is followed over the steps of PGD, with test_steps and with trace_steps steps; 0: none."""
    trace_steps: int = 100
    """Steps that should find no more than test_steps do."""
    num_examples: int = 6
    """Test images shown with the gradient of the loss, drawn at random."""
    precision: Precision = "auto"
    """Arithmetic of the testing attacks' search; verdicts are always fp32."""
    block: int = 512
    """Test images per block of work."""

    def __post_init__(self) -> None:
        checks.several(norms=self.norms)
        checks.radii(eps_train_linf=self.eps_train_linf, eps_train_l2=self.eps_train_l2)
        checks.radii(eps_test_linf=self.eps_test_linf, eps_test_l2=self.eps_test_l2)
        for norm in self.norms:
            PGD(norm=norm, eps=max(self.eps_test(norm)), precision=self.precision)  # refuses the rest
            untested = [eps for eps in self.eps_train(norm) if eps not in self.eps_test(norm)]
            if untested:
                raise InputError(f"eps_test_{norm}: {untested[0]:g} is missing: networks are trained at that size")
        checks.positive(step_share=self.step_share)
        checks.choices(("trained", "reference"), autoattack_at=self.autoattack_at)
        checks.counts(at_least=1, num_seeds=self.num_seeds, block=self.block)
        checks.counts(at_least=1, test_steps=self.test_steps, trace_steps=self.trace_steps)
        checks.counts(seed=self.seed, num_images=self.num_images, num_autoattack=self.num_autoattack)
        checks.counts(num_traced=self.num_traced, num_examples=self.num_examples)
        if self.trace_steps <= self.test_steps:
            raise InputError(f"trace_steps must be more than test_steps ({self.test_steps}), got {self.trace_steps}")
        if not self.validation:
            raise InputError("validation must be above 0: learning curves need held-out images")
        for network in self.networks():
            self.spec(network)  # refuses what cannot be trained

    def idle(self) -> dict[str, str]:
        """Fields that do nothing beside the others, and why (`study.refuse_idle`)."""
        unused = checks.left_out(self.norms, "eps_train", "eps_test")
        if not self.num_autoattack:
            unused["autoattack_at"] = "--num-autoattack 0 leaves AutoAttack out"
        if not self.num_traced:
            unused["trace_steps"] = "--num-traced 0 traces nothing"
        return unused

    def eps_train(self, norm: Norm) -> tuple[float, ...]:
        """The sizes at which networks are trained in this norm, ascending; without 0, the standard networks."""
        return self.eps_train_linf if norm == "linf" else self.eps_train_l2

    def eps_test(self, norm: Norm) -> tuple[float, ...]:
        """The sizes at which PGD tests networks in this norm, ascending; without 0, the clean images."""
        return self.eps_test_linf if norm == "linf" else self.eps_test_l2

    def reference_eps(self, norm: Norm) -> float:
        """Where standard networks are looked at, fixed before the run: 8/255 (l-inf) or 0.5 (l2), where the field
        reports, if networks are trained at it; else the largest size they are trained at."""
        return reference_size(norm, self.eps_train(norm), otherwise=-1)

    def size_of(self, norm: Norm, eps_train: float) -> float:
        """Where networks trained at `eps_train` are looked at: at that size, standard ones at the reference size."""
        return eps_train or self.reference_eps(norm)

    def autoattack_eps(self, norm: Norm, eps_train: float) -> float | None:
        """The size at which AutoAttack tests a network trained at `eps_train`; None: it does not."""
        here = self.autoattack_at == "trained" or eps_train in (0.0, self.reference_eps(norm))
        return self.size_of(norm, eps_train) if self.num_autoattack and here else None

    def networks(self) -> tuple[Network, ...]:
        """The grid: standard networks once, then those of each norm and size."""
        robust: list[tuple[Threat, float]] = [(norm, eps) for norm in self.norms for eps in self.eps_train(norm)]
        kinds: list[tuple[Threat, float]] = [("none", 0.0), *robust]
        return tuple(Network(norm, eps, self.seed + i) for norm, eps in kinds for i in range(self.num_seeds))

    def tested_in(self, network: Network) -> tuple[Norm, ...]:
        """The norms in which a network is attacked."""
        return self.norms if network.norm == "none" else (network.norm,)

    def spec(self, network: Network) -> TrainSpec:
        """How a network is trained: all alike but for the threat and the seed."""
        standard = TrainSpec(
            model=self.model,
            data=self.train_data,
            select=self.select,
            threads=self.threads,
            seed=network.seed,
            **self.how(),
        )
        if network.norm == "none":
            return standard
        attack = {"num_steps": self.num_steps, "random_start": self.random_start, "use_best": self.use_best}
        return self.against(standard, network.norm, network.eps, **attack)


def quick() -> Settings:
    """robustray run robust-training --size quick      57 s of CPU time; embedded data, proves nothing."""
    return Settings(
        model="digits:cnn",
        train_data="digits:train",
        test_data="digits:test",
        eps_train_linf=(0.1, 0.2),
        eps_train_l2=(0.4, 0.8),
        eps_test_linf=(0.05, 0.1, 0.2, 0.3),
        eps_test_l2=(0.2, 0.4, 0.8, 1.2),
        num_seeds=2,
        epochs=10,
        batch_size=64,
        lr=0.1,
        schedule="triangular",
        num_steps=4,
        step_share=0.5,
        validation=0.2,
        attack_precision="fp32",
        num_autoattack=16,
        autoattack_at="reference",
        num_traced=64,
        block=128,
    )


def small() -> Settings:
    """The reference twins: robustray run robust-training --size small --data-root DIR      two CPU cores, hours."""
    twins = reference_specs(SEEDS[0])
    linf, l2 = twins["linf8"], twins["l2_05"]
    assert how_of(linf) == how_of(l2)
    return Settings(
        model=linf.model,
        train_data=linf.data_name,
        test_data="cifar10:test",
        eps_train_linf=(linf.eps,),
        eps_train_l2=(l2.eps,),
        eps_test_linf=(2 / 255, 4 / 255, 8 / 255, 16 / 255),
        eps_test_l2=(0.1, 0.25, 0.5, 1.0, 2.0),
        num_seeds=len(SEEDS),
        seed=SEEDS[0],
        num_steps=linf.num_steps,
        random_start=linf.random_start,
        use_best=linf.use_best,
        select=linf.select,
        **how_of(linf),
        num_autoattack=500,
        num_traced=2_000,
    )


def paper() -> Settings:
    """The recipe of the published models (robustness 1.2.1), except that their best epoch was chosen on test images
    and that colour jitter and rotation are left out. One GPU: days."""
    return Settings(
        model="cifar:resnet50",
        train_data="cifar10:train",
        test_data="cifar10:test",
        eps_train_linf=(8 / 255,),
        eps_train_l2=(0.25, 0.5, 1.0),
        eps_test_linf=(8 / 255, 16 / 255),
        eps_test_l2=(0.25, 0.5, 1.0, 2.0),
        num_seeds=3,
        epochs=150,
        batch_size=128,
        lr=0.1,
        schedule="steps",
        lr_drops=(50, 100),
        augmentation="crop-flip",
        num_steps=7,
        step_share=0.2,
        use_best=True,
        validation=1_000,
        select="best",
        num_autoattack=10_000,
        num_traced=10_000,
    )


SIZES: Mapping[Size, Settings] = {"quick": quick(), "small": small(), "paper": paper()}


MEASURED: Mapping[str, str] = {
    "digits:cnn": "The quick size takes 57 s of CPU time in one process",
    "small:s": "Network S for 14 epochs: 12 to 15 min per robust network, 4 to 5 per standard one on two slow cores",
}
"""By model; source: docs/studies/robust-training.md."""


def estimate(settings: Settings) -> Work:
    """An upper bound: all test images survive all attacks."""
    networks = settings.networks()
    count, remark = num_images([settings.train_data], otherwise=50_000)
    num_train = count[settings.train_data]
    trained = sum(training_passes(settings.spec(network), num_train) for network in networks)
    tested = sum(testing_passes(settings, network) for network in networks)
    measured = MEASURED.get(settings.model)
    return Work(
        counts={PASSED: trained + tested, "images in training": num_train * settings.epochs * len(networks)},
        note=f"{remark}{len(networks)} trainings take up to {trained:,} of them, the attacks on the test images up to "
        f"{tested:,} (images that fall early cost less)." + (f" {measured}." if measured else ""),
        parts=plan(settings, num_train),
        unit=NetworkPass(models=(settings.model,)),
    )


TRACED = 2
"""Passes that a step costs whose loss is kept; measured at quick size."""


def plan(settings: Settings, num_train: int) -> tuple[Part, ...]:
    """The steps of a run."""
    networks = settings.networks()
    count, _ = num_images([settings.test_data], otherwise=10_000, given=settings.num_images)
    num_test = count[settings.test_data]
    looked_at: list[tuple[Network, Norm]] = [
        (network, norm) for network in networks for norm in settings.tested_in(network)
    ]
    swept = [("pgd", num_test) for _, norm in looked_at for _ in settings.eps_test(norm)]
    swept += [
        ("autoattack", settings.num_autoattack)
        for network, norm in looked_at
        if settings.autoattack_eps(norm, network.eps) is not None
    ]
    shown = settings.num_examples * sum(network.seed == settings.seed for network in networks)
    options = Options(num_steps=settings.test_steps)
    return (
        training_part([(settings.spec(network), num_train) for network in networks]),
        Part(step="clean", items=num_test * len(networks), cost=LOOK),
        Part(
            step="trace",
            items=2 * settings.num_traced * len(looked_at),
            cost=TRACED * (settings.test_steps + settings.trace_steps) / 2,
        ),
        Part(step="gradients", items=shown, cost=1),
        Part(step="audit", items=len(networks), cost=AUDITED),
        sweep_part(swept, options),
    )


def testing_passes(settings: Settings, network: Network) -> int:
    """Passes of single images in all attacks on one network, if every test image survived."""
    count, _ = num_images([settings.test_data], otherwise=10_000, given=settings.num_images)
    norms = settings.tested_in(network)
    sizes = sum(len(settings.eps_test(norm)) for norm in norms)
    traced = settings.num_traced * (settings.test_steps + settings.trace_steps + 2) * len(norms)
    pgd = count[settings.test_data] * (1 + sizes * (settings.test_steps + 2))
    autoattacked = sum(settings.autoattack_eps(norm, network.eps) is not None for norm in norms)
    return pgd + autoattacked * settings.num_autoattack * PASSES["autoattack"] + traced + settings.num_examples


OUTLINE = Outline(
    name="robust-training",
    question="What does training on adversarial images cost in accuracy, and what does it buy in robustness?",
    paper="arXiv:1706.06083",
    settings=Settings,
    sizes=SIZES,
    estimate=estimate,
    names={"model": "model", "train_data": "data", "test_data": "data"},
)
