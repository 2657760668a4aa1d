"""What the studies of deep policy gradients cannot use."""

from __future__ import annotations

from tests.cli.bad_input.case import Case

RUN = "run implementation-matters --workers 0 "

IMPLEMENTATION_MATTERS = [
    Case(
        name="implementation-matters: an environment without settings in the paper",
        typed=RUN + "--environments CartPole-v1",
        says=("'CartPole-v1'", "no settings in the paper", "Hopper-v5"),
    ),
    Case(
        name="implementation-matters: an environment without its version",
        typed=RUN + "--environments Hopper",
        says=("'Hopper'", "Hopper-v5"),
    ),
    Case(
        name="implementation-matters: a version that does not exist",
        typed=RUN + "--environments Hopper-v99",
        says=("environment Hopper-v99", "cannot be made", "v99"),
    ),
    Case(
        name="implementation-matters: one environment twice",
        typed=RUN + "--environments Hopper-v5 Hopper-v5",
        says=("environments", "twice"),
    ),
    Case(name="implementation-matters: no agents", typed=RUN + "--num-seeds 0", says=("num_seeds", "at least 1")),
    Case(
        name="implementation-matters: fewer steps than minibatches",
        typed=RUN + "--steps 31",
        says=("steps", "at least 32"),
    ),
    Case(
        name="implementation-matters: a learning rate of 0",
        typed=RUN + "--ablation-lrs 0",
        says=("ablation_lrs", "above 0"),
    ),
    Case(
        name="implementation-matters: one learning rate twice",
        typed=RUN + "--ablation-lrs 1e-4 1e-4",
        says=("ablation_lrs", "twice"),
    ),
    Case(
        name="implementation-matters: more agents than seeds of a cell",
        typed=RUN + "--num-ablation-seeds 1001",
        says=("num_ablation_seeds", "at most 1,000"),
    ),
    Case(
        name="implementation-matters: agents that choose from one learning rate",
        typed=RUN + "--ablation-lrs 3e-4 --num-selection-seeds 2",
        says=("--num-selection-seeds does nothing here", "one learning rate"),
    ),
    Case(
        name="implementation-matters: settings of an ablation that is off",
        typed=RUN + "--no-ablation --ablation-iterations 5",
        says=("--ablation-iterations does nothing here", "ablation is off"),
    ),
]
