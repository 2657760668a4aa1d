"""Settings of studies that set standard and robust twins side by side, with judges. Imports no torch.

A study's settings inherit from `TwinSettings`, which says what is trained; `twin_networks.gather` gets the networks,
given by name or trained by the lab.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from robustray.tasks.attacks.settings import Norm
from robustray.tasks.errors import InputError
from robustray.tasks.kit import checks
from robustray.tasks.training.how import HowTrained
from robustray.tasks.training.reference import twin_of
from robustray.tasks.training.settings import TrainSpec

Kind = Literal["standard", "robust"]
KINDS: tuple[Kind, ...] = ("standard", "robust")
JUDGE_SEED = 1_000
"""Added to the first seed for judges: no judge shares a seed with what it judges."""


@dataclass(frozen=True, kw_only=True)
class TwinSettings(HowTrained):
    """Which networks a study compares and who judges them."""

    standard: tuple[str, ...] = ()
    """Trained standard networks, one per seed (run:KEY, small:s@weights.safetensors); none: trained here."""
    robust: tuple[str, ...] = ()
    """Their robust twins, in the same order; none: trained here."""
    judge: str = ""
    """An independent standard network that judges; none: one of another architecture and seed is trained here."""
    architecture: str
    """Architecture of the twins trained here: small:s, cifar:resnet18, digits:cnn, or my_pkg.my_mod:function."""
    judge_architecture: str
    """Architecture of the judge that is trained here."""
    train_data: str
    """Training images: of networks that are trained here, and of everything that is fitted."""
    test_data: str
    """Images on which results are reported."""
    norm: Norm = "l2"
    """Norm in which robust twins are trained."""
    eps: float
    """Size of the perturbations that robust twins are trained against, in pixel units."""
    num_seeds: int
    """Pairs of twins; claims about training need at least 2."""
    seed: int = 0
    """First seed of the trainings; also that of all draws."""

    train_steps: int
    """Gradient steps of the attack that robust twins are trained on."""

    def __post_init__(self) -> None:
        checks.sizes(eps=self.eps, step_share=self.step_share)
        checks.counts(at_least=1, num_seeds=self.num_seeds)
        checks.counts(seed=self.seed)
        if self.eps == 0 and not self.robust:
            raise InputError("eps 0: the robust twin would be a standard one; give the size it is trained at")
        for kind in KINDS:
            given = getattr(self, kind)
            if given and len(given) != self.num_seeds:
                raise InputError(f"{kind}: {len(given)} networks for num_seeds {self.num_seeds}: one for each, or none")
        for judge in self.named_judges().values():
            if judge in (*self.standard, *self.robust):
                raise InputError(f"judge {judge} is one of the networks it judges: give an independent one")
        for seed in self.seeds():
            self.spec("robust" if self.eps else "standard", seed)  # refuses what cannot be trained

    def seeds(self) -> range:
        """One pair of twins each."""
        return range(self.seed, self.seed + self.num_seeds)

    def spec(self, kind: Kind, seed: int, *, architecture: str = "") -> TrainSpec:
        """How a twin is trained: all alike but for the threat and the seed. With `architecture`, a judge."""
        standard = TrainSpec(model=architecture or self.architecture, data=self.train_data, seed=seed, **self.how())
        if kind == "standard":
            return standard
        return self.against(standard, self.norm, self.eps, num_steps=self.train_steps)

    def judge_spec(self, kind: Kind = "standard") -> TrainSpec:
        """How a judge is trained: like the twins of its kind, with another architecture and seed."""
        return self.spec(kind, self.seed + JUDGE_SEED, architecture=self.judge_architecture)

    def named(self) -> dict[tuple[Kind, int], str]:
        """(kind, seed) -> name, of the networks that were given, and of reference twins: trainings that are known."""
        given: dict[tuple[Kind, int], str] = {
            (kind, seed): name for kind in KINDS for seed, name in zip(self.seeds(), getattr(self, kind), strict=False)
        }
        known: dict[tuple[Kind, int], str] = {
            key: name for key, spec in self._to_train().items() if (name := twin_of(spec)) is not None
        }
        return given | known

    def named_judges(self) -> dict[Kind, str]:
        """Kind -> name, of the judges that were given."""
        return {"standard": self.judge} if self.judge else {}

    def wanted(self) -> dict[tuple[Kind, int], TrainSpec]:
        """(kind, seed) -> training, of those that have no name."""
        return {key: spec for key, spec in self._to_train().items() if twin_of(spec) is None}

    def _to_train(self) -> dict[tuple[Kind, int], TrainSpec]:
        return {
            (kind, seed): self.spec(kind, seed) for kind in KINDS for seed in self.seeds() if not getattr(self, kind)
        }
