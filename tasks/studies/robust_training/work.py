"""What a run would cost, counted before it. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from robustray.tasks.study import Work
from robustray.tasks.sweeps.options import NUM_IMAGES, PASSED, PASSES
from robustray.tasks.training.work import NUM_TRAINING, training_passes

if TYPE_CHECKING:
    from robustray.tasks.studies.robust_training.settings import Network, Settings

MEASURED: Mapping[str, str] = {
    "digits:cnn": "The quick size takes 57 s of CPU time in one process",
    "small:s": "Network S for 14 epochs: 12 to 15 min per robust network, 4 to 5 per standard one on two slow cores",
}
"""By model; source: docs/studies/robust-training.md."""


def estimate(settings: Settings) -> Work:
    """An upper bound: all test images survive all attacks."""
    networks = settings.networks()
    num_train = NUM_TRAINING.get(settings.train_data, 50_000)
    trained = sum(training_passes(settings.spec(network), num_train) for network in networks)
    tested = sum(testing_passes(settings, network) for network in networks)
    unknown = settings.train_data not in NUM_TRAINING
    measured = MEASURED.get(settings.model)
    return Work(
        counts={PASSED: trained + tested, "images in training": num_train * settings.epochs * len(networks)},
        note=(f"{settings.train_data} taken as 50,000 images. " if unknown else "")
        + f"{len(networks)} trainings take up to {trained:,} of them, the attacks on the test images up to {tested:,} "
        "(images that fall early cost less)." + (f" {measured}." if measured else ""),
    )


def testing_passes(settings: Settings, network: Network) -> int:
    """Of all attacks on one network, if every test image survived."""
    num_images = settings.num_images or NUM_IMAGES.get(settings.test_data, 10_000)
    norms = settings.norms if network.norm == "none" else (network.norm,)
    sizes = sum(len(settings.eps_test(norm)) for norm in norms)
    traced = settings.num_traced * (settings.test_steps + settings.trace_steps + 2) * len(norms)
    pgd = num_images * (1 + sizes * (settings.test_steps + 2))
    autoattacked = sum(settings.autoattack_eps(norm, network.eps) is not None for norm in norms)
    return pgd + autoattacked * settings.num_autoattack * PASSES["autoattack"] + traced + settings.num_examples
