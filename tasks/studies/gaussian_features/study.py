"""Why does robust training align gradients with classes?  (arXiv:1905.02175, section 4)

The data are two Gaussians whose covariance an l2 adversary makes the learner overestimate. Robust parameters come from
the closed form (an adversary with a mean budget), from exact robust likelihood (a budget for each point) and from
adversarial training. Theorems 1 to 3 are compared with samples and trainings, within tolerances fixed here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from robustray.tasks.kit.compare import Compared, comparison
from robustray.tasks.studies.gaussian_features import findings
from robustray.tasks.studies.gaussian_features.blocks import ball_block, rise_block, train_block
from robustray.tasks.studies.gaussian_features.fitting import Training
from robustray.tasks.studies.gaussian_features.settings import OUTLINE, Settings
from robustray.tasks.study import Opened, Study

if TYPE_CHECKING:
    from robustray.tasks.lab.protocol import Lab
    from robustray.tasks.study import Findings


RISE_SAMPLES = 10
"""Times `num_samples`: the rise is heavy-tailed, and a sample of it costs next to nothing."""


def door(settings: Settings, lab: Lab) -> Opened:
    """Nothing is opened: all data are drawn."""
    return Opened(refs={})


def run(settings: Settings, lab: Lab) -> Findings:
    seeds = range(settings.seed, settings.seed + settings.num_seeds)
    penalty = settings.penalty / min(settings.variances)
    training = Training(
        variances=settings.variances,
        mean=settings.mean,
        angle=settings.angle,
        num_steps=settings.num_steps,
        batch_size=settings.batch_size,
        lr=settings.lr,
        ascent_steps=settings.ascent_steps,
    )
    robust = [[eps, seed] for eps in settings.eps_train for seed in seeds]
    trained = lab.map("train", train_block, [[0.0, seed] for seed in seeds] + robust, block=1, settings=training)
    exact = lab.map("ball", ball_block, robust, block=1, settings=(settings.variances, settings.num_samples))
    sampled = (settings.variances, penalty, RISE_SAMPLES * settings.num_samples)
    rises = lab.map("rise", rise_block, list(seeds), block=1, settings=sampled)
    return findings.found(
        findings.Results(settings=settings, trained=trained.result(), exact=exact.result(), rises=rises.result())
    )


STUDY = Study(
    outline=OUTLINE,
    door=door,
    run=run,
    steps={"train": train_block, "ball": ball_block, "rise": rise_block},
    compare=comparison(Compared(table="parameters", keys=("eps", "quantity"), value="trained", unit="number")),
)
