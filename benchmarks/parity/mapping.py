"""Which of our fields is which argument of stable-baselines3 2.9.2, and what still differs. Imports nothing heavy."""

from __future__ import annotations

PPO = (
    ("steps_per_stream", 2048, "n_steps=2048"),
    ("num_minibatches", 32, "batch_size=64"),
    ("policy_epochs", 10, "n_epochs=10"),
    ("value_step", "joint", "one loss, one optimizer"),
    ("value_weight", 0.5, "vf_coef=0.5"),
    ("gradient_clip", 0.5, "max_grad_norm=0.5, of both networks' common norm"),
    ("policy_lr", 3e-4, "learning_rate=3e-4"),
    ("value_lr", 3e-4, "learning_rate=3e-4"),
    ("ratio_clip", 0.2, "clip_range=0.2"),
    ("value_clip", None, "clip_range_vf=None"),
    ("entropy_bonus", 0.0, "ent_coef=0.0"),
)
TRPO = (
    ("steps_per_stream", 2048, "n_steps=2048"),
    ("num_minibatches", 16, "batch_size=128"),
    ("value_epochs", 10, "n_critic_updates=10"),
    ("value_step", "before", "the value network is fitted by itself (after the policy; they share nothing)"),
    ("value_lr", 1e-3, "learning_rate=1e-3"),
    ("max_kl", 0.01, "target_kl=0.01"),
    ("kl_direction", "new_old", "kl_divergence(new, old)"),
    ("kl_per_action", True, "the mean over action dimensions, where the definition has the sum"),
    ("fisher_share", 1.0, "sub_sampling_factor=1"),
    ("damping", 0.1, "cg_damping=0.1"),
    ("cg_steps", 15, "cg_max_steps=15"),
    ("cg_start_noise", 1e-4, "1e-4 * randn_like"),
    ("cg_tolerance", 1e-10, "residual_tol=1e-10"),
    ("line_search_tries", 10, "line_search_max_iter=10"),
    ("line_search_shrink", 0.8, "line_search_shrinking_factor=0.8"),
    ("line_search_share", 0.0, "any improvement is accepted"),
)
BOTH = (
    ("discount", 0.99, "gamma=0.99"),
    ("gae_lambda", 0.95, "gae_lambda=0.95"),
    ("advantage", "gae", "GAE"),
    ("bootstrap", "correct", "the value of the last observation at time limits and at the end of the buffer"),
    ("value_on_terminals", True, "all steps count"),
    ("continue_streams", True, "environments go on over rollouts"),
    ("clip_actions", True, "actions are clipped for the environment"),
    ("hidden", (64, 64), "net_arch: two layers of 64 each"),
    ("activation", "tanh", "activation_fn=Tanh"),
    ("init", "orthogonal", "ortho_init=True"),
    ("anneal_lr", False, "a constant learning rate"),
    ("adam_eps", 1e-5, "eps=1e-5"),
    ("normalise_observations", True, "VecNormalize(norm_obs=True)"),
    ("observation_clip", 10.0, "clip_obs=10"),
    ("reward_filter", "returns", "VecNormalize(norm_reward=True)"),
    ("reward_clip", 10.0, "clip_reward=10"),
    ("return_restarts", "every_reset", "returns[dones] = 0"),
)
"""(field, its value in the preset, what it is there)."""

DIFFERENCES = (
    "VecNormalize starts from mean 0 and variance 1 with weight 1e-4, divides by n and by sqrt(variance + 1e-8); ours "
    "starts empty, divides by n - 1 and by deviation + 1e-8.",
    "VecNormalize never counts the last observation of an episode; ours does.",
    "A minibatch that does not divide the steps is cut by size there, evenly here; at these sizes both divide.",
    "Value clipping there is the error of the clipped value, here the larger of both errors; both presets have it off.",
    "TRPO's step is computed in float32 there, in float64 here.",
    "Random numbers: there one global generator; here a function of (seed, purpose, update, stream).",
)


def render() -> str:
    """Which field is which argument, then what still differs, as Markdown."""
    lines = ["| `like_sb3_*` | preset | value | there |", "|---|---|---|---|"]
    for name, rows in (("both", BOTH), ("ppo", PPO), ("trpo", TRPO)):
        lines += [f"| `{field}` | {name} | {value} | {there} |" for field, value, there in rows]
    return "\n".join([*lines, "", "What differs still:", "", *(f"- {text}" for text in DIFFERENCES)]) + "\n"
