"""What an agent is: the algorithm with all its switches, the environment, the seed, the length. Imports nothing heavy.

Names and defaults follow arXiv 2005.12729, section 3 and its released configurations. Where the released code differs
from what it means to do, the intended behaviour is the default and the other is a named option.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from robustray.tasks.checks import check_choice, check_count, check_size
from robustray.tasks.errors import InputError

Step = Literal["ppo", "trpo"]
RewardFilter = Literal["none", "returns", "rewards"]
Init = Literal["orthogonal", "xavier"]
Activation = Literal["tanh", "relu"]
Advantage = Literal["gae", "returns"]
Bootstrap = Literal["reference", "correct"]
Restart = Literal["every_reset", "never"]
KLSchedule = Literal["constant", "linear"]
KLDirection = Literal["old_new", "new_old"]
ValueStep = Literal["before", "joint"]

STEPS: tuple[Step, ...] = ("ppo", "trpo")
_CHOICES: dict[str, tuple[str, ...]] = {
    "step": STEPS,
    "reward_filter": ("none", "returns", "rewards"),
    "init": ("orthogonal", "xavier"),
    "activation": ("tanh", "relu"),
    "advantage": ("gae", "returns"),
    "bootstrap": ("reference", "correct"),
    "return_restarts": ("every_reset", "never"),
    "kl_schedule": ("constant", "linear"),
    "kl_direction": ("old_new", "new_old"),
    "value_step": ("before", "joint"),
}


@dataclass(frozen=True, kw_only=True)
class PolicyGradient:
    """One member of the PPO/TRPO family. The nine code-level optimisations are the fields marked (1) to (9).

    The defaults are PPO with all of them as in the paper's Hopper configuration, and actions clipped into their box: a
    good start for the user's own environment. `presets.py` has the paper's settings.

    Raises: InputError (a ValueError) for a value that cannot be used.
    """

    step: Step = "ppo"
    """The policy step: clipped surrogate with Adam, or a trust region with a line search."""

    value_clip: float | None = None
    """(1) How far a new value may lie from the old one before the larger of both errors counts; None: off."""
    reward_filter: RewardFilter = "returns"
    """(2) "returns" divides by the standard deviation of the running discounted return; "rewards" standardises rewards
    but for their mean."""
    init: Init = "orthogonal"
    """(3) Orthogonal with gain sqrt(2), 0.01 for the policy's head and 1 for the value's; or Xavier-uniform, gain 1."""
    anneal_lr: bool = True
    """(4) Both learning rates fall linearly to 0 over the horizon."""
    reward_clip: float | None = 10.0
    """(5) Bound of the filtered reward; without a reward filter it does nothing."""
    normalise_observations: bool = True
    """(6) Subtract the running mean, divide by the running standard deviation, per coordinate."""
    observation_clip: float | None = 10.0
    """(7) Bound of a normalised observation; without normalisation it does nothing."""
    activation: Activation = "tanh"
    """(8) Of the hidden layers of both networks."""
    gradient_clip: float | None = None
    """(9) Largest l2 norm of the policy's gradient, per minibatch of PPO; TRPO's step has none."""

    ratio_clip: float | None = 0.2
    """PPO's epsilon; None: no clipping (PPO-NoClip)."""
    policy_lr: float = 3e-4
    value_lr: float = 2.5e-4
    max_kl: float = 0.04
    """TRPO's delta: largest mean KL(old || new) of a step, in nats."""
    max_kl_final: float | None = None
    """Where "linear" ends."""
    kl_schedule: KLSchedule = "constant"
    """"constant" is what the paper's runs did: the released schedule changes a number that nothing reads."""
    entropy_bonus: float = 0.0
    """Weight of the entropy in PPO's objective; may be negative, as in the paper's PPO-NoClip."""
    discount: float = 0.99
    gae_lambda: float = 0.95
    advantage: Advantage = "gae"
    """"returns" puts discounted returns in the place of advantages: training without a baseline. The value network is
    trained as ever."""
    bootstrap: Bootstrap = "reference"
    """"reference": a time limit counts as an end, and the value after the last step is that of the last state itself.
    "correct": both use the value of the state that follows."""
    return_restarts: Restart = "every_reset"
    """When the discounted sum behind "returns" restarts at 0: at every reset, or never (the paper's Algorithm 1)."""
    value_on_terminals: bool = False
    """Whether steps that end an episode count in the value loss; in the paper's code they do not."""
    value_step: ValueStep = "before"
    """"before": the value network is fitted by itself, then the policy takes its step. "joint", for PPO: both in one
    pass over common minibatches, with `gradient_clip` on the norm of both gradients together (stable-baselines3)."""
    value_weight: float = 0.5
    """Weight of the value loss in a joint pass. It decides how much of the common norm is the value network's."""
    clip_actions: bool = True
    """Clip actions into their box before the environment sees them. The paper's presets send them as they are drawn."""

    hidden: tuple[int, ...] = (64, 64)
    """Widths of the hidden layers, of both networks; they share no weights."""
    steps_per_stream: int = 2048
    """Environment steps of one stream per update."""
    continue_streams: bool = False
    """Off: every rollout begins with a reset, as in the paper's code. On: a stream continues where the last update left
    it, as in stable-baselines3 and CleanRL; this needs an environment that repeats itself and whose episodes end."""
    num_streams: int = 1
    """Rollouts per update, each in an environment of its own: more data is more streams, wherever they run."""
    num_minibatches: int = 32
    policy_epochs: int = 10
    value_epochs: int = 10
    adam_eps: float = 1e-5
    fisher_share: float = 0.1
    """Share of the states on which TRPO's Fisher products are computed."""
    cg_steps: int = 10
    cg_start_noise: float = 0.0
    """Standard deviation of the point from which conjugate gradients start; 0: the origin."""
    cg_tolerance: float = 0.0
    """Squared norm of the residual at which conjugate gradients stop early."""
    damping: float = 0.1
    """Added to the Fisher matrix's diagonal."""
    line_search_tries: int = 10
    line_search_shrink: float = 0.5
    """A rejected step is tried again at this fraction of its size."""
    line_search_share: float = 0.1
    """The share of what the gradient promised that a step must improve by, to be accepted."""
    kl_direction: KLDirection = "old_new"
    """Which mean KL the line search holds to `max_kl`: KL(old || new), or KL(new || old)."""
    kl_per_action: bool = False
    """Divide a Gaussian's KL and its Fisher matrix by the number of action dimensions: stable-baselines3-contrib takes
    the mean over them where the definition has the sum, so that its limit is as many times as wide."""
    ratio_bound: float = 0.2
    """What the curve's `ratio_outside` is measured against; it changes no weight."""

    def __post_init__(self) -> None:
        for name, known in _CHOICES.items():
            check_choice(name, getattr(self, name), known)
        for name in (
            "steps_per_stream",
            "num_streams",
            "num_minibatches",
            "policy_epochs",
            "value_epochs",
            "cg_steps",
            "line_search_tries",
        ):
            check_count(name, getattr(self, name), at_least=1)
        for name in (
            "policy_lr",
            "value_lr",
            "max_kl",
            "adam_eps",
            "damping",
            "ratio_bound",
            "value_weight",
            "cg_start_noise",
            "cg_tolerance",
            "line_search_share",
        ):
            check_size(name, getattr(self, name))
        for name in ("value_clip", "reward_clip", "observation_clip", "gradient_clip", "ratio_clip", "max_kl_final"):
            value = getattr(self, name)
            if value is not None:
                check_size(name, value)
                if value == 0:
                    raise InputError(f"{name} must be above 0, got 0; None turns it off")
        for name in ("discount", "gae_lambda"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} must be in [0, 1], got {getattr(self, name)!r}")
        if not 0 < self.fisher_share <= 1:
            raise InputError(f"fisher_share must be in (0, 1], got {self.fisher_share!r}")
        if not 0 < self.line_search_shrink < 1:
            raise InputError(f"line_search_shrink must be in (0, 1), got {self.line_search_shrink!r}")
        if self.value_step == "joint" and self.step != "ppo":
            raise InputError("value_step='joint' needs step='ppo': TRPO's step has no minibatches to share")
        if self.value_step == "joint" and self.value_epochs != self.policy_epochs:
            raise InputError(
                f"value_step='joint' needs as many value_epochs ({self.value_epochs}) as policy_epochs "
                f"({self.policy_epochs}): it is one pass"
            )
        if not math.isfinite(self.entropy_bonus):
            raise InputError(f"entropy_bonus must be a finite number, got {self.entropy_bonus!r}")
        object.__setattr__(self, "hidden", tuple(self.hidden))
        for width in self.hidden:
            check_count("hidden", width, at_least=1)
        if self.kl_schedule == "linear" and (self.step != "trpo" or self.max_kl_final is None):
            raise InputError("kl_schedule='linear' needs step='trpo' and max_kl_final, where it ends")
        if self.num_minibatches > self.steps_per_update:
            raise InputError(
                f"num_minibatches={self.num_minibatches} is more than the {self.steps_per_update} steps of an update"
            )

    @property
    def steps_per_update(self) -> int:
        return self.num_streams * self.steps_per_stream

    def learning_rate(self, peak: float, update: int, horizon: int) -> float:
        """During update `update` (0 is the first): peak * (1 - update / horizon) where annealed."""
        return peak * (1 - update / horizon) if self.anneal_lr else peak

    def kl_limit(self, update: int, horizon: int) -> float:
        """TRPO's delta during an update."""
        if self.kl_schedule == "constant" or self.max_kl_final is None:
            return self.max_kl
        return self.max_kl + (self.max_kl_final - self.max_kl) * update / horizon


