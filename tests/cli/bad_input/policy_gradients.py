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
        name="implementation-matters: episodes below none",
        typed=RUN + "--evaluation-episodes -1",
        says=("evaluation_episodes", "at least 0"),
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

LOOK = "run closer-look --workers 0 "

CLOSER_LOOK = [
    Case(
        name="closer-look: an environment without settings in the paper",
        typed=LOOK + "--environment Ant-v5",
        says=("'Ant-v5'", "no settings in the paper", "Hopper-v5"),
    ),
    Case(
        name="closer-look: a version that does not exist",
        typed=LOOK + "--environment Walker2d-v99",
        says=("environment Walker2d-v99", "cannot be made", "v99"),
    ),
    Case(name="closer-look: another algorithm", typed=LOOK + "--algorithms pppo", says=("algorithms", "'pppo'", "ppo")),
    Case(name="closer-look: one algorithm twice", typed=LOOK + "--algorithms ppo ppo", says=("algorithms", "twice")),
    Case(
        name="closer-look: a milestone at the end",
        typed=LOOK + "--milestones 0 1",
        says=("milestones", "share in [0, 1)", "1"),
    ),
    Case(
        name="closer-look: two milestones that are one",
        typed=LOOK + "--milestones 0 0.01",
        says=("milestones", "the same of 12 iterations"),
    ),
    Case(
        name="closer-look: a size that blocks don't make up",
        typed=LOOK + "--sample-sizes 256 1500",
        says=("sample_sizes: 256, 1500", "1024 steps in whole multiples"),
    ),
    Case(name="closer-look: a single size", typed=LOOK + "--sample-sizes 256", says=("sample_sizes", "two or more")),
    Case(
        name="closer-look: two estimates",
        typed=LOOK + "--num-repeats 2",
        says=("num_repeats", "at least 3"),
    ),
    Case(
        name="closer-look: a truth without halves",
        typed=LOOK + "--truth-blocks 1",
        says=("truth_blocks", "at least 2"),
    ),
    Case(
        name="closer-look: a true value function of one block",
        typed=LOOK + "--fit-blocks 1",
        says=("fit_blocks", "at least 2"),
    ),
    Case(
        name="closer-look: measured every 0 updates",
        typed=LOOK + "--heldout-every 0",
        says=("heldout_every", "at least 1"),
    ),
    Case(
        name="closer-look: a landscape without the step",
        typed=LOOK + "--landscape 0 0.5 2",
        says=("landscape", "1 (the step that is taken)"),
    ),
    Case(
        name="closer-look: a landscape backwards",
        typed=LOOK + "--landscape 1 0",
        says=("landscape must ascend",),
    ),
]
