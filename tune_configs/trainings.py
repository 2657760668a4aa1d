"""Grids of trainings."""

from __future__ import annotations

from dataclasses import replace

from robustray.tasks.grids.settings import CLEAN_ACCURACY, ROBUST_ACCURACY, Cell, Grid, Halving, Outcome, Read
from robustray.tasks.studies.robust_training.settings import SIZES, Network
from robustray.tasks.study import Size
from robustray.tasks.training.settings import AUGMENTATIONS, TrainSpec

HALVING = Halving(first=1, factor=2)
HELD_OUT = [
    Outcome(name=ROBUST_ACCURACY, words="held-out accuracy under PGD", unit="percent"),
    Outcome(name=CLEAN_ACCURACY, words="held-out accuracy on clean images", unit="percent"),
]


def robust_training_eps(size: Size) -> Grid:
    """What training at a size costs in clean accuracy, and what it gains under attacks of one size, the same for all.

    robustray tune robust-training-eps --size quick                    embedded data, two CPU cores, about a minute
    robustray tune robust-training-eps --size small --data-root DIR    CIFAR-10, nine trainings, two CPU cores, a day
    expected, quick: trained at 0.05, 41 % [28, 54] of 100 images remain correct at 0.1 (two seeds); at 0.2, about
    chance, as four epochs are too few for it. The larger sizes have not been run as a grid
    """
    trained, tested, seeds = ((0.05, 0.2), 0.1, (0, 1)) if size == "quick" else (
        (2 / 255, 4 / 255, 8 / 255), 8 / 255, (0, 1, 2)
    )  # fmt: skip
    base = replace(
        SIZES[size], norms=("linf",), eps_test_linf=tuple(sorted({*trained, tested})), num_seeds=1, num_examples=0,
        num_autoattack=0, num_traced=0,
    )  # fmt: skip
    if size == "quick":
        base = replace(base, epochs=4, num_images=100)

    def read(eps: float, eps_test: float) -> Read:
        return Read(table="accuracy", column="accuracy", row={"norm": "linf", "eps_train": eps, "eps_test": eps_test})

    return Grid(
        question="What does the size of the perturbations trained on cost in accuracy, and what does it buy?",
        paper="arXiv:1706.06083",
        study="robust-training",
        formats={"eps_train": "eps"},
        outcomes=[
            Outcome(name="robust_accuracy", words=f"accuracy under PGD at {tested:.3g}", unit="percent"),
            Outcome(name="clean_accuracy", words="accuracy on clean images", unit="percent"),
        ],
        cells=[
            Cell(
                levels={"eps_train": eps, "seed": seed},
                settings=replace(base, eps_train_linf=(eps,), seed=seed),
                reads={"robust_accuracy": read(eps, tested), "clean_accuracy": read(eps, 0.0)},
            )
            for eps in trained
            for seed in seeds
        ],
    )


def training_lr_augmentation(size: Size) -> Grid:
    """Which learning rate and augmentation an adversarial training needs, and how far one depends on the other.

    robustray tune training-lr-augmentation --size quick                    12 trainings, CPU, half a minute
    robustray tune training-lr-augmentation --size small --data-root DIR    CIFAR-10, 32 trainings, two CPU cores, days
    expected, quick: with the rate 0.2 and no augmentation 83 % [54, 100] of held-out images are correct under PGD (two
    seeds that did not choose it). Cropping and mirroring, which make other digits of digits, cost 49 points [43, 56] in
    eight epochs (three seeds): on photographs one expects the opposite. The larger sizes have not been run as a grid
    """
    rates, seeds = ((0.02, 0.2), range(3)) if size == "quick" else ((0.05, 0.1, 0.2, 0.4), range(4))
    eps = 0.1 if size == "quick" else 8 / 255
    return Grid(
        question="Which learning rate and augmentation does adversarial training need?",
        paper="arXiv:1706.06083",
        outcomes=HELD_OUT,
        choose=("lr", "augmentation"),
        halving=HALVING,
        cells=[
            Cell(
                levels={"lr": lr, "augmentation": augmentation, "seed": seed},
                settings=replace(_training(size, eps, seed, quick_epochs=8), lr=lr, augmentation=augmentation),
            )
            for lr in rates
            for augmentation in AUGMENTATIONS
            for seed in seeds
        ],
    )


def training_eps_lr(size: Size) -> Grid:
    """The learning rate for each size trained at: whether one that was tuned at a size serves the others.

    robustray tune training-eps-lr --size quick                    12 trainings, CPU, half a minute
    robustray tune training-eps-lr --size small --data-root DIR    CIFAR-10, 48 trainings, two CPU cores, days
    expected, quick: with the rate 0.1 87 % [84, 89] of held-out images are correct at 0.05 and 50 % [19, 81] at 0.15
    (two seeds that did not choose it); 0.02 is worse at both. The larger sizes have not been run as a grid
    """
    sizes, rates = ((0.05, 0.15), (0.02, 0.1)) if size == "quick" else (
        (2 / 255, 4 / 255, 8 / 255), (0.05, 0.1, 0.2, 0.4)
    )  # fmt: skip
    return Grid(
        question="Does the best learning rate depend on the size that a network is trained at?",
        paper="arXiv:1706.06083",
        formats={"eps_train": "eps"},
        outcomes=HELD_OUT,
        choose=("lr",),
        halving=HALVING,
        cells=[
            Cell(
                levels={"eps_train": eps, "lr": lr, "seed": seed},
                settings=replace(_training(size, eps, seed), lr=lr),
            )
            for eps in sizes
            for lr in rates
            for seed in range(3 if size == "quick" else 4)
        ],
    )


def _training(size: Size, eps: float, seed: int, *, quick_epochs: int = 4) -> TrainSpec:
    """A training of the study `robust-training`, with other sizes; the quick ones are short. In four epochs nothing is
    learnt that is cropped and mirrored."""
    base = replace(SIZES[size], eps_train_linf=(eps,), eps_test_linf=(eps,))
    spec = base.spec(Network("linf", eps, seed))
    return replace(spec, model="digits:mlp", epochs=quick_epochs, check_steps=4) if size == "quick" else spec