@dataclass(frozen=True, kw_only=True)
class AgentSpec:
    """One agent: what `lab.learn` trains. Its key holds all fields but the last two, which only watch.

    Raises: InputError for a value that cannot be used.
    """

    environment: str
    """A Gymnasium id ("Hopper-v5"), one that a module registers ("my_pkg.my_mod:Name-v0"), or a class
    ("my_pkg.my_mod:ClassName")."""
    settings: PolicyGradient = field(default_factory=PolicyGradient)
    seed: int = 0
    """Seed of initial weights, resets, action noise, minibatches and Fisher states, each with a separate stream of
    random numbers."""
    iterations: int = 488
    """Updates; one takes `settings.steps_per_update` environment steps."""
    horizon: int | None = None
    """Updates over which learning rate and KL limit run their course; None: `iterations`. A larger one trains the first
    part of a longer training."""
    milestones: tuple[int, ...] = ()
    """Updates before which the whole state is stored: 0 is the untrained agent. The last state is always stored."""
    heldout_every: int | None = None
    """Every how many updates KL, ratios and value errors are also measured on steps that no update saw. No weight
    depends on it."""

    def __post_init__(self) -> None:
        if not self.environment or not isinstance(self.environment, str):
            raise InputError(f"environment must be a name like 'Hopper-v5', got {self.environment!r}")
        check_count("seed", self.seed, at_least=0)
        check_count("iterations", self.iterations, at_least=1)
        if self.horizon is not None:
            check_count("horizon", self.horizon, at_least=self.iterations)
        if self.heldout_every is not None:
            check_count("heldout_every", self.heldout_every, at_least=1)
        object.__setattr__(self, "milestones", tuple(self.milestones))
        for milestone in self.milestones:
            check_count("milestones", milestone, at_least=0)
            if milestone > self.iterations:
                raise InputError(f"milestone {milestone} lies behind the last of {self.iterations} iterations")

    @property
    def schedule_horizon(self) -> int:
        return self.horizon or self.iterations

    @property
    def kept(self) -> tuple[int, ...]:
        """The states that are stored, in order, the last one included."""
        return tuple(sorted({*self.milestones, self.iterations}))

    def holds_out(self, update: int) -> bool:
        """Is this update also measured on held-out steps? The first one is."""
        return self.heldout_every is not None and update % self.heldout_every == 0
